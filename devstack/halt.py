"""The wish that the stack stop, which a signal handler may state at any moment."""

import time


class Halted(Exception):
    """The stack was told to stop while it was starting."""


class Halt:
    """Not `threading.Event`: its `set` takes a lock that the interrupted code may be holding."""

    def __init__(self) -> None:
        """Nobody wants a stop yet."""
        self._wanted = False

    def set(self) -> None:
        """Want it."""
        self._wanted = True

    def wait(self, seconds: float) -> bool:
        """Let that time pass, unless a stop is wanted already; return whether it is."""
        if not self._wanted:
            time.sleep(seconds)
        return self._wanted
