"""Claiming and releasing photos: what the renderer asks of the ledger."""

import asyncio
from datetime import UTC, timedelta
from uuid import uuid4

import msgspec
import pytest

from ebbmark.ledger import Ledger, Wanted
from ebbmark.states import PhotoState
from tests.contract.benches import Bench
from tests.contract.ledgers import (
    LEASE,
    MOMENT,
    RECIPE,
    STALE,
    STRIKES,
    claim,
    done,
    failed,
    finish,
    new_photo,
    open_with,
    redispatch,
    seal,
    sealed_with,
    see_photo,
)

NOW = timedelta(0)


@pytest.fixture
def ledger(bench: Bench) -> Ledger:
    return bench.ledger


async def retry(ledger: Ledger, *, stale: timedelta = STALE) -> list[int]:
    return [wanted.n for wanted in await redispatch(ledger, stale=stale)]


async def test_a_claim_brings_all_that_rendering_needs(ledger: Ledger) -> None:
    job = await open_with(ledger, [new_photo(7)], logo_sha256=b"logo")
    (claimed,) = await claim(ledger, job, 7)
    assert (claimed.job, claimed.n, claimed.epoch) == (job, 7, 0)
    assert (claimed.fence, claimed.strikes) == (1, 1)
    assert (claimed.sha256, claimed.recipe, claimed.logo_sha256) == (bytes([7]) * 32, RECIPE, b"logo")
    assert (await see_photo(ledger, job, 7)).state is PhotoState.RENDERING


async def test_a_claim_says_how_many_photos_its_job_has_once_that_is_known(ledger: Ledger) -> None:
    job = await open_with(ledger, 2)
    (first,) = await claim(ledger, job, 0)
    row = await seal(ledger, job, 2)
    (second,) = await claim(ledger, job, 1)
    assert (first.total, second.total) == (None, 2)
    assert row is not None
    assert first.sent_on == second.sent_on == row.created_at.astimezone(UTC).date()


async def test_a_recipe_that_names_the_number_of_photos_waits_for_the_seal(ledger: Ledger) -> None:
    recipe = b'{"operations":[{"operation":"watermark","text":"{n}/{total}"}]}'
    job = await open_with(ledger, 1, recipe=recipe)
    assert await claim(ledger, job, 0) == []
    await seal(ledger, job, 1)
    (claimed,) = await claim(ledger, job, 0)
    assert (claimed.strikes, claimed.total) == (1, 1)


async def test_photos_of_open_and_of_sealed_jobs_may_be_claimed_together(ledger: Ledger) -> None:
    jobs = [await open_with(ledger, 1), await sealed_with(ledger, 1)]
    wanted = [Wanted(job=job, n=0, epoch=0) for job in jobs]
    claims = await ledger.claim(wanted, claimant=uuid4(), lease=LEASE, strikes=STRIKES)
    assert {each.job for each in claims} == set(jobs)


async def test_claiming_nothing_brings_nothing(ledger: Ledger) -> None:
    assert await ledger.claim([], claimant=uuid4(), lease=LEASE, strikes=STRIKES) == []


async def test_an_order_given_twice_in_one_call_is_one_claim(ledger: Ledger) -> None:
    job = await open_with(ledger, 1)
    (claimed,) = await claim(ledger, job, 0, 0)
    assert claimed.strikes == 1


async def test_a_photo_leased_to_someone_alive_is_refused(bench: Bench) -> None:
    job = await open_with(bench.ledger, 1)
    await claim(bench.ledger, job, 0)
    assert await claim(bench.ledger, job, 0) == []
    await bench.advance(LEASE - MOMENT)
    assert await claim(bench.ledger, job, 0) == []


async def test_an_ended_lease_is_taken_over_with_a_higher_fence(bench: Bench) -> None:
    job = await open_with(bench.ledger, 1)
    (first,) = await claim(bench.ledger, job, 0)
    await bench.advance(LEASE + MOMENT)
    (second,) = await claim(bench.ledger, job, 0)
    assert (second.fence, second.strikes) == (first.fence + 1, first.strikes + 1)


