"""A `Ledger` in memory, with a clock that the test moves."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from msgspec import Struct, field

from ebbmark.errors import Unavailable
from ebbmark.ledger import (
    CANCELLED,
    CANCELLED_DETAIL,
    Abandoned,
    Candidacy,
    Claim,
    Completion,
    Hearing,
    JobRow,
    Ledger,
    NewJob,
    NewPhoto,
    Outcome,
    PhotoRow,
    Place,
    Snapshot,
    Wanted,
)
from ebbmark.ledger.deliveries import Deliveries, Webhook
from ebbmark.ledger.letters import Letters
from ebbmark.ledger.proofs import Audited, Contents, Proofs
from ebbmark.states import LIVE_JOB_STATES, TERMINAL_PHOTO_STATES, JobState, PhotoState
from ebbmark.testing.memory_deliveries import Delivery, MemoryDeliveries
from ebbmark.testing.memory_letters import Letter, MemoryLetters
from ebbmark.testing.memory_proofs import MemoryProofs

S = TypeVar("S", bound=Struct)

_FILLING = frozenset({JobState.OPEN, JobState.RENDERING})
_DYING = frozenset({JobState.EXPIRING, JobState.EXPIRED})
_WAITING = frozenset({PhotoState.QUEUED, PhotoState.RETRYING})


class _Photo(Struct, kw_only=True):
    """A row of the table `photos`."""

    job: UUID
    n: int
    state: PhotoState
    name: str | None
    size: int
    sha256: bytes
    created_at: datetime
    dispatch_at: datetime | None
    epoch: int = 0
    fence: int = 0
    strikes: int = 0
    lease_until: datetime | None = None
    claimant: UUID | None = None
    dispatches: int = 0
    code: str | None = None
    detail: str | None = None
    width: int | None = None
    height: int | None = None
    result_size: int | None = None
    thumbnail_size: int | None = None
    result_type: str | None = None


class _Job(Struct, kw_only=True):
    """A row of the table `jobs`."""

    id: UUID
    token_hash: bytes | None
    receipt_hash: bytes | None
    recipe: bytes | None
    logo_sha256: bytes | None
    idempotency_hash: bytes | None
    sealed_token: bytes | None
    fingerprint: bytes | None
    created_at: datetime
    upload_deadline: datetime
    attempts: set[UUID]
    state: JobState = JobState.OPEN
    epoch: int = 0
    total: int | None = None
    done: int = 0
    failed: int = 0
    bytes: int = 0
    version: int = 1
    deadline: datetime | None = None
    completed_at: datetime | None = None
    expires_at: datetime | None = None
    announced_epoch: int | None = None
    expiry_announced: bool = False
    delete_at: datetime | None = None
    expired_at: datetime | None = None
    verified_at: datetime | None = None
    listings: int = 0
    deletions: dict[int, Contents] = field(default_factory=dict[int, Contents])
    photos: dict[int, _Photo] = field(default_factory=dict[int, _Photo])
    webhook: Webhook | None = None
    deliveries: dict[str, Delivery] = field(default_factory=dict[str, Delivery])

    def close(self, now: datetime, deadline: timedelta, ttl: timedelta) -> None:
        self.total = len(self.photos)
        self.deadline = now + deadline
        self.state = JobState.RENDERING
        if self.done + self.failed == self.total:
            self.complete(now, ttl)

    def complete(self, now: datetime, ttl: timedelta) -> None:
        self.state = JobState.COMPLETE
        self.completed_at = now
        self.expires_at = now + ttl


class MemoryLedger(Ledger):
    """The same answers as `PostgresLedger`, from dictionaries; `now` is its database's clock."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Begin empty."""
        self.down = False
        self._now = now
        self._jobs: dict[UUID, _Job] = {}
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

    def _changed(self, job: _Job) -> None:
        job.version += 1
        for watcher in self._watchers if self._hearing is Hearing.CONNECTED else ():
            watcher.put_nowait(job.id)

    def _photos(self) -> Iterator[tuple[_Job, _Photo]]:
        for job in self._jobs.values():
            for photo in job.photos.values():
                yield job, photo

    def _row(self, job: _Job) -> JobRow:
        return _as(JobRow, job, now=self._now())

    async def ready(self) -> None:
        self._answer()

    async def open_job(self, job: NewJob) -> JobRow:
        now = self._answer()
        if job.id in self._jobs:
            return self._row(self._jobs[job.id])
        for earlier in self._jobs.values():
            if job.idempotency_hash is not None and earlier.idempotency_hash == job.idempotency_hash:
                if len(earlier.attempts) < 100:
                    earlier.attempts.add(job.attempt)
                return self._row(earlier)
        values: dict[str, Any] = msgspec.structs.asdict(job)
        values |= {"created_at": now, "upload_deadline": now + job.upload_deadline}
        values["attempts"] = {values.pop("attempt")}
        self._jobs[job.id] = _Job(**values)
        return self._row(self._jobs[job.id])

    async def find_job(self, token_hash: bytes) -> JobRow | None:
        self._answer()
        found = self._with_token(token_hash)
        return self._row(found) if found else None

    def _with_token(self, token_hash: bytes) -> _Job | None:
        return next((job for job in self._jobs.values() if job.token_hash == token_hash), None)

    async def read_job(self, job: UUID) -> JobRow | None:
        self._answer()
        return self._row(self._jobs[job]) if job in self._jobs else None

    async def look(self, job: UUID, n: int) -> Place | None:
        row = await self.read_job(job)
        photo = self._jobs[job].photos.get(n) if row else None
        return row and Place(job=row, taken=photo.sha256 if photo else None)

    async def add_photos(
        self,
        job: UUID,
        photos: Sequence[NewPhoto],
        *,
        recipe: bytes | None = None,
        logo_sha256: bytes | None = None,
        fingerprint: bytes | None = None,
        most: int | None = None,
        stale: timedelta,
    ) -> Sequence[PhotoRow]:
        now = self._answer()
        row = self._jobs.get(job)
        if row is None:
            return []
        ours = fingerprint is None or row.fingerprint in {None, fingerprint}
        fits = most is None or row.bytes + sum(photo.size for photo in photos) <= most
        if ours and fits and row.state is JobState.OPEN and row.upload_deadline > now:
            _enter(row, photos, now, stale)
            row.recipe = recipe or row.recipe
            row.logo_sha256 = logo_sha256 or row.logo_sha256
            row.fingerprint = fingerprint or row.fingerprint
            self._changed(row)
        wanted = {photo.n for photo in photos}
        return [_as(PhotoRow, row.photos[n]) for n in sorted(wanted & row.photos.keys())]

    async def submit(
        self,
        job: UUID,
        photos: Sequence[NewPhoto],
        *,
        recipe: bytes,
        logo_sha256: bytes | None,
        fingerprint: bytes,
        stale: timedelta,
        deadline: timedelta,
        ttl: timedelta,
    ) -> JobRow | None:
        now = self._answer()
        row = self._jobs.get(job)
        if row is None:
            return None
        empty = row.state is JobState.OPEN and row.upload_deadline > now and not row.photos
        if empty and row.fingerprint in {None, fingerprint}:
            _enter(row, photos, now, stale)
            row.recipe, row.fingerprint = recipe, fingerprint
            row.logo_sha256 = logo_sha256 or row.logo_sha256
            row.close(now, deadline, ttl)
            self._changed(row)
        return self._row(row)

    async def seal(self, job: UUID, total: int, *, deadline: timedelta, ttl: timedelta) -> JobRow | None:
        now = self._answer()
        row = self._jobs.get(job)
        if row is None:
            return None
        if row.state is JobState.OPEN and len(row.photos) == total and row.recipe is not None:
            row.close(now, deadline, ttl)
            self._changed(row)
        return self._row(row)

    async def backlog(self) -> int:
        self._answer()
        return sum(
            photo.dispatch_at is not None if photo.state in _WAITING else photo.lease_until is not None
            for _, photo in self._photos()
            if photo.state not in TERMINAL_PHOTO_STATES
        )

    async def snapshot(self, job: UUID) -> Snapshot | None:
        self._answer()
        return self._snapshot(self._jobs.get(job))

    async def snapshot_by_token(self, token_hash: bytes) -> Snapshot | None:
        self._answer()
        return self._snapshot(self._with_token(token_hash))

    def _snapshot(self, row: _Job | None) -> Snapshot | None:
        if row is None:
            return None
        photos = [_as(PhotoRow, row.photos[n]) for n in sorted(row.photos)]
        return Snapshot(job=self._row(row), photos=photos)

    async def expire_now(self, job: UUID) -> bool:
        now = self._answer()
        row = self._jobs.get(job)
        if row is None or row.state not in LIVE_JOB_STATES:
            return False
        row.state = JobState.EXPIRING
        row.expires_at = min(row.expires_at or now, now)
        row.delete_at = now
        row.idempotency_hash = None
        self._changed(row)
        return True

    async def abandon(self, job: UUID, attempt: UUID) -> None:
        now = self._answer()
        row = self._jobs.get(job)
        if row is None or not (attempt in row.attempts or row.state in _DYING):
            return
        if row.attempts == {attempt}:
            row.state = JobState.EXPIRED if row.state is JobState.EXPIRED else JobState.EXPIRING
            row.expires_at = min(row.expires_at or now, now)
            row.idempotency_hash = None
        if row.attempts == {attempt} or row.state in _DYING:
            row.delete_at = now
        row.attempts.discard(attempt)
        row.verified_at = None
        self._changed(row)

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

    async def redrive(
        self,
        photos: Sequence[Wanted],
        *,
        recipe: bytes | None = None,
        logo_sha256: bytes | None = None,
        within: timedelta | None = None,
        stale: timedelta,
        deadline: timedelta,
    ) -> Sequence[Wanted]:
        now = self._answer()
        wanted, again = set(photos), list[_Photo]()
        for job in self._jobs.values():
            failed = [photo for photo in job.photos.values() if _may_begin_anew(photo, wanted)]
            young = within is None or job.created_at > now - within
            if failed and young and _may_render_again(job, now, recipe):
                job.state = JobState.RENDERING
                job.completed_at = job.expires_at = None
                job.deadline = now + deadline
                job.recipe = recipe or job.recipe
                job.logo_sha256 = logo_sha256 or job.logo_sha256
                job.failed -= len(failed)
                job.epoch += 1
                self._changed(job)
                again += failed
        for photo in again:
            photo.state = PhotoState.QUEUED
            photo.epoch += 1
            photo.strikes = photo.dispatches = 0
            photo.lease_until = photo.claimant = photo.code = photo.detail = None
            photo.dispatch_at = now + stale
        return sorted((_as(Wanted, photo) for photo in again), key=lambda each: (each.job, each.n))

    async def cancel(
        self, job: UUID, photos: Sequence[int] | None = None, *, ttl: timedelta
    ) -> Sequence[int]:
        now = self._answer()
        row = self._jobs.get(job)
        if row is None or row.state not in _FILLING:
            return []
        ended = [
            photo
            for n, photo in sorted(row.photos.items())
            if photo.state not in TERMINAL_PHOTO_STATES and (photos is None or n in photos)
        ]
        for photo in ended:
            photo.state, photo.code, photo.detail = PhotoState.FAILED, CANCELLED, CANCELLED_DETAIL
            photo.lease_until = photo.claimant = photo.dispatch_at = None
        row.failed += len(ended)
        if ended:
            if row.state is JobState.RENDERING and row.done + row.failed == row.total:
                row.complete(now, ttl)
            self._changed(row)
        return [photo.n for photo in ended]

    async def claim(
        self, wanted: Sequence[Wanted], *, claimant: UUID, lease: timedelta, strikes: int
    ) -> Sequence[Claim]:
        now = self._answer()
        claims: dict[tuple[UUID, int], Claim] = {}
        for each in wanted:
            job = self._jobs.get(each.job)
            photo = job.photos.get(each.n) if job else None
            if job is None or photo is None or photo.epoch != each.epoch:
                continue
            if job.state not in _FILLING or job.recipe is None:
                continue
            held = photo.state is PhotoState.RENDERING and photo.claimant == claimant
            free = photo.state is PhotoState.QUEUED or _unleased(photo, now)
            if not held and (photo.strikes >= strikes or not free):
                continue
            photo.state = PhotoState.RENDERING
            photo.claimant = claimant
            photo.fence += not held
            photo.strikes += not held
            photo.lease_until = now + lease
            claims[each.job, each.n] = _as(Claim, photo, recipe=job.recipe, logo_sha256=job.logo_sha256)
        return list(claims.values())

    async def renew(self, claims: Sequence[Claim], *, lease: timedelta) -> None:
        now = self._answer()
        for claim in claims:
            job = self._jobs.get(claim.job)
            photo = job.photos.get(claim.n) if job else None
            if photo is not None and _is_held(photo, claim):
                photo.lease_until = now + lease

    async def reported(self, claim: Claim, *, lease: timedelta) -> None:
        now = self._answer()
        job = self._jobs.get(claim.job)
        photo = job.photos.get(claim.n) if job else None
        if photo is not None and _is_held(photo, claim):
            photo.claimant = None
            photo.strikes = max(0, photo.strikes - 1)
            photo.lease_until = now + lease * 2 ** min(photo.dispatches, 3)

    async def release(self, claim: Claim, *, strikes: int, retry_after: timedelta) -> None:
        now = self._answer()
        job = self._jobs.get(claim.job)
        photo = job.photos.get(claim.n) if job else None
        if job is not None and photo is not None and _is_held(photo, claim):
            photo.state = PhotoState.RETRYING
            photo.lease_until = photo.claimant = None
            photo.strikes = max(0, photo.strikes + strikes)
            photo.dispatch_at = now + retry_after
            self._changed(job)

    async def finish(self, outcomes: Sequence[Outcome], *, ttl: timedelta) -> Sequence[Completion]:
        now = self._answer()
        moved: dict[UUID, _Job] = {}
        for outcome in sorted(outcomes, key=lambda each: each.code is not None):
            job = self._jobs.get(outcome.job)
            photo = job.photos.get(outcome.n) if job else None
            if job is None or photo is None or job.state not in _FILLING or not _ends(photo, outcome):
                continue
            photo.state = PhotoState.DONE if outcome.code is None else PhotoState.FAILED
            photo.lease_until = photo.dispatch_at = None
            photo.code, photo.detail = outcome.code, outcome.detail
            photo.width, photo.height = outcome.width, outcome.height
            photo.result_size, photo.thumbnail_size = outcome.size, outcome.thumbnail_size
            photo.result_type = outcome.media_type
            job.done += outcome.code is None
            job.failed += outcome.code is not None
            moved[job.id] = job
        completed: list[Completion] = []
        for job in moved.values():
            if job.state is JobState.RENDERING and job.done + job.failed == job.total:
                job.complete(now, ttl)
                completed.append(_completion(job))
            self._changed(job)
        return completed

    async def announced(self, completions: Sequence[Completion]) -> None:
        self._answer()
        for each in completions:
            if job := self._jobs.get(each.job):
                job.announced_epoch = max(each.epoch, job.announced_epoch or 0)

    @asynccontextmanager
    async def candidacy(self) -> AsyncGenerator[Candidacy]:
        standing = _MemoryCandidacy(self)
        try:
            yield standing
        finally:
            standing.leave()

    async def overdue(self, *, limit: int) -> Sequence[Wanted]:
        now = self._answer()
        due = [
            photo
            for job, photo in self._photos()
            if job.state in _FILLING and photo.state in _WAITING and _past(photo.dispatch_at, now)
        ]
        due.sort(key=lambda photo: (photo.dispatch_at or now, photo.job, photo.n))
        for photo in due[:limit]:
            photo.state = PhotoState.QUEUED
            photo.dispatch_at = now + timedelta(seconds=10)
        return [_as(Wanted, photo) for photo in due[:limit]]

    async def dispatched(self, orders: Sequence[Wanted], *, stale: timedelta) -> None:
        now = self._answer()
        for order in orders:
            job = self._jobs.get(order.job)
            photo = job.photos.get(order.n) if job else None
            if photo is None or (photo.state, photo.epoch) != (PhotoState.QUEUED, order.epoch):
                continue
            photo.dispatch_at = now + stale * 2 ** min(photo.dispatches, 6)
            photo.dispatches = min(photo.dispatches + 1, 10)

    async def end_leases(self, *, strikes: int) -> None:
        now = self._answer()
        for _, photo in self._photos():
            if _unleased(photo, now) and photo.strikes < strikes:
                photo.state = PhotoState.RETRYING
                photo.lease_until = photo.claimant = None
                jitter = random.uniform(0.8, 1.2)  # noqa: S311 - spreads retries, guards no secret
                photo.dispatch_at = now + timedelta(seconds=2**photo.strikes * jitter)

    async def given_up(self, *, strikes: int) -> Sequence[Abandoned]:
        now = self._answer()
        lost: list[Abandoned] = []
        for job, photo in self._photos():
            if job.state not in _FILLING or photo.state in TERMINAL_PHOTO_STATES:
                continue
            spent = photo.strikes >= strikes and (photo.state in _WAITING or _unleased(photo, now))
            if spent or (job.state is JobState.RENDERING and job.deadline is not None and job.deadline < now):
                lost.append(_as(Abandoned, photo, code="poison" if photo.strikes >= strikes else "deadline"))
        return lost

    async def unannounced(self) -> Sequence[Completion]:
        latest = self._answer() - timedelta(seconds=10)
        return [
            _completion(job)
            for job in self._jobs.values()
            if job.state is JobState.COMPLETE
            and job.announced_epoch != job.epoch
            and job.completed_at is not None
            and job.completed_at < latest
        ]

    async def expire_due(self, *, grace: timedelta) -> Sequence[UUID]:
        now = self._answer()
        due = [
            job
            for job in self._jobs.values()
            if job.state in _DYING and job.verified_at is None and _past(job.delete_at, now)
        ]
        for job in due:
            job.delete_at = now + timedelta(seconds=30)
        for job in self._jobs.values():
            ran_out = job.state is JobState.COMPLETE and _past(job.expires_at, now)
            abandoned = job.state is JobState.OPEN and job.upload_deadline <= now
            if ran_out or abandoned:
                job.expires_at = job.expires_at or now
                job.delete_at = job.expires_at + grace if ran_out else now
                job.state = JobState.EXPIRING
                job.idempotency_hash = None
                self._changed(job)
        return [job.id for job in due]

    async def mark_expired(self, job: UUID, *, quiet: timedelta) -> bool:
        now = self._answer()
        row = self._jobs.get(job)
        if row is None or row.state not in _DYING or row.verified_at is not None:
            return False
        if row.expired_at is not None and row.expired_at <= now - quiet:
            row.verified_at = now
        row.state = JobState.EXPIRED
        row.listings += 1
        row.expired_at = row.expired_at or now
        row.delete_at = row.expired_at + quiet
        row.token_hash = row.recipe = row.logo_sha256 = None
        row.idempotency_hash = row.sealed_token = row.fingerprint = None
        for photo in row.photos.values():
            photo.name = photo.detail = photo.dispatch_at = photo.lease_until = None
            photo.sha256 = b""
        self._changed(row)
        return not row.expiry_announced

    async def expiry_announced(self, job: UUID) -> None:
        self._answer()
        if job in self._jobs:
            self._jobs[job].expiry_announced = True

    async def forget(self, *, tombstone: timedelta) -> int:
        now = self._answer()
        old = [
            job.id
            for job in self._jobs.values()
            if job.state is JobState.EXPIRED and job.expired_at and job.expired_at < now - tombstone
        ]
        for job in old:
            del self._jobs[job]
        return len(old)

    @property
    def deliveries(self) -> Deliveries:
        return MemoryDeliveries(self._jobs, self._answer)

    @property
    def letters(self) -> Letters:
        return MemoryLetters(self._letters, self._jobs, self._answer)

    @property
    def proofs(self) -> Proofs:
        return MemoryProofs(self._jobs, self._answer, self._audits)

    def take_the_lead(self, candidate: object) -> bool:
        """Return whether the candidate leads now."""
        self._answer()
        self._leader = self._leader or candidate
        return self._leader is candidate

    def give_up_the_lead(self, candidate: object) -> None:
        """Make room for another."""
        if self._leader is candidate:
            self._leader = None


