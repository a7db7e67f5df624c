"""Tells receivers how jobs ended: enter → claim → sign → send → record. Each step may be repeated.

Orders are only hints: what is to be told, to whom, and when again, the ledger says. No handler
waits for a receiver to come back; what failed is due again in the ledger.
"""

import random
import time
from datetime import UTC, datetime, timedelta

import msgspec

from ebbmark.events import NotifyReceiver
from ebbmark.guard import patiently
from ebbmark.ledger.deliveries import COMPLETED, Attempt, Deliveries
from ebbmark.settings import Webhook as WebhookSettings
from ebbmark.topics import NOTIFICATIONS
from ebbmark.webhooks import signed_headers
from observability import logs, metrics
from processors.courier import DELIVERED, GONE, Answer, Busy, Courier

log = logs.get(__name__)

_BUSY_WAIT = timedelta(seconds=3)
_MARGIN = timedelta(seconds=20)
_GROWTH = 3


class Notifier:
    """Handles the orders of projector and janitor alike."""

    def __init__(self, deliveries: Deliveries, courier: Courier, settings: WebhookSettings) -> None:
        """An attempt that nobody reports on is due again soon after its time is over."""
        self._deliveries = deliveries
        self._courier = courier
        self._settings = settings
        self._lease = settings.timeout + _MARGIN

    async def handle(self, order: NotifyReceiver) -> None:
        """Return when what is due was tried once, and what came of it is in the ledger."""
        await self._deliveries.enter(order.job)
        for attempt in await self._deliveries.claim(
            order.job, lease=self._lease, farewell=self._settings.farewell
        ):
            await self._try(attempt)

    async def _try(self, attempt: Attempt) -> None:
        body = message(attempt)
        headers = signed_headers(attempt.webhook.secret, attempt.event, int(time.time()), body)
        headers["content-type"] = "application/json"
        try:
            with metrics.DELIVERY_SECONDS.time():
                answer = await self._courier.post(attempt.webhook.url, headers, body)
        except Busy:
            await self._deliveries.postpone(attempt, wait=_BUSY_WAIT)
            return
        metrics.DELIVERIES.labels(answer.outcome).inc()
        log.info(
            "receiver told" if answer.outcome == DELIVERED else "receiver not told",
            job=str(attempt.job),
            kind=attempt.kind,
            attempt=attempt.number,
            outcome=answer.outcome,
            status=answer.status,
        )
        await patiently(lambda: self._record(attempt, answer), NOTIFICATIONS.name)

    async def _record(self, attempt: Attempt, answer: Answer) -> None:
        if answer.outcome == DELIVERED and answer.status is not None:
            await self._deliveries.record_success(attempt, outcome=answer.outcome, status=answer.status)
            return
        await self._deliveries.record(
            attempt,
            outcome=answer.outcome,
            status=answer.status,
            retry_after=None if answer.outcome == GONE else self._wait(attempt.failures),
        )

    def _wait(self, failures: int) -> timedelta:
        longest = min(self._settings.first_wait * _GROWTH ** min(failures, 20), self._settings.longest_wait)
        return longest * random.uniform(0.8, 1.2)  # noqa: S311 - spreads retries, guards no secret


def message(attempt: Attempt) -> bytes:
    """Return the body: the same bytes at every attempt, with ids, counts and times, and no file's name."""
    completed = attempt.kind == COMPLETED
    data: dict[str, object] = {
        "job": attempt.job,
        "reference": attempt.webhook.reference,
        "epoch": attempt.epoch,
        "state": "complete" if completed else "expired",
        "total": attempt.total,
        "done": attempt.done,
        "failed": attempt.failed,
        "created_at": _utc(attempt.created_at),
        "completed_at": _utc(attempt.occurred_at if completed else attempt.completed_at),
        "expires_at": _utc(attempt.expires_at),
    }
    return msgspec.json.encode({"type": attempt.kind, "timestamp": _utc(attempt.occurred_at), "data": data})


def _utc(moment: datetime | None) -> datetime | None:
    return moment.astimezone(UTC) if moment else None
