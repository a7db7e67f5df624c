"""The ledger's deliveries on Postgres, over the ledger's own pool."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Protocol
from uuid import UUID

from ebbmark.ledger.deliveries import Attempt, Deliveries, DeliveryRow, Webhook

Row = dict[str, Any]


class Run(Protocol):
    """Execute a statement of `queries.sql`; raises `Unavailable`."""

    async def __call__(self, name: str, /, **parameters: object) -> list[Row]: ...


class PostgresDeliveries(Deliveries):
    """One statement each."""

    def __init__(self, run: Run) -> None:
        """Ask through `run`."""
        self._run = run

    async def subscribe(self, job: UUID, webhook: Webhook) -> Webhook | None:
        rows = await self._run(
            "subscribe", job=job, url=webhook.url, secret=webhook.secret, reference=webhook.reference
        ) or await self._run("subscription", job=job)
        return Webhook(**rows[0]) if rows else None

    async def enter(self, job: UUID | None = None) -> None:
        await self._run("enter_deliveries", job=job)

    async def claim(self, job: UUID, *, lease: timedelta, farewell: timedelta) -> Sequence[Attempt]:
        rows = await self._run("claim_deliveries", job=job, lease=lease, farewell=farewell)
        return [
            Attempt(webhook=Webhook(**{name: row.pop(name) for name in Webhook.__struct_fields__}), **row)
            for row in rows
        ]

    async def record(
        self, attempt: Attempt, *, outcome: str, status: int | None, retry_after: timedelta | None
    ) -> None:
        await self._record(attempt, outcome=outcome, status=status, retry_after=retry_after, delivered=False)

    async def record_success(self, attempt: Attempt, *, outcome: str, status: int) -> None:
        await self._record(attempt, outcome=outcome, status=status, retry_after=None, delivered=True)

    async def _record(self, attempt: Attempt, **came: object) -> None:
        await self._run(
            "record_delivery", job=attempt.job, event=attempt.event, number=attempt.number, **came
        )

    async def postpone(self, attempt: Attempt, *, wait: timedelta) -> None:
        await self._run(
            "postpone_delivery", job=attempt.job, event=attempt.event, number=attempt.number, wait=wait
        )

    async def due(self, *, limit: int) -> Sequence[UUID]:
        rows = await self._run("due_deliveries", limit=limit)
        return list(dict.fromkeys(row["job"] for row in rows))

    async def end(self, *, farewell: timedelta) -> int:
        return (await self._run("end_deliveries", farewell=farewell))[0]["given_up"]

    async def oldest(self) -> timedelta:
        return (await self._run("oldest_delivery"))[0]["age"]

    async def log(self, job: UUID) -> Sequence[DeliveryRow]:
        return [DeliveryRow(**row) for row in await self._run("deliveries_of", job=job)]

    async def replay(self, job: UUID, event: str) -> DeliveryRow | None:
        rows = await self._run("replay_delivery", job=job, event=event)
        return DeliveryRow(**rows[0]) if rows else None