class _MemoryCandidacy(Candidacy):
    def __init__(self, ledger: MemoryLedger) -> None:
        self._ledger = ledger

    async def leads(self) -> bool:
        try:
            return self._ledger.take_the_lead(self)
        except Unavailable:
            self.leave()
            return False

    def leave(self) -> None:
        self._ledger.give_up_the_lead(self)


def _enter(job: _Job, photos: Sequence[NewPhoto], now: datetime, stale: timedelta) -> None:
    for photo in photos:
        if photo.n in job.photos:
            continue
        refused = photo.code is not None
        job.photos[photo.n] = _Photo(
            **msgspec.structs.asdict(photo),
            job=job.id,
            state=PhotoState.FAILED if refused else PhotoState.QUEUED,
            created_at=now,
            dispatch_at=None if refused else now + stale,
        )
        job.failed += refused
        job.bytes += photo.size


def _may_begin_anew(photo: _Photo, wanted: Collection[Wanted]) -> bool:
    return photo.state is PhotoState.FAILED and photo.size > 0 and _as(Wanted, photo) in wanted


def _may_render_again(job: _Job, now: datetime, recipe: bytes | None) -> bool:
    alive = job.state is JobState.COMPLETE and not _past(job.expires_at, now)
    return alive or (job.state is JobState.RENDERING and recipe is None)


def _past(moment: datetime | None, now: datetime) -> bool:
    return moment is not None and moment <= now


def _unleased(photo: _Photo, now: datetime) -> bool:
    """Whether it is leased to nobody alive."""
    return photo.state is PhotoState.RENDERING and photo.lease_until is not None and photo.lease_until < now


def _is_held(photo: _Photo, claim: Claim) -> bool:
    """Whether the claim is the current one, and not reported."""
    current = (photo.epoch, photo.fence) == (claim.epoch, claim.fence)
    return photo.state is PhotoState.RENDERING and photo.claimant is not None and current


def _ends(photo: _Photo, outcome: Outcome) -> bool:
    current = outcome.code is None or outcome.fence == photo.fence
    return photo.epoch == outcome.epoch and photo.state not in TERMINAL_PHOTO_STATES and current


def _completion(job: _Job) -> Completion:
    return Completion(
        job=job.id, epoch=job.epoch, done=job.done, failed=job.failed, awaited=job.webhook is not None
    )


def _as(kind: type[S], row: Struct, **others: object) -> S:
    """Return a value of `kind` from the fields of the same names, `others` first."""
    rest = (name for name in kind.__struct_fields__ if name not in others)
    return kind(**others, **{name: getattr(row, name) for name in rest})
