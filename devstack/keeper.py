"""Processes that end are started again, after a pause that doubles while they keep ending early."""

import time
from collections.abc import Callable, Iterable

from devstack.process import Process, say

FIRST_PAUSE, LONGEST_PAUSE, SOUND_AFTER = 0.5, 10.0, 30.0


class Keeper:
    """Minds one process; `tend` must be called again and again."""

    def __init__(self, process: Process) -> None:
        """The process has been started once."""
        self.process = process
        self.ended = 0
        """How often it has ended."""
        self._pause = FIRST_PAUSE
        self._due: float | None = None

    def tend(self, now: float) -> bool:
        """Do what is due at this `time.monotonic`; return whether the process was started again."""
        if self.process.pid is not None:
            return False
        if self._due is None:
            if now - self.process.started_at > SOUND_AFTER:
                self._pause = FIRST_PAUSE
            self._due = now + self._pause
            self.ended += 1
            code = self.process.exit_code
            say(f"{self.process.name} ended with {code}; it is started again in {self._pause:g} s")
            self._pause = min(LONGEST_PAUSE, self._pause * 2)
            return False
        if now < self._due:
            return False
        self._due = None
        self.process.start()
        return True


def tend_all(keepers: Iterable[Keeper], note: Callable[[], None]) -> None:
    """Do what is due now for each, and have it noted if one was started.

    What a full disk prevents is said. A start is tried again after the next pause; orphans that are not
    noted are still found by their mark.
    """
    started = False
    for keeper in keepers:
        try:
            started |= keeper.tend(time.monotonic())
        except OSError as exc:
            say(f"{keeper.process.name} cannot be started: {exc}")
    if started:
        try:
            note()
        except OSError as exc:
            say(f"It cannot be noted who runs: {exc}")
