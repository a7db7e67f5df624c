"""A consumer that cannot get on is told from one that works, waits or has nothing to do: on a real broker."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
from confluent_kafka import Consumer as KafkaConsumer
from confluent_kafka import TopicPartition
from prometheus_client import REGISTRY

from ebbmark.consumer import Consumer, Stopped
from ebbmark.errors import Unavailable
from ebbmark.eventlog import KafkaLog, create_topics
from ebbmark.events import PhotoUploaded
from ebbmark.progress import begin_anew, standings
from ebbmark.settings import Kafka
from ebbmark.topics import UPLOADS
from tests.rooms import leave_topics, publish_in_the_end

pytestmark = [pytest.mark.servers]

STALL = timedelta(seconds=3)
PATIENCE = 60
MODULE_BEGAN = time.time()


class Handler:
    """Handles what comes when its gate is open; before, it waits, or finds a dependency down."""

    def __init__(self, *, down: bool = False) -> None:
        self.begun = asyncio.Event()
        self.gate = asyncio.Event()
        self.seen: set[int] = set()
        self._down = down

    async def __call__(self, event: PhotoUploaded) -> None:
        self.begun.set()
        if self._down and not self.gate.is_set():
            raise Unavailable("ledger-unavailable", "The ledger does not answer.")
        await self.gate.wait()
        self.seen.add(event.n)


@asynccontextmanager
async def consuming(
    kafka: Kafka,
    handler: Handler,
    folder: Path,
    *,
    slots: int = 8,
    name: str = "",
    instance: str = "",
    stall: timedelta = STALL,
) -> AsyncGenerator[tuple[Consumer, KafkaLog, "asyncio.Task[None]"]]:
    """A group of its own, so that each test begins at the beginning."""
    settings, stop = msgspec.structs.replace(kafka, stall=stall), asyncio.Event()
    async with KafkaLog(settings, source="test") as log:
        consumer = Consumer(name or f"progress-{uuid4()}", settings, log, instance=instance, data=str(folder))
        consumer.consume(UPLOADS, handler, asyncio.Semaphore(slots))
        running = asyncio.create_task(consumer.run(stop))
        yield consumer, log, running
        stop.set()
        await asyncio.wait([running])


@asynccontextmanager
async def supervised(kafka: Kafka, handler: Handler, folder: Path, name: str) -> AsyncGenerator[None]:
    """Start it again whenever it ends by itself."""
    stop = asyncio.Event()

    async def keep(log: KafkaLog) -> None:
        while not stop.is_set():
            consumer = Consumer(name, kafka, log, data=str(folder))
            consumer.consume(UPLOADS, handler, asyncio.Semaphore(64))
            with suppress(Stopped):
                await consumer.run(stop)

    async with KafkaLog(kafka, source="test") as log:
        keeping = asyncio.create_task(keep(log))
        yield
        stop.set()
        await asyncio.wait([keeping])


def uploads(*places: int) -> list[PhotoUploaded]:
    job = uuid4()
    return [PhotoUploaded(job=job, n=n) for n in places]


async def lag(consumer: Consumer) -> int:
    return sum(each.lag for each in (await standings(consumer._app.consumer)).values())  # noqa: SLF001


async def until_done(consumer: Consumer) -> None:
    async with asyncio.timeout(PATIENCE):
        while await lag(consumer):  # noqa: ASYNC110 - the broker is asked
            await asyncio.sleep(0.1)


async def until(good: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not good():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0.05)


def commit_beyond_the_end(kafka: Kafka, group: str) -> None:
    client = KafkaConsumer({"bootstrap.servers": kafka.bootstrap, "group.id": group})
    name = kafka.prefix + UPLOADS.name
    client.commit(
        offsets=[TopicPartition(name, n, 4711) for n in range(UPLOADS.partitions)], asynchronous=False
    )
    client.close()


def committed(kafka: Kafka, name: str, place: tuple[str, int]) -> int:
    client = KafkaConsumer(
        {"bootstrap.servers": kafka.bootstrap, "group.id": f"{kafka.prefix}ebbmark-{name}"}
    )
    (found,) = client.committed([TopicPartition(*place)], timeout=20)
    client.close()
    return found.offset


async def test_the_lag_is_as_old_as_the_oldest_event_that_is_not_done(
    kafka_settings: Kafka, tmp_path: Path
) -> None:
    handler, name = Handler(), f"progress-{uuid4()}"
    labels = {"agent": name, "topic": UPLOADS.name}

    def age() -> float:
        return REGISTRY.get_sample_value("ebbmark_consumer_lag_seconds", labels) or 0.0

    # It finds what was there before it, and knows nothing of when that came but what Kafka says.
    async with KafkaLog(kafka_settings, source="test") as log:
        await publish_in_the_end(log, UPLOADS, uploads(0))
    await asyncio.sleep(3)
    async with consuming(kafka_settings, handler, tmp_path, name=name) as (consumer, _, _):
        await asyncio.wait_for(handler.begun.wait(), PATIENCE)
        await until(age)
        first, now = age(), time.time()
        assert 3 <= first <= 2 * (now - MODULE_BEGAN), "it was there three seconds before anybody looked"
        await until(lambda: age() >= first + 3)
        assert time.time() - now >= 2, "it grows no faster than the clock"
        handler.gate.set()
        await until_done(consumer)
        await until(lambda: age() == 0)


@pytest.mark.parametrize(
    ("down", "slots"), [(False, 1), (True, 8)], ids=["one works, others wait", "a dependency is down"]
)
async def test_a_consumer_that_is_behind_and_busy_is_not_stuck(
    kafka_settings: Kafka, tmp_path: Path, *, down: bool, slots: int
) -> None:
    handler = Handler(down=down)
    async with consuming(kafka_settings, handler, tmp_path, slots=slots) as (consumer, log, running):
        await log.publish(UPLOADS, uploads(0, 1, 2))
        await log.publish(UPLOADS, uploads(3, 4))  # another partition, most likely
        await asyncio.wait_for(handler.begun.wait(), PATIENCE)
        ended, _ = await asyncio.wait([running], timeout=2 * STALL.total_seconds())
        assert not ended
        handler.gate.set()
        await until_done(consumer)
        assert handler.seen >= {0, 1, 2, 3, 4}


async def test_a_consumer_that_is_behind_and_receives_nothing_ends(
    kafka_settings: Kafka, tmp_path: Path
) -> None:
    handler = Handler()
    handler.gate.set()
    async with consuming(kafka_settings, handler, tmp_path) as (consumer, log, running):
        await log.publish(UPLOADS, uploads(0))
        await asyncio.wait_for(handler.begun.wait(), PATIENCE)
        await until_done(consumer)
        consumer._app.consumer.stop_flow()  # noqa: SLF001 - what has been seen after rebalances: it stays so
        await log.publish(UPLOADS, uploads(77))
        with pytest.raises(Stopped) as stopped:
            await asyncio.wait_for(running, PATIENCE)
    assert "takes nothing" in str(stopped.value.__cause__)
    assert 77 not in handler.seen


async def test_a_consumer_whose_commits_do_not_get_through_ends(
    kafka_settings: Kafka, tmp_path: Path
) -> None:
    handler = Handler()
    handler.gate.set()
    async with consuming(kafka_settings, handler, tmp_path) as (consumer, log, running):
        await log.publish(UPLOADS, uploads(0))
        await asyncio.wait_for(handler.begun.wait(), PATIENCE)
        await until_done(consumer)
        # As when the loop that commits has died: everything else goes on.
        consumer._app.consumer._commit_fut = asyncio.get_running_loop().create_future()  # noqa: SLF001 - see above
        await log.publish(UPLOADS, uploads(88))
        with pytest.raises(Stopped):
            await asyncio.wait_for(running, PATIENCE)
    assert 88 in handler.seen


async def test_a_consumer_whose_own_connection_is_dead_ends(kafka_settings: Kafka, tmp_path: Path) -> None:
    handler = Handler()
    async with consuming(kafka_settings, handler, tmp_path) as (consumer, log, running):
        await log.publish(UPLOADS, uploads(0))
        await asyncio.wait_for(handler.begun.wait(), PATIENCE)

        async def never(_: object) -> None:
            raise TimeoutError

        consumer._app.consumer._thread._consumer.end_offsets = never  # noqa: SLF001 - the others' still live
        with pytest.raises(Stopped) as stopped:
            await asyncio.wait_for(running, PATIENCE)
    assert "others do" in str(stopped.value.__cause__)


async def test_what_was_seen_to_be_anew_is_begun_anew_though_it_outgrew_the_old(
    kafka_settings: Kafka, tmp_path: Path
) -> None:
    handler, name = Handler(), f"progress-{uuid4()}"
    handler.gate.set()
    async with consuming(kafka_settings, handler, tmp_path, name=name) as (consumer, log, _):
        await publish_in_the_end(log, UPLOADS, uploads(*range(200)))
        await until(lambda: len(handler.seen) == 200)
        faust = consumer._app.consumer  # noqa: SLF001
        place = next(place for place, each in (await standings(faust)).items() if each.reached)
        assert not (await standings(faust))[place].anew
        assert list(await begin_anew(faust, [place])) == [place]
        assert list(await begin_anew(faust, [])) == []
    assert committed(kafka_settings, name, place) == 0


async def test_a_topic_made_anew_under_a_living_consumer_is_read_from_its_beginning(
    kafka_settings: Kafka, tmp_path: Path
) -> None:
    """What was acked between may be committed to the new topic: then it ends, and is started again."""
    handler, name = Handler(), f"progress-{uuid4()}"
    job = uuid4()
    kafka = kafka_settings
    async with supervised(kafka, handler, tmp_path, name), KafkaLog(kafka, source="test") as log:
        await log.publish(UPLOADS, [PhotoUploaded(job=job, n=n) for n in range(1000, 1050)])
        await asyncio.wait_for(handler.begun.wait(), PATIENCE)
        await asyncio.to_thread(leave_topics, kafka)
        handler.gate.set()
        await asyncio.to_thread(create_topics, kafka)
        await publish_in_the_end(log, UPLOADS, [PhotoUploaded(job=job, n=1234)])
        await until(lambda: 1234 in handler.seen)


async def test_who_starts_where_the_log_does_not_reach_any_more_begins_anew(
    kafka_settings: Kafka, tmp_path: Path
) -> None:
    """As after an end so quick that it committed where the old log had ended."""
    handler, name = Handler(), f"progress-{uuid4()}"
    handler.gate.set()
    commit_beyond_the_end(kafka_settings, f"{kafka_settings.prefix}ebbmark-{name}")
    async with consuming(kafka_settings, handler, tmp_path, name=name) as (_, log, running):
        await publish_in_the_end(log, UPLOADS, uploads(55))
        with pytest.raises(Stopped):
            await asyncio.wait_for(running, PATIENCE)
    handler.seen.clear()
    async with consuming(kafka_settings, handler, tmp_path, name=name) as (_, _, running):
        await until(lambda: 55 in handler.seen or running.done())
        assert not running.done()


async def test_a_consumer_that_its_group_does_not_admit_ends(kafka_settings: Kafka, tmp_path: Path) -> None:
    """Somebody else is in the group, and divides its partitions in another way."""
    handler, name = Handler(), f"progress-{uuid4()}"
    other = KafkaConsumer(
        {
            "bootstrap.servers": kafka_settings.bootstrap,
            "group.id": f"{kafka_settings.prefix}ebbmark-{name}",
            "partition.assignment.strategy": "range",
        }
    )
    other.subscribe([kafka_settings.prefix + UPLOADS.name])
    async with asyncio.timeout(PATIENCE):
        while not other.assignment():
            await asyncio.to_thread(other.poll, 0.2)
    try:
        async with consuming(kafka_settings, handler, tmp_path, name=name) as (_, _, running):
            with pytest.raises(Stopped) as stopped:
                await asyncio.wait_for(running, PATIENCE)
    finally:
        other.close()
    assert "others do" in str(stopped.value.__cause__)


async def test_a_named_consumer_that_is_back_soon_finds_its_partitions_and_disturbs_nobody(
    kafka_settings: Kafka, tmp_path: Path
) -> None:
    handler, name = Handler(), f"progress-{uuid4()}"

    def places(consumer: Consumer) -> set[tuple[str, int]]:
        client = consumer._app.consumer._thread._consumer  # noqa: SLF001
        return set(client.assignment()) if client else set()

    def member(instance: str) -> AbstractAsyncContextManager[tuple[Consumer, KafkaLog, object]]:
        return consuming(
            kafka_settings,
            handler,
            tmp_path / instance,
            name=name,
            instance=instance,
            stall=timedelta(minutes=1),
        )

    async with member("ann") as (ann, _, _):
        async with member("bob") as (bob, _, _):
            await until(
                lambda: (
                    places(ann) and places(bob) and len(places(ann)) + len(places(bob)) == UPLOADS.partitions
                )
            )
            of_ann, of_bob = places(ann), places(bob)
            assert of_ann.isdisjoint(of_bob)
            generation = ann._app.consumer_generation_id  # noqa: SLF001 - which only a rebalance changes
        async with member("bob") as (back, _, _):
            await until(lambda: places(back))
            assert places(back) == of_bob
            await asyncio.sleep(3)  # longer than a heartbeat, which would bring word of a rebalance
            assert places(ann) == of_ann
            assert ann._app.consumer_generation_id == generation  # noqa: SLF001 - as above
