"""What its owner does not want any more ends at once, counted as failed."""

import pytest

from ebbmark.ledger import CANCELLED, Ledger
from ebbmark.states import JobState, PhotoState
from tests.contract.benches import Bench
from tests.contract.ledgers import (
    LEASE,
    MOMENT,
    TTL,
    claim,
    done,
    failed,
    finish,
    open_with,
    redispatch,
    redrive,
    seal,
    sealed_with,
    see,
    see_photo,
    take_back,
)


@pytest.fixture
def ledger(bench: Bench) -> Ledger:
    return bench.ledger


async def test_a_waiting_photo_is_cancelled_and_counts_as_failed(ledger: Ledger) -> None:
    job = await sealed_with(ledger, 2)
    before = (await see(ledger, job)).job
    assert await ledger.cancel(job, [1], ttl=TTL) == [1]
    after = await see(ledger, job)
    assert (after.photos[1].state, after.photos[1].code) == (PhotoState.FAILED, CANCELLED)
    assert after.photos[1].detail
    assert (after.job.state, after.job.failed, after.photos[0].state) == (
        JobState.RENDERING,
        1,
        PhotoState.QUEUED,
    )
    assert after.job.version > before.version


async def test_all_that_has_not_ended_is_cancelled_and_the_job_is_complete(bench: Bench) -> None:
    job = await sealed_with(bench.ledger, 4)
    first, second, _ = await claim(bench.ledger, job, 0, 1, 2)
    await finish(bench.ledger, done(first))
    await bench.ledger.release(second, strikes=0, retry_after=LEASE)
    assert await bench.ledger.cancel(job, ttl=TTL) == [1, 2, 3]
    row = (await see(bench.ledger, job)).job
    assert (row.state, row.done, row.failed) == (JobState.COMPLETE, 1, 3)
    assert row.expires_at is not None
    await bench.advance(11 * MOMENT)
    assert [(each.job, each.failed) for each in await bench.ledger.unannounced()] == [(job, 3)]


async def test_what_a_worker_says_of_a_cancelled_photo_changes_nothing(bench: Bench) -> None:
    job = await sealed_with(bench.ledger, 2)
    (held,) = await claim(bench.ledger, job, 0)
    await bench.ledger.cancel(job, [0], ttl=TTL)
    before = await see(bench.ledger, job)
    await bench.ledger.renew([held], lease=LEASE)
    await bench.ledger.release(held, strikes=1, retry_after=MOMENT)
    assert await finish(bench.ledger, done(held), failed(held)) == 0
    await bench.advance(LEASE + MOMENT)
    assert await take_back(bench.ledger) == []
    after = await see(bench.ledger, job)
    assert (after.photos, after.job.version) == (before.photos, before.job.version)


async def test_a_cancelled_photo_is_neither_claimed_nor_dispatched_nor_waited_for(bench: Bench) -> None:
    job = await sealed_with(bench.ledger, 1)
    assert (await bench.ledger.backlog()).photos == 1
    await bench.ledger.cancel(job, ttl=TTL)
    assert await claim(bench.ledger, job, 0) == []
    await bench.advance(10 * LEASE)
    assert await redispatch(bench.ledger) == []
    assert (await bench.ledger.backlog()).photos == 0


async def test_what_has_ended_is_not_cancelled(ledger: Ledger) -> None:
    job = await sealed_with(ledger, 3)
    claims = await claim(ledger, job, 0, 1)
    await finish(ledger, done(claims[0]), failed(claims[1]))
    before = await see(ledger, job)
    assert await ledger.cancel(job, [0, 1, 9], ttl=TTL) == []
    assert await ledger.cancel(job, [], ttl=TTL) == []
    after = await see(ledger, job)
    assert (after.photos, after.job.version) == (before.photos, before.job.version)


async def test_cancelling_twice_counts_once(ledger: Ledger) -> None:
    job = await sealed_with(ledger, 2)
    await ledger.cancel(job, [0], ttl=TTL)
    assert await ledger.cancel(job, [0], ttl=TTL) == []
    assert (await see(ledger, job)).job.failed == 1


async def test_an_open_job_stays_open_and_is_complete_when_it_is_sealed(ledger: Ledger) -> None:
    job = await open_with(ledger, 2)
    assert await ledger.cancel(job, ttl=TTL) == [0, 1]
    assert (await see(ledger, job)).job.state is JobState.OPEN
    await seal(ledger, job, 2)
    assert (await see(ledger, job)).job.state is JobState.COMPLETE


async def test_nothing_of_a_dying_job_is_cancelled(ledger: Ledger) -> None:
    job = await sealed_with(ledger, 1)
    await ledger.expire_now(job)
    assert await ledger.cancel(job, ttl=TTL) == []


async def test_a_cancelled_photo_may_be_wanted_again(ledger: Ledger) -> None:
    job = await sealed_with(ledger, 1)
    (held,) = await claim(ledger, job, 0)
    await ledger.cancel(job, ttl=TTL)
    assert await redrive(ledger, job, 0) == [0]
    assert await finish(ledger, done(held)) == 0
    (again,) = await claim(ledger, job, 0, epoch=1)
    assert await finish(ledger, done(again)) == 1
    assert (await see_photo(ledger, job)).state is PhotoState.DONE


async def test_a_watcher_hears_of_a_cancellation(ledger: Ledger) -> None:
    job = await sealed_with(ledger, 2)
    async with ledger.changes() as changes:
        await anext(changes)
        await ledger.cancel(job, ttl=TTL)
        assert await anext(changes) == job
