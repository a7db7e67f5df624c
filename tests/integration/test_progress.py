"""A consumer that gets nothing is told from one that works, waits or has nothing to do: on a real broker."""

import asyncio
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from ebbmark.consumer import Consumer, Stopped
from ebbmark.errors import Unavailable
from ebbmark.eventlog import KafkaLog
from ebbmark.events import PhotoUploaded
from ebbmark.progress import Group, Stall
from ebbmark.settings import Kafka
from ebbmark.topics import UPLOADS
from tests.system import free_port

STALL = timedelta(seconds=3)
PATIENCE = 60


class Handled:
    """Handles what comes, as slowly as it is told."""

    def __init__(self) -> None:
        self.some = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, _: PhotoUploaded) -> None:
        self.some.set()
        await self.gate.wait()


@pytest.mark.servers
async def test_a_consumer_that_receives_nothing_ends_and_one_that_works_slowly_does_not(
    kafka_settings: Kafka, tmp_path: Path
) -> None:
    settings = msgspec.structs.replace(kafka_settings, stall=STALL)
    handled, stop = Handled(), asyncio.Event()
    async with KafkaLog(settings, source="test") as log:
        consumer = Consumer("progress", settings, log, data=str(tmp_path))
        consumer.consume(UPLOADS, handled, asyncio.Semaphore(1))
        running = asyncio.create_task(consumer.run(stop))
        handled.gate.clear()
        job = uuid4()
        await log.publish(UPLOADS, [PhotoUploaded(job=job, n=n) for n in range(3)])
        await asyncio.wait_for(handled.some.wait(), PATIENCE)
        done, _ = await asyncio.wait([running], timeout=3 * STALL.total_seconds())
        assert not done, "it is behind, and busy"
        handled.gate.set()
        done, _ = await asyncio.wait([running], timeout=3 * STALL.total_seconds())
        assert not done, "it has done all there was"
        faust = consumer._app.consumer  # noqa: SLF001 - what has been seen after rebalances: it stays paused
        faust.pause_partitions(faust.assignment())
        handled.some.clear()
        await log.publish(UPLOADS, [PhotoUploaded(job=job, n=n) for n in range(3)])
        with pytest.raises(Stopped) as stopped:
            await asyncio.wait_for(running, PATIENCE)
        assert "receives nothing" in str(stopped.value.__cause__)
        assert not handled.some.is_set()


@pytest.mark.servers
async def test_the_broker_tells_how_far_a_group_is_behind(kafka_settings: Kafka) -> None:
    group = Group(kafka_settings.bootstrap, f"{kafka_settings.prefix}nobody-{uuid4()}")
    name = kafka_settings.prefix + UPLOADS.name
    places = [(name, partition) for partition in range(UPLOADS.partitions)]
    before = await group.behind(places)
    async with KafkaLog(kafka_settings, source="test") as log:
        await log.publish(UPLOADS, [PhotoUploaded(job=uuid4(), n=0) for _ in range(7)])
    after = await group.behind(places)
    assert all(committed == 0 for committed, _ in after.values())
    assert sum(end for _, end in after.values()) - sum(end for _, end in before.values()) == 7


async def test_a_broker_that_is_gone_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        await Group(f"127.0.0.1:{free_port()}", "any").behind([("uploads", 0)])


def test_only_who_is_idle_behind_and_still_for_the_whole_time_is_stuck() -> None:
    now = [0.0]
    place = ("uploads", 3)

    def stuck_at(stall: Stall, moment: float, committed: int, end: int, *, idle: bool = True) -> bool:
        now[0] = moment
        return place in stall.judge({place: (committed, end)}, idle=idle)

    quiet = Stall(60, lambda: now[0])
    assert not any(stuck_at(quiet, t, 5, 5) for t in range(0, 300, 20))
    moving = Stall(60, lambda: now[0])
    assert not any(stuck_at(moving, t, t, 1000) for t in range(0, 300, 20))
    busy = Stall(60, lambda: now[0])
    assert not any(stuck_at(busy, t, 5, 9, idle=t % 60 != 40) for t in range(0, 300, 20))
    still = Stall(60, lambda: now[0])
    assert [stuck_at(still, t, 5, 9) for t in (0, 20, 40, 60)] == [False, False, False, True]
    cut_off = Stall(60, lambda: now[0])
    assert not any(stuck_at(cut_off, t, 5, 9) for t in (0, 20, 40))
    cut_off.forget()
    assert not any(stuck_at(cut_off, t, 5, 9) for t in (60, 80, 100))
