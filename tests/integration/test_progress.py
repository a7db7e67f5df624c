"""A consumer that gets nothing is told from one that works, waits or has nothing to do: on a real broker."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from ebbmark.consumer import Consumer, Stopped
from ebbmark.errors import Unavailable
from ebbmark.eventlog import KafkaLog
from ebbmark.events import PhotoUploaded
from ebbmark.progress import standings
from ebbmark.settings import Kafka
from ebbmark.topics import UPLOADS

pytestmark = [pytest.mark.servers]

STALL = timedelta(seconds=3)
PATIENCE = 60


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
    kafka: Kafka, handler: Handler, folder: Path, *, slots: int = 8
) -> AsyncGenerator[tuple[Consumer, KafkaLog, "asyncio.Task[None]"]]:
    """A group of its own, so that each test begins at the beginning."""
    settings, stop = msgspec.structs.replace(kafka, stall=STALL), asyncio.Event()
    async with KafkaLog(settings, source="test") as log:
        consumer = Consumer(f"progress-{uuid4()}", settings, log, data=str(folder))
        consumer.consume(UPLOADS, handler, asyncio.Semaphore(slots))
        running = asyncio.create_task(consumer.run(stop))
        yield consumer, log, running
        stop.set()
        await asyncio.wait([running])


def uploads(*places: int) -> list[PhotoUploaded]:
    job = uuid4()
    return [PhotoUploaded(job=job, n=n) for n in places]


async def lag(consumer: Consumer) -> int:
    return sum(each.lag for each in (await standings(consumer._app.consumer)).values())  # noqa: SLF001


async def until_done(consumer: Consumer) -> None:
    async with asyncio.timeout(PATIENCE):
        while await lag(consumer):  # noqa: ASYNC110 - the broker is asked
            await asyncio.sleep(0.1)


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
