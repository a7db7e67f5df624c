"""The ledger says what must be in the bucket, what may not be, and what is known of what is gone.

Every method raises `Unavailable` when the database does not answer in time.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from msgspec import Struct

from ebbmark.states import JobState


class Contents(Struct, frozen=True, kw_only=True):
    """What was under a job's prefix. `objects` are all of them; `bytes` are theirs."""

    originals: int = 0
    results: int = 0
    objects: int = 0
    bytes: int = 0


class ReceiptRow(Struct, frozen=True, kw_only=True):
    """What is known of a job's end; `deleted` is what went before the prefix was last seen empty."""

    state: JobState
    created_at: datetime
    completed_at: datetime | None
    expires_at: datetime | None
    expired_at: datetime | None
    """When the prefix was first seen empty."""
    verified_at: datetime | None
    """When it was seen empty once more, and nothing has been found since."""
    audited_at: datetime | None
    """When the last audit of the whole bucket began, if that was later still."""
    deleted: Contents
    now: datetime


class Fate(Struct, frozen=True):
    """What a job's objects may expect: none may be left, or they should be gone by now, or neither."""

    verified: bool
    overdue: bool


class Expected(Struct, frozen=True, kw_only=True):
    """An object that must be there: the result of a photo that is done, else its original."""

    job: UUID
    n: int
    epoch: int
    done: bool
    sha256: bytes


class Audited(Struct, frozen=True, kw_only=True):
    """An audit of the whole bucket that came to its end."""

    started_at: datetime
    objects: int
    bytes: int
    findings: int


class Proofs(ABC):
    """`Ledger.proofs`: of deletion, to a job's owner; of order in the bucket, to the operator."""

    @abstractmethod
    async def clock(self) -> datetime:
        """Return the database's clock."""

    @abstractmethod
    async def listings(self, job: UUID) -> int:
        """Return how often the job's prefix was seen empty."""

    @abstractmethod
    async def note(self, job: UUID, listing: int, contents: Contents) -> None:
        """Note what is about to be deleted; `listing` was asked for before it was looked at.

        Noting it again, as who goes on with a deletion does, counts nothing twice. A job that was
        verified is so no longer.
        """

    @abstractmethod
    async def receipt(self, receipt_hash: bytes) -> ReceiptRow | None:
        """Return what is known of the job with this receipt, for as long as its row lives."""

    @abstractmethod
    async def fates(
        self, jobs: Sequence[UUID], *, ttl: timedelta, grace: timedelta, quiet: timedelta, margin: timedelta
    ) -> Mapping[UUID, Fate]:
        """Return what the objects of these jobs may expect; a job that has no row is left out.

        They are overdue when the job should have been empty for `margin`, by its own times.
        """

    @abstractmethod
    async def expected(self, *, after: tuple[UUID, int], until: UUID, limit: int) -> Sequence[Expected]:
        """Return what must be there of jobs whose links work, in order of job and `n`.

        From the photo after `after` to the last one of the job `until`; at most `limit`.
        """

    @abstractmethod
    async def recheck(self, jobs: Sequence[UUID]) -> None:
        """Have these verified jobs deleted, and verified, once more."""

    @abstractmethod
    async def audited(self, audit: Audited) -> None:
        """Note an audit that ends now; the last one is kept."""
