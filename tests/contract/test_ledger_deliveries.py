"""Whom jobs tell, what is due to be told, and what became of it."""

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

import msgspec
import pytest

from ebbmark.ledger import Ledger
from ebbmark.ledger.deliveries import Attempt, Deliveries, DeliveryRow, Webhook, event_id
from tests.contract.benches import Bench
from tests.contract.ledgers import (
    GRACE,
    MOMENT,
    QUIET,
    TTL,
    claim,
    completed_with,
    done,
    finish,
    open_with,
    seal,
    sealed_with,
    see,
)

LONG = timedelta(seconds=30)
FAREWELL = timedelta(minutes=10)
MINUTE = timedelta(minutes=1)
HOOK = Webhook(url="https://example.org/hook?key=1", secret=b"s" * 32, reference="order 17 ü")


@pytest.fixture
def ledger(bench: Bench) -> Ledger:
    return bench.ledger


@pytest.fixture
def deliveries(ledger: Ledger) -> Deliveries:
    return ledger.deliveries


async def told(ledger: Ledger) -> UUID:
    """Return a complete job that tells HOOK, its completion entered."""
    job = await sealed_with(ledger, 2)
    await ledger.deliveries.subscribe(job, HOOK)
    await finish(ledger, *map(done, await claim(ledger, job, 0, 1)))
    await ledger.deliveries.enter(job)
    return job


async def ended(bench: Bench) -> UUID:
    """Return an expired job whose end is entered."""
    job = await told(bench.ledger)
    await bench.ledger.expire_now(job)
    await bench.ledger.mark_expired(job, quiet=QUIET)
    await bench.ledger.deliveries.enter(job)
    return job


async def take(deliveries: Deliveries, job: UUID) -> list[Attempt]:
    return list(await deliveries.claim(job, lease=LONG, farewell=FAREWELL))


async def take_one(deliveries: Deliveries, job: UUID) -> Attempt:
    (attempt,) = await take(deliveries, job)
    return attempt


async def fail(deliveries: Deliveries, attempt: Attempt, *, again: timedelta | None = MINUTE) -> None:
    await deliveries.record(attempt, outcome="refused", status=500, retry_after=again)


async def succeed(deliveries: Deliveries, attempt: Attempt) -> None:
    await deliveries.record_success(attempt, outcome="delivered", status=200)


async def row(deliveries: Deliveries, job: UUID, kind: str = "job.completed") -> DeliveryRow:
    (found,) = [each for each in await deliveries.log(job) if each.kind == kind]
    return found


async def known(deliveries: Deliveries, job: UUID) -> bool:
    """Whether the ledger still knows whom the job tells."""
    other = Webhook(url="https://other.example/", secret=b"o" * 32)
    return await deliveries.subscribe(job, other) == HOOK


# Whom


async def test_the_first_receiver_stays(ledger: Ledger, deliveries: Deliveries) -> None:
    job = await open_with(ledger, 0)
    assert await deliveries.subscribe(job, HOOK) == HOOK
    other = msgspec.structs.replace(HOOK, url="https://other.example/", reference=None)
    assert await deliveries.subscribe(job, other) == HOOK


async def test_a_dying_job_takes_no_receiver(ledger: Ledger, deliveries: Deliveries) -> None:
    job = await open_with(ledger, 0)
    await ledger.expire_now(job)
    assert await deliveries.subscribe(job, HOOK) is None
    assert await deliveries.subscribe(uuid4(), HOOK) is None


async def test_a_completion_says_whether_a_receiver_awaits_it(bench: Bench) -> None:
    heard, unheard = await sealed_with(bench.ledger, 1), await sealed_with(bench.ledger, 1)
    await bench.ledger.deliveries.subscribe(heard, HOOK)
    outcomes = [done(*await claim(bench.ledger, job, 0)) for job in (heard, unheard)]
    ended = await bench.ledger.finish(outcomes, ttl=TTL)
    assert {each.job: each.awaited for each in ended} == {heard: True, unheard: False}
    await bench.advance(timedelta(seconds=11))
    found = await bench.ledger.unannounced()
    assert {each.job: each.awaited for each in found} == {heard: True, unheard: False}


