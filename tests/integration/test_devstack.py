"""The local stack keeps its data and leaves nobody behind, however it ends."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import boto3
import psutil
import psycopg
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from devstack.ports import HOST, choose
from devstack.supervisor import SERVERS, Endpoints, Stack

pytestmark = [
    pytest.mark.servers,
    pytest.mark.timeout(180),
    pytest.mark.skipif(sys.platform != "linux", reason="the local stack runs on Linux"),
]

ROOT = Path(__file__).parents[2]
SERVERS_ALONE = """
import sys, time
from devstack.supervisor import Stack
with Stack(sys.argv[1], services=sys.argv[2:]):
    print("ready", flush=True)
    time.sleep(600)
"""


def eventually(good: Callable[[], bool], *, within: float = 30) -> None:
    deadline = time.monotonic() + within
    while not good():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def write(to: Endpoints) -> None:
    """Put a row, an event and an object."""
    with psycopg.connect(to.postgres) as connection:
        connection.execute("create table if not exists kept (what text)")
        connection.execute("insert into kept values ('row')")
    admin = AdminClient({"bootstrap.servers": to.kafka})
    admin.create_topics([NewTopic("kept", 1, 1)])["kept"].result(20)
    producer = Producer({"bootstrap.servers": to.kafka, "acks": "all"})
    producer.produce("kept", b"event")
    assert producer.flush(20) == 0
    bucket(to).create()
    bucket(to).put_object(Key="kept", Body=b"object")


def kept(at: Endpoints) -> list[object]:
    """Return what is there of the row, the event and the object."""
    with psycopg.connect(at.postgres) as connection:
        rows = connection.execute("select what from kept").fetchall()
    consumer = Consumer({"bootstrap.servers": at.kafka, "group.id": "kept", "enable.auto.commit": False})
    consumer.assign([TopicPartition("kept", 0, 0)])
    message = consumer.poll(20)
    consumer.close()
    return [*rows, message and message.value(), bucket(at).Object("kept").get()["Body"].read()]


KEPT = [("row",), b"event", b"object"]


def bucket(at: Endpoints) -> "boto3.resources.factory.s3.Bucket":
    """Return the bucket of this test."""
    credentials = {"aws_access_key_id": at.s3_access_key, "aws_secret_access_key": at.s3_secret_key}
    return boto3.resource("s3", endpoint_url=at.s3, region_name="us-east-1", **credentials).Bucket("kept")


@contextmanager
def started(*command: str) -> Iterator[subprocess.Popen[str]]:
    """Run a supervisor; it and all it started are gone in the end, whatever the test did."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("EBBMARK_")}
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        for each in [*descendants(process), process]:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(process.pid).children(recursive=True)
    return []


def nobody_left(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != "zombie" for process in processes)


def up(data: Path, port: int) -> tuple[str, ...]:
    return ("-m", "devstack", "up", "--data", str(data), "--port", str(port))


def a_port() -> int:
    return choose(["http"], {})["http"]


def is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/readyz", timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


class TestTheServers:
    def test_what_they_hold_is_there_after_a_stop_and_after_a_kill(self, tmp_path: Path) -> None:
        with Stack(tmp_path) as stack:
            write(stack.endpoints)
            for server in stack.servers.values():
                server.kill()
            for server in stack.servers.values():
                server.process.start()
            for server in stack.servers.values():
                server.wait()
            assert kept(stack.endpoints) == KEPT
            assert all(stack.cpu_seconds(name) > 0 for name in stack.servers)
            first = stack.endpoints
        with Stack(tmp_path) as stack:
            assert stack.endpoints == first
            assert kept(stack.endpoints) == KEPT

    def test_everything_killed_at_once_comes_back(self, tmp_path: Path) -> None:
        with started("-c", SERVERS_ALONE, str(tmp_path), *SERVERS) as supervisor:
            assert supervisor.stdout is not None
            assert supervisor.stdout.readline() == "ready\n"
            write(Endpoints(**json.loads((tmp_path / "endpoints.json").read_text())))
            servers = descendants(supervisor)
            for process in [*servers, psutil.Process(supervisor.pid)]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            eventually(lambda: nobody_left(servers))
        with Stack(tmp_path) as stack:
            assert kept(stack.endpoints) == KEPT

    def test_they_die_with_a_supervisor_that_is_killed(self, tmp_path: Path) -> None:
        with started("-c", SERVERS_ALONE, str(tmp_path), "postgres", "seaweedfs") as supervisor:
            assert supervisor.stdout is not None
            assert supervisor.stdout.readline() == "ready\n"
            servers = descendants(supervisor)
            assert {"postgres", "weed"} <= {process.name() for process in servers}
            supervisor.kill()
            eventually(lambda: nobody_left(servers))


@dataclass(frozen=True)
class Running:
    supervisor: subprocess.Popen[str]
    data: Path
    port: int

    def pid(self, name: str) -> int:
        return json.loads((self.data / "processes.json").read_text())[name]["pid"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The whole system, started by the command."""
    data, port = tmp_path_factory.mktemp("up"), a_port()
    with started(*up(data, port)) as supervisor:
        eventually(lambda: is_ready(port) or supervisor.poll() is not None, within=60)
        yield Running(supervisor, data, port)


class TestUp:
    def test_its_processes_are_written_down(self, running: Running) -> None:
        noted = json.loads((running.data / "processes.json").read_text())
        assert {"kafka", "postgres", "seaweedfs", "ingest", "worker-1", "janitor"} <= noted.keys()
        assert all(psutil.pid_exists(entry["pid"]) for entry in noted.values())

    def test_a_second_one_on_the_same_data_is_refused(self, running: Running) -> None:
        with started(*up(running.data, a_port())) as second:
            output, _ = second.communicate(timeout=30)
        assert second.returncode == 2
        in_use = f"make up: The data folder {running.data} is in use by another instance"
        assert output == f"{in_use} (process {running.supervisor.pid}).\n"

    def test_one_on_the_same_port_is_refused(self, running: Running, tmp_path: Path) -> None:
        with started(*up(tmp_path, running.port)) as second:
            output, _ = second.communicate(timeout=30)
        assert second.returncode == 2
        assert (
            output
            == f"make up: Port {running.port} is taken; say another one: make up PORT={running.port + 1}\n"
        )

    @pytest.mark.parametrize("name", ["ingest", "seaweedfs"])
    def test_a_process_that_dies_is_started_again(self, running: Running, name: str) -> None:
        first = running.pid(name)
        os.kill(first, signal.SIGKILL)
        eventually(lambda: running.pid(name) != first)
        eventually(lambda: is_ready(running.port))

    def test_a_signal_ends_all_of_it_in_order(self, running: Running) -> None:
        processes = descendants(running.supervisor)
        running.supervisor.send_signal(signal.SIGTERM)
        output, _ = running.supervisor.communicate(timeout=60)
        assert running.supervisor.returncode == 0
        assert "Ebbmark is ready" in output
        assert "Traceback" not in output
        assert nobody_left(processes)


@pytest.mark.parametrize("after", [0, 0.3, 1, 2, 4])
def test_a_signal_while_it_starts_ends_it_just_as_well(tmp_path: Path, after: float) -> None:
    with started(*up(tmp_path, a_port())) as supervisor:
        eventually((tmp_path / "lock").exists)
        time.sleep(after)  # not to wait for anything: to come at another moment each time
        processes = descendants(supervisor)
        supervisor.send_signal(signal.SIGINT)
        output, _ = supervisor.communicate(timeout=30)
    assert supervisor.returncode == 0, output
    assert "Traceback" not in output
    assert nobody_left(processes)
