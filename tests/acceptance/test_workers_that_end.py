"""A worker that cannot go on ends at once, and one that is told to stop is gone in time, whatever is down."""

import signal
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import httpx
import msgspec
import psutil
import pytest
from confluent_kafka import Producer

from ebbmark.settings import Settings
from tests.people import Person, eventually, photo
from tests.system import System

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

FORM = {"operations": "watermark", "text": "© me"}
DRAIN = 30


@pytest.fixture(scope="module")
def system_settings(room: Settings) -> Settings:
    return msgspec.structs.replace(
        room,
        worker=msgspec.structs.replace(room.worker, children=1),
        log=msgspec.structs.replace(room.log, format="console"),
    )


@pytest.fixture(scope="module")
def ann(running_system: System) -> Iterator[Person]:
    with Person(running_system.base_url) as person:
        yield person


def test_a_worker_whose_children_are_all_killed_goes_on_rendering(
    ann: Person, running_system: System
) -> None:
    """Idle ones, busy ones and the fork server: what the kernel does when memory runs out."""
    worker = running_system.processes["worker-1"]
    running_system.processes["worker-2"].stop()
    assert worker.pid is not None
    for _ in range(3):
        job = ann.send([(f"{n}.jpg", photo(1600, 1200, seed=n)) for n in range(6)], **FORM)
        for child in psutil.Process(worker.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # it died with the one before
                if "forkserver" in " ".join(child.cmdline()):
                    child.send_signal(signal.SIGKILL)
        status = ann.wait_until_complete(job)
        assert (status["done"], status["failed"]) == (6, 0)
    assert worker.exit_code is None
    running_system.processes["worker-2"].start()


def test_a_consumer_that_ends_by_itself_ends_its_process_with_all_its_consumers(
    ann: Person, running_system: System
) -> None:
    """Here by the brake: so much that nobody can read, one after the other, that the fault must be ours."""
    worker = running_system.processes["worker-1"]
    running_system.processes["worker-2"].stop()
    kafka = running_system.settings.kafka
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "log_level": 2})
    for _ in range(25):
        producer.produce(f"{kafka.prefix}uploads", b"\xff{garbage", partition=3)
    assert producer.flush(10) == 0
    assert eventually(lambda: worker.exit_code, lambda code: code is not None) == 1
    worker.start()
    job = ann.send([(f"{n}.jpg", photo(320, 240, seed=n)) for n in range(6)], **FORM)
    status = ann.wait_until_complete(job)
    assert (status["done"], status["failed"]) == (6, 0)
    assert worker.exit_code is None, "what was given up before the end stays given up"
    running_system.processes["worker-2"].start()


@pytest.mark.parametrize("server", ["kafka", "postgres", "seaweedfs"])
def test_a_worker_told_to_stop_is_gone_in_time_even_when_a_server_is_frozen(
    ann: Person, running_system: System, server: str
) -> None:
    worker = running_system.processes["worker-1"]
    job = ann.open(**FORM)
    for n in range(12):
        assert ann.put(job, n, (f"{n}.jpg", photo(1600, 1200, seed=n))).status_code == 201
    assert worker.pid is not None
    process = psutil.Process(worker.pid)
    running_system.stack.server(server).pause()
    try:
        began = time.monotonic()
        worker.ask_to_stop()
        process.wait(DRAIN)
        assert time.monotonic() - began < DRAIN
        assert eventually(lambda: worker.exit_code, lambda code: code is not None) == 0
    finally:
        running_system.stack.server(server).resume()
    worker.start()
    eventually(lambda: ann.http.get("/readyz").status_code, lambda code: code == 200)
    eventually(lambda: ann.seal(job, 12).status_code, lambda code: code == 202)
    status = ann.wait_until_complete(job, within=120)
    assert (status["done"], status["failed"]) == (12, 0)


def test_a_worker_told_to_stop_before_it_has_joined_is_gone_in_time(
    ann: Person, running_system: System
) -> None:
    worker, kafka = running_system.processes["worker-1"], running_system.stack.server("kafka")
    worker.stop()
    kafka.pause()
    try:
        worker.start()
        assert worker.pid is not None
        process = psutil.Process(worker.pid)
        # It has children and a signal handler by the time it asks for Kafka.
        eventually(lambda: len(process.children(recursive=True)), lambda count: count >= 2)
        worker.ask_to_stop()
        process.wait(DRAIN)
        assert eventually(lambda: worker.exit_code, lambda code: code is not None) == 0
    finally:
        kafka.resume()
    worker.start()
    eventually(lambda: ann.http.get("/readyz").status_code, lambda code: code == 200)
    status = ann.wait_until_complete(ann.send([("a.jpg", photo(320, 240))], **FORM), within=120)
    assert status["done"] == 1


def test_an_ingest_told_to_stop_is_gone_in_time_however_slow_its_senders(
    ann: Person, running_system: System
) -> None:
    ingest = running_system.processes["ingest"]
    assert ingest.pid is not None
    process = psutil.Process(ingest.pid)
    at = urlsplit(running_system.base_url)
    with socket.create_connection((at.hostname or "", at.port or 0)) as sender:
        head = "POST /upload HTTP/1.1\r\nhost: a\r\ncontent-type: multipart/form-data; boundary=b\r\n"
        sender.sendall(f"{head}content-length: 100000\r\n\r\n--b\r\n".encode())
        began = time.monotonic()
        ingest.ask_to_stop()
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() - began < DRAIN
            with suppress(OSError):
                sender.sendall(b"x")
            time.sleep(0.2)
    assert eventually(lambda: ingest.exit_code, lambda code: code is not None) == 0
    ingest.start()
    eventually(lambda: answers(ann), bool)


def answers(ann: Person) -> bool:
    with suppress(httpx.TransportError):
        return ann.http.get("/readyz").status_code == 200
    return False
