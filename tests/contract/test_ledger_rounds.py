"""What failed goes round again when somebody asks for it, and only then."""

from datetime import timedelta

import pytest

from ebbmark.ledger import Completion, Ledger, Wanted
from ebbmark.states import JobState, PhotoState
from tests.contract.benches import Bench
from tests.contract.ledgers import (
    DEADLINE,
    LEASE,
    MOMENT,
    OTHER_RECIPE,
    RECIPE,
    STALE,
    STRIKES,
    TTL,
    claim,
    done,
    failed,
    failed_with,
    finish,
    new_photo,
    open_with,
    redispatch,
    redrive,
    refused_photo,
    sealed_with,
    see,
    see_photo,
    take_back,
)


@pytest.fixture
def ledger(bench: Bench) -> Ledger:
    return bench.ledger


async def test_a_failed_photo_of_a_complete_job_begins_a_new_round(ledger: Ledger) -> None:
    job = await failed_with(ledger, 2, 1)
    before = await see(ledger, job)
    assert await redrive(ledger, job, 1) == [1]
    after = await see(ledger, job)
    photo = after.photos[1]
    assert (photo.state, photo.epoch, photo.code, photo.detail) == (PhotoState.QUEUED, 1, None, None)
    assert (after.job.state, after.job.epoch) == (JobState.RENDERING, 1)
    assert (after.job.done, after.job.failed, after.job.total) == (1, 0, 2)
    assert (after.job.completed_at, after.job.expires_at) == (None, None)
    assert after.job.version > before.job.version
    assert after.photos[0] == before.photos[0]


async def test_the_new_round_ends_the_job_once_more(bench: Bench) -> None:
    job = await failed_with(bench.ledger, 2, 0, 1)
    await redrive(bench.ledger, job, 0, 1)
    claims = await claim(bench.ledger, job, 0, 1, epoch=1)
    assert await finish(bench.ledger, done(claims[0])) == 0
    told = await bench.ledger.finish([failed(claims[1])], ttl=TTL)
    assert told == [Completion(job=job, epoch=1, done=1, failed=1)]
    await bench.advance(timedelta(seconds=11))
    assert await bench.ledger.unannounced() == told


async def test_a_late_note_of_an_earlier_round_does_not_have_the_later_told_again(bench: Bench) -> None:
    job = await failed_with(bench.ledger, 1, 0)
    await redrive(bench.ledger, job, 0)
    (claimed,) = await claim(bench.ledger, job, 0, epoch=1)
    told = await bench.ledger.finish([done(claimed)], ttl=TTL)
    await bench.ledger.announced(told)
    await bench.ledger.announced([Completion(job=job, epoch=0, done=0, failed=1)])
    await bench.advance(timedelta(seconds=11))
    assert await bench.ledger.unannounced() == []


async def test_a_new_round_begins_while_others_are_still_rendered(ledger: Ledger) -> None:
    job = await sealed_with(ledger, 2)
    claims = await claim(ledger, job, 0, 1)
    await finish(ledger, failed(claims[0]))
    assert await redrive(ledger, job, 0) == [0]
    row = await see(ledger, job)
    assert (row.job.state, row.job.epoch, row.job.failed) == (JobState.RENDERING, 1, 0)
    assert await finish(ledger, done(claims[1])) == 0
    (again,) = await claim(ledger, job, 0, epoch=1)
    assert await finish(ledger, done(again)) == 1


async def test_repeating_it_does_nothing(ledger: Ledger) -> None:
    job = await failed_with(ledger, 1, 0)
    await redrive(ledger, job, 0)
    before = await see(ledger, job)
    assert await redrive(ledger, job, 0) == []
    after = await see(ledger, job)
    assert (after.photos, after.job.version, after.job.epoch) == (before.photos, before.job.version, 1)


async def test_what_has_not_failed_stays_as_it_is(ledger: Ledger) -> None:
    job = await sealed_with(ledger, 3)
    claims = await claim(ledger, job, 0, 1)
    await finish(ledger, done(claims[0]))
    before = await see(ledger, job)
    assert await redrive(ledger, job, 0, 1, 2, 9) == []
    after = await see(ledger, job)
    assert (after.photos, after.job.version, after.job.epoch) == (before.photos, before.job.version, 0)


