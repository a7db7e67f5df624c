"""A process of which something stands still that must go on is ended, from a thread of its own.

Metrics are served from a thread, too, and a lock in the database is kept by the kernel: a process whose
event loop hangs looks well from outside, and a leader whose sweep hangs lets nobody else lead.
"""

import asyncio
import os
import sys
import threading
import traceback
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from types import FrameType

from observability import logs

log = logs.get(__name__)

STOOD_STILL = 4
"""The exit code of who is ended here."""
_LOOKS = 30
"""Until something counts as standing still. Time is counted by looks, not by a clock: whoever is stopped or
suspended as a whole misses the looks, too, and has all the time it had when it goes on."""
_LONGEST_LOOK = 1.0
_TELLING = 2.0
"""Seconds to tell of it: that the log takes no line may be what it hangs on."""


@contextmanager
def watched(what: str, within: timedelta) -> Generator[Callable[[str], None]]:
    """Yield what is to be called before each step in the block; without a call for so long the process ends.

    The log then has a line `stood still`, with the step that was last begun and where the thread that entered
    the block was. Whatever holds Python's own lock for ever stops this, too.
    """
    done = threading.Event()
    steps, begun = 0, ""

    def step(name: str) -> None:
        nonlocal steps, begun
        steps, begun = steps + 1, name

    def watch(watched_thread: int) -> None:
        every = _look_every(within)
        seen, still = steps, 0.0
        while not done.wait(every):
            seen, still = steps, 0.0 if steps != seen else still + every
            if still >= within.total_seconds():
                frames = sys._current_frames()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - documented
                _end(what, begun, still, frames.get(watched_thread))

    threading.Thread(target=watch, args=[threading.get_ident()], name=f"watch-{what}", daemon=True).start()
    try:
        yield step
    finally:
        done.set()


@asynccontextmanager
async def loop_watched(within: timedelta) -> AsyncGenerator[None]:
    """End the process when this event loop does nothing for so long, while in the block."""

    async def go_on(step: Callable[[str], None]) -> None:
        while True:
            step("")
            await asyncio.sleep(_look_every(within))

    with watched("event loop", within) as step:
        going_on = asyncio.create_task(go_on(step))
        try:
            yield
        finally:
            going_on.cancel()


def _look_every(within: timedelta) -> float:
    return min(_LONGEST_LOOK, within.total_seconds() / _LOOKS)


def _end(what: str, step: str, seconds: float, frame: FrameType | None) -> None:
    deadline = threading.Timer(_TELLING, os._exit, [STOOD_STILL])
    deadline.daemon = True
    deadline.start()
    where = [f"{each.filename}:{each.lineno} {each.name}" for each in traceback.extract_stack(frame)]
    log.error("stood still", what=what, step=step, seconds=round(seconds), where=where[-12:])
    os._exit(STOOD_STILL)