# What


async def test_a_completion_is_due_once_with_all_that_is_to_be_told(
    ledger: Ledger, deliveries: Deliveries
) -> None:
    job = await told(ledger)
    await deliveries.enter(job)
    await deliveries.enter()
    attempt = await take_one(deliveries, job)
    seen = (await see(ledger, job)).job
    assert attempt == Attempt(
        job=job,
        event=event_id(job, 0, "job.completed"),
        kind="job.completed",
        epoch=0,
        number=1,
        failures=0,
        total=2,
        done=2,
        failed=0,
        occurred_at=attempt.occurred_at,
        created_at=seen.created_at,
        completed_at=seen.completed_at,
        expires_at=seen.expires_at,
        webhook=HOOK,
    )
    assert attempt.occurred_at == seen.completed_at


async def test_all_that_happened_is_found_without_being_named(ledger: Ledger, deliveries: Deliveries) -> None:
    jobs = [await sealed_with(ledger, 1) for _ in range(2)]
    for job in jobs:
        await deliveries.subscribe(job, HOOK)
        await finish(ledger, *map(done, await claim(ledger, job, 0)))
    await deliveries.enter()
    assert [len(await deliveries.log(job)) for job in jobs] == [1, 1]


async def test_only_the_named_job_is_entered(ledger: Ledger, deliveries: Deliveries) -> None:
    job = await told(ledger)
    other = await sealed_with(ledger, 1)
    await deliveries.subscribe(other, HOOK)
    await finish(ledger, *map(done, await claim(ledger, other, 0)))
    await deliveries.enter(job)
    assert await deliveries.log(other) == []


async def test_jobs_without_a_receiver_or_an_end_have_nothing_to_tell(
    ledger: Ledger, deliveries: Deliveries
) -> None:
    silent = await completed_with(ledger, 1)
    rendering = await sealed_with(ledger, 1)
    await deliveries.subscribe(rendering, HOOK)
    await deliveries.enter()
    for job in (silent, rendering):
        assert await deliveries.log(job) == []
        assert await take(deliveries, job) == []


async def test_the_end_of_a_job_that_was_never_sealed_is_told_to_nobody(bench: Bench) -> None:
    job = await open_with(bench.ledger, 1)
    await bench.ledger.deliveries.subscribe(job, HOOK)
    await bench.ledger.expire_now(job)
    await bench.ledger.mark_expired(job, quiet=QUIET)
    await bench.ledger.deliveries.enter()
    assert await bench.ledger.deliveries.log(job) == []
    assert await known(bench.ledger.deliveries, job)
    await bench.ledger.deliveries.end(farewell=FAREWELL)
    assert not await known(bench.ledger.deliveries, job)


async def test_what_was_entered_does_not_change_with_the_job(bench: Bench) -> None:
    deliveries = bench.ledger.deliveries
    job = await told(bench.ledger)
    first = await take_one(deliveries, job)
    await bench.advance(LONG)
    second = await take_one(deliveries, job)
    told_first = (first.total, first.done, first.failed)
    assert (second.total, second.done, second.failed) == told_first
    assert second.event == first.event
    assert second.number == 2


# Attempts


async def test_what_is_claimed_is_not_due_again_before_its_lease_is_over(bench: Bench) -> None:
    deliveries = bench.ledger.deliveries
    job = await told(bench.ledger)
    await take_one(deliveries, job)
    await bench.advance(LONG - MOMENT)
    assert await take(deliveries, job) == []
    await bench.advance(MOMENT)
    assert (await take_one(deliveries, job)).number == 2


async def test_of_many_that_claim_at_once_one_gets_it(ledger: Ledger, deliveries: Deliveries) -> None:
    job = await told(ledger)
    taken = await asyncio.gather(*(take(deliveries, job) for _ in range(6)))
    assert sorted(len(each) for each in taken) == [0, 0, 0, 0, 0, 1]