async def test_what_was_refused_at_the_door_never_comes_back_for_there_is_no_original(ledger: Ledger) -> None:
    job = await sealed_with(ledger, [new_photo(0), refused_photo(1)])
    (claimed,) = await claim(ledger, job, 0)
    await finish(ledger, failed(claimed))
    assert await redrive(ledger, job, 0, 1) == [0]
    assert (await see(ledger, job)).job.failed == 1


async def test_a_job_with_nothing_but_refusals_stays_complete(ledger: Ledger) -> None:
    job = await sealed_with(ledger, [refused_photo(0)])
    assert await redrive(ledger, job, 0) == []
    assert (await see(ledger, job)).job.state is JobState.COMPLETE


async def test_an_open_job_begins_no_new_round(ledger: Ledger) -> None:
    job = await open_with(ledger, 1)
    (claimed,) = await claim(ledger, job, 0)
    await finish(ledger, failed(claimed))
    assert await redrive(ledger, job, 0) == []


async def test_a_deleted_job_begins_no_new_round(ledger: Ledger) -> None:
    job = await failed_with(ledger, 1, 0)
    await ledger.expire_now(job)
    assert await redrive(ledger, job, 0) == []
    assert (await see(ledger, job)).job.state is JobState.EXPIRING


async def test_a_job_whose_hour_is_over_begins_no_new_round_even_before_the_janitor_came(
    bench: Bench,
) -> None:
    job = await failed_with(bench.ledger, 1, 0)
    await bench.advance(TTL + MOMENT)
    assert await redrive(bench.ledger, job, 0) == []
    assert not (await see(bench.ledger, job)).job.live


async def test_a_job_that_is_too_old_begins_no_new_round(bench: Bench) -> None:
    job = await failed_with(bench.ledger, 1, 0)
    await bench.advance(timedelta(minutes=50))
    wanted = [Wanted(job=job, n=0, epoch=0)]
    young, old = timedelta(minutes=49), timedelta(minutes=51)
    assert await bench.ledger.redrive(wanted, within=young, stale=STALE, deadline=DEADLINE) == []
    assert len(await bench.ledger.redrive(wanted, within=old, stale=STALE, deadline=DEADLINE)) == 1


async def test_the_hour_begins_anew_with_the_new_completion(bench: Bench) -> None:
    job = await failed_with(bench.ledger, 1, 0)
    await bench.advance(TTL - MOMENT)
    await redrive(bench.ledger, job, 0)
    await bench.advance(TTL)
    assert (await see(bench.ledger, job)).job.live
    (again,) = await claim(bench.ledger, job, 0, epoch=1)
    await finish(bench.ledger, done(again))
    row = (await see(bench.ledger, job)).job
    assert row.expires_at is not None
    assert row.expires_at - row.now > TTL - timedelta(minutes=1)


async def test_the_new_round_has_a_deadline_of_its_own(bench: Bench) -> None:
    job = await failed_with(bench.ledger, 1, 0)
    await bench.advance(DEADLINE + MOMENT)
    await redrive(bench.ledger, job, 0)
    assert await bench.ledger.given_up(strikes=STRIKES) == []
    await bench.advance(DEADLINE + MOMENT)
    assert [each.code for each in await bench.ledger.given_up(strikes=STRIKES)] == ["deadline"]


async def test_the_new_round_has_all_its_strikes(bench: Bench) -> None:
    job = await sealed_with(bench.ledger, 1)
    await claim(bench.ledger, job, 0)
    await bench.advance(LEASE + MOMENT)
    assert [each.code for each in await take_back(bench.ledger, strikes=1)] == ["poison"]
    await redrive(bench.ledger, job, 0)
    (again,) = await claim(bench.ledger, job, 0, epoch=1)
    assert (again.strikes, again.fence) == (1, 2)


