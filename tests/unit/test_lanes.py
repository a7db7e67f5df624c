"""A worker's slots between the lanes."""

import asyncio

import pytest

from processors.lanes import Lanes


async def _takes(lanes: Lanes, name: str) -> bool:
    try:
        async with asyncio.timeout(0.01):
            await lanes.lane(name).acquire()
    except TimeoutError:
        return False
    return True


async def test_one_lane_alone_takes_everything_but_what_is_reserved_for_the_other() -> None:
    lanes = Lanes(["express", "bulk"], total=6, reserved=1)
    assert [await _takes(lanes, "bulk") for _ in range(7)] == [True] * 5 + [False] * 2


async def test_a_full_bulk_lane_never_keeps_the_express_lane_waiting() -> None:
    lanes = Lanes(["express", "bulk"], total=4, reserved=1)
    while await _takes(lanes, "bulk"):
        pass
    assert await _takes(lanes, "express")


async def test_a_freed_slot_goes_to_the_lane_that_has_fewer() -> None:
    lanes = Lanes(["express", "bulk"], total=4, reserved=1)
    for name in ("bulk", "bulk", "bulk", "express"):
        assert await _takes(lanes, name)
    order: list[str] = []

    async def wait(name: str) -> None:
        await lanes.acquire(name)
        order.append(name)

    waiting = [asyncio.create_task(wait(name)) for name in ("bulk", "express")]
    await asyncio.sleep(0)
    lanes.release("bulk")
    await asyncio.sleep(0.01)
    assert order == ["express"]
    lanes.release("bulk")
    await asyncio.gather(*waiting)
    assert order == ["express", "bulk"]


async def test_a_waiter_that_is_cancelled_leaves_its_place_to_the_next() -> None:
    lanes = Lanes(["express", "bulk"], total=2, reserved=1)
    assert await _takes(lanes, "bulk")
    leaving, staying = asyncio.create_task(lanes.acquire("bulk")), asyncio.create_task(lanes.acquire("bulk"))
    await asyncio.sleep(0)
    leaving.cancel()
    lanes.release("bulk")
    await asyncio.wait_for(staying, 1)
    assert leaving.cancelled()


def test_reserving_more_than_there_is_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot reserve"):
        Lanes(["express", "bulk"], total=1, reserved=1)
