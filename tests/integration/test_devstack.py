"""The local stack keeps its data and leaves nobody behind, however it ends."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO

import boto3
import httpx
import psutil
import psycopg
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from devstack import exporters
from devstack.ports import HOST, choose
from devstack.process import MARK
from devstack.supervisor import SERVERS, Endpoints, Stack
from tests.conftest import missing
from tests.people import Person, photo

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


SEARCHING = """
import sys
from devstack import seaweedfs
from devstack.__main__ import main
seaweedfs.SEARCH_FIRST = seaweedfs.SEARCH_EVERY = 1.0
sys.exit(main())
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


def bucket(at: Endpoints, name: str = "kept") -> "boto3.resources.factory.s3.Bucket":
    """Return a bucket."""
    credentials = {"aws_access_key_id": at.s3_access_key, "aws_secret_access_key": at.s3_secret_key}
    return boto3.resource("s3", endpoint_url=at.s3, region_name="us-east-1", **credentials).Bucket(name)


@contextmanager
def started(*command: str, output: IO[str] | None = None, **settings: str) -> Iterator[subprocess.Popen[str]]:
    """Run a supervisor; it and all it started are gone in the end, whatever the test did.

    What it says is in its pipe, which holds 64 kB, unless there is an `output`.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith("EBBMARK_")}
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=env | settings,
        text=True,
        stdout=output or subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        for each in [*descendants(process), process]:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(process.pid).children(recursive=True)
    return []


def nobody_left(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != "zombie" for process in processes)


def marked(data: Path) -> list[str]:
    """Return the names of all processes that were started for that data, whoever minds them now."""
    names: list[str] = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == str(data / "logs"):
                names.append(process.name())
    return names


def up(data: Path, port: int) -> tuple[str, ...]:
    return ("-m", "devstack", "up", "--data", str(data), "--port", str(port))


def up_now(prometheus: str) -> set[str]:
    """Return which processes Prometheus could scrape when it last tried."""
    targets = httpx.get(f"{prometheus}/api/v1/targets").json()["data"]["activeTargets"]
    return {each["labels"]["process"] for each in targets if each["health"] == "up"}


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


def grafana_that_never_answers(folder: Path) -> Path:
    """Return the folder of such a program."""
    (folder / "conf").mkdir()
    (folder / "conf" / "defaults.ini").touch()
    (folder / "bin").mkdir()
    (folder / "bin" / "grafana").write_text("#!/bin/sh\nexec sleep 600\n", "utf-8")
    (folder / "bin" / "grafana").chmod(0o700)
    return folder / "bin"


LIFE = {"EBBMARK_JOB_TTL": "PT20S", "EBBMARK_JOB_GRACE": "PT5S"}


@dataclass(frozen=True)
class Running:
    supervisor: subprocess.Popen[str]
    data: Path
    port: int
    output: Path
    served: list[int]
    """What each process answered as soon as all of it was said to be ready."""
    job: str
    """Of one photo, complete. Its bytes are deleted when the janitor, who is frozen, goes on."""

    def pid(self, name: str) -> int:
        return json.loads((self.data / "processes.json").read_text())[name]["pid"]

    def status(self, path: str) -> int:
        return httpx.get(f"http://{HOST}:{self.port}{path}", timeout=30).status_code


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The whole system, started by the command; a job's life passes while other things are tested."""
    folder, port = tmp_path_factory.mktemp("up"), a_port()
    data = folder / "its data"
    first = f"{grafana_that_never_answers(folder)}{os.pathsep}{os.environ['PATH']}"
    with (
        (folder / "output").open("w") as output,
        started("-c", SEARCHING, *up(data, port)[2:], output=output, PATH=first, **LIFE) as supervisor,
    ):
        said = Path(output.name)
        eventually(lambda: "is ready" in said.read_text() or supervisor.poll() is not None, within=60)
        groups = json.loads((data / "prometheus" / "targets.json").read_text())
        served = [httpx.get(f"http://{group['targets'][0]}/metrics").status_code for group in groups]
        with Person(f"http://{HOST}:{port}") as ann:
            job = ann.send([("personal name.jpg", photo(64, 48))])
            ann.wait_until_complete(job)
        system = Running(supervisor, data, port, said, served, job)
        psutil.Process(system.pid("janitor")).suspend()
        yield system


