"""Processes that end are started again, after a pause that doubles while they keep ending early."""

from devstack.process import Process, say

FIRST_PAUSE, LONGEST_PAUSE, SOUND_AFTER = 0.5, 10.0, 30.0


class Keeper:
    """Minds one process; `tend` must be called again and again."""

    def __init__(self, process: Process) -> None:
        """The process has been started once."""
        self.process = process
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
            code = self.process.exit_code
            say(f"{self.process.name} ended with {code}; it is started again in {self._pause:g} s")
            self._pause = min(LONGEST_PAUSE, self._pause * 2)
            return False
        if now < self._due:
            return False
        self._due = None
        self.process.start()
        return True
