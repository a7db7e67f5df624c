"""What lies in Kafka, read and published again as it stands, past every guarantee of ours."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from ebbmark.errors import MalformedEvent
from ebbmark.eventlog import create_topics
from ebbmark.events import DeadLetter, PhotoFailed, PhotoRendered
from ebbmark.settings import Kafka
from ebbmark.topics import DEAD_LETTERS, JOBS, STATUSES, TOPICS, Topic
from tests import rooms

_PATIENCE = 60.0

Place = tuple[str, int, int]
"""A topic, without its prefix, a partition and an offset."""


@dataclass(frozen=True)
class Raw:
    """One message as it lies there."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]


def read(kafka: Kafka, topic: Topic[object], *, last: int = 0) -> list[Raw]:
    """Return all that the topic holds now; with `last`, so many of each partition at most."""
    consumer = Consumer(
        {"bootstrap.servers": kafka.bootstrap, "group.id": "onlooker", "enable.auto.commit": False}
    )
    name, found, ends = kafka.prefix + topic.name, [], {}
    try:
        for partition in range(topic.partitions):
            low, high = consumer.get_watermark_offsets(TopicPartition(name, partition), timeout=_PATIENCE)
            start = max(low, high - last) if last else low
            if start < high:
                ends[partition] = (start, high)
        consumer.assign([TopicPartition(name, partition, start) for partition, (start, _) in ends.items()])
        until = time.monotonic() + _PATIENCE
        while ends:
            for message in consumer.consume(500, timeout=0.2):
                raw = _raw(message)
                if raw.partition not in ends:
                    continue  # came since
                found.append(raw)
                if raw.offset >= ends[raw.partition][1] - 1:
                    ends.pop(raw.partition)
                    consumer.incremental_unassign([TopicPartition(name, raw.partition)])
            if time.monotonic() > until:
                raise TimeoutError(f"{name} cannot be read to its end")
    finally:
        consumer.close()
    return found


def _raw(message: Message) -> Raw:
    if message.error() is not None:
        raise RuntimeError(str(message.error()))
    return Raw(
        str(message.topic()),
        message.partition() or 0,
        message.offset() or 0,
        message.key(),
        message.value() or b"",
        [(name, value or b"") for name, value in message.headers() or []],
    )


def publish(kafka: Kafka, messages: Iterable[Raw]) -> int:
    """Publish the messages again, each in its partition; return how many."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "acks": "all", "linger.ms": 5})
    count = 0
    for raw in messages:
        producer.produce(raw.topic, raw.value, raw.key, partition=raw.partition, headers=raw.headers)
        count += 1
    assert producer.flush(_PATIENCE) == 0
    return count


def deliver_again(kafka: Kafka, times: int, *, last: int) -> int:
    """Publish what every topic but the dead letters holds so many times more."""
    return sum(
        publish(kafka, read(kafka, topic, last=last) * times) for topic in TOPICS if topic is not DEAD_LETTERS
    )


def confuse_statuses(kafka: Kafka, rng: Random, *, last: int) -> int:
    """Publish old outcomes in any order, and beside each success a failure by an earlier claimant.

    The failure of a success carries the fence before it: that of a worker that woke too late.
    """
    outcomes = read(kafka, STATUSES, last=last)
    stale: list[Raw] = []
    for raw in outcomes:
        try:
            event = STATUSES.decode(raw.value)
        except MalformedEvent:
            continue  # garbage of ours
        if isinstance(event, PhotoRendered):
            failure = PhotoFailed(
                job=event.job,
                n=event.n,
                epoch=event.epoch,
                fence=max(0, event.fence - 1),
                code="corrupt",
                detail="The file is damaged or breaks off.",
            )
            stale.append(replace(raw, value=STATUSES.encode(failure)))
    mixed = outcomes + stale
    rng.shuffle(mixed)
    return publish(kafka, mixed)


def garbage(kafka: Kafka, rng: Random) -> set[Place]:
    """Publish what nobody can read into every partition of every topic that workers consume; return where."""
    nonsense: Sequence[bytes] = (b"", b"\xff{", b"null", b'{"type":"PhotoExploded"}', b"[" * 4000)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "acks": "all"})
    places: set[Place] = set()
    for topic in TOPICS:
        if topic in {DEAD_LETTERS, JOBS}:  # the first is where it goes, nobody consumes the second
            continue

        def lies(error: KafkaError | None, message: Message, name: str = topic.name) -> None:
            assert error is None, error
            places.add((name, message.partition() or 0, message.offset() or 0))

        for partition in range(topic.partitions):
            producer.produce(
                kafka.prefix + topic.name, rng.choice(nonsense), b"?", partition=partition, on_delivery=lies
            )
    assert producer.flush(_PATIENCE) == 0
    return places


def buried(kafka: Kafka) -> set[Place]:
    """Return where the messages lay that became dead letters."""
    letters = [DEAD_LETTERS.decode(raw.value) for raw in read(kafka, DEAD_LETTERS)]
    return {
        (each.topic, each.partition, each.offset)
        for each in letters
        if isinstance(each, DeadLetter) and each.topic is not None
    }


def wipe(kafka: Kafka) -> None:
    """Delete every topic and make it anew, empty."""
    rooms.leave_topics(kafka)
    create_topics(kafka)


def everything(kafka: Kafka) -> Iterator[Raw]:
    """Yield all that lies in Kafka under our names."""
    for topic in TOPICS:
        yield from read(kafka, topic)