async def test_of_eight_at_once_one_gets_the_claim(ledger: Ledger) -> None:
    job = await open_with(ledger, 1)
    answers = await asyncio.gather(*(claim(ledger, job, 0) for _ in range(8)))
    assert sum(len(each) for each in answers) == 1


async def test_whoever_lost_the_answer_gets_the_same_claim_again(bench: Bench) -> None:
    job, worker = await open_with(bench.ledger, 1), uuid4()
    (first,) = await claim(bench.ledger, job, 0, claimant=worker)
    await bench.advance(LEASE - MOMENT)
    (again,) = await claim(bench.ledger, job, 0, claimant=worker)
    assert again.waited - first.waited >= LEASE - MOMENT
    assert msgspec.structs.replace(again, waited=first.waited) == first
    await bench.advance(2 * MOMENT)
    assert await claim(bench.ledger, job, 0) == [], "the lease began anew"


async def test_a_claim_taken_over_is_not_given_back(bench: Bench) -> None:
    job, worker = await open_with(bench.ledger, 1), uuid4()
    await claim(bench.ledger, job, 0, claimant=worker)
    await bench.advance(LEASE + MOMENT)
    (second,) = await claim(bench.ledger, job, 0)
    assert await claim(bench.ledger, job, 0, claimant=worker) == []
    assert second.fence == 2


async def test_what_was_released_must_be_claimed_anew_by_whoever_held_it(ledger: Ledger) -> None:
    job, worker = await open_with(ledger, 1), uuid4()
    (first,) = await claim(ledger, job, 0, claimant=worker)
    await ledger.release(first, strikes=0, retry_after=NOW)
    assert await claim(ledger, job, 0, claimant=worker) == []
    await retry(ledger)
    assert [(each.fence, each.strikes) for each in await claim(ledger, job, 0, claimant=worker)] == [(2, 2)]


async def test_a_renewed_claim_outlives_its_lease(bench: Bench) -> None:
    job = await open_with(bench.ledger, 2)
    held = await claim(bench.ledger, job, 0, 1)
    await bench.advance(LEASE - MOMENT)
    await bench.ledger.renew([each for each in held if each.n == 0], lease=LEASE)
    await bench.advance(2 * MOMENT)
    await bench.ledger.end_leases(strikes=STRIKES)
    states = [(await see_photo(bench.ledger, job, n)).state for n in (0, 1)]
    assert states == [PhotoState.RENDERING, PhotoState.RETRYING]


async def test_only_the_current_claim_can_be_renewed(bench: Bench) -> None:
    job = await open_with(bench.ledger, 1)
    (zombie,) = await claim(bench.ledger, job, 0)
    await bench.advance(LEASE + MOMENT)
    await claim(bench.ledger, job, 0)
    await bench.advance(LEASE - MOMENT)
    await bench.ledger.renew([zombie], lease=LEASE)
    await bench.advance(2 * MOMENT)
    assert len(await claim(bench.ledger, job, 0)) == 1


async def test_terminal_photos_are_refused(ledger: Ledger) -> None:
    job = await sealed_with(ledger, 3)
    claims = await claim(ledger, job, 0, 1)
    await finish(ledger, done(claims[0]), failed(claims[1]))
    assert [each.n for each in await claim(ledger, job, 0, 1, 2)] == [2]


async def test_an_order_of_another_epoch_is_refused(ledger: Ledger) -> None:
    job = await open_with(ledger, 1)
    assert await claim(ledger, job, 0, epoch=1) == []


async def test_a_photo_of_a_dying_job_is_refused(ledger: Ledger) -> None:
    job = await open_with(ledger, 1)
    await ledger.expire_now(job)
    assert await claim(ledger, job, 0) == []


