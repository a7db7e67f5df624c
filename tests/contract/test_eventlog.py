"""Publishing events, in memory and on Kafka."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from aiokafka.partitioner import DefaultPartitioner
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource
from msgspec import Struct

from devstack.supervisor import Stack
from ebbmark.errors import Unavailable
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
from ebbmark.topics import BULK, DEAD_LETTERS, EXPIRATIONS, EXPRESS, JOBS, STATUSES, TOPICS, UPLOADS, Topic
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
    """A log, and a way to read it back from its beginning."""

    log: EventLog
    read: Callable[[Topic, int], Awaitable[Sequence[Read]]]


@pytest.fixture(params=BOTH)
def log_backend(request: pytest.FixtureRequest) -> Kafka | None:
    return None if request.param == "memory" else request.getfixturevalue("kafka_settings")


@pytest.fixture
async def bench(log_backend: Kafka | None) -> AsyncGenerator[LogBench]:
    if log_backend is None:
        yield in_memory()
        return
    async with KafkaLog(log_backend, source="test") as log:
        yield LogBench(log, lambda topic, count: asyncio.to_thread(consume, log_backend, topic, count))


def in_memory() -> LogBench:
    log = MemoryLog(source="test")

    async def read(topic: Topic, count: int) -> Sequence[Read]:
        records = [record for record in log.records if record.topic == topic.name]
        assert len(records) >= count
        return [Read(record.key, record.value, record.headers) for record in records]

    return LogBench(log, read)


def consume(settings: Kafka, topic: Topic, count: int) -> Sequence[Read]:
    """Return what the topic holds, once it holds so many."""
    consumer = Consumer({"bootstrap.servers": settings.bootstrap, "group.id": "none", "log_level": 2})
    name = settings.prefix + topic.name
    consumer.assign([TopicPartition(name, each, 0) for each in range(topic.partitions)])
    found: list[Read] = []
    while len(found) < count:
        messages = consumer.consume(count, timeout=PATIENCE)
        assert messages, f"only {len(found)} of {count} messages came"
        for message in messages:
            assert message.error() is None
            headers = dict(message.headers() or ())
            found.append(Read(message.key().decode(), message.value(), headers, message.partition()))
    consumer.close()
    return found


@pytest.fixture
def job() -> UUID:
    return uuid4()


def uploads(job: UUID, count: int) -> list[PhotoUploaded]:
    return [PhotoUploaded(job=job, n=n) for n in range(count)]


async def of_job(bench: LogBench, topic: Topic, job: UUID, count: int) -> list[Read]:
    """Return the job's messages, though the topic may hold those of other tests."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = [each for each in await bench.read(topic, 1) if each.key.startswith(str(job))]
            if len(found) >= count:
                return found


async def test_it_says_that_it_answers(bench: LogBench) -> None:
    await bench.log.ready()


async def test_events_of_one_key_come_back_whole_and_in_order(bench: LogBench, job: UUID) -> None:
    events = uploads(job, 100)
    await bench.log.publish(UPLOADS, events[:60])
    await bench.log.publish(UPLOADS, events[60:])
    read = await of_job(bench, UPLOADS, job, 100)
    assert [UPLOADS.decode(each.value) for each in read] == events
    assert len({each.partition for each in read}) == 1


async def test_every_event_says_what_it_is_in_its_headers(bench: LogBench, job: UUID) -> None:
    before = datetime.now(UTC)
    await bench.log.publish(EXPIRATIONS, [ExpireJob(job=job)])
    (read,) = await of_job(bench, EXPIRATIONS, job, 1)
    headers = {name: value.decode() for name, value in read.headers.items() if isinstance(value, bytes)}
    assert headers["ce_specversion"] == "1.0"
    assert headers["ce_type"] == "ExpireJob"
    assert headers["ce_source"] == "ebbmark/test"
    assert before <= datetime.fromisoformat(headers["ce_time"]) <= datetime.now(UTC)


async def test_an_event_published_again_keeps_its_id(bench: LogBench, job: UUID) -> None:
    one, two = uploads(job, 2)
    await bench.log.publish(UPLOADS, [one, two, one])
    first, other, again = [each.headers["ce_id"] for each in await of_job(bench, UPLOADS, job, 3)]
    assert first == again != other


MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
EVENTS: list[tuple[Topic, Callable[[UUID], Event], str]] = [
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
        ),
        "{job}/3",
    ),
]


@pytest.mark.parametrize(("topic", "make", "key"), EVENTS, ids=[f"{row[0].name}-{n}" for n, row in enumerate(EVENTS)])
async def test_every_topic_takes_its_events_under_their_key(
    bench: LogBench, job: UUID, topic: Topic, make: Callable[[UUID], Event], key: str
) -> None:
    await bench.log.publish(topic, [make(job)])
    (read,) = await of_job(bench, topic, job, 1)
    assert read.key == key.format(job=job)
    assert topic.decode(read.value) == make(job)


