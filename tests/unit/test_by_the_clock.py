"""What the janitor does by the clock never ends unheard: its process ends with it."""

import asyncio

import pytest

from ebbmark.consumer import Stopped
from janitor.app import by_the_clock


async def for_ever() -> None:
    await asyncio.Event().wait()


async def at_once() -> None:
    """End without a word."""


async def badly() -> None:
    raise LookupError("a defect")


async def test_a_task_that_fails_stops_the_process_and_tells_why() -> None:
    stop = asyncio.Event()
    with pytest.raises(Stopped) as stopped:
        async with asyncio.timeout(5), by_the_clock(stop, for_ever(), badly()):
            await stop.wait()
    assert isinstance(stopped.value.__cause__, LookupError)


async def test_a_task_that_ends_without_a_word_stops_the_process_too() -> None:
    stop = asyncio.Event()
    with pytest.raises(Stopped):
        async with asyncio.timeout(5), by_the_clock(stop, at_once(), for_ever()):
            await stop.wait()


async def test_a_process_that_is_told_to_stop_ends_its_tasks_and_does_not_complain() -> None:
    stop = asyncio.Event()
    ended = asyncio.Event()

    async def task() -> None:
        try:
            await for_ever()
        finally:
            ended.set()

    async with asyncio.timeout(5), by_the_clock(stop, task(), for_ever()):
        await asyncio.sleep(0)
        assert not stop.is_set()
    assert ended.is_set()


async def test_what_the_block_raises_is_not_covered() -> None:
    with pytest.raises(Stopped, match="a consumer"):
        async with asyncio.timeout(5), by_the_clock(asyncio.Event(), for_ever()):
            raise Stopped("a consumer")
