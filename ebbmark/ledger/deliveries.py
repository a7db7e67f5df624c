"""The ledger says whom a job tells of its end, what was to be told, and what became of it.

Retries are a column: whoever finds one due takes an attempt, and a sender that dies with it leaves
it due again. Every method raises `Unavailable` when the database does not answer in time.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from msgspec import Struct

COMPLETED, EXPIRED = "job.completed", "job.expired"
"""The kinds of news."""


class Webhook(Struct, frozen=True, kw_only=True):
    """Whom a job tells: where, signed with what, and the sender's own words to be told back."""

    url: str
    secret: bytes
    reference: str | None = None

    def __repr__(self) -> str:
        """Show nothing: all of it is the sender's own."""
        return "Webhook()"


class Attempt(Struct, frozen=True, kw_only=True):
    """The right to tell one event once; `number` tells this attempt from the event's others."""

    job: UUID
    event: str
    kind: str
    epoch: int
    number: int
    failures: int
    """Attempts that failed since the last success or replay."""
    total: int
    done: int
    failed: int
    occurred_at: datetime
    created_at: datetime
    completed_at: datetime | None
    expires_at: datetime | None
    webhook: Webhook


class DeliveryRow(Struct, frozen=True, kw_only=True):
    """What became of one event; `status` and `outcome` are those of the last attempt."""

    event: str
    kind: str
    epoch: int
    attempts: int
    occurred_at: datetime
    attempted_at: datetime | None
    next_attempt_at: datetime | None
    status: int | None
    outcome: str | None
    delivered_at: datetime | None
    given_up_at: datetime | None


def event_id(job: UUID, epoch: int, kind: str) -> str:
    """Return the `webhook-id`, the same at every attempt; without a dot, for the signature parts at dots."""
    return f"evt_{job.hex}-{epoch}-{kind.removeprefix('job.')}"


class Deliveries(ABC):
    """The part of a `Ledger` that webhooks need."""

    @abstractmethod
    async def subscribe(self, job: UUID, webhook: Webhook) -> Webhook | None:
        """Note whom a living job tells, and return whom it tells: the first that was noted stays.

        Returns None when the job is not alive and tells nobody.
        """

    @abstractmethod
    async def enter(self, job: UUID | None = None) -> None:
        """Note as due, each once, what happened and is to be told: of this job, or of all.

        That is the completion of a complete job, and the end of an expired one that was ever sealed.
        """

    @abstractmethod
    async def claim(self, job: UUID, *, lease: timedelta, farewell: timedelta) -> Sequence[Attempt]:
        """Take an attempt at each of the job's events that is due; none comes due again before `lease`.

        A completion is told while the job's links live, an end until `farewell` after it.
        """

    @abstractmethod
    async def record(
        self, attempt: Attempt, *, outcome: str, status: int | None, retry_after: timedelta | None
    ) -> None:
        """Note what came of the attempt: it failed, and is due again or given up (None).

        Nothing happens when the attempt is not the current one, or was given up meanwhile.
        """

    @abstractmethod
    async def record_success(self, attempt: Attempt, *, outcome: str, status: int) -> None:
        """Note that the receiver has it. With its last news the job forgets whom it told."""

    @abstractmethod
    async def postpone(self, attempt: Attempt, *, wait: timedelta) -> None:
        """Give an attempt back that was not made."""

    @abstractmethod
    async def due(self, *, limit: int) -> Sequence[UUID]:
        """Return jobs with something due, each once; what was returned comes again after a minute."""

    @abstractmethod
    async def end(self, *, farewell: timedelta) -> int:
        """Give up what cannot be told any more, forget whom jobs told; return how much was given up."""

    @abstractmethod
    async def oldest(self) -> timedelta:
        """Return for how long the longest due event has been due; zero when there is none."""

    @abstractmethod
    async def log(self, job: UUID) -> Sequence[DeliveryRow]:
        """Return what was to be told of a job, in the order in which it happened."""

    @abstractmethod
    async def replay(self, job: UUID, event: str) -> DeliveryRow | None:
        """Make the event due again, whatever became of it; return None when there is no such event."""
