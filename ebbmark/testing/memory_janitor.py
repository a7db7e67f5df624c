"""The ledger's janitor in memory: second chances, ends, and who leads."""

import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

from ebbmark.errors import Unavailable
from ebbmark.ledger import Abandoned, Candidacy, Completion, Ended, Wanted
from ebbmark.states import TERMINAL_PHOTO_STATES, JobState, PhotoState
from ebbmark.testing.memory_rows import (
    DYING,
    ENDED,
    FILLING,
    SEALED,
    WAITING,
    as_,
    completion,
    past,
    unleased,
)
from ebbmark.testing.memory_tables import Tables


class MemoryJanitor(Tables):
    """The same answers as `PostgresLedger`."""

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
            if job.state in FILLING and photo.state in WAITING and past(photo.dispatch_at, now)
        ]
        due.sort(key=lambda photo: (photo.dispatch_at or now, photo.job, photo.n))
        for photo in due[:limit]:
            photo.state = PhotoState.QUEUED
            photo.dispatch_at = now + timedelta(seconds=10)
        return [as_(Wanted, photo) for photo in due[:limit]]

    async def dispatched(self, orders: Sequence[Wanted], *, stale: timedelta) -> None:
        now = self._answer()
        for order in orders:
            job = self._jobs.get(order.job)
            photo = job.photos.get(order.n) if job else None
            if photo is None or (photo.state, photo.epoch) != (PhotoState.QUEUED, order.epoch):
                continue
            photo.dispatch_at = now + stale * 2 ** min(photo.dispatches, 6)
            photo.dispatches = min(photo.dispatches + 1, 10)

    async def end_leases(self, *, strikes: int) -> int:
        now = self._answer()
        lost = [photo for _, photo in self._photos() if unleased(photo, now) and photo.strikes < strikes]
        for photo in lost:
            photo.state = PhotoState.RETRYING
            photo.lease_until = photo.claimant = None
            jitter = random.uniform(0.8, 1.2)  # noqa: S311 - spreads retries, guards no secret
            photo.dispatch_at = now + timedelta(seconds=2**photo.strikes * jitter)
        return len(lost)

    async def given_up(self, *, strikes: int) -> Sequence[Abandoned]:
        now = self._answer()
        lost: list[Abandoned] = []
        for job, photo in self._photos():
            if job.state not in FILLING or photo.state in TERMINAL_PHOTO_STATES:
                continue
            spent = photo.strikes >= strikes and (photo.state in WAITING or unleased(photo, now))
            if spent or (job.state is JobState.RENDERING and job.deadline is not None and job.deadline < now):
                lost.append(as_(Abandoned, photo, code="poison" if photo.strikes >= strikes else "deadline"))
        return lost

    async def unannounced(self) -> Sequence[Completion]:
        latest = self._answer() - timedelta(seconds=10)
        return [
            completion(job)
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
            if job.state in DYING and job.verified_at is None and past(job.delete_at, now)
        ]
        for job in due:
            job.delete_at = now + timedelta(seconds=30)
        for job in self._jobs.values():
            ran_out = job.state is JobState.COMPLETE and past(job.expires_at, now)
            abandoned = job.state is JobState.OPEN and job.upload_deadline <= now
            unaccepted = job.state in SEALED and past(job.unaccepted_until, now)
            if ran_out or abandoned or unaccepted:
                job.expires_at = min(job.expires_at or now, now)
                job.delete_at = job.expires_at + grace if ran_out else now
                job.state = JobState.EXPIRING
                job.idempotency_hash = None
                self._changed(job)
        return [job.id for job in due]

    async def expiry_overdue(self) -> timedelta:
        now = self._answer()
        ended = (row.expires_at for row in self._jobs.values() if row.state in ENDED and row.expires_at)
        return max(timedelta(0), timedelta(0), *(now - moment for moment in ended))

    async def mark_expired(self, job: UUID, *, quiet: timedelta) -> Ended | None:
        now = self._answer()
        row = self._jobs.get(job)
        if row is None or row.state not in DYING or row.verified_at is not None:
            return None
        if row.expired_at is not None and row.expired_at <= now - quiet:
            row.verified_at = now
        row.state = JobState.EXPIRED
        row.listings += 1
        row.expired_at = row.expired_at or now
        row.delete_at = row.expired_at + quiet
        row.token_hash = row.recipe = row.logo_sha256 = None
        row.idempotency_hash = row.sealed_token = row.fingerprint = None
        for photo in row.photos.values():
            photo.name = photo.detail = photo.removed = photo.dispatch_at = photo.lease_until = None
            photo.sha256 = b""
        self._changed(row)
        return None if row.expiry_announced else Ended(row.expired_at - (row.expires_at or row.expired_at))

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
    def __init__(self, ledger: "MemoryJanitor") -> None:
        self._ledger = ledger

    async def leads(self) -> bool:
        try:
            return self._ledger.take_the_lead(self)
        except Unavailable:
            self.leave()
            return False

    def leave(self) -> None:
        self._ledger.give_up_the_lead(self)
