"""Nothing is let in that has no room: on the disk of the spool, or among what waits to be rendered."""

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable

from prometheus_client import Counter as Counted

from ebbmark.errors import Unavailable
from ebbmark.ledger import Ledger
from ebbmark.settings import Http
from ingest.asked import Asked
from observability import metrics

_GOOD_FOR = 1.0
_FAULT_GOOD_FOR = 1.0
_UNKNOWN, _JOBS_UNKNOWN, _LONGEST = 30.0, 5.0, 300.0
"""Seconds to wait when nothing gets less; first photos come before all others."""
_HALF_LIFE = 60.0
_CLIENTS = 10_000


def require_disk(http: Http, counted_in: Counted = metrics.UPLOADS_REFUSED) -> None:
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
    """What was accepted and waits for its end, as of a second ago, and how fast it gets less."""

    def __init__(
        self, ledger: Ledger, *, most: int, jobs: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Bound the photos that wait, and the jobs of which nothing is done yet; 0 bounds nothing."""
        self._ledger = ledger
        self._clock = clock
        self._asked = Asked(self._count, good_for=_GOOD_FOR, fault_good_for=_FAULT_GOOD_FOR, clock=clock)
        self._all = _Room(most, unknown=_UNKNOWN)
        self._jobs = _Room(jobs, unknown=_JOBS_UNKNOWN)

    async def require_room(self, client: str, *, new_job: bool) -> None:
        """Return when fewer photos wait than may. Who asks while they are counted shares the answer or fault.

        A new job's first photos stand before all others, so everybody waits as long as they do: once that is
        too long, what is taken in only takes from rendering. Jobs that were let in may be filled.
        Who brought most of late has half of the room, as long as others come.

        Raises:
            Unavailable: too many do, code `backlog-full`; says when there should be room, if that is known.
                Or the ledger does not answer.
        """
        if not (self._all.most or self._jobs.most):
            return
        await self._asked()
        for room in (self._all, self._jobs) if new_job else (self._all,):
            excess = room.excess(client)
            if excess > 0:
                metrics.UPLOADS_REFUSED.labels("backlog-full").inc()
                problem = "Very many photos wait to be rendered; try again later."
                raise Unavailable("backlog-full", problem, retry_after=room.wait(excess))
        if new_job:
            self._jobs.enter(client)

    def gave_up(self, client: str) -> None:
        """Note that a job of a client that was let in came to nothing."""
        self._jobs.leave(client)

    def brought(self, client: str, photos: int) -> None:
        """Note that so many photos of a client were accepted."""
        self._all.note(client, photos)

    async def _count(self) -> None:
        now = self._clock()
        waiting = await self._ledger.backlog()
        self._all.see(now, waiting.photos)
        self._jobs.see(now, waiting.jobs)


class _Room:
    def __init__(self, most: int, *, unknown: float) -> None:
        self.most = most
        self.let_in = 0
        """Since the count, which knows nothing of them."""
        self._unknown = unknown
        self._seen: tuple[float, int] | None = None
        self._rate: float | None = None
        self._brought: Counter[str] = Counter()
        """By client, half forgotten with each minute; who came in vain is there with 0."""
        self._halved = 0.0

    def see(self, now: float, waiting: int) -> None:
        if self._seen is not None:
            fewer = self._seen[1] - waiting
            self._rate = fewer / (now - self._seen[0]) if fewer > 0 else None
        self._seen, self.let_in = (now, waiting), 0
        if now - self._halved > _HALF_LIFE:
            self._halved = now
            self._brought = Counter({each: count // 2 for each, count in self._brought.items() if count})

    def enter(self, client: str) -> None:
        self.let_in += 1
        self.note(client, 1)

    def leave(self, client: str) -> None:
        self.let_in = max(0, self.let_in - 1)
        if self._brought[client] > 0:
            self._brought[client] -= 1

    def note(self, client: str, count: int) -> None:
        if client in self._brought or len(self._brought) < _CLIENTS:
            self._brought[client] += count

    def excess(self, client: str) -> int:
        """Return how many must go before another of this client has room."""
        if not self.most:
            return 0
        self.note(client, 0)
        greedy = len(self._brought) > 1 and 2 * self._brought[client] > self._brought.total()
        waiting = (self._seen[1] if self._seen else 0) + self.let_in
        return waiting + 1 - (max(1, self.most // 2) if greedy else self.most)

    def wait(self, excess: int) -> float:
        return min(excess / self._rate, _LONGEST) if self._rate else self._unknown
