"""A command that is run now and then, once at a time."""

from devstack.process import Process, say


class Errand:
    """Minds one such command; `tend` must be called again and again."""

    def __init__(self, process: Process, *, first: float, every: float, now: float) -> None:
        """It is run when `first` seconds have passed since `now`, a `time.monotonic`, then each `every`."""
        self.process = process
        self._every = every
        self._due = now + first
        self._awaited = False

    def tend(self, now: float) -> bool:
        """Do what is due at this `time.monotonic`; return whether the command was started.

        That it failed, or cannot be started, is said; it is run again when it is due.
        """
        if self.process.pid is None and self._awaited:
            self._awaited = False
            if self.process.exit_code:
                say(f"{self.process.name} ended with {self.process.exit_code}:\n{self.process.tail(5)}")
        if self._awaited or now < self._due:
            return False
        self._due = now + self._every
        try:
            self.process.start()
        except OSError as exc:
            say(f"{self.process.name} cannot be started: {exc}")
            return False
        self._awaited = True
        return True
