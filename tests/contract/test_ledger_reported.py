"""Who reports how a photo failed has survived it: only claims that end otherwise cost a strike."""

from datetime import timedelta
from uuid import uuid4

import msgspec
import pytest

from ebbmark.ledger import Claim, Ledger
from ebbmark.states import PhotoState
from tests.contract.benches import Bench
from tests.contract.ledgers import (
    LEASE,
    MOMENT,
    STRIKES,
    claim,
    done,
    failed,
    finish,
    open_with,
    redispatch,
    redrive,
    see_photo,
    take_back,
)

NOW = timedelta(0)
LONGEST = 8 * LEASE


@pytest.fixture
def ledger(bench: Bench) -> Ledger:
    return bench.ledger


async def claimed_again(bench: Bench, claimed: Claim) -> Claim:
    """Claim the photo once its lease is over; nobody projected anything."""
    await bench.advance(LONGEST + MOMENT)
    (again,) = await claim(bench.ledger, claimed.job, claimed.n)
    return again


async def test_a_report_that_nobody_projects_costs_no_strike_however_often(bench: Bench) -> None:
    (claimed,) = await claim(bench.ledger, await open_with(bench.ledger, 1), 0)
    for fence in range(1, 3 * STRIKES):
        assert (claimed.strikes, claimed.fence) == (1, fence)
        await bench.ledger.reported(claimed, lease=LEASE)
        claimed = await claimed_again(bench, claimed)


async def test_a_report_takes_back_no_strike_of_an_earlier_claim(bench: Bench) -> None:
    (claimed,) = await claim(bench.ledger, await open_with(bench.ledger, 1), 0)
    for spent in range(1, STRIKES):
        claimed = await claimed_again(bench, claimed)
        assert claimed.strikes == spent + 1
        await bench.ledger.reported(claimed, lease=LEASE)
        claimed = await claimed_again(bench, claimed)
        assert claimed.strikes == spent + 1
    await bench.advance(LONGEST + MOMENT)
    assert [each.code for each in await take_back(bench.ledger)] == ["poison"]


async def test_a_report_that_comes_twice_gives_back_one_strike(bench: Bench) -> None:
    (first,) = await claim(bench.ledger, await open_with(bench.ledger, 1), 0)
    second = await claimed_again(bench, first)
    await bench.ledger.reported(second, lease=LEASE)
    await bench.ledger.reported(second, lease=LEASE)
    assert (await claimed_again(bench, second)).strikes == 2


async def test_a_report_with_an_old_fence_gives_nothing_back(bench: Bench) -> None:
    (zombie,) = await claim(bench.ledger, await open_with(bench.ledger, 1), 0)
    alive = await claimed_again(bench, zombie)
    await bench.ledger.reported(zombie, lease=LEASE)
    await bench.ledger.renew([alive], lease=LEASE)
    await bench.advance(LEASE - MOMENT)
    assert await claim(bench.ledger, alive.job, 0) == [], "it is still in somebody's hand"
    assert (await claimed_again(bench, alive)).strikes == 3


async def test_what_was_reported_is_given_to_nobody_until_its_lease_is_over(bench: Bench) -> None:
    job, worker = await open_with(bench.ledger, 1), uuid4()
    (claimed,) = await claim(bench.ledger, job, 0, claimant=worker)
    await bench.advance(LEASE - MOMENT)
    await bench.ledger.reported(claimed, lease=LEASE)
    await bench.advance(LEASE - MOMENT)
    assert await claim(bench.ledger, job, 0, claimant=worker) == []
    await bench.ledger.renew([claimed], lease=LEASE)
    await bench.advance(2 * MOMENT)
    assert [each.fence for each in await claim(bench.ledger, job, 0, claimant=worker)] == [2]


async def test_a_report_waits_longer_each_time_the_photo_was_dispatched(bench: Bench) -> None:
    job = await open_with(bench.ledger, 1)
    for leases in (1, 2, 4, 8, 8):
        (claimed,) = await claim(bench.ledger, job, 0)
        await bench.ledger.reported(claimed, lease=LEASE)
        await bench.advance(leases * LEASE - MOMENT)
        await bench.ledger.end_leases(strikes=STRIKES)
        assert (await see_photo(bench.ledger, job)).state is PhotoState.RENDERING
        await bench.advance(2 * MOMENT)
        await bench.ledger.end_leases(strikes=STRIKES)
        await bench.advance(2 * MOMENT)
        assert len(await redispatch(bench.ledger)) == 1


async def test_what_was_reported_cannot_be_released(bench: Bench) -> None:
    (first,) = await claim(bench.ledger, await open_with(bench.ledger, 1), 0)
    second = await claimed_again(bench, first)
    await bench.ledger.reported(second, lease=LEASE)
    await bench.ledger.release(second, strikes=-1, retry_after=NOW)
    assert (await see_photo(bench.ledger, second.job)).state is PhotoState.RENDERING
    assert (await claimed_again(bench, second)).strikes == 2


async def test_the_outcome_of_what_was_reported_counts(bench: Bench) -> None:
    job = await open_with(bench.ledger, 2)
    for claimed, outcome in zip(await claim(bench.ledger, job, 0, 1), (failed, done), strict=True):
        await bench.ledger.reported(claimed, lease=LEASE)
        await bench.advance(LEASE + MOMENT)
        await bench.ledger.end_leases(strikes=STRIKES)
        await finish(bench.ledger, outcome(claimed))
    states = {(await see_photo(bench.ledger, job, n)).state for n in (0, 1)}
    assert states == {PhotoState.FAILED, PhotoState.DONE}


async def test_a_report_after_the_finish_or_the_release_does_nothing(ledger: Ledger) -> None:
    job = await open_with(ledger, 2)
    ended, released = sorted(await claim(ledger, job, 0, 1), key=lambda each: each.n)
    await finish(ledger, failed(ended))
    await ledger.release(released, strikes=1, retry_after=NOW)
    for each in (ended, released):
        await ledger.reported(each, lease=LEASE)
    assert (await see_photo(ledger, job, 0)).state is PhotoState.FAILED
    assert (await see_photo(ledger, job, 1)).state is PhotoState.RETRYING
    await redispatch(ledger)
    assert [each.strikes for each in await claim(ledger, job, 1)] == [3]


async def test_a_report_of_an_earlier_round_does_nothing(ledger: Ledger) -> None:
    job = await open_with(ledger, 1)
    (earlier,) = await claim(ledger, job, 0)
    await ledger.seal(job, 1, deadline=LONGEST, ttl=LONGEST)
    await finish(ledger, failed(earlier))
    await redrive(ledger, job, 0)
    worker = uuid4()
    (claimed,) = await claim(ledger, job, 0, epoch=1, claimant=worker)
    await ledger.reported(earlier, lease=LEASE)
    (again,) = await claim(ledger, job, 0, epoch=1, claimant=worker)
    assert msgspec.structs.replace(again, waited=claimed.waited) == claimed, "it is still held"
