"""What every event log guarantees, in memory and on Kafka."""

import asyncio
import functools
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiokafka.partitioner import DefaultPartitioner
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType
from msgspec import Struct

from devstack.supervisor import Stack
from ebbmark.errors import MalformedEvent, Unavailable
from ebbmark.eventlog import EventLog, KafkaLog, create_topics
from ebbmark.events import (
    DeadLetter,
    Event,
    ExpireJob,
    JobCompleted,
    JobExpired,
    PhotoFailed,
    PhotoRendered,
    PhotoUploaded,
    RenderPhoto,
)
from ebbmark.settings import Kafka
from ebbmark.testing import MemoryLog
from ebbmark.topics import BULK, DEAD_LETTERS, EXPIRATIONS, EXPRESS, JOBS, STATUSES, TOPICS, UPLOADS, E, Topic
from tests.contract.conftest import BOTH
from tests.rooms import leave_topics
from tests.system import free_port

SOON = timedelta(seconds=2)
PATIENCE = 60


class Read(Struct, frozen=True):
    """A message as its consumer has it."""

    key: str
    value: bytes
    headers: Mapping[str, str | bytes | None]
    partition: int = 0


class LogBench(Struct, frozen=True):
    """A log, and a way to read all that a topic holds."""

    log: EventLog
    read: Callable[[Topic[E]], Awaitable[Sequence[Read]]]

    async def of_job(self, topic: Topic[E], job: UUID) -> list[Read]:
        """Return the job's messages, though the topic may hold those of other tests."""
        return [each for each in await self.read(topic) if each.key.startswith(str(job))]


@pytest.fixture(params=BOTH)
def log_backend(request: pytest.FixtureRequest) -> Kafka | None:
    return None if request.param == "memory" else request.getfixturevalue("kafka_settings")


@pytest.fixture
async def bench(log_backend: Kafka | None) -> AsyncGenerator[LogBench]:
    if log_backend is None:
        yield in_memory()
        return
    async with KafkaLog(log_backend, source="test") as log:
        yield LogBench(log, lambda topic: asyncio.to_thread(consume, log_backend, topic))


def in_memory() -> LogBench:
    log = MemoryLog(source="test")

    async def read(topic: Topic[E]) -> Sequence[Read]:
        records = [record for record in log.records if record.topic == topic.name]
        return [Read(record.key, record.value, record.headers) for record in records]

    return LogBench(log, read)


def consume(settings: Kafka, topic: Topic[E]) -> Sequence[Read]:
    """Return all that the topic holds now."""
    consumer = Consumer({"bootstrap.servers": settings.bootstrap, "group.id": "none", "log_level": 2})
    places = [TopicPartition(settings.prefix + topic.name, each, 0) for each in range(topic.partitions)]
    count = sum(map(functools.partial(end, consumer), places))
    consumer.assign([TopicPartition(place.topic, place.partition, 0) for place in places])
    found: list[Read] = []
    for _ in range(count):
        message = consumer.poll(PATIENCE)
        assert message is not None, f"only {len(found)} of {count} messages came"
        assert message.error() is None
        key, value, headers = message.key() or b"", message.value() or b"", dict(message.headers() or ())
        found.append(Read(key.decode(), value, headers, message.partition() or 0))
    consumer.close()
    return found


