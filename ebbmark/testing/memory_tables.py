"""What every part of a `MemoryLedger` works on: its rows, its clock, and who watches it."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing
from datetime import UTC, datetime
from uuid import UUID

from ebbmark.errors import Unavailable
from ebbmark.ledger import Hearing, JobRow, Ledger
from ebbmark.ledger.proofs import Audited
from ebbmark.testing.memory_letters import Letter
from ebbmark.testing.memory_rows import Job, Photo, as_


class Tables(Ledger):
    """The rows of a ledger; `now` is its database's clock. The parts are made of it."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Begin empty."""
        self.down = False
        self._now = now
        self._jobs: dict[UUID, Job] = {}
        self._letters: dict[str, Letter] = {}
        self._watchers: list[asyncio.Queue[UUID | Hearing]] = []
        self._hearing = Hearing.CONNECTED
        self._leader: object | None = None
        self._audits: list[Audited] = []

    def interrupt(self) -> None:
        """Cut the connection behind `changes`: nothing more is heard."""
        self._tell(Hearing.LOST)

    def reconnect(self) -> None:
        """Have changes heard again."""
        self._tell(Hearing.CONNECTED)

    def _tell(self, hearing: Hearing) -> None:
        self._hearing = hearing
        for watcher in self._watchers:
            watcher.put_nowait(hearing)

    def _answer(self) -> datetime:
        if self.down:
            raise Unavailable("ledger-unavailable", "The database does not answer.")
        return self._now()

    def _changed(self, job: Job) -> None:
        job.version += 1
        for watcher in self._watchers if self._hearing is Hearing.CONNECTED else ():
            watcher.put_nowait(job.id)

    def _photos(self) -> Iterator[tuple[Job, Photo]]:
        for job in self._jobs.values():
            for photo in job.photos.values():
                yield job, photo

    def _row(self, job: Job) -> JobRow:
        return as_(JobRow, job, now=self._now())

    def changes(self) -> AbstractAsyncContextManager[AsyncIterator[UUID | Hearing]]:
        return aclosing(self._changes())

    async def _changes(self) -> AsyncGenerator[UUID | Hearing]:
        watcher: asyncio.Queue[UUID | Hearing] = asyncio.Queue()
        self._watchers.append(watcher)
        try:
            yield self._hearing
            while True:
                yield await watcher.get()
        finally:
            self._watchers.remove(watcher)