async def test_of_many_that_enter_and_subscribe_at_once_the_first_counts(
    ledger: Ledger, deliveries: Deliveries
) -> None:
    job = await sealed_with(ledger, 1)
    hooks = [msgspec.structs.replace(HOOK, reference=str(n)) for n in range(6)]
    kept = await asyncio.gather(*(deliveries.subscribe(job, hook) for hook in hooks))
    assert len({each.reference for each in kept if each}) == 1
    await finish(ledger, *map(done, await claim(ledger, job, 0)))
    await asyncio.gather(*(deliveries.enter(job) for _ in range(6)))
    assert len(await deliveries.log(job)) == 1


async def test_a_failure_is_due_again_in_time_and_counted(bench: Bench) -> None:
    deliveries = bench.ledger.deliveries
    job = await told(bench.ledger)
    await fail(deliveries, await take_one(deliveries, job))
    seen = await row(deliveries, job)
    assert (seen.attempts, seen.status, seen.outcome, seen.delivered_at) == (1, 500, "refused", None)
    assert seen.attempted_at is not None
    assert seen.next_attempt_at == seen.attempted_at + MINUTE
    await bench.advance(MINUTE - MOMENT)
    assert await take(deliveries, job) == []
    await bench.advance(MOMENT)
    assert (await take_one(deliveries, job)).failures == 1


async def test_a_success_ends_it(bench: Bench) -> None:
    deliveries = bench.ledger.deliveries
    job = await told(bench.ledger)
    await fail(deliveries, await take_one(deliveries, job))
    await bench.advance(MINUTE)
    await succeed(deliveries, await take_one(deliveries, job))
    seen = await row(deliveries, job)
    assert (seen.attempts, seen.status, seen.outcome, seen.next_attempt_at) == (2, 200, "delivered", None)
    assert seen.delivered_at is not None
    await bench.advance(MINUTE)
    assert await take(deliveries, job) == []
    assert await deliveries.due(limit=9) == []


async def test_a_late_failure_of_an_earlier_attempt_changes_nothing(bench: Bench) -> None:
    deliveries = bench.ledger.deliveries
    job = await told(bench.ledger)
    first = await take_one(deliveries, job)
    await bench.advance(LONG)
    second = await take_one(deliveries, job)
    before = await row(deliveries, job)
    await fail(deliveries, first)
    assert await row(deliveries, job) == before
    await succeed(deliveries, second)
    await fail(deliveries, second)
    assert (await row(deliveries, job)).outcome == "delivered"


async def test_a_late_success_of_an_earlier_attempt_counts(bench: Bench) -> None:
    deliveries = bench.ledger.deliveries
    job = await told(bench.ledger)
    first = await take_one(deliveries, job)
    await bench.advance(LONG)
    await take_one(deliveries, job)
    await succeed(deliveries, first)
    assert (await row(deliveries, job)).next_attempt_at is None


async def test_what_is_given_up_is_not_due_again(ledger: Ledger, deliveries: Deliveries) -> None:
    job = await told(ledger)
    await fail(deliveries, await take_one(deliveries, job), again=None)
    seen = await row(deliveries, job)
    assert (seen.next_attempt_at, seen.delivered_at) == (None, None)
    assert seen.given_up_at is not None
    assert await take(deliveries, job) == []


async def test_an_attempt_that_was_not_made_is_not_counted(bench: Bench) -> None:
    deliveries = bench.ledger.deliveries
    job = await told(bench.ledger)
    await deliveries.postpone(await take_one(deliveries, job), wait=MOMENT)
    assert await take(deliveries, job) == []
    await bench.advance(MOMENT)
    attempt = await take_one(deliveries, job)
    assert (attempt.number, attempt.failures) == (1, 0)


# The janitor's part


async def test_what_is_due_is_ordered_once_a_minute_until_it_is_claimed(bench: Bench) -> None:
    deliveries = bench.ledger.deliveries
    job = await told(bench.ledger)
    assert await deliveries.due(limit=9) == [job]
    assert await deliveries.due(limit=9) == []
    await bench.advance(MINUTE + MOMENT)
    assert await deliveries.due(limit=9) == [job]
    await fail(deliveries, await take_one(deliveries, job), again=2 * MOMENT)
    assert await deliveries.due(limit=9) == []
    await bench.advance(2 * MOMENT)
    assert await deliveries.due(limit=9) == [job]


