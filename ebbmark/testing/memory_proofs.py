"""The ledger's proofs in memory, on the jobs of a `MemoryLedger`."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

from ebbmark.ledger.proofs import Audited, Contents, Expected, Fate, Proofs, ReceiptRow
from ebbmark.states import LIVE_JOB_STATES, JobState, PhotoState


class Photo(Protocol):
    """What is read of a photo here."""

    n: int
    state: PhotoState
    epoch: int
    sha256: bytes


class Job(Protocol):
    """What is read of a job here, and what its deletions found."""

    id: UUID
    state: JobState
    receipt_hash: bytes | None
    listings: int
    created_at: datetime
    upload_deadline: datetime
    deadline: datetime | None
    unaccepted_until: datetime | None
    completed_at: datetime | None
    expires_at: datetime | None
    delete_at: datetime | None
    expired_at: datetime | None
    verified_at: datetime | None
    deletions: dict[int, Contents]

    @property
    def photos(self) -> Mapping[int, Photo]:
        """By `n`."""
        ...


class MemoryProofs(Proofs):
    """The same answers as `PostgresProofs`."""

    def __init__(self, jobs: Mapping[UUID, Job], now: Callable[[], datetime], audits: list[Audited]) -> None:
        """`now` raises `Unavailable` while the ledger is down; the last of the audits counts."""
        self._jobs = jobs
        self._now = now
        self._audits = audits

    async def clock(self) -> datetime:
        return self._now()

    async def listings(self, job: UUID) -> int:
        self._now()
        return self._jobs[job].listings if job in self._jobs else 0

    async def note(self, job: UUID, listing: int, contents: Contents) -> None:
        now = self._now()
        row = self._jobs.get(job)
        if row is None:
            return
        if row.verified_at is not None:
            row.verified_at, row.delete_at = None, now + timedelta(seconds=30)
        noted = row.deletions.get(listing, Contents())
        row.deletions[listing] = Contents(
            **{name: max(getattr(noted, name), getattr(contents, name)) for name in _COUNTS}
        )

    async def receipt(self, receipt_hash: bytes) -> ReceiptRow | None:
        now = self._now()
        row = next((job for job in self._jobs.values() if job.receipt_hash == receipt_hash), None)
        if row is None:
            return None
        gone = [contents for listing, contents in row.deletions.items() if listing < row.listings]
        last = self._audits[-1].started_at if self._audits else None
        return ReceiptRow(
            state=row.state,
            created_at=row.created_at,
            completed_at=row.completed_at,
            expires_at=row.expires_at,
            expired_at=row.expired_at,
            verified_at=row.verified_at,
            audited_at=last if last and row.verified_at and last >= row.verified_at else None,
            deleted=Contents(**{name: sum(getattr(each, name) for each in gone) for name in _COUNTS}),
            now=now,
        )

    async def fates(
        self, jobs: Sequence[UUID], *, ttl: timedelta, grace: timedelta, quiet: timedelta, margin: timedelta
    ) -> Mapping[UUID, Fate]:
        now = self._now()

        def empty_by(job: Job) -> datetime:
            unaccepted = job.unaccepted_until or datetime.max.replace(tzinfo=UTC) - grace
            ends = {
                JobState.OPEN: job.upload_deadline + grace,
                JobState.RENDERING: min((job.deadline or now) + ttl, unaccepted) + grace,
                JobState.COMPLETE: min(job.expires_at or now, unaccepted) + grace,
                JobState.EXPIRED: (job.expired_at or now) + quiet,
            }
            return ends.get(job.state, (job.expires_at or now) + grace)

        return {
            job: Fate(row.verified_at is not None, empty_by(row) < now - margin)
            for job in jobs
            if (row := self._jobs.get(job)) is not None
        }

    async def expected(self, *, after: tuple[UUID, int], until: UUID, limit: int) -> Sequence[Expected]:
        now = self._now()
        wanted = [
            Expected(
                job=job.id,
                n=photo.n,
                epoch=photo.epoch,
                done=photo.state is PhotoState.DONE,
                sha256=photo.sha256,
            )
            for job in self._jobs.values()
            if job.state in LIVE_JOB_STATES and (job.expires_at is None or job.expires_at > now)
            for photo in job.photos.values()
            if photo.state is not PhotoState.FAILED and (job.id, photo.n) > after and job.id <= until
        ]
        return sorted(wanted, key=lambda each: (each.job, each.n))[:limit]

    async def recheck(self, jobs: Sequence[UUID]) -> None:
        now = self._now()
        for job in jobs:
            row = self._jobs.get(job)
            if row is not None and row.verified_at is not None:
                row.verified_at, row.delete_at = None, now

    async def audited(self, audit: Audited) -> None:
        self._now()
        self._audits.append(audit)


_COUNTS = Contents.__struct_fields__
