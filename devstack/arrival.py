"""Processes have arrived when every one of them runs and answers, all in one look."""

import time
import urllib.request
from collections.abc import Callable, Sequence
from http.client import HTTPException

from devstack.halt import Halt, Halted
from devstack.keeper import Keeper
from devstack.process import DevstackError

ENDS_AT_MOST = 2
_STEADY_AFTER = 5.0


def wait_until_all_serve(
    kept: Sequence[Keeper], tend: Callable[[], None], *, within: float, halt: Halt
) -> None:
    """Return when all of them serve; `tend` starts those again that ended.

    Raises:
        DevstackError: one keeps ending, or some do not serve in time; with their names and the end of a log.
        Halted: `halt` was set.
    """
    deadline = time.monotonic() + within
    while not all(map(_serves, kept)):
        for keeper in kept:
            if keeper.ended > ENDS_AT_MOST:
                times = f"has ended {keeper.ended} times, with {keeper.process.exit_code}"
                raise _failure(f"{keeper.process.name} {times}", keeper)
        if time.monotonic() > deadline and (late := [keeper for keeper in kept if not _serves(keeper)]):
            names = ", ".join(keeper.process.name for keeper in late)
            raise _failure(f"Not ready after {within:.0f} s: {names}", late[0])
        if halt.wait(0.03):
            raise Halted
        tend()


def _failure(what: str, keeper: Keeper) -> DevstackError:
    return DevstackError(f"{what}; the log of {keeper.process.name} ends with\n{keeper.process.tail()}")


def _serves(keeper: Keeper) -> bool:
    process = keeper.process
    if process.pid is None:
        return False
    # One that ended before may answer and end again: a worker serves its metrics before its children run.
    if keeper.ended and time.monotonic() - process.started_at < _STEADY_AFTER:
        return False
    try:
        with urllib.request.urlopen(process.url, timeout=2):  # noqa: S310 - our own, over http
            return True
    except (OSError, HTTPException):
        return False
