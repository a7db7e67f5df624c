"""What every event log guarantees, and on Kafka that all clients agree on where a key belongs."""

import asyncio
import functools
import time
import json
from collections.abc import AsyncGenerator
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import msgspec
import pytest
from aiokafka.partitioner import DefaultPartitioner
from confluent_kafka import Consumer, Message
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from ebbmark.errors import MalformedEvent, Unavailable
from ebbmark.eventlog import EventLog, KafkaLog, create_topics
from ebbmark.events import DeadLetter, PhotoFailed, PhotoRendered, PhotoUploaded, RenderPhoto
from ebbmark.settings import Kafka
from ebbmark.testing import MemoryLog
from ebbmark.topics import BULK, DEAD_LETTERS, EXPRESS, STATUSES, TOPICS, UPLOADS, lane
from tests.contract.conftest import BOTH
from tests.system import free_port


@pytest.fixture(params=BOTH)
async def log(request: pytest.FixtureRequest) -> AsyncGenerator[EventLog]:
    if request.param == "memory":
        yield MemoryLog()
    else:
        async with KafkaLog(request.getfixturevalue("kafka_settings"), source="test") as real:
            yield real


def consume(kafka: Kafka, topic: str, count: int) -> list[Message]:
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": f"{kafka.prefix}{uuid4()}",
            "auto.offset.reset": "earliest",
            "log_level": 2,
        }
    )
    consumer.subscribe([f"{kafka.prefix}{topic}"])
    messages: list[Message] = []
    try:
        for _ in range(60):
            messages += [each for each in consumer.consume(count, timeout=0.5) if each.error() is None]
            if len(messages) >= count:
                return messages
    finally:
        consumer.close()
    raise AssertionError(f"{len(messages)} of {count} messages")


async def test_what_is_published_can_be_read(log: EventLog) -> None:
    job = uuid4()
    events = [PhotoUploaded(job=job, n=n) for n in range(20)]
    await log.publish(UPLOADS, events)
    await log.publish(UPLOADS, [])
    await log.ready()
    if isinstance(log, MemoryLog):
        assert log.events(UPLOADS) == events


async def test_a_log_that_does_not_answer_is_unavailable(log: EventLog) -> None:
    if isinstance(log, MemoryLog):
        log.down = True
        with pytest.raises(Unavailable):
            await log.publish(UPLOADS, [PhotoUploaded(job=uuid4(), n=0)])
        return
    nowhere = Kafka(bootstrap=f"127.0.0.1:{free_port()}", publish_timeout=timedelta(seconds=1))
    async with KafkaLog(nowhere, source="test") as silent:
        with pytest.raises(Unavailable):
            await silent.publish(UPLOADS, [PhotoUploaded(job=uuid4(), n=0)])
        with pytest.raises(Unavailable):
            await silent.ready()


@pytest.mark.servers
async def test_a_key_stands_where_every_client_puts_it_with_its_headers(kafka_settings: Kafka) -> None:
    jobs = [uuid4() for _ in range(50)]
    async with KafkaLog(kafka_settings, source="test") as log:
        for n in range(4):
            await asyncio.gather(*(log.publish(BULK, [RenderPhoto(job=job, n=n)]) for job in jobs))
    messages = await asyncio.to_thread(consume, kafka_settings, BULK.name, 200)
    partitions = list(range(BULK.partitions))
    seen: dict[UUID, list[int]] = {}
    for message in messages:
        event = BULK.decode(message.value())
        key = message.key() or b""
        assert key == f"{event.job}/{event.n}".encode()
        assert message.partition() == DefaultPartitioner()(key, partitions, partitions)
        seen.setdefault(event.job, []).append(event.n)
        headers = dict(message.headers() or [])
        assert headers["ce_type"] == b"RenderPhoto"
        assert headers["ce_source"] == b"ebbmark/test"
        assert headers["ce_specversion"] == b"1.0"
        assert datetime.fromisoformat((headers["ce_time"] or b"").decode()).tzinfo is not None
    assert {job: sorted(order) for job, order in seen.items()} == {job: [0, 1, 2, 3] for job in jobs}