async def test_no_more_is_ordered_at_once_than_asked_for_and_the_longest_due_first(bench: Bench) -> None:
    deliveries = bench.ledger.deliveries
    second, first = await told(bench.ledger), await told(bench.ledger)
    await fail(deliveries, await take_one(deliveries, second), again=2 * MINUTE)
    await fail(deliveries, await take_one(deliveries, first), again=MINUTE)
    await bench.advance(2 * MINUTE)
    assert await deliveries.due(limit=1) == [first]
    assert await deliveries.due(limit=1) == [second]


async def test_the_age_of_the_oldest_that_is_due(bench: Bench) -> None:
    deliveries = bench.ledger.deliveries
    assert await deliveries.oldest() == timedelta(0)
    job = await told(bench.ledger)
    await bench.advance(MINUTE)
    await told(bench.ledger)
    assert MINUTE <= await deliveries.oldest() < MINUTE + LONG
    await succeed(deliveries, await take_one(deliveries, job))
    assert await deliveries.oldest() < LONG


async def test_a_completion_is_told_until_the_links_die_and_then_given_up(bench: Bench) -> None:
    deliveries = bench.ledger.deliveries
    job = await told(bench.ledger)
    await bench.advance(TTL - MOMENT)
    await fail(deliveries, await take_one(deliveries, job), again=MOMENT)
    assert await deliveries.end(farewell=FAREWELL) == 0
    await bench.advance(MOMENT)
    assert await take(deliveries, job) == []
    assert await deliveries.end(farewell=FAREWELL) == 1
    assert await deliveries.end(farewell=FAREWELL) == 0
    seen = await row(deliveries, job)
    assert (seen.outcome, seen.next_attempt_at) == ("refused", None)
    assert seen.given_up_at is not None


async def test_a_completion_of_a_deleted_job_is_not_told(ledger: Ledger, deliveries: Deliveries) -> None:
    job = await told(ledger)
    await ledger.expire_now(job)
    assert await take(deliveries, job) == []
    assert await deliveries.end(farewell=FAREWELL) == 1


async def test_a_failure_that_comes_after_the_giving_up_changes_nothing(
    ledger: Ledger, deliveries: Deliveries
) -> None:
    job = await told(ledger)
    attempt = await take_one(deliveries, job)
    await ledger.expire_now(job)
    await deliveries.end(farewell=FAREWELL)
    await fail(deliveries, attempt)
    assert (await row(deliveries, job)).next_attempt_at is None


# The end


async def test_an_end_is_told_and_then_the_job_forgets_whom(bench: Bench) -> None:
    deliveries = bench.ledger.deliveries
    job = await ended(bench)
    attempt = await take_one(deliveries, job)
    assert (attempt.kind, attempt.webhook, attempt.done) == ("job.expired", HOOK, 2)
    await fail(deliveries, attempt)
    assert await known(deliveries, job)
    await bench.advance(MINUTE)
    await succeed(deliveries, await take_one(deliveries, job))
    assert not await known(deliveries, job)
    assert (await row(deliveries, job, "job.expired")).delivered_at is not None


async def test_an_end_that_is_given_up_is_forgotten_at_once(bench: Bench) -> None:
    deliveries = bench.ledger.deliveries
    job = await ended(bench)
    await fail(deliveries, await take_one(deliveries, job), again=None)
    assert not await known(deliveries, job)


async def test_an_end_nobody_hears_of_is_forgotten_after_the_farewell(bench: Bench) -> None:
    deliveries = bench.ledger.deliveries
    job = await ended(bench)
    await deliveries.end(farewell=FAREWELL)
    await bench.advance(FAREWELL - MINUTE)
    await fail(deliveries, await take_one(deliveries, job))
    await bench.advance(MINUTE)
    assert await take(deliveries, job) == []
    assert await known(deliveries, job)
    assert await deliveries.end(farewell=FAREWELL) == 1
    assert not await known(deliveries, job)
    assert (await row(deliveries, job, "job.expired")).given_up_at is not None