async def test_many_callers_publish_at_once(bench: LogBench, job: UUID) -> None:
    events = uploads(job, 1000)
    await asyncio.gather(*(bench.log.publish(UPLOADS, events[at : at + 10]) for at in range(0, 1000, 10)))
    read = await of_job(bench, UPLOADS, job, 1000)
    assert sorted(UPLOADS.decode(each.value).n for each in read) == list(range(1000))


async def test_publishing_nothing_is_nothing() -> None:
    log = MemoryLog()
    log.down = True
    await log.publish(UPLOADS, [])
    async with kafka_nowhere() as nowhere:
        await nowhere.publish(UPLOADS, [])


# Kafka alone


def kafka_nowhere() -> KafkaLog:
    return KafkaLog(Kafka(bootstrap=f"127.0.0.1:{free_port()}", publish_timeout=SOON), source="test")


@pytest.mark.servers
async def test_keys_lie_where_every_other_client_looks_for_them(kafka_settings: Kafka) -> None:
    jobs = [uuid4() for _ in range(100)]
    async with KafkaLog(kafka_settings, source="test") as log:
        await log.publish(EXPRESS, [RenderPhoto(job=job, n=n) for job in jobs for n in range(2)])
    partitions = list(range(EXPRESS.partitions))
    theirs = DefaultPartitioner()
    read = await asyncio.to_thread(consume, kafka_settings, EXPRESS, 200)
    assert len({each.partition for each in read}) > 12
    assert [each.partition for each in read] == [
        theirs(each.key.encode(), partitions, partitions) for each in read
    ]


async def test_a_log_that_is_down_is_unavailable() -> None:
    log = MemoryLog()
    log.down = True
    with pytest.raises(Unavailable):
        await log.publish(UPLOADS, uploads(uuid4(), 1))
    with pytest.raises(Unavailable):
        await log.ready()


async def test_a_broker_that_is_gone_is_unavailable() -> None:
    async with kafka_nowhere() as log:
        with pytest.raises(Unavailable):
            await log.publish(UPLOADS, uploads(uuid4(), 3))
        with pytest.raises(Unavailable):
            await log.ready()


@pytest.mark.servers
async def test_a_topic_that_is_not_there_is_unavailable(room_kafka: Kafka) -> None:
    async with KafkaLog(room_kafka, source="test") as log:
        with pytest.raises(Unavailable):
            await log.publish(UPLOADS, uploads(uuid4(), 1))


@pytest.fixture
def room_kafka(kafka_settings: Kafka) -> Kafka:
    """A prefix under which no topic was made."""
    return Kafka(bootstrap=kafka_settings.bootstrap, prefix=f"nobody.{uuid4().hex}.", publish_timeout=SOON)


@pytest.mark.servers
def test_topics_are_created_once_and_as_declared(room_kafka: Kafka) -> None:
    names = [room_kafka.prefix + topic.name for topic in TOPICS]
    try:
        assert sorted(create_topics(room_kafka)) == sorted(names)
        assert create_topics(room_kafka) == []
        admin = AdminClient({"bootstrap.servers": room_kafka.bootstrap})
        held = admin.list_topics(timeout=PATIENCE).topics
        resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
        configs = {each.name: answer.result() for each, answer in admin.describe_configs(resources).items()}
        for topic, name in zip(TOPICS, names, strict=True):
            assert len(held[name].partitions) == topic.partitions
            kept = timedelta(milliseconds=int(configs[name]["retention.ms"].value))
            assert kept == topic.retention
    finally:
        leave_topics(room_kafka)


@pytest.mark.servers
async def test_a_topic_wiped_and_made_again_takes_events_from_the_same_producer(room_kafka: Kafka) -> None:
    job = uuid4()
    await asyncio.to_thread(create_topics, room_kafka)
    async with KafkaLog(room_kafka, source="test") as log:
        await log.publish(UPLOADS, uploads(job, 10))
        await asyncio.to_thread(leave_topics, room_kafka)
        await asyncio.to_thread(create_topics, room_kafka)
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    await log.publish(UPLOADS, uploads(job, 10))
                except Unavailable:
                    continue
                break
    read = await asyncio.to_thread(consume, room_kafka, UPLOADS, 10)
    assert {UPLOADS.decode(each.value).n for each in read} == set(range(10))
    await asyncio.to_thread(leave_topics, room_kafka)


@pytest.mark.servers
async def test_a_broker_killed_and_started_again_takes_events_from_the_same_producer(
    stack: Stack, kafka_settings: Kafka
) -> None:
    job, server = uuid4(), stack.server("kafka")
    impatient = Kafka(bootstrap=kafka_settings.bootstrap, prefix=kafka_settings.prefix, publish_timeout=SOON)
    async with KafkaLog(impatient, source="test") as log:
        await log.publish(UPLOADS, uploads(job, 1))
        server.kill()
        try:
            with pytest.raises(Unavailable):
                await log.publish(UPLOADS, uploads(job, 1))
        finally:
            server.start()
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    await log.publish(UPLOADS, [PhotoUploaded(job=job, n=7)])
                except Unavailable:
                    continue
                break
    everything = await asyncio.to_thread(consume, kafka_settings, UPLOADS, 1)
    assert UPLOADS.decode(next(each.value for each in everything if each.key == str(job))).n == 0
