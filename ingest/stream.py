"""What watchers see: snapshots kept fresh by the ledger's notifications, never deltas.

One listener per process hears of every change. While it listens, a snapshot in memory is known to
be current, so a busy status page costs the database nothing; when it does not, every read asks.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict, defaultdict
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, timedelta
from functools import cached_property
from itertools import chain
from uuid import UUID

import msgspec
from litestar.response.sse import ServerSentEventMessage
from msgspec import Struct

from ebbmark.errors import Rejected, Unavailable
from ebbmark.ledger import Hearing, Ledger, Snapshot
from ebbmark.states import JobState
from ingest import schemas
from ingest.names import file_names
from ingest.tokens import token_hash
from observability import logs, metrics

log = logs.get(__name__)

_CACHED_BYTES = 64 * 1024**2
_REMEMBERED_CHANGES = 100_000
_PING = 15.0
_SHORTEST_PAUSE = 0.25
_AGAIN = 2.0
"""Seconds after which a job that renders is read again: claims are not told."""
_READ_AGAIN = 50
"""At most so many of them are read again in a second: a thousand that wait would take the database from those
that render."""
_STAMP = b'"server_time":"'

_encoder = msgspec.json.Encoder()


class Unknown(Rejected):
    """No job has this id: it never had, or everything about it is forgotten."""

    def __init__(self, *_: str) -> None:
        """One sentence for both, so that nobody learns which."""
        super().__init__("unknown-job", "There is no job with this id.")


class Expired(Rejected):
    """The job's links are dead, and its photos deleted or about to be."""

    def __init__(self, *_: str) -> None:
        """It is not worth repeating."""
        super().__init__("job-expired", "The photos of this job were deleted, as promised.")


class Sight(Struct, frozen=True, eq=False, dict=True):
    """A living job as of one moment, with its JSON."""

    snapshot: Snapshot
    view: schemas.Job
    body: bytes
    asked_at: int
    """How many changes had been heard when the ledger was asked for it."""
    read_at: float
    lives: float
    """Seconds from `read_at` to the death of the links, by the database's clock."""

    digest: str
    """Tells states apart that have the same version: claims change none."""

    @property
    def etag(self) -> str:
        """Changes with everything but the server's time."""
        return f'W/"{self.view.version}-{self.digest}"'

    @cached_property
    def file_names(self) -> Mapping[int, str]:
        """What each result that is done is saved as; told once, however many are downloaded."""
        return file_names(self.snapshot)

    @property
    def restless(self) -> bool:
        """Whether photos of it may change without a word: claims are silent."""
        ended = self.view.done + self.view.failed
        return self.view.state is not JobState.COMPLETE and ended < len(self.view.photos)

    @property
    def age(self) -> float:
        """Seconds since the ledger was asked."""
        return time.monotonic() - self.read_at

    @property
    def left(self) -> float:
        """Seconds until the links die."""
        return self.read_at + self.lives - time.monotonic()

    def json(self) -> bytes:
        """The status as JSON, with the server's time of now."""
        head, _, _ = self.body.rpartition(_STAMP)
        now = self.view.server_time + timedelta(seconds=time.monotonic() - self.read_at)
        return head + _STAMP + now.astimezone(UTC).isoformat().encode() + b'"}'


class _Reading(Struct, frozen=True, eq=False):
    """A question to the ledger that is under way; who comes before any further change shares its answer."""

    begun: int
    task: asyncio.Task[Sight]