async def test_a_success_of_the_completion_forgets_nobody(ledger: Ledger, deliveries: Deliveries) -> None:
    job = await told(ledger)
    await succeed(deliveries, await take_one(deliveries, job))
    assert await known(deliveries, job)


async def test_a_job_that_runs_out_tells_its_end_after_its_completion(bench: Bench) -> None:
    deliveries = bench.ledger.deliveries
    job = await told(bench.ledger)
    await succeed(deliveries, await take_one(deliveries, job))
    await bench.advance(TTL + GRACE)
    await bench.ledger.expire_due(grace=GRACE)
    await deliveries.enter()
    assert len(await deliveries.log(job)) == 1
    await bench.ledger.mark_expired(job, quiet=QUIET)
    await deliveries.enter()
    completion, end = await deliveries.log(job)
    assert completion.event == event_id(job, 0, "job.completed")
    assert end.event == event_id(job, 0, "job.expired")
    assert end.occurred_at - completion.occurred_at >= TTL


async def test_living_jobs_are_not_forgotten(bench: Bench) -> None:
    deliveries = bench.ledger.deliveries
    filling, complete = await open_with(bench.ledger, 1), await told(bench.ledger)
    await deliveries.subscribe(filling, HOOK)
    await bench.advance(FAREWELL + MOMENT)
    await deliveries.end(farewell=FAREWELL)
    assert await known(deliveries, filling)
    assert await known(deliveries, complete)


async def test_the_tombstone_takes_the_log_with_it(bench: Bench) -> None:
    job = await ended(bench)
    await bench.advance(2 * MOMENT)
    assert await bench.ledger.forget(tombstone=MOMENT) == 1
    assert await bench.ledger.deliveries.log(job) == []


# Replay


async def test_a_replay_is_due_at_once_under_the_old_id(bench: Bench) -> None:
    deliveries = bench.ledger.deliveries
    job = await told(bench.ledger)
    first = await take_one(deliveries, job)
    await succeed(deliveries, first)
    await bench.advance(MINUTE)
    replayed = await deliveries.replay(job, first.event)
    assert replayed == await row(deliveries, job)
    assert replayed is not None
    assert (replayed.delivered_at, replayed.given_up_at, replayed.attempts) == (None, None, 1)
    assert await deliveries.oldest() < LONG
    assert await deliveries.due(limit=9) == [job]
    second = await take_one(deliveries, job)
    assert (second.event, second.number, second.failures) == (first.event, 2, 0)


async def test_a_replay_brings_a_retry_forward_and_begins_its_waits_anew(bench: Bench) -> None:
    deliveries = bench.ledger.deliveries
    job = await told(bench.ledger)
    first = await take_one(deliveries, job)
    await fail(deliveries, first)
    await deliveries.replay(job, first.event)
    assert (await take_one(deliveries, job)).failures == 0


async def test_what_never_happened_cannot_be_replayed(ledger: Ledger, deliveries: Deliveries) -> None:
    job, other = await told(ledger), await told(ledger)
    assert await deliveries.replay(job, "evt_0") is None
    assert await deliveries.replay(other, event_id(job, 0, "job.completed")) is None
    assert await deliveries.replay(uuid4(), event_id(job, 0, "job.completed")) is None


async def test_the_receiver_is_never_shown(deliveries: Deliveries, ledger: Ledger) -> None:
    job = await told(ledger)
    attempt = await take_one(deliveries, job)
    for secret in (HOOK.url, "ssss", str(HOOK.reference)):
        assert secret not in repr(attempt)
        assert secret not in repr(await deliveries.log(job))


async def test_a_job_is_sealed_with_its_receiver_known(ledger: Ledger, deliveries: Deliveries) -> None:
    job = await open_with(ledger, 1)
    await deliveries.subscribe(job, HOOK)
    await finish(ledger, *map(done, await claim(ledger, job, 0)))
    await deliveries.enter(job)
    assert await deliveries.log(job) == []
    await seal(ledger, job, 1)
    await deliveries.enter(job)
    assert (await row(deliveries, job)).kind == "job.completed"