class TestUp:
    def test_it_is_ready_when_every_process_serves(self, running: Running) -> None:
        assert len(running.served) >= 3
        assert set(running.served) == {200}
        assert "Ebbmark is ready" in running.output.read_text()

    def test_it_is_ready_without_a_grafana_that_never_answers(self, running: Running) -> None:
        at = Endpoints(**json.loads((running.data / "endpoints.json").read_text()))
        if at.prometheus is None:
            missing("prometheus is not installed, so Grafana is not started")
        assert "grafana does not answer after 10 s; the rest goes on without it" in running.output.read_text()
        assert psutil.pid_exists(running.pid("grafana"))

    def test_the_environment_it_is_given_reaches_every_process(self, running: Running) -> None:
        for name in ("ingest", "worker-1", "janitor"):
            reached = psutil.Process(running.pid(name)).environ()
            assert {key: reached.get(key) for key in LIFE} == LIFE
        status = httpx.get(f"http://{HOST}:{running.port}{running.job}").json()
        lives = datetime.fromisoformat(status["expires_at"]) - datetime.fromisoformat(status["completed_at"])
        assert lives == timedelta(seconds=20)

    def test_its_processes_are_written_down(self, running: Running) -> None:
        noted = json.loads((running.data / "processes.json").read_text())
        assert {"kafka", "postgres", "seaweedfs", "ingest", "worker-1", "janitor"} <= noted.keys()
        assert all(psutil.pid_exists(entry["pid"]) for entry in noted.values())

    def test_prometheus_scrapes_what_there_is_of_it_and_of_exporters(self, running: Running) -> None:
        at = Endpoints(**json.loads((running.data / "endpoints.json").read_text()))
        if at.prometheus is None:
            missing("prometheus is not installed")
        expected = {"ingest", "worker-1", *(exporters.TARGETS[name] for name in exporters.present())}
        eventually(lambda: expected <= up_now(at.prometheus or ""))

    def test_prometheus_tells_its_alerts_to_the_alertmanager(self, running: Running) -> None:
        at = Endpoints(**json.loads((running.data / "endpoints.json").read_text()))
        if at.alertmanager is None:
            missing("prometheus-alertmanager is not installed")

        def told() -> list[str]:
            answer = httpx.get(f"{at.prometheus}/api/v1/alertmanagers").json()
            return [each["url"] for each in answer["data"]["activeAlertmanagers"]]

        eventually(lambda: told() == [f"{at.alertmanager}/api/v2/alerts"])
        assert at.alertmanager.startswith(f"http://{HOST}:")

    def test_the_store_is_searched_again_and_again(self, running: Running) -> None:
        log = running.data / "logs" / "seaweedfs-search.log"
        eventually(lambda: log.exists() and log.read_text("utf-8").count("no orphan data") > 1)

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


def test_a_process_that_keeps_ending_is_named_instead_of_ready(tmp_path: Path) -> None:
    nowhere = {"EBBMARK_WORKER_METRICS_HOST": "192.0.2.1"}  # an address that is nobody's
    with started(*up(tmp_path, a_port()), **nowhere) as supervisor:
        output, _ = supervisor.communicate(timeout=60)
    assert supervisor.returncode == 2
    assert "make up: worker-1 has ended 3 times, with 1; the log of worker-1 ends with\n" in output
    assert "is ready" not in output


@pytest.mark.parametrize("data", ["file", "file/data", "/proc/data"])
def test_data_that_cannot_be_a_folder_is_refused_in_a_sentence(tmp_path: Path, data: str) -> None:
    (tmp_path / "file").touch()
    with started(*up(tmp_path / data, a_port())) as supervisor:
        output, _ = supervisor.communicate(timeout=30)
    assert supervisor.returncode == 2
    assert re.fullmatch(rf"make up: The data folder {tmp_path / data} cannot be used: [\w ]+\.\n", output)


def test_a_file_that_cannot_be_written_at_the_start_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "ports.json").mkdir()  # which no file can replace
    with started(*up(tmp_path, a_port())) as supervisor:
        output, _ = supervisor.communicate(timeout=30)
    assert supervisor.returncode == 2
    assert output.startswith("make up: ")
    assert "Traceback" not in output


@pytest.mark.parametrize("after", [0, 0.3, 1, 2, 4])
def test_a_signal_while_it_starts_ends_it_just_as_well(tmp_path: Path, after: float) -> None:
    with started(*up(tmp_path, a_port())) as supervisor:
        eventually((tmp_path / "lock").exists)
        time.sleep(after)  # not to wait for anything: to come at another moment each time
        supervisor.send_signal(signal.SIGINT)
        output, _ = supervisor.communicate(timeout=30)
        assert marked(tmp_path) == []
    assert supervisor.returncode == 0, output
    assert "Traceback" not in output


class TestTheEndOfUp:
    def test_a_job_lives_as_long_as_was_said_and_leaves_nothing(self, running: Running) -> None:
        at = Endpoints(**json.loads((running.data / "endpoints.json").read_text()))
        objects = bucket(at, "ebbmark").objects
        eventually(lambda: running.status(running.job) == 410)
        assert running.status(f"{running.job}/photos/0") == 410
        assert running.status(f"{running.job}/archive") == 410
        assert len(list(objects.all())) == 2
        psutil.Process(running.pid("janitor")).resume()
        eventually(lambda: running.status(running.job) == 404, within=60)
        assert list(objects.all()) == []
        with psycopg.connect(at.postgres) as connection:
            names = connection.execute("select name from ebbmark.photos").fetchall()
        assert names == [(None,)]

    def test_a_signal_ends_all_of_it_in_order(self, running: Running) -> None:
        processes = descendants(running.supervisor)
        assert marked(running.data)
        running.supervisor.send_signal(signal.SIGTERM)
        running.supervisor.wait(timeout=60)
        assert running.supervisor.returncode == 0
        assert "Traceback" not in running.output.read_text()
        assert nobody_left(processes)
        assert marked(running.data) == []