@pytest.mark.servers
async def test_events_of_one_key_stay_in_order_and_an_event_keeps_its_id(kafka_settings: Kafka) -> None:
    event = PhotoFailed(job=uuid4(), n=0, fence=1, code="corrupt", detail="It is damaged.")
    sent = [msgspec.structs.replace(event, fence=fence) for fence in range(50)]
    async with KafkaLog(kafka_settings, source="test") as log:
        await log.publish(STATUSES, sent)
        await log.publish(STATUSES, [sent[0]])
    messages = await asyncio.to_thread(consume, kafka_settings, STATUSES.name, 51)
    assert [STATUSES.decode(message.value()) for message in messages] == [*sent, sent[0]]
    ids = [dict(message.headers() or [])["ce_id"] for message in messages]
    assert ids[0] == ids[50]
    assert len(set(ids)) == 50


@pytest.mark.servers
async def test_as_many_events_as_a_job_has_photos_go_out_at_once(kafka_settings: Kafka) -> None:
    job = uuid4()
    async with KafkaLog(kafka_settings, source="test") as log:
        await log.publish(UPLOADS, [PhotoUploaded(job=job, n=n) for n in range(1000)])
    messages = await asyncio.to_thread(consume, kafka_settings, UPLOADS.name, 1000)
    mine = [event for event in (UPLOADS.decode(message.value()) for message in messages) if event.job == job]
    assert [event.n for event in mine] == list(range(len(mine)))


@pytest.mark.servers
def test_topics_are_made_as_declared_and_only_once(kafka_settings: Kafka) -> None:
    assert create_topics(kafka_settings) == []
    admin = AdminClient({"bootstrap.servers": kafka_settings.bootstrap, "log_level": 2})
    known = admin.list_topics(timeout=10).topics
    for topic in TOPICS:
        name = f"{kafka_settings.prefix}{topic.name}"
        assert len(known[name].partitions) == topic.partitions
        (answer,) = admin.describe_configs([ConfigResource(ResourceType.TOPIC, name)]).values()
        assert answer.result()["retention.ms"].value == str(int(topic.retention.total_seconds() * 1000))


def test_every_event_survives_the_wire() -> None:
    rendered = PhotoRendered(
        job=uuid4(),
        n=1,
        epoch=2,
        fence=3,
        width=4,
        height=5,
        size=6,
        thumbnail_size=7,
        media_type="image/png",
    )
    assert STATUSES.decode(STATUSES.encode(rendered)) == rendered
    letter = DeadLetter(
        reason="malformed-event",
        attempts=1,
        first_seen=datetime.fromisoformat("2026-05-01T00:00:00Z"),
        last_seen=datetime.fromisoformat("2026-05-01T00:00:01Z"),
        topic="uploads",
        partition=3,
        offset=4,
        original=b"\xff\x00",
    )
    assert DEAD_LETTERS.decode(DEAD_LETTERS.encode(letter)) == letter
    assert json.loads(DEAD_LETTERS.encode(letter))["type"] == "DeadLetter"


@pytest.mark.parametrize(
    "value",
    [None, b"", b"{", b"[]", b'{"type":"RenderPhoto"}', b'{"type":"PhotoUploaded","job":"x","n":0}', b"\xff"],
)
def test_what_is_no_event_of_the_topic_is_malformed(value: bytes | None) -> None:
    with pytest.raises(MalformedEvent):
        UPLOADS.decode(value)


def test_unknown_fields_of_a_newer_version_are_ignored() -> None:
    job = uuid4()
    newer = f'{{"type":"PhotoUploaded","job":"{job}","n":4,"colour":"blue"}}'.encode()
    assert UPLOADS.decode(newer) == PhotoUploaded(job=job, n=4, epoch=0)


def test_lanes_split_at_sixteen() -> None:
    assert [lane(n) for n in (0, 15, 16, 499)] == [EXPRESS, EXPRESS, BULK, BULK]