def end(consumer: Consumer, place: TopicPartition) -> int:
    """Return how many messages were ever written there; of a topic just made it takes a while to know."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return consumer.get_watermark_offsets(place, timeout=PATIENCE)[1]
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@pytest.fixture
def job() -> UUID:
    return uuid4()


def uploads(job: UUID, count: int) -> list[PhotoUploaded]:
    return [PhotoUploaded(job=job, n=n) for n in range(count)]


async def test_it_says_that_it_answers(bench: LogBench) -> None:
    await bench.log.ready()


async def test_events_of_one_key_come_back_whole_and_in_order(bench: LogBench, job: UUID) -> None:
    events = uploads(job, 100)
    await bench.log.publish(UPLOADS, events[:60])
    await bench.log.publish(UPLOADS, events[60:])
    read = await bench.of_job(UPLOADS, job)
    assert [UPLOADS.decode(each.value) for each in read] == events
    assert len({each.partition for each in read}) == 1


async def test_as_many_events_as_two_jobs_have_photos_go_out_at_once(bench: LogBench, job: UUID) -> None:
    events = uploads(job, 1000)
    await bench.log.publish(UPLOADS, events)
    assert [UPLOADS.decode(each.value) for each in await bench.of_job(UPLOADS, job)] == events


async def test_many_callers_publish_at_once(bench: LogBench, job: UUID) -> None:
    events = uploads(job, 1000)
    await asyncio.gather(*(bench.log.publish(UPLOADS, events[at : at + 10]) for at in range(0, 1000, 10)))
    read = await bench.of_job(UPLOADS, job)
    assert sorted(UPLOADS.decode(each.value).n for each in read) == list(range(1000))


async def test_every_event_says_what_it_is_in_its_headers(bench: LogBench, job: UUID) -> None:
    before = datetime.now(UTC)
    await bench.log.publish(EXPIRATIONS, [ExpireJob(job=job)])
    (read,) = await bench.of_job(EXPIRATIONS, job)
    headers = {name: value.decode() for name, value in read.headers.items() if isinstance(value, bytes)}
    assert headers["ce_specversion"] == "1.0"
    assert headers["ce_type"] == "ExpireJob"
    assert headers["ce_source"] == "ebbmark/test"
    assert before <= datetime.fromisoformat(headers["ce_time"]) <= datetime.now(UTC)


async def test_an_event_published_again_keeps_its_id(bench: LogBench, job: UUID) -> None:
    one, two = uploads(job, 2)
    await bench.log.publish(UPLOADS, [one, two, one])
    first, other, again = [each.headers["ce_id"] for each in await bench.of_job(UPLOADS, job)]
    assert first == again
    assert first != other


async def test_an_event_is_published_anew_byte_for_byte(bench: LogBench, job: UUID) -> None:
    await bench.log.publish(EXPRESS, [RenderPhoto(job=job, n=3)])
    of_a_later_version = b'{"later": 1, "type": "RenderPhoto", "n": 3,  "job": "%s"}' % str(job).encode()
    await bench.log.republish(EXPRESS, of_a_later_version)
    first, again = await bench.of_job(EXPRESS, job)
    assert again.value == of_a_later_version
    assert (again.key, again.partition) == (first.key, first.partition)
    assert again.headers["ce_type"] == b"RenderPhoto"
    assert again.headers["ce_source"] == b"ebbmark/test"


async def test_what_is_no_event_of_the_topic_is_not_published_anew(bench: LogBench, job: UUID) -> None:
    with pytest.raises(MalformedEvent):
        await bench.log.republish(EXPRESS, EXPIRATIONS.encode(ExpireJob(job=job)))
    assert await bench.of_job(EXPRESS, job) == []


MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
SOME_OF_EACH: list[tuple[Topic[Event], Callable[[UUID], Event], str]] = [
    (UPLOADS, lambda job: PhotoUploaded(job=job, n=3), "{job}"),
    (EXPRESS, lambda job: RenderPhoto(job=job, n=3), "{job}/3"),
    (BULK, lambda job: RenderPhoto(job=job, n=30), "{job}/30"),
    (STATUSES, lambda job: PhotoFailed(job=job, n=3, fence=1, code="c", detail="d"), "{job}"),
    (
        STATUSES,
        lambda job: PhotoRendered(
            job=job, n=3, fence=1, width=1, height=1, size=1, thumbnail_size=1, media_type="image/png"
        ),
        "{job}",
    ),
    (JOBS, lambda job: JobCompleted(job=job, epoch=0, done=1, failed=0), "{job}"),
    (JOBS, lambda job: JobExpired(job=job), "{job}"),
    (EXPIRATIONS, lambda job: ExpireJob(job=job), "{job}"),
    (
        DEAD_LETTERS,
        lambda job: DeadLetter(
            reason="poison",
            attempts=5,
            first_seen=MOMENT,
            last_seen=MOMENT,
            topic="tasks.bulk",
            partition=1,
            offset=2,
            original=b"\x00" * 16_384,
            job=job,
            n=3,
            epoch=1,
        ),
        "{job}/3",
    ),
]


@pytest.mark.parametrize(
    ("topic", "make", "key"),
    SOME_OF_EACH,
    ids=[f"{type(make(UUID(int=0))).__name__} on {topic.name}" for topic, make, _ in SOME_OF_EACH],
)
async def test_every_topic_takes_its_events_under_their_key(
    bench: LogBench, job: UUID, topic: Topic[Event], make: Callable[[UUID], Event], key: str
) -> None:
    await bench.log.publish(topic, [make(job)])
    (read,) = await bench.of_job(topic, job)
    assert read.key == key.format(job=job)
    assert topic.decode(read.value) == make(job)


# Trouble


def kafka_nowhere() -> KafkaLog:
    return KafkaLog(Kafka(bootstrap=f"127.0.0.1:{free_port()}", publish_timeout=SOON), source="test")


async def test_publishing_nothing_needs_no_log() -> None:
    log = MemoryLog()
    log.down = True
    await log.publish(UPLOADS, [])
    async with kafka_nowhere() as nowhere:
        await nowhere.publish(UPLOADS, [])


async def test_a_log_that_is_down_is_unavailable() -> None:
    log = MemoryLog()
    log.down = True
    with pytest.raises(Unavailable):
        await log.publish(UPLOADS, uploads(uuid4(), 1))
    with pytest.raises(Unavailable):
        await log.republish(UPLOADS, UPLOADS.encode(uploads(uuid4(), 1)[0]))
    with pytest.raises(Unavailable):
        await log.ready()


async def test_a_broker_that_is_gone_is_unavailable() -> None:
    async with kafka_nowhere() as log:
        with pytest.raises(Unavailable):
            await log.publish(UPLOADS, uploads(uuid4(), 3))
        with pytest.raises(Unavailable):
            await log.ready()


# Kafka alone


@pytest.fixture
def bare(kafka_settings: Kafka) -> Kafka:
    """A prefix under which no topic was made."""
    return Kafka(bootstrap=kafka_settings.bootstrap, prefix=f"nobody.{uuid4().hex}.", publish_timeout=SOON)


async def publish_in_the_end(log: EventLog, events: Sequence[PhotoUploaded]) -> None:
    """Publish as the services do: again and again until it is said to be there."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await log.publish(UPLOADS, events)
            except Unavailable:
                continue
            return


