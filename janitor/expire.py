"""Deletes what ran out: the links died before, in the query that reads them; here go the bytes."""

from datetime import timedelta

from ebbmark.eventlog import EventLog
from ebbmark.events import ExpireJob, JobExpired
from ebbmark.ledger import Ledger
from ebbmark.store import ObjectStore, job_prefix
from ebbmark.topics import EXPIRATIONS, JOBS
from observability import logs, metrics

log = logs.get(__name__)


async def order_expirations(ledger: Ledger, eventlog: EventLog, *, grace: timedelta) -> int:
    """Kill the links of what ran out, and order the deletion of what is due; return how many."""
    due = await ledger.expire_due(grace=grace)
    await eventlog.publish(EXPIRATIONS, [ExpireJob(job=job) for job in due])
    return len(due)


class Expirer:
    """Deletes a job's prefix, sees it empty, and only then has the ledger forget its names."""

    def __init__(self, ledger: Ledger, store: ObjectStore, eventlog: EventLog, *, quiet: timedelta) -> None:
        """A second listing after `quiet` catches what a late writer left."""
        self._ledger = ledger
        self._store = store
        self._log = eventlog
        self._quiet = quiet

    async def handle(self, order: ExpireJob) -> None:
        """Return when the prefix lists empty and the ledger knows; repeating it changes nothing."""
        deleted = await self._store.delete_prefix(job_prefix(order.job))
        metrics.OBJECTS_DELETED.inc(deleted.objects)
        unannounced = await self._ledger.mark_expired(order.job, quiet=self._quiet)
        if unannounced:
            log.info("job expired", job=str(order.job), objects=deleted.objects)
            await self._log.publish(JOBS, [JobExpired(job=order.job)])
            await self._ledger.expiry_announced(order.job)
            metrics.JOBS_EXPIRED.inc()
        elif deleted.objects:
            log.warning("late objects deleted", job=str(order.job), objects=deleted.objects)
