"""What Ebbmark's processes hold in memory, looked at again and again while a run goes on."""

import time
from collections.abc import Mapping

import psutil

from devstack.process import Process

BOUND = 300 * 1024**2
"""What each may hold more than at rest, whatever is sent."""
_EVERY = 0.5


class Memory:
    """The highest that was seen of each process alone, without its children."""

    def __init__(self) -> None:
        """Nothing was seen yet; what is seen first counts as at rest until `rest` says otherwise."""
        self.looks = 0
        self.idle: dict[str, int] = {}
        self.highest: dict[str, int] = {}
        self._due = 0.0

    def rest(self, processes: Mapping[str, Process]) -> None:
        """Take what they hold now for what they hold at rest."""
        self.idle, self.highest, self.looks, self._due = {}, {}, 0, 0.0
        self.look(processes)

    def look(self, processes: Mapping[str, Process]) -> None:
        """Look at those that run, twice a second at most."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + _EVERY
        for name, process in processes.items():
            try:
                held = psutil.Process(process.pid).memory_info().rss if process.pid is not None else 0
            except psutil.NoSuchProcess:
                continue
            if held:
                self.looks += 1
                self.idle.setdefault(name, held)
                self.highest[name] = max(self.highest.get(name, 0), held)

    def beyond(self) -> list[str]:
        """Say which held more than they may."""
        mib = 1024**2
        return [
            f"{name} held {high // mib} MiB, and {self.idle[name] // mib} at rest"
            for name, high in self.highest.items()
            if high - self.idle[name] > BOUND
        ]