@pytest.mark.servers
async def test_keys_lie_where_every_other_client_looks_for_them(kafka_settings: Kafka) -> None:
    jobs = [uuid4() for _ in range(100)]
    async with KafkaLog(kafka_settings, source="test") as log:
        await log.publish(EXPRESS, [RenderPhoto(job=job, n=n) for job in jobs for n in range(2)])
    partitions = list(range(EXPRESS.partitions))
    theirs = DefaultPartitioner()
    read = await asyncio.to_thread(consume, kafka_settings, EXPRESS)
    assert len(read) >= 200
    assert [each.partition for each in read] == [
        theirs(each.key.encode(), partitions, partitions) for each in read
    ]


@pytest.mark.servers
def test_topics_are_made_as_declared_and_only_once(bare: Kafka) -> None:
    names = [bare.prefix + topic.name for topic in TOPICS]
    try:
        assert sorted(create_topics(bare)) == sorted(names)
        assert create_topics(bare) == []
        admin = AdminClient({"bootstrap.servers": bare.bootstrap, "log_level": 2})
        known = admin.list_topics(timeout=PATIENCE).topics
        for topic, name in zip(TOPICS, names, strict=True):
            assert len(known[name].partitions) == topic.partitions
            (answer,) = admin.describe_configs([ConfigResource(ResourceType.TOPIC, name)]).values()
            kept = timedelta(milliseconds=int(answer.result()["retention.ms"].value))
            assert kept == topic.retention
    finally:
        leave_topics(bare)


@pytest.mark.servers
async def test_a_topic_that_is_not_there_is_unavailable(bare: Kafka) -> None:
    async with KafkaLog(bare, source="test") as log:
        with pytest.raises(Unavailable):
            await log.publish(UPLOADS, uploads(uuid4(), 1))


@pytest.mark.servers
async def test_a_topic_wiped_and_made_again_takes_events_from_the_same_producer(
    bare: Kafka, job: UUID
) -> None:
    await asyncio.to_thread(create_topics, bare)
    try:
        async with KafkaLog(bare, source="test") as log:
            await publish_in_the_end(log, uploads(job, 10))
            await asyncio.to_thread(leave_topics, bare)
            await asyncio.to_thread(create_topics, bare)
            await publish_in_the_end(log, uploads(job, 10))
        read = await asyncio.to_thread(consume, bare, UPLOADS)
    finally:
        await asyncio.to_thread(leave_topics, bare)
    assert {UPLOADS.decode(each.value).n for each in read} == set(range(10))


@pytest.mark.servers
async def test_a_broker_killed_and_started_again_takes_events_from_the_same_producer(
    stack: Stack, kafka_settings: Kafka, job: UUID
) -> None:
    impatient = Kafka(bootstrap=kafka_settings.bootstrap, prefix=kafka_settings.prefix, publish_timeout=SOON)
    async with KafkaLog(impatient, source="test") as log:
        await log.publish(UPLOADS, uploads(job, 1))
        stack.server("kafka").kill()
        try:
            with pytest.raises(Unavailable):
                await log.publish(UPLOADS, uploads(job, 1))
        finally:
            stack.server("kafka").start()
        await publish_in_the_end(log, [PhotoUploaded(job=job, n=7)])
    read = await asyncio.to_thread(consume, kafka_settings, UPLOADS)
    held = [UPLOADS.decode(each.value).n for each in read if each.key == str(job)]
    assert (held[0], held[-1]) == (0, 7)


@pytest.mark.servers
async def test_a_producer_that_lost_count_is_replaced(kafka_settings: Kafka, job: UUID) -> None:
    made: list[Producer] = []
    too_large = DeadLetter(
        reason="too-large",
        attempts=1,
        first_seen=MOMENT,
        last_seen=MOMENT,
        topic="uploads",
        partition=0,
        offset=0,
        original=bytes(200_000),
    )

    def make(config: dict[str, Any]) -> Producer:
        # With this a message that the broker refuses is fatal to all that follow: the real thing, on demand.
        made.append(Producer({**config, "enable.gapless.guarantee": not made}))
        return made[-1]

    async with KafkaLog(kafka_settings, source="test", make_producer=make) as log:
        with pytest.raises(Unavailable):
            await log.publish(DEAD_LETTERS, [too_large])
        await publish_in_the_end(log, uploads(job, 1))
    assert len(made) == 2
