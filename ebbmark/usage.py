"""How busy the children are, as counters: a look every five seconds misses photos that take milliseconds."""

import time
from collections.abc import Callable

from observability import metrics


class Usage:
    """Adds up for how long children had a photo, and photos had no child."""

    def __init__(self, children: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with no photo; `clock` is in seconds."""
        self._children = children
        self._clock = clock
        self._photos = 0
        self._since = clock()

    def begin(self) -> None:
        """Count a photo that wants a child from now on."""
        self.note()
        self._photos += 1

    def end(self) -> None:
        """Count it no more."""
        self.note()
        self._photos -= 1

    def note(self) -> None:
        """Add what passed since the last call; now and then, so that a long photo shows before its end."""
        now = self._clock()
        spent, self._since = now - self._since, now
        busy = min(self._photos, self._children)
        metrics.CHILDREN_BUSY_SECONDS.inc(busy * spent)
        metrics.CHILDREN_WAIT_SECONDS.inc((self._photos - busy) * spent)
