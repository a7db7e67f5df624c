"""The ledger's door in memory: jobs are opened, filled, sealed, looked at and deleted."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from ebbmark.ledger import JobRow, NewJob, NewPhoto, PhotoRow, Place, Snapshot, Times, Waiting
from ebbmark.states import LIVE_JOB_STATES, TERMINAL_PHOTO_STATES, JobState, PhotoState
from ebbmark.testing.memory_rows import DYING, WAITING, Job, Photo, as_
from ebbmark.testing.memory_tables import Tables


class MemoryDoor(Tables):
    """The same answers as `PostgresLedger`."""

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
        self._jobs[job.id] = Job(**values)
        return self._row(self._jobs[job.id])

    async def find_job(self, token_hash: bytes) -> JobRow | None:
        self._answer()
        found = self._with_token(token_hash)
        return self._row(found) if found else None

    def _with_token(self, token_hash: bytes) -> Job | None:
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
        return [as_(PhotoRow, row.photos[n]) for n in sorted(wanted & row.photos.keys())]

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
            row.unaccepted_until = max(row.upload_deadline, now + timedelta(seconds=30))
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

    async def accepted(self, job: UUID) -> bool:
        self._answer()
        row = self._jobs.get(job)
        if row is None or row.state not in LIVE_JOB_STATES:
            return False
        row.unaccepted_until = None
        return True

    async def backlog(self) -> Waiting:
        self._answer()
        waiting = [
            job
            for job, photo in self._photos()
            if photo.state not in TERMINAL_PHOTO_STATES
            and (photo.dispatch_at if photo.state in WAITING else photo.lease_until) is not None
        ]
        resultless = {job.id for job in waiting if not (job.done or job.waits_for_seal)}
        return Waiting(photos=len(waiting), jobs=len(resultless))

    async def snapshot(self, job: UUID) -> Snapshot | None:
        self._answer()
        return self._snapshot(self._jobs.get(job))

    async def snapshot_by_token(self, token_hash: bytes) -> Snapshot | None:
        self._answer()
        return self._snapshot(self._with_token(token_hash))

    def _snapshot(self, row: Job | None) -> Snapshot | None:
        if row is None:
            return None
        photos = [as_(PhotoRow, row.photos[n]) for n in sorted(row.photos)]
        return Snapshot(job=self._row(row), photos=photos)

    async def times(self, job: UUID) -> Sequence[Times]:
        self._answer()
        rows = self._jobs[job].photos if job in self._jobs else {}
        return [
            as_(
                Times,
                row,
                claims=row.fence,
                accepted_at=row.created_at,
                round_at=row.round_at or row.created_at,
            )
            for _, row in sorted(rows.items())
        ]

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
        if row is None or not (attempt in row.attempts or row.state in DYING):
            return
        if row.attempts == {attempt}:
            row.state = JobState.EXPIRED if row.state is JobState.EXPIRED else JobState.EXPIRING
            row.expires_at = min(row.expires_at or now, now)
            row.idempotency_hash = None
        if row.attempts == {attempt} or row.state in DYING:
            row.delete_at = now
        row.attempts.discard(attempt)
        row.verified_at = None
        self._changed(row)


def _enter(job: Job, photos: Sequence[NewPhoto], now: datetime, stale: timedelta) -> None:
    for photo in photos:
        if photo.n in job.photos:
            continue
        refused = photo.code is not None
        job.photos[photo.n] = Photo(
            **msgspec.structs.asdict(photo),
            job=job.id,
            state=PhotoState.FAILED if refused else PhotoState.QUEUED,
            created_at=now,
            dispatch_at=None if refused else now + stale,
            ended_at=now if refused else None,
        )
        job.failed += refused
        job.bytes += photo.size
