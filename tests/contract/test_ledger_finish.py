"""Finishing photos and completing jobs: what the projector asks of the ledger."""

import asyncio
from datetime import timedelta

import pytest

from ebbmark.ledger import Completion, Ledger, Wanted
from ebbmark.states import JobState, PhotoState
from tests.contract.benches import Bench
from tests.contract.ledgers import (
    LEASE,
    MOMENT,
    QUIET,
    TTL,
    claim,
    completed_with,
    done,
    failed,
    finish,
    open_with,
    refused_photo,
    sealed_with,
    see,
    see_photo,
)


@pytest.fixture
def ledger(bench: Bench) -> Ledger:
    return bench.ledger


async def test_a_result_is_entered_with_its_measures(ledger: Ledger) -> None:
    job = await sealed_with(ledger, 2)
    (claimed,) = await claim(ledger, job, 0)
    await finish(ledger, done(claimed))
    photo = await see_photo(ledger, job)
    assert (photo.state, photo.width, photo.height) == (PhotoState.DONE, 640, 480)
    assert (photo.result_size, photo.thumbnail_size, photo.result_type) == (2000, 200, "image/jpeg")
    assert photo.removed == "location, maker notes"
    assert (photo.code, photo.detail) == (None, None)


async def test_a_failure_is_entered_with_its_reason(ledger: Ledger) -> None:
    job = await sealed_with(ledger, 2)
    (claimed,) = await claim(ledger, job, 0)
    await finish(ledger, failed(claimed, code="too-many-pixels"))
    photo = await see_photo(ledger, job)
    assert (photo.state, photo.code, photo.detail) == (PhotoState.FAILED, "too-many-pixels", "It is broken.")
    assert photo.result_size is None
    assert photo.removed is None


async def test_the_last_photo_completes_the_job_and_sets_its_end(ledger: Ledger) -> None:
    job = await sealed_with(ledger, 3)
    claims = await claim(ledger, job, 0, 1, 2)
    assert await ledger.finish([done(claims[0]), failed(claims[1])], ttl=TTL) == []
    assert (await see(ledger, job)).job.state is JobState.RENDERING
    completions = await ledger.finish([done(claims[2])], ttl=TTL)
    assert completions == [Completion(job=job, epoch=0, done=2, failed=1)]
    row = (await see(ledger, job)).job
    assert (row.state, row.done, row.failed) == (JobState.COMPLETE, 2, 1)
    assert row.completed_at is not None
    assert row.expires_at == row.completed_at + TTL


async def test_finishing_nothing_completes_nothing(ledger: Ledger) -> None:
    assert await ledger.finish([], ttl=TTL) == []


async def test_one_call_may_finish_photos_of_many_jobs(ledger: Ledger) -> None:
    jobs = [await sealed_with(ledger, 2) for _ in range(3)]
    claims = [each for job in jobs for each in await claim(ledger, job, 0, 1)]
    completions = await ledger.finish([done(each) for each in claims[:-1]], ttl=TTL)
    assert {each.job for each in completions} == set(jobs[:2])
    assert (await see(ledger, jobs[2])).job.done == 1


async def test_eight_deliveries_at_once_count_once(ledger: Ledger) -> None:
    job = await sealed_with(ledger, 5)
    outcomes = [done(each) for each in await claim(ledger, job, *range(5))]
    answers = await asyncio.gather(*(ledger.finish(outcomes, ttl=TTL) for _ in range(8)))
    assert [each for answer in answers for each in answer] == [Completion(job=job, epoch=0, done=5, failed=0)]
    row = (await see(ledger, job)).job
    assert (row.done, row.failed) == (5, 0)


async def test_the_same_outcome_twice_in_one_call_counts_once(ledger: Ledger) -> None:
    job = await sealed_with(ledger, 2)
    (claimed,) = await claim(ledger, job, 0)
    await finish(ledger, done(claimed), done(claimed))
    assert (await see(ledger, job)).job.done == 1


async def test_a_photo_may_be_finished_without_anybody_having_claimed_it(ledger: Ledger) -> None:
    job = await sealed_with(ledger, 1)
    assert await finish(ledger, done(Wanted(job=job, n=0, epoch=0))) == 1


async def test_success_is_never_undone_by_a_late_failure(ledger: Ledger) -> None:
    job = await sealed_with(ledger, 1)
    (claimed,) = await claim(ledger, job, 0)
    await finish(ledger, done(claimed))
    before = await see(ledger, job)
    assert await finish(ledger, failed(claimed)) == 0
    after = await see(ledger, job)
    assert (after.photos, after.job.version) == (before.photos, before.job.version)


async def test_failure_is_never_undone_by_a_late_success(ledger: Ledger) -> None:
    job = await sealed_with(ledger, 2)
    (claimed,) = await claim(ledger, job, 0)
    await finish(ledger, failed(claimed))
    await finish(ledger, done(claimed))
    row = await see(ledger, job)
    assert (row.photos[0].state, row.job.done, row.job.failed) == (PhotoState.FAILED, 0, 1)


