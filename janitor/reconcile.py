"""Second chances: whatever Kafka or a process lost is found in the ledger and sent round again."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from msgspec.structs import asdict

from ebbmark.errors import Missing
from ebbmark.eventlog import EventLog
from ebbmark.events import DeadLetter, JobCompleted, RenderPhoto
from ebbmark.ledger import GIVEN_UP, Abandoned, Ledger, Outcome
from ebbmark.store import Described, ObjectStore, result_key
from ebbmark.topics import DEAD_LETTERS, JOBS, Topic, lane
from observability import logs, metrics, tracing

log = logs.get(__name__)

_AT_ONCE = 500
_LOOKS_AT_ONCE = 16
_LOOK_WITHIN = 5.0
"""Seconds in which the store may answer: the other steps of the sweep wait meanwhile."""


async def redispatch(ledger: Ledger, eventlog: EventLog, *, stale: timedelta) -> int:
    """Order anew what was never planned, never claimed, or is due for its retry; return how many."""
    overdue = await ledger.overdue(limit=_AT_ONCE)
    orders: dict[Topic[RenderPhoto], list[RenderPhoto]] = defaultdict(list)
    for each in overdue:
        orders[lane(each.n)].append(RenderPhoto(job=each.job, n=each.n, epoch=each.epoch))
    began = tracing.now()
    for topic, renders in orders.items():
        await eventlog.publish(topic, renders)
    for each in overdue:
        tracing.mark("redispatch", each.job, each.n, began=began, epoch=each.epoch)
    if overdue:
        await ledger.dispatched(overdue, stale=stale)
        metrics.PHOTOS_REDISPATCHED.inc(len(overdue))
        log.info("photos dispatched again", photos=len(overdue))
    return len(overdue)


async def give_up(
    ledger: Ledger, store: ObjectStore, eventlog: EventLog, *, strikes: int, ttl: timedelta
) -> int:
    """End what is out of strikes or time, and return how many failed.

    What has a result was rendered, and only its status was lost or waits for a projector: it is done.
    The dead letters go first: one that is needless, since the photo ended in that very moment, is
    better than one that is lost.
    """
    looked = await _look(store, await ledger.given_up(strikes=strikes))
    rendered = [outcome for _, outcome in looked if outcome is not None]
    if rendered:
        await ledger.finish(rendered, ttl=ttl)
        metrics.PHOTOS_FOUND_RENDERED.inc(len(rendered))
        log.info("photos found rendered", photos=len(rendered))
    abandoned = [each for each, outcome in looked if outcome is None]
    if not abandoned:
        return 0
    await eventlog.publish(DEAD_LETTERS, [_dead_letter(each) for each in abandoned])
    await ledger.finish([_outcome(each) for each in abandoned], ttl=ttl)
    for each in abandoned:
        metrics.PHOTOS_GIVEN_UP.labels(each.code).inc()
        tracing.mark("give up", each.job, each.n, epoch=each.epoch, error=each.code)
        log.warning("photo given up", job=str(each.job), n=each.n, code=each.code, strikes=each.strikes)
    return len(abandoned)


async def announce(ledger: Ledger, eventlog: EventLog) -> int:
    """Publish the completions that no projector is known to have published; return how many."""
    completions = await ledger.unannounced()
    await eventlog.publish(
        JOBS, [JobCompleted(job=c.job, epoch=c.epoch, done=c.done, failed=c.failed) for c in completions]
    )
    if completions:
        await ledger.announced(completions)
        metrics.JOBS_COMPLETED.inc(len(completions))
    return len(completions)


async def _look(
    store: ObjectStore, abandoned: Sequence[Abandoned]
) -> Sequence[tuple[Abandoned, Outcome | None]]:
    """Return those of which the store said in time whether they have a result; the others come again.

    Raises what the store raised, when it said so of none.
    """
    places = asyncio.Semaphore(_LOOKS_AT_ONCE)

    async def look(photo: Abandoned) -> tuple[Abandoned, Outcome | None]:
        async with places:
            return photo, await _rendered(store, photo)

    looks = [asyncio.create_task(look(photo)) for photo in abandoned]
    if not looks:
        return []
    done, late = await asyncio.wait(looks, timeout=_LOOK_WITHIN)
    for each in late:
        each.cancel()
    failures = [failure for each in done if (failure := each.exception()) is not None]
    if failures and len(failures) == len(done):
        raise failures[0]
    if failures or late:
        log.warning(
            "not looked for", photos=len(failures) + len(late), reasons=sorted({*map(repr, failures)})
        )
    return [each.result() for each in looks if each in done and each.exception() is None]


async def _rendered(store: ObjectStore, photo: Abandoned) -> Outcome | None:
    try:
        kept = await store.described(result_key(photo.job, photo.epoch, photo.n))
    except Missing:
        return None
    return Outcome(
        job=photo.job,
        n=photo.n,
        epoch=photo.epoch,
        fence=photo.fence,
        **asdict(Described.read(kept)),
    )


def _outcome(photo: Abandoned) -> Outcome:
    return Outcome(
        job=photo.job,
        n=photo.n,
        epoch=photo.epoch,
        fence=photo.fence,
        code=photo.code,
        detail=GIVEN_UP[photo.code],
    )


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
        epoch=photo.epoch,
    )
