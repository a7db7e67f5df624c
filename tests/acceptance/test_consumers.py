"""Consumers outlive what Kafka does: outages that last longer than a stall may."""

import time
from collections.abc import Iterator
from datetime import timedelta

import msgspec
import pytest

from ebbmark.settings import Settings
from tests.people import Person, photo
from tests.system import System

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

FORM = {"operations": "watermark", "text": "© me"}
STALL = timedelta(seconds=20)
OUTAGE = 25.0
CONSUMERS = ("worker-1", "worker-2", "janitor")


@pytest.fixture(scope="module")
def system_settings(room: Settings) -> Settings:
    """A stall shorter than the outages, and second chances soon enough to wait for."""
    return msgspec.structs.replace(
        room,
        worker=msgspec.structs.replace(room.worker, children=1),
        janitor=msgspec.structs.replace(
            room.janitor, sweep=timedelta(seconds=0.5), stale=timedelta(seconds=10)
        ),
        kafka=msgspec.structs.replace(room.kafka, stall=STALL),
        log=msgspec.structs.replace(room.log, format="console"),
    )


@pytest.fixture(scope="module")
def ann(running_system: System) -> Iterator[Person]:
    with Person(running_system.base_url) as person:
        yield person


def assert_alive(running_system: System) -> None:
    for name in CONSUMERS:
        process = running_system.processes[name]
        assert process.exit_code is None, f"{name} ended with {process.exit_code}:\n{process.tail(40)}"


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_a_consumer_outlives_an_outage_of_kafka(ann: Person, running_system: System, how: str) -> None:
    kafka = running_system.stack.server("kafka")
    job = ann.send([(f"{n}.jpg", photo(1600, 1200, seed=n)) for n in range(8)], **FORM)
    kafka.kill() if how == "killed" else kafka.pause()
    try:
        until = time.monotonic() + OUTAGE
        while time.monotonic() < until:
            assert_alive(running_system)
            time.sleep(0.2)
    finally:
        kafka.start() if how == "killed" else kafka.resume()
    status = ann.wait_until_complete(job, within=120)
    assert (status["done"], status["failed"]) == (8, 0)
    fresh = ann.send([("a.jpg", photo(320, 240, seed=99))], **FORM)
    assert ann.wait_until_complete(fresh, within=60)["done"] == 1
    assert_alive(running_system)