async def test_success_wins_over_failure_in_one_call(ledger: Ledger) -> None:
    job = await sealed_with(ledger, 2)
    (claimed,) = await claim(ledger, job, 0)
    await finish(ledger, failed(claimed), done(claimed))
    assert (await see_photo(ledger, job)).state is PhotoState.DONE


async def test_a_failure_told_by_a_zombie_does_not_count(bench: Bench) -> None:
    job = await sealed_with(bench.ledger, 1)
    (zombie,) = await claim(bench.ledger, job, 0)
    await bench.advance(LEASE + MOMENT)
    (alive,) = await claim(bench.ledger, job, 0)
    assert await finish(bench.ledger, failed(zombie)) == 0
    assert (await see_photo(bench.ledger, job)).state is PhotoState.RENDERING
    assert await finish(bench.ledger, failed(alive)) == 1


async def test_a_zombies_failure_does_not_hide_the_current_one(bench: Bench) -> None:
    job = await sealed_with(bench.ledger, 1)
    (zombie,) = await claim(bench.ledger, job, 0)
    await bench.advance(LEASE + MOMENT)
    (alive,) = await claim(bench.ledger, job, 0)
    assert await finish(bench.ledger, failed(zombie, code="stale"), failed(alive, code="current")) == 1
    assert (await see_photo(bench.ledger, job)).code == "current"


async def test_a_result_from_a_zombie_counts_since_it_is_in_the_store(bench: Bench) -> None:
    job = await sealed_with(bench.ledger, 1)
    (zombie,) = await claim(bench.ledger, job, 0)
    await bench.advance(LEASE + MOMENT)
    (alive,) = await claim(bench.ledger, job, 0)
    assert await finish(bench.ledger, done(zombie)) == 1
    assert await finish(bench.ledger, failed(alive)) == 0
    assert (await see_photo(bench.ledger, job)).state is PhotoState.DONE


async def test_an_outcome_of_another_epoch_does_not_count(ledger: Ledger) -> None:
    job = await sealed_with(ledger, 1)
    assert await finish(ledger, done(Wanted(job=job, n=0, epoch=1))) == 0
    assert (await see_photo(ledger, job)).state is PhotoState.QUEUED


async def test_an_outcome_of_another_epoch_does_not_hide_the_current_one(ledger: Ledger) -> None:
    job = await sealed_with(ledger, 1)
    (claimed,) = await claim(ledger, job, 0)
    assert await finish(ledger, done(Wanted(job=job, n=0, epoch=1)), failed(claimed)) == 1


async def test_outcomes_of_what_never_was_do_not_count(ledger: Ledger) -> None:
    job = await sealed_with(ledger, 1)
    assert await finish(ledger, done(Wanted(job=job, n=9, epoch=0))) == 0


async def test_photos_refused_at_the_door_count_towards_completion(ledger: Ledger) -> None:
    job = await open_with(ledger, [refused_photo(0)])
    await ledger.seal(job, 1, deadline=TTL, ttl=TTL)
    assert (await see(ledger, job)).job.state is JobState.COMPLETE


@pytest.mark.parametrize("expired", [False, True], ids=["dying", "expired"])
async def test_nothing_is_entered_into_a_job_that_dies(ledger: Ledger, *, expired: bool) -> None:
    job = await sealed_with(ledger, 1)
    (claimed,) = await claim(ledger, job, 0)
    await ledger.expire_now(job)
    if expired:
        await ledger.mark_expired(job, quiet=QUIET)
    before = await see(ledger, job)
    assert await finish(ledger, failed(claimed)) == 0
    after = await see(ledger, job)
    assert (after.photos, after.job.version) == (before.photos, before.job.version)


async def test_a_completion_is_told_again_until_it_is_announced(bench: Bench) -> None:
    job = await completed_with(bench.ledger, 1)
    assert await bench.ledger.unannounced() == []
    await bench.advance(timedelta(seconds=11))
    completions = await bench.ledger.unannounced()
    assert completions == [Completion(job=job, epoch=0, done=1, failed=0)]
    assert await bench.ledger.unannounced() == completions
    await bench.ledger.announced(completions)
    assert await bench.ledger.unannounced() == []


async def test_a_job_completed_by_its_seal_is_told_too(bench: Bench) -> None:
    job = await sealed_with(bench.ledger, [refused_photo(0)])
    await bench.advance(timedelta(seconds=11))
    assert await bench.ledger.unannounced() == [Completion(job=job, epoch=0, done=0, failed=1)]


async def test_announcing_many_and_none_is_fine(bench: Bench) -> None:
    await bench.ledger.announced([])
    for _ in range(3):
        await completed_with(bench.ledger, 1)
    await bench.advance(timedelta(seconds=11))
    await bench.ledger.announced(await bench.ledger.unannounced())
    assert await bench.ledger.unannounced() == []
