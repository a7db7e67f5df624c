"""The times of a photo: what its owner is shown of its way, and operators find it by."""

from datetime import timedelta
from uuid import uuid4

import pytest

from ebbmark.ledger import Ledger, Times
from tests.contract.benches import Bench
from tests.contract.ledgers import (
    MOMENT,
    TTL,
    claim,
    done,
    failed,
    finish,
    new_photo,
    open_with,
    redispatch,
    redrive,
    refused_photo,
    sealed_with,
)


@pytest.fixture
def ledger(bench: Bench) -> Ledger:
    return bench.ledger


async def test_a_photo_that_waits_was_accepted_and_no_more(ledger: Ledger) -> None:
    job = await open_with(ledger, [new_photo(3), new_photo(1)])
    one, three = await ledger.times(job)
    assert (one.n, three.n, one.epoch, one.claims) == (1, 3, 0, 0)
    assert one.round_at == one.accepted_at
    assert (one.claimed_at, one.ended_at) == (None, None)


async def test_a_photo_that_is_done_was_claimed_and_ended_in_this_order(bench: Bench, ledger: Ledger) -> None:
    job = await sealed_with(ledger, 1)
    await bench.advance(MOMENT)
    claims = await claim(ledger, job, 0)
    await bench.advance(MOMENT)
    await finish(ledger, done(claims[0]))
    (times,) = await ledger.times(job)
    assert times.claims == 1
    assert _between(times) >= (MOMENT, MOMENT)


def _between(times: Times) -> tuple[timedelta, timedelta]:
    """Return how long it waited, and how long it took."""
    assert times.claimed_at is not None
    assert times.ended_at is not None
    return times.claimed_at - times.round_at, times.ended_at - times.claimed_at


async def test_of_several_claims_the_last_one_counts_and_its_repeat_changes_nothing(
    bench: Bench, ledger: Ledger
) -> None:
    job = await sealed_with(ledger, 1)
    (first,) = await claim(ledger, job, 0)
    await ledger.release(first, strikes=0, retry_after=timedelta(0))
    await bench.advance(MOMENT)
    await redispatch(ledger)
    claimant = uuid4()
    await claim(ledger, job, 0, claimant=claimant)
    (before,) = await ledger.times(job)
    await bench.advance(MOMENT)
    assert await claim(ledger, job, 0, claimant=claimant)
    (after,) = await ledger.times(job)
    assert (before.claims, after.claims) == (2, 2)
    assert before.claimed_at is not None
    assert before.claimed_at - before.accepted_at >= MOMENT
    assert after.claimed_at is not None
    assert after.claimed_at - after.accepted_at == before.claimed_at - before.accepted_at


async def test_what_was_refused_at_the_door_ended_when_it_came(ledger: Ledger) -> None:
    job = await open_with(ledger, [new_photo(0), refused_photo(1)])
    _, refused = await ledger.times(job)
    assert refused.ended_at == refused.accepted_at
    assert (refused.claims, refused.claimed_at) == (0, None)


async def test_what_was_cancelled_ended_then(bench: Bench, ledger: Ledger) -> None:
    job = await sealed_with(ledger, 2)
    await bench.advance(MOMENT)
    await ledger.cancel(job, [1], ttl=TTL)
    kept, cancelled = await ledger.times(job)
    assert kept.ended_at is None
    assert cancelled.ended_at is not None
    assert cancelled.ended_at - cancelled.accepted_at >= MOMENT


async def test_a_new_round_begins_its_own_times(bench: Bench, ledger: Ledger) -> None:
    job = await sealed_with(ledger, 1)
    (claimed,) = await claim(ledger, job, 0)
    await finish(ledger, failed(claimed))
    await bench.advance(MOMENT)
    assert await redrive(ledger, job, 0) == [0]
    (again,) = await ledger.times(job)
    assert (again.epoch, again.claims) == (1, 1)
    assert again.round_at - again.accepted_at >= MOMENT
    assert (again.claimed_at, again.ended_at) == (None, None)


async def test_an_outcome_that_does_not_count_changes_no_time(bench: Bench, ledger: Ledger) -> None:
    job = await sealed_with(ledger, 1)
    (claimed,) = await claim(ledger, job, 0)
    await finish(ledger, done(claimed))
    (before,) = await ledger.times(job)
    await bench.advance(MOMENT)
    await finish(ledger, failed(claimed))
    (after,) = await ledger.times(job)
    assert _between(after) == _between(before)


async def test_a_job_that_is_not_there_has_no_times(ledger: Ledger) -> None:
    assert await ledger.times(uuid4()) == []
