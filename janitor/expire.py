"""Deletes what ran out: the links died before, in the query that reads them; here go the bytes."""

from collections import Counter
from datetime import timedelta
from uuid import UUID

from ebbmark.eventlog import EventLog
from ebbmark.events import ExpireJob, JobExpired
from ebbmark.ledger import Ledger
from ebbmark.ledger.proofs import Contents
from ebbmark.store import ObjectStore, job_prefix
from ebbmark.topics import EXPIRATIONS, JOBS
from observability import logs, metrics

log = logs.get(__name__)


async def order_expirations(ledger: Ledger, eventlog: EventLog, *, grace: timedelta) -> int:
    """Kill the links of what ran out, and order the deletion of what is due; return how many."""
    due = await ledger.expire_due(grace=grace)
    await eventlog.publish(EXPIRATIONS, [ExpireJob(job=job) for job in due])
    overdue = await ledger.expiry_overdue() - grace
    metrics.EXPIRY_OVERDUE.set(max(0.0, overdue.total_seconds()))
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
        listing = await self._ledger.proofs.listings(order.job)
        found = await self._look(order.job)
        if found.objects:  # noted first: a deletion that is cut off is counted all the same
            await self._ledger.proofs.note(order.job, listing, found)
        deleted = (await self._store.delete_prefix(job_prefix(order.job))).objects
        metrics.OBJECTS_DELETED.inc(deleted)
        ended = await self._ledger.mark_expired(order.job, quiet=self._quiet)
        if ended is not None:
            log.info("job expired", job=str(order.job), objects=deleted)
            await self._log.publish(JOBS, [JobExpired(job=order.job)])
            await self._ledger.expiry_announced(order.job)
            metrics.JOBS_EXPIRED.inc()
            metrics.EXPIRY_SECONDS.observe(ended.after.total_seconds())
        elif deleted:
            log.warning("late objects deleted", job=str(order.job), objects=deleted)

    async def _look(self, job: UUID) -> Contents:
        prefix = job_prefix(job)
        kinds: Counter[str] = Counter()
        size = 0
        async for page in self._store.listing(prefix):
            kinds.update(each.key.removeprefix(prefix).partition("/")[0] for each in page)
            size += sum(each.size for each in page)
        return Contents(
            originals=kinds["originals"], results=kinds["results"], objects=kinds.total(), bytes=size
        )