class Watch:
    """Sights of jobs, and who waits for their next change."""

    def __init__(self, ledger: Ledger, *, stream_timeout: timedelta) -> None:
        """`run` must be running for anything to be remembered."""
        self._ledger = ledger
        self._longest = stream_timeout.total_seconds()
        self._sights: OrderedDict[bytes, Sight] = OrderedDict()
        self._bytes = 0
        self._hashes: dict[UUID, bytes] = {}
        self._listening = False
        self._changes = 0
        self._changed_at: dict[UUID, int] = {}
        self._lost_at = 0
        self._readings: dict[bytes, _Reading] = {}
        self._waiting: defaultdict[UUID, set[asyncio.Event]] = defaultdict(set)
        self._closing = asyncio.Event()

    @property
    def listening(self) -> bool:
        """Whether every change is heard, so that what is remembered is known to be current."""
        return self._listening

    async def run(self) -> None:
        """Listen for ever."""
        try:
            async with self._ledger.changes() as changes:
                async for change in changes:
                    self._heard(change)
        finally:
            self._listening = False

    def close(self) -> None:
        """End every stream: the process is going to stop."""
        self._closing.set()
        for events in self._waiting.values():
            for event in events:
                event.set()

    def changed(self, job: UUID) -> None:
        """Take note of a change that was made here, before the ledger's own word of it arrives."""
        self._heard(job)

    def _heard(self, change: UUID | Hearing) -> None:
        self._changes += 1
        woken: Iterable[asyncio.Event] = ()
        if isinstance(change, UUID):
            self._changed_at[change] = self._changes
            hashed = self._hashes.get(change)
            if hashed is not None:
                self._drop(hashed)
            woken = self._waiting.get(change, ())
            if len(self._changed_at) > _REMEMBERED_CHANGES:
                self._forget()
        else:
            self._listening = change is Hearing.CONNECTED
            self._forget()
            if self._listening:  # what was missed nobody knows
                woken = chain.from_iterable(self._waiting.values())
        for event in woken:
            event.set()

    def _forget(self) -> None:
        self._lost_at = self._changes
        for hashed in list(self._sights):
            self._drop(hashed)
        self._changed_at.clear()

    def _outdated(self, sight: Sight) -> bool:
        """Whether a change was heard, or may have been missed, while the ledger's answer was on its way."""
        return max(self._lost_at, self._changed_at.get(sight.snapshot.job.id, 0)) > sight.asked_at

    def _drop(self, hashed: bytes) -> None:
        sight = self._sights.pop(hashed, None)
        if sight is not None:
            self._bytes -= len(sight.body)
            self._hashes.pop(sight.snapshot.job.id, None)

    async def look(self, public_id: str) -> Sight:
        """Return the job as it is now.

        What claims change may be seen two seconds late, and up to 15 while hundreds of jobs are watched.

        Raises:
            Unknown: there is none.
            Expired: its links are dead.
        """
        hashed = token_hash(public_id)
        sight = self._sights.get(hashed)
        if sight is not None and sight.left > 0 and (sight.age < self._again or not sight.restless):
            self._sights.move_to_end(hashed)
            return sight
        reading = self._readings.get(hashed)
        if reading is None or reading.begun < self._changes:
            reading = _Reading(self._changes, asyncio.create_task(self._read(public_id, hashed)))
            self._readings[hashed] = reading
            reading.task.add_done_callback(lambda _: self._end(hashed, reading))
        return await asyncio.shield(reading.task)

    async def _read(self, public_id: str, hashed: bytes) -> Sight:
        asked_at = self._changes
        snapshot = await self._ledger.snapshot_by_token(hashed)
        if snapshot is None:
            raise Unknown
        if not snapshot.job.live:
            raise Expired
        sight = _sight(public_id, snapshot, asked_at)
        if self._listening and not self._outdated(sight):
            self._keep(hashed, sight)
        return sight

    def _end(self, hashed: bytes, reading: _Reading) -> None:
        if self._readings.get(hashed) is reading:
            del self._readings[hashed]
        if not reading.task.cancelled():
            reading.task.exception()  # noted, even when all who waited for it have left

    def _keep(self, hashed: bytes, sight: Sight) -> None:
        self._drop(hashed)
        self._sights[hashed] = sight
        self._hashes[sight.snapshot.job.id] = hashed
        self._bytes += len(sight.body)
        while self._bytes > _CACHED_BYTES:
            self._drop(next(iter(self._sights)))

    async def events(self, public_id: str, last_seen: int) -> AsyncGenerator[ServerSentEventMessage]:
        """Yield a snapshot at once (unless the client has it) and after every change, until the end.

        A reconnecting client names the version it saw last; it never sees an earlier one. The same
        version may come again when photos were claimed meanwhile. Ends at a terminal state, at the
        longest time a stream may live, or when the process stops; the client then reconnects. A comment comes
        after 15 seconds without a word, also while the ledger is away.
        """
        until = time.monotonic() + self._longest
        version, digest, spoke = last_seen, "", time.monotonic()
        with metrics.WATCHERS.track_inprogress():
            while not self._closing.is_set() and time.monotonic() < until:
                if time.monotonic() - spoke >= _PING:
                    spoke = time.monotonic()
                    yield ServerSentEventMessage(comment="ping")
                woken = asyncio.Event()
                try:
                    async with asyncio.timeout(spoke + _PING - time.monotonic()):
                        sight = await self.look(public_id)
                except TimeoutError:  # it takes long, and a word is due
                    continue
                except (Unknown, Expired) as exc:
                    yield ServerSentEventMessage(event="end", data=exc.code)
                    return
                except Unavailable:
                    await asyncio.sleep(1)
                    continue
                job = sight.snapshot.job
                self._waiting[job.id].add(woken)
                if self._outdated(sight):  # heard before anybody waited for it
                    woken.set()
                try:
                    complete = job.state is JobState.COMPLETE
                    claimed = job.version == version and sight.digest != digest and not complete
                    if job.version > version or claimed:
                        version, digest, spoke = job.version, sight.digest, time.monotonic()
                        yield ServerSentEventMessage(
                            event="snapshot", id=str(version), data=sight.json().decode()
                        )
                    if complete:
                        yield ServerSentEventMessage(event="end", data=job.state.value)
                        return
                    await asyncio.sleep(_SHORTEST_PAUSE)
                    with suppress(TimeoutError):
                        due = min(spoke + _PING, until) - time.monotonic()
                        async with asyncio.timeout(min(self._pause(sight), due)):
                            await woken.wait()
                finally:
                    self._waiting[job.id].discard(woken)
                    if not self._waiting[job.id]:
                        del self._waiting[job.id]

    def _pause(self, sight: Sight) -> float:
        """Return how long to wait for word of a change; without a connection none comes, and asking costs."""
        return self._again if self._listening and sight.restless else _PING

    @property
    def _again(self) -> float:
        return min(_PING, max(_AGAIN, len(self._waiting) / _READ_AGAIN))


def _sight(public_id: str, snapshot: Snapshot, asked_at: int) -> Sight:
    view = schemas.job(public_id, snapshot)
    job = snapshot.job
    lives = (job.expires_at - job.now).total_seconds() if job.expires_at else float("inf")
    body = _encoder.encode(view)
    digest = hashlib.blake2b(body.rpartition(_STAMP)[0], digest_size=8).hexdigest()
    return Sight(snapshot, view, body, asked_at, time.monotonic(), lives, digest)


def parse_last_event_id(text: str | None) -> int:
    """Return the version a reconnecting client saw last; 0 when it says nothing readable."""
    return int(text) if text and text.isdecimal() and len(text) < 19 else 0
