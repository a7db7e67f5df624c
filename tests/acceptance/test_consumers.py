"""Consumers outlive what Kafka does: outages that last longer than a stall may, and topics made anew."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

from devstack.keeper import Keeper
from ebbmark.settings import Kafka, Settings
from ebbmark.topics import BULK, EXPRESS, STATUSES, UPLOADS
from tests.chaos import messages
from tests.people import Person, eventually, photo
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


GROUPS: dict[str, tuple[Any, ...]] = {
    "planner": (UPLOADS,),
    "renderer-express": (EXPRESS,),
    "renderer-bulk": (BULK,),
    "projector": (STATUSES,),
}
COPIES = 20


def standings(kafka: Kafka) -> list[tuple[int, int]]:
    """Return what is committed of each partition, and where it ends."""
    found: list[tuple[int, int]] = []
    for group, topics in GROUPS.items():
        client = Consumer(
            {"bootstrap.servers": kafka.bootstrap, "group.id": f"{kafka.prefix}ebbmark-{group}"}
        )
        places = [
            TopicPartition(kafka.prefix + topic.name, partition)
            for topic in topics
            for partition in range(topic.partitions)
        ]
        committed = client.committed(places, timeout=20)
        found += [
            (max(0, each.offset), client.get_watermark_offsets(each, timeout=20)[1]) for each in committed
        ]
        client.close()
    return found


def test_topics_made_anew_under_living_consumers_need_nobody(ann: Person, running_system: System) -> None:
    kafka = running_system.settings.kafka
    known = ann.send([(f"{n}.jpg", photo(320, 240, seed=n)) for n in range(20)], **FORM)
    assert ann.wait_until_complete(known)["done"] == 20
    # Repeats change nothing, but every partition is longer by them than the new one will be for long.
    for topics in GROUPS.values():
        for topic in topics:
            raw = messages.read(kafka, topic)[0]
            messages.publish(
                kafka, [replace(raw, partition=n) for n in range(topic.partitions) for _ in range(COPIES)]
            )
    eventually(lambda: standings(kafka), lambda all_: all(at == end >= COPIES for at, end in all_), within=90)
    messages.wipe(kafka)
    assert_a_job_completes(ann, running_system)


def test_where_the_old_topics_ended_nobody_waits_for_the_new_ones(
    ann: Person, running_system: System
) -> None:
    """What a commit leaves that was under way during a wipe: here of every partition, all at once."""
    kafka = running_system.settings.kafka
    for name in CONSUMERS:
        running_system.processes[name].stop()
    eventually(lambda: commit_beyond_the_end(kafka), bool)  # once the group has forgotten who was stopped
    for name in CONSUMERS:
        running_system.processes[name].start()
    assert_a_job_completes(ann, running_system)


def commit_beyond_the_end(kafka: Kafka) -> bool:
    for group, topics in GROUPS.items():
        client = Consumer(
            {"bootstrap.servers": kafka.bootstrap, "group.id": f"{kafka.prefix}ebbmark-{group}"}
        )
        beyond = [
            TopicPartition(kafka.prefix + topic.name, partition, 4711)
            for topic in topics
            for partition in range(topic.partitions)
        ]
        try:
            client.commit(offsets=beyond, asynchronous=False)
        except KafkaException:
            return False
        finally:
            client.close()
    return True


def assert_a_job_completes(ann: Person, running_system: System) -> None:
    """Nobody helps but a supervisor, who starts again what has ended by itself."""
    kafka = running_system.settings.kafka
    keepers = [Keeper(running_system.processes[name]) for name in CONSUMERS]

    def tended(look: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever it sees
        for keeper in keepers:
            keeper.tend(time.monotonic())
        return look()

    def sent() -> str:
        answer = ann.post([(f"{n}.jpg", photo(320, 240, seed=50 + n)) for n in range(20)], **FORM)
        return answer.json()["status_url"] if answer.status_code == 202 else ""

    job = eventually(lambda: tended(sent), bool)
    status = eventually(
        lambda: tended(lambda: ann.status(job)), lambda seen: seen["state"] == "complete", within=90
    )
    assert (status["done"], status["failed"]) == (20, 0)
    eventually(
        lambda: tended(lambda: standings(kafka)), lambda all_: all(at <= end for at, end in all_), within=60
    )
    assert {keeper.process.exit_code for keeper in keepers} <= {None, 1}