async def test_a_photo_is_refused_until_its_recipe_is_known(ledger: Ledger) -> None:
    job = await open_with(ledger, 1, recipe=None)
    assert await claim(ledger, job, 0) == []
    await ledger.add_photos(job, [], recipe=RECIPE, stale=STALE)
    assert len(await claim(ledger, job, 0)) == 1


async def test_a_photo_that_never_was_is_refused(ledger: Ledger) -> None:
    job = await open_with(ledger, 1)
    assert await claim(ledger, job, 5) == []


async def test_a_photo_out_of_strikes_is_refused(bench: Bench) -> None:
    job = await open_with(bench.ledger, 1)
    for spent in range(1, STRIKES + 1):
        (claimed,) = await claim(bench.ledger, job, 0)
        assert claimed.strikes == spent
        await bench.advance(LEASE + MOMENT)
    assert await claim(bench.ledger, job, 0) == []


async def test_a_released_photo_waits_for_its_retry(bench: Bench) -> None:
    job = await open_with(bench.ledger, 1)
    (claimed,) = await claim(bench.ledger, job, 0)
    await bench.ledger.release(claimed, strikes=0, retry_after=timedelta(minutes=5))
    assert (await see_photo(bench.ledger, job)).state is PhotoState.RETRYING
    assert await claim(bench.ledger, job, 0) == []
    await bench.advance(timedelta(minutes=5) - MOMENT)
    assert await retry(bench.ledger) == []
    await bench.advance(MOMENT)
    assert await retry(bench.ledger) == [0]
    assert (await claim(bench.ledger, job, 0))[0].fence == 2


@pytest.mark.parametrize(
    ("judgement", "left"),
    [(-1, 0), (0, 1), (1, 2), (-9, 0)],
    ids=["nothing spoke against it", "neither", "its child died", "never below none"],
)
async def test_a_release_judges_the_photo(ledger: Ledger, judgement: int, left: int) -> None:
    job = await open_with(ledger, 1)
    (claimed,) = await claim(ledger, job, 0)
    await ledger.release(claimed, strikes=judgement, retry_after=NOW)
    await retry(ledger)
    (again,) = await claim(ledger, job, 0)
    assert again.strikes == left + 1


async def test_an_outage_burns_no_strike_however_often(ledger: Ledger) -> None:
    job = await open_with(ledger, 1)
    for round_ in range(1, 20):
        (claimed,) = await claim(ledger, job, 0)
        assert (claimed.strikes, claimed.fence) == (1, round_)
        await ledger.release(claimed, strikes=-1, retry_after=NOW)
        assert await retry(ledger) == [0]


async def test_a_release_with_an_old_fence_does_nothing(bench: Bench) -> None:
    job = await open_with(bench.ledger, 1)
    (zombie,) = await claim(bench.ledger, job, 0)
    await bench.advance(LEASE + MOMENT)
    (alive,) = await claim(bench.ledger, job, 0)
    await bench.ledger.release(zombie, strikes=-1, retry_after=NOW)
    assert (await see_photo(bench.ledger, job)).state is PhotoState.RENDERING
    await finish(bench.ledger, failed(alive))
    assert (await see_photo(bench.ledger, job)).state is PhotoState.FAILED


async def test_a_release_after_the_finish_does_nothing(ledger: Ledger) -> None:
    job = await open_with(ledger, 1)
    (claimed,) = await claim(ledger, job, 0)
    await finish(ledger, done(claimed))
    await ledger.release(claimed, strikes=0, retry_after=NOW)
    assert (await see_photo(ledger, job)).state is PhotoState.DONE


async def test_releasing_twice_counts_once(ledger: Ledger) -> None:
    job = await open_with(ledger, 1)
    (claimed,) = await claim(ledger, job, 0)
    await ledger.release(claimed, strikes=1, retry_after=NOW)
    await ledger.release(claimed, strikes=1, retry_after=NOW)
    await retry(ledger)
    assert (await claim(ledger, job, 0))[0].strikes == 3
