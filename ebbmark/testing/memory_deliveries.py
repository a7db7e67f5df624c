"""The ledger's deliveries in memory, on the jobs of a `MemoryLedger`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

import msgspec
from msgspec import Struct

from ebbmark.ledger.deliveries import (
    COMPLETED,
    EXPIRED,
    Attempt,
    Deliveries,
    DeliveryRow,
    Webhook,
    event_id,
)
from ebbmark.states import LIVE_JOB_STATES, JobState

_NEWS = {JobState.COMPLETE: COMPLETED, JobState.EXPIRED: EXPIRED}


class Delivery(Struct, kw_only=True):
    """A row of the table `deliveries`."""

    job: UUID
    event: str
    kind: str
    epoch: int
    total: int
    done: int
    failed: int
    occurred_at: datetime
    expires_at: datetime | None
    next_attempt_at: datetime | None
    due_since: datetime
    attempts: int = 0
    failures: int = 0
    dispatched_at: datetime | None = None
    attempted_at: datetime | None = None
    status: int | None = None
    outcome: str | None = None
    delivered_at: datetime | None = None
    given_up_at: datetime | None = None


class Job(Protocol):
    """What is read of a job here, and the two things that are kept with it."""

    id: UUID
    state: JobState
    epoch: int
    total: int | None
    done: int
    failed: int
    created_at: datetime
    completed_at: datetime | None
    expires_at: datetime | None
    expired_at: datetime | None
    unaccepted_until: datetime | None
    webhook: Webhook | None
    deliveries: dict[str, Delivery]


class MemoryDeliveries(Deliveries):
    """The same answers as `PostgresDeliveries`."""

    def __init__(self, jobs: Mapping[UUID, Job], now: Callable[[], datetime]) -> None:
        """`now` raises `Unavailable` while the ledger is down."""
        self._jobs = jobs
        self._now = now

    async def subscribe(self, job: UUID, webhook: Webhook) -> Webhook | None:
        self._now()
        row = self._jobs.get(job)
        if row is None:
            return None
        if row.webhook is None and row.state in LIVE_JOB_STATES:
            row.webhook = webhook
        return row.webhook

    async def enter(self, job: UUID | None = None) -> None:
        now = self._now()
        for row in self._jobs.values():
            kind = _NEWS.get(row.state)
            if job not in {None, row.id} or row.webhook is None or row.total is None or kind is None:
                continue
            if row.unaccepted_until is not None:
                continue
            event = event_id(row.id, row.epoch, kind)
            row.deliveries.setdefault(
                event,
                Delivery(
                    job=row.id,
                    event=event,
                    kind=kind,
                    epoch=row.epoch,
                    total=row.total,
                    done=row.done,
                    failed=row.failed,
                    occurred_at=row.expired_at or row.completed_at or now,
                    expires_at=row.expires_at,
                    next_attempt_at=now,
                    due_since=now,
                ),
            )

    async def claim(self, job: UUID, *, lease: timedelta, farewell: timedelta) -> Sequence[Attempt]:
        now = self._now()
        attempts: list[Attempt] = []
        row = self._jobs.get(job)
        if row is None or row.webhook is None:
            return attempts
        for each in row.deliveries.values():
            if each.next_attempt_at is None or each.next_attempt_at > now or _over(row, each, now, farewell):
                continue
            each.attempts += 1
            each.next_attempt_at = now + lease
            values = {name: getattr(each, name) for name in Attempt.__struct_fields__ if hasattr(each, name)}
            attempts.append(
                Attempt(
                    **values,
                    number=each.attempts,
                    created_at=row.created_at,
                    completed_at=row.completed_at,
                    webhook=row.webhook,
                )
            )
        return attempts

    async def record(
        self, attempt: Attempt, *, outcome: str, status: int | None, retry_after: timedelta | None
    ) -> None:
        now = self._now()
        each = self._find(attempt.job, attempt.event)
        if each is None or each.attempts != attempt.number or each.next_attempt_at is None:
            return
        each.attempted_at, each.status, each.outcome = now, status, outcome
        each.failures += 1
        each.next_attempt_at = None if retry_after is None else now + retry_after
        each.given_up_at = now if retry_after is None else None
        self._forget(each)

    async def record_success(self, attempt: Attempt, *, outcome: str, status: int) -> None:
        now = self._now()
        each = self._find(attempt.job, attempt.event)
        if each is not None:
            each.attempted_at, each.status, each.outcome = now, status, outcome
            each.failures = 0
            each.delivered_at, each.given_up_at, each.next_attempt_at = now, None, None
            self._forget(each)

    async def postpone(self, attempt: Attempt, *, wait: timedelta) -> None:
        now = self._now()
        each = self._find(attempt.job, attempt.event)
        if each is not None and each.attempts == attempt.number and each.next_attempt_at is not None:
            each.attempts -= 1
            each.next_attempt_at = now + wait

    async def due(self, *, limit: int) -> Sequence[UUID]:
        now = self._now()
        waiting = [
            (each.next_attempt_at, each)
            for _, each in self._all()
            if each.next_attempt_at is not None and each.next_attempt_at <= now
        ]
        again = now - timedelta(minutes=1)
        due = [
            each
            for since, each in sorted(waiting, key=lambda pair: pair[0])
            if each.dispatched_at is None or each.dispatched_at < since or each.dispatched_at < again
        ]
        for each in due[:limit]:
            each.dispatched_at = now
        return list(dict.fromkeys(each.job for each in due[:limit]))

    async def end(self, *, farewell: timedelta) -> int:
        now = self._now()
        given_up = 0
        for job, each in self._all():
            if each.next_attempt_at is not None and _over(job, each, now, farewell):
                each.next_attempt_at = None
                each.given_up_at = now
                given_up += 1
        for job in self._jobs.values():
            if job.expired_at is not None and (job.total is None or job.expired_at <= now - farewell):
                job.webhook = None
        return given_up

    async def oldest(self) -> timedelta:
        now = self._now()
        due = (now - each.due_since for _, each in self._all() if each.next_attempt_at is not None)
        return max(due, default=timedelta(0))

    async def log(self, job: UUID) -> Sequence[DeliveryRow]:
        self._now()
        row = self._jobs.get(job)
        known = row.deliveries.values() if row else ()
        return [_row(each) for each in sorted(known, key=lambda each: (each.occurred_at, each.event))]

    async def replay(self, job: UUID, event: str) -> DeliveryRow | None:
        now = self._now()
        each = self._find(job, event)
        if each is None:
            return None
        each.next_attempt_at = each.due_since = now
        each.dispatched_at = each.delivered_at = each.given_up_at = None
        each.failures = 0
        return _row(each)

    def _find(self, job: UUID, event: str) -> Delivery | None:
        row = self._jobs.get(job)
        return row.deliveries.get(event) if row else None

    def _all(self) -> Iterator[tuple[Job, Delivery]]:
        for job in self._jobs.values():
            for each in job.deliveries.values():
                yield job, each

    def _forget(self, each: Delivery) -> None:
        if each.kind == EXPIRED and each.next_attempt_at is None:
            self._jobs[each.job].webhook = None


def _over(job: Job, each: Delivery, now: datetime, farewell: timedelta) -> bool:
    """Whether it is too late to tell it."""
    if each.kind == EXPIRED:
        return job.expired_at is not None and job.expired_at <= now - farewell
    return job.state not in LIVE_JOB_STATES or (job.expires_at is not None and job.expires_at <= now)


def _row(each: Delivery) -> DeliveryRow:
    return msgspec.convert(each, DeliveryRow, from_attributes=True)
