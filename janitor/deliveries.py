"""Retries of webhooks: what is due in the ledger is ordered from the notifiers, what is too late ends."""

from datetime import timedelta

from ebbmark.eventlog import EventLog
from ebbmark.events import NotifyReceiver
from ebbmark.ledger import Ledger
from ebbmark.topics import NOTIFICATIONS
from observability import logs, metrics

log = logs.get(__name__)

_AT_ONCE = 500


async def order_deliveries(ledger: Ledger, eventlog: EventLog, *, farewell: timedelta) -> int:
    """Give up what is too late, and order an attempt at whatever is due; return for how many jobs."""
    deliveries = ledger.deliveries
    await deliveries.enter()  # what no notifier heard of
    given_up = await deliveries.end(farewell=farewell)
    if given_up:
        metrics.DELIVERIES_GIVEN_UP.inc(given_up)
        log.warning("receivers given up", deliveries=given_up)
    metrics.DELIVERY_AGE.set((await deliveries.oldest()).total_seconds())
    due = await deliveries.due(limit=_AT_ONCE)
    await eventlog.publish(NOTIFICATIONS, [NotifyReceiver(job=job) for job in due])
    return len(due)
