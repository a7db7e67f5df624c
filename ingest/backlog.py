"""Nothing is let in that has no room: on the disk of the spool, or among what waits to be rendered."""

import shutil
import tempfile
import time
from collections.abc import Callable

from prometheus_client import Counter

from ebbmark.errors import Unavailable
from ebbmark.ledger import Ledger
from ebbmark.settings import Http
from ingest.asked import Asked
from observability import metrics

_GOOD_FOR = 3.0
_FAULT_GOOD_FOR = 1.0
_UNKNOWN, _LONGEST = 30.0, 300.0


def require_disk(http: Http, counted_in: Counter = metrics.UPLOADS_REFUSED) -> None:
    """Return when the spool's disk has room to spare; count a refusal by its code.

    Raises:
        Unavailable: it has less than it should, code `storage-full`.
    """
    if free_bytes(http) < http.spool_free:
        counted_in.labels("storage-full").inc()
        raise Unavailable("storage-full", "There is no room for uploads just now; try again later.")


def free_bytes(http: Http) -> int:
    """Return how many bytes the spool's disk has left; 0 when that cannot be told."""
    try:
        return shutil.disk_usage(http.spool or tempfile.gettempdir()).free
    except OSError:
        return 0


def show_disk(http: Http) -> None:
    """Have the metrics tell what is free on the spool's disk, as of each scrape, and what must be."""
    metrics.SPOOL_FREE.set_function(lambda: free_bytes(http))
    metrics.SPOOL_LEAST.set(http.spool_free)


class Backlog:
    """How many accepted photos wait for their end, as of some seconds ago, and how fast they get fewer."""

    def __init__(self, ledger: Ledger, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Let everything in when `most` is 0."""
        self._ledger = ledger
        self._most = most
        self._clock = clock
        self._asked = Asked(self._count, good_for=_GOOD_FOR, fault_good_for=_FAULT_GOOD_FOR, clock=clock)
        self._seen: tuple[float, int] | None = None
        self._rate: float | None = None

    async def require_room(self) -> None:
        """Return when fewer photos wait than may. Who asks while they are counted shares the answer or fault.

        Raises:
            Unavailable: too many do, code `backlog-full`; says when there should be room, if that is known.
                Or the ledger does not answer.
        """
        if not self._most:
            return
        waiting = await self._asked()
        if waiting < self._most:
            return
        metrics.UPLOADS_REFUSED.labels("backlog-full").inc()
        over = waiting - self._most + 1
        wait = min(over / self._rate, _LONGEST) if self._rate else _UNKNOWN
        raise Unavailable(
            "backlog-full", "Very many photos wait to be rendered; try again later.", retry_after=wait
        )

    async def _count(self) -> int:
        now = self._clock()
        waiting = await self._ledger.backlog()
        if self._seen is not None:
            fewer = self._seen[1] - waiting
            self._rate = fewer / (now - self._seen[0]) if fewer > 0 else None
        self._seen = now, waiting
        return waiting
