"""Second chances: whatever Kafka or a process lost is found in the ledger and sent round again."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta

from ebbmark.eventlog import EventLog
from ebbmark.events import DeadLetter, JobCompleted, RenderPhoto
from ebbmark.ledger import Abandoned, Ledger
from ebbmark.topics import DEAD_LETTERS, JOBS, Topic, lane
from observability import logs, metrics

log = logs.get(__name__)

_AT_ONCE = 500


async def redispatch(ledger: Ledger, eventlog: EventLog, *, stale: timedelta) -> int:
    """Order anew what was never planned, never claimed, or is due for its retry; return how many."""
    overdue = await ledger.overdue(stale=stale, limit=_AT_ONCE)
    orders: dict[Topic[RenderPhoto], list[RenderPhoto]] = defaultdict(list)
    for each in overdue:
        orders[lane(each.n)].append(RenderPhoto(job=each.job, n=each.n, epoch=each.epoch))
    for topic, renders in orders.items():
        await eventlog.publish(topic, renders)
    if overdue:
        metrics.PHOTOS_REDISPATCHED.inc(len(overdue))
        log.info("photos dispatched again", photos=len(overdue))
    return len(overdue)


async def end_leases(ledger: Ledger, eventlog: EventLog, *, strikes: int, ttl: timedelta) -> int:
    """Take back what nobody alive holds; what is out of strikes or time fails. Return how many failed."""
    abandoned = await ledger.end_leases(strikes=strikes, ttl=ttl)
    for each in abandoned:
        metrics.PHOTOS_GIVEN_UP.labels(each.code).inc()
        log.warning("photo given up", job=str(each.job), n=each.n, code=each.code, strikes=each.strikes)
    await eventlog.publish(DEAD_LETTERS, [_dead_letter(each) for each in abandoned])
    return len(abandoned)


async def announce(ledger: Ledger, eventlog: EventLog) -> int:
    """Publish the completions that no projector is known to have published; return how many."""
    completions = await ledger.unannounced()
    await eventlog.publish(
        JOBS, [JobCompleted(job=c.job, epoch=c.epoch, done=c.done, failed=c.failed) for c in completions]
    )
    if completions:
        await ledger.announced(completions)
    return len(completions)


def _dead_letter(photo: Abandoned) -> DeadLetter:
    topic = lane(photo.n)
    order = topic.encode(RenderPhoto(job=photo.job, n=photo.n, epoch=photo.epoch))
    return DeadLetter(
        reason=photo.code,
        attempts=photo.strikes,
        first_seen=photo.created_at,
        last_seen=datetime.now(UTC),
        topic=topic.name,
        partition=-1,  # the ledger gave it up, not a consumer
        offset=-1,
        original=order,
        job=photo.job,
        n=photo.n,
    )