async def test_an_order_of_the_new_round_that_is_lost_is_given_anew(bench: Bench) -> None:
    job = await failed_with(bench.ledger, 1, 0)
    await redrive(bench.ledger, job, 0)
    assert await redispatch(bench.ledger) == []
    await bench.advance(STALE + MOMENT)
    assert await redispatch(bench.ledger) == [Wanted(job=job, n=0, epoch=1)]


async def test_the_backlog_grows_by_what_goes_round_again(ledger: Ledger) -> None:
    job = await failed_with(ledger, 3, 0, 2)
    assert (await ledger.backlog()).photos == 0
    await redrive(ledger, job, 0, 2)
    assert (await ledger.backlog()).photos == 2


async def test_an_outcome_of_the_earlier_round_changes_nothing(ledger: Ledger) -> None:
    job = await sealed_with(ledger, 1)
    (earlier,) = await claim(ledger, job, 0)
    await finish(ledger, failed(earlier))
    await redrive(ledger, job, 0)
    assert await finish(ledger, done(earlier), failed(earlier)) == 0
    await ledger.release(earlier, strikes=1, retry_after=MOMENT)
    assert await claim(ledger, job, 0, epoch=0) == []
    assert (await see_photo(ledger, job)).state is PhotoState.QUEUED


async def test_photos_of_several_jobs_go_round_in_one_call(ledger: Ledger) -> None:
    jobs = sorted([await failed_with(ledger, 2, 0, 1), await failed_with(ledger, 1, 0)])
    alive = await failed_with(ledger, 1)
    wanted = [Wanted(job=job, n=n, epoch=0) for job in [*jobs, alive] for n in (0, 1)]
    again = await ledger.redrive([*wanted, *wanted], stale=STALE, deadline=DEADLINE)
    assert [each.job for each in again] == sorted(each.job for each in again)
    assert len(again) == 3
    assert [(await see(ledger, job)).job.epoch for job in jobs] == [1, 1]
    assert (await see(ledger, alive)).job.epoch == 0


async def test_another_recipe_renders_what_goes_round_again(ledger: Ledger) -> None:
    job = await failed_with(ledger, 2, 1)
    assert await redrive(ledger, job, 1, recipe=OTHER_RECIPE) == [1]
    (again,) = await claim(ledger, job, 1, epoch=1)
    assert again.recipe == OTHER_RECIPE
    assert (await see_photo(ledger, job, 0)).state is PhotoState.DONE


async def test_another_logo_comes_with_another_recipe(ledger: Ledger) -> None:
    job = await failed_with(ledger, 1, 0)
    wanted = [Wanted(job=job, n=0, epoch=0)]
    await ledger.redrive(wanted, recipe=OTHER_RECIPE, logo_sha256=b"l" * 32, stale=STALE, deadline=DEADLINE)
    (again,) = await claim(ledger, job, 0, epoch=1)
    assert again.logo_sha256 == b"l" * 32


async def test_another_recipe_waits_until_nothing_is_under_way_by_the_old_one(ledger: Ledger) -> None:
    job = await sealed_with(ledger, 2)
    claims = await claim(ledger, job, 0, 1)
    await finish(ledger, failed(claims[0]))
    assert await redrive(ledger, job, 0, recipe=OTHER_RECIPE) == []
    assert (await see(ledger, job)).job.recipe == RECIPE
    await finish(ledger, done(claims[1]))
    assert await redrive(ledger, job, 0, recipe=OTHER_RECIPE) == [0]


async def test_a_recipe_for_nothing_is_not_taken(ledger: Ledger) -> None:
    job = await failed_with(ledger, 1)
    assert await redrive(ledger, job, 0, recipe=OTHER_RECIPE) == []
    assert (await see(ledger, job)).job.recipe == RECIPE


async def test_a_watcher_hears_of_the_new_round(ledger: Ledger) -> None:
    job = await failed_with(ledger, 2, 0, 1)
    async with ledger.changes() as changes:
        await anext(changes)
        await redrive(ledger, job, 0, 1)
        assert await anext(changes) == job
