"""The rendering children, real ones: whatever is killed, the next photo is rendered."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncGenerator
from contextlib import suppress

import msgspec
import psutil
import pytest
from prometheus_client import REGISTRY

from ebbmark.errors import LimitExceeded
from ebbmark.imaging.recipe import parse_recipe
from ebbmark.pipes import RoomyContext
from ebbmark.pool import ChildLost
from ebbmark.settings import Settings, Worker
from processors.pool import RenderPool
from tests.people import eventually, photo

RECIPE = parse_recipe('{"operations": [{"operation": "grayscale"}]}').to_json()


@pytest.fixture
async def pool() -> AsyncGenerator[RenderPool]:
    settings = msgspec.structs.replace(Settings(), worker=Worker(children=2))
    async with RenderPool(settings) as running:
        yield running


def fork_servers() -> list[psutil.Process]:
    return [each for each in psutil.Process().children() if "forkserver" in " ".join(each.cmdline())]


def children() -> list[psutil.Process]:
    return [child for server in fork_servers() for child in server.children()]


def kill(processes: list[psutil.Process]) -> None:
    assert processes
    for each in processes:
        each.send_signal(signal.SIGKILL)
    eventually(lambda: all(map(dead, processes)), bool)


def dead(process: psutil.Process) -> bool:
    # Not waited for: the fork server is multiprocessing's to reap, which it takes for its sign of death.
    with suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_ZOMBIE
    return True


async def render(pool: RenderPool, seed: int = 0) -> int:
    async with asyncio.timeout(60):
        return (await pool.render(photo(320, 240, seed=seed), RECIPE, None, {})).width


async def test_children_killed_while_they_wait_are_replaced(pool: RenderPool) -> None:
    for _ in range(3):
        kill(children())
        assert await asyncio.gather(*(render(pool, seed) for seed in range(4))) == [320] * 4


async def test_a_killed_fork_server_is_replaced(pool: RenderPool) -> None:
    kill(fork_servers())
    assert await asyncio.gather(*(render(pool, seed) for seed in range(4))) == [320] * 4


async def test_a_child_that_dies_under_its_photo_costs_that_photo_only(pool: RenderPool) -> None:
    with pytest.raises(ChildLost):
        async with asyncio.timeout(60):
            await pool._run(os.abort, within=30)  # noqa: SLF001 - no photo is known that does this
    assert await render(pool) == 320


async def test_a_child_that_runs_out_of_memory_tells_it_and_is_replaced_without_a_loss(
    pool: RenderPool,
) -> None:
    assert await render(pool) == 320
    before, lost = children(), lost_children()
    for _ in range(2):
        with pytest.raises(LimitExceeded, match="out-of-memory"):
            await pool.run(bytes, 2**50)
        assert await asyncio.gather(*(render(pool, seed) for seed in range(4))) == [320] * 4
    eventually(lambda: any(map(dead, before)), bool)
    assert lost_children() == lost


def lost_children() -> dict[str, float | None]:
    reasons = ("timeout", "died", "failed", "broken")
    return {
        each: REGISTRY.get_sample_value("ebbmark_children_lost_total", {"reason": each}) for each in reasons
    }


async def test_a_child_that_hangs_is_killed(pool: RenderPool) -> None:
    with pytest.raises(ChildLost, match="timeout"):
        async with asyncio.timeout(60):
            await pool._run(signal.pause, within=0.5)  # noqa: SLF001 - no photo is known that does this
    assert await render(pool) == 320


def counted(name: str) -> float:
    return REGISTRY.get_sample_value(f"ebbmark_{name}_total") or 0.0


async def test_children_and_pools_are_counted_as_they_begin_and_their_cpu_as_they_render(
    pool: RenderPool,
) -> None:
    names = ("children_started", "pools_started", "children_cpu_seconds", "children_busy_seconds")
    before = {name: counted(name) for name in names}

    def since() -> dict[str, float]:
        return {name: counted(name) - before[name] for name in names}

    for seed in range(6):
        await render(pool, seed)
    first = since()
    assert 1 <= first["children_started"] <= 2
    assert first["pools_started"] == 0
    assert 0 < first["children_cpu_seconds"] <= first["children_busy_seconds"]
    kill(children())
    await asyncio.gather(*(render(pool, seed) for seed in range(4)))
    assert since()["pools_started"] == 1
    assert since()["children_started"] > first["children_started"]


def test_pipes_to_children_have_room_for_a_photo() -> None:
    reader, writer = RoomyContext().Pipe(duplex=False)
    with reader, writer:
        writer.send_bytes(bytes(600_000))  # nobody reads yet, and it does not wait
        assert reader.recv_bytes() == bytes(600_000)
    one, other = RoomyContext().Pipe()
    with one, other:
        one.send(1)
        assert other.recv() == 1


async def test_what_is_under_way_in_a_pool_that_breaks_is_begun_again(pool: RenderPool) -> None:
    under_way = asyncio.create_task(pool._run(time.sleep, 0.3, within=30))  # noqa: SLF001 - no photo is as slow
    await asyncio.sleep(0)  # in which it is handed over
    pool._replace(pool._pool)  # noqa: SLF001 - what it does when it finds it broken
    async with asyncio.timeout(60):
        assert await under_way is None
