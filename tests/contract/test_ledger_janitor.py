"""Second chances, expiry and oblivion: what the janitor asks of the ledger."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from ebbmark.ledger import Abandoned, Ledger, Wanted
from ebbmark.states import JobState, PhotoState
from tests.contract.benches import Bench
from tests.contract.ledgers import (
    DEADLINE,
    GRACE,
    LEASE,
    MOMENT,
    QUIET,
    STALE,
    STRIKES,
    TTL,
    claim,
    completed_with,
    delete_fully,
    done,
    failed,
    finish,
    new_photo,
    open_with,
    redispatch,
    refused_photo,
    sealed_with,
    see,
    see_photo,
    take_back,
)

NOW = timedelta(0)
LONGEST_RETRY = timedelta(seconds=2**STRIKES * 1.2)


@pytest.fixture
def ledger(bench: Bench) -> Ledger:
    return bench.ledger


async def overdue(ledger: Ledger, limit: int = 100) -> list[int]:
    return sorted(each.n for each in await redispatch(ledger, limit=limit))


async def end_leases(ledger: Ledger) -> list[tuple[int, str]]:
    return sorted((each.n, each.code) for each in await take_back(ledger))


async def doomed(ledger: Ledger) -> list[UUID]:
    """Return what is due for deletion; a second look, since links die before objects do."""
    await ledger.expire_due(grace=GRACE)
    return sorted(await ledger.expire_due(grace=GRACE))


async def test_what_is_overdue_for_deletion_is_known_until_it_is_deleted(bench: Bench) -> None:
    job = await completed_with(bench.ledger, 1)
    assert await bench.ledger.expiry_overdue() == timedelta(0)
    await bench.advance(TTL + timedelta(minutes=3))
    late = await bench.ledger.expiry_overdue()
    assert timedelta(minutes=3) - MOMENT <= late < timedelta(minutes=4)
    await doomed(bench.ledger)
    assert await bench.ledger.expiry_overdue() >= late
    await bench.ledger.mark_expired(job, quiet=QUIET)
    assert await bench.ledger.expiry_overdue() == timedelta(0)


# Dispatched again


async def test_a_photo_nobody_claimed_is_dispatched_again_and_each_time_later(bench: Bench) -> None:
    job = await open_with(bench.ledger, 1)
    await bench.advance(STALE - MOMENT)
    assert await redispatch(bench.ledger) == []
    await bench.advance(MOMENT)
    for waits in (1, 2, 4, 8, 16, 32, 64, 64):
        assert await redispatch(bench.ledger) == [Wanted(job=job, n=0, epoch=0)]
        assert await redispatch(bench.ledger) == []
        await bench.advance(STALE * waits - MOMENT)
        assert await redispatch(bench.ledger) == []
        await bench.advance(MOMENT)


async def test_what_could_not_be_published_is_due_again_in_ten_seconds_and_not_later(bench: Bench) -> None:
    job = await open_with(bench.ledger, 1)
    await bench.advance(STALE)
    for _ in range(9):  # an outage of the log
        assert await bench.ledger.overdue(limit=9) == [Wanted(job=job, n=0, epoch=0)]
        assert await bench.ledger.overdue(limit=9) == []
        await bench.advance(timedelta(seconds=10))
    assert await overdue(bench.ledger) == [0]
    await bench.advance(STALE)
    assert await overdue(bench.ledger) == [0], "the first wait, as nothing had been dispatched before"


async def test_what_waited_longest_is_dispatched_first(bench: Bench) -> None:
    job = await open_with(bench.ledger, [new_photo(1)])
    await bench.advance(MOMENT)
    await bench.ledger.add_photos(job, [new_photo(0)], stale=STALE)
    await bench.advance(STALE)
    assert await overdue(bench.ledger, limit=1) == [1]
    assert await overdue(bench.ledger, limit=1) == [0]


async def test_what_has_ended_is_leased_or_belongs_to_a_dying_job_is_not_dispatched(bench: Bench) -> None:
    job = await open_with(bench.ledger, [new_photo(0), new_photo(1), new_photo(2), refused_photo(3)])
    claims = await claim(bench.ledger, job, 0, 1, 2)
    await finish(bench.ledger, done(claims[0]), failed(claims[1]))
    dying = await open_with(bench.ledger, 1)
    await bench.ledger.expire_now(dying)
    await bench.advance(STALE + MOMENT)
    assert await overdue(bench.ledger) == []


# Leases


async def test_a_lease_that_ended_is_taken_back_and_the_photo_goes_round_again(bench: Bench) -> None:
    job = await open_with(bench.ledger, 1)
    await claim(bench.ledger, job, 0)
    await bench.advance(LEASE - MOMENT)
    await end_leases(bench.ledger)
    assert (await see_photo(bench.ledger, job)).state is PhotoState.RENDERING
    await bench.advance(2 * MOMENT)
    assert await end_leases(bench.ledger) == []
    assert (await see_photo(bench.ledger, job)).state is PhotoState.RETRYING
    await bench.advance(timedelta(seconds=2 * 1.2))
    assert await overdue(bench.ledger) == [0]
    assert len(await claim(bench.ledger, job, 0)) == 1


async def test_the_wait_doubles_with_every_strike(bench: Bench) -> None:
    job = await open_with(bench.ledger, 1)
    for strikes in range(1, STRIKES):
        await claim(bench.ledger, job, 0)
        await bench.advance(LEASE + MOMENT)
        await end_leases(bench.ledger)
        await bench.advance(timedelta(seconds=2**strikes * 0.79) - 0.3 * MOMENT)
        assert await overdue(bench.ledger) == []
        await bench.advance(timedelta(seconds=2**strikes * 0.41) + 0.3 * MOMENT)
        assert await overdue(bench.ledger) == [0]


async def test_a_photo_that_outlives_its_strikes_in_nobodys_hands_is_poison(bench: Bench) -> None:
    job = await sealed_with(bench.ledger, 2)
    for _ in range(STRIKES):
        await claim(bench.ledger, job, 0)
        await bench.advance(LEASE + MOMENT)
    (given_up,) = await take_back(bench.ledger)
    seen = await see(bench.ledger, job)
    assert given_up == Abandoned(
        job=job, n=0, epoch=0, fence=STRIKES, code="poison", strikes=STRIKES, created_at=given_up.created_at
    )
    assert (seen.photos[0].state, seen.photos[0].code, seen.job.failed) == (PhotoState.FAILED, "poison", 1)
    assert seen.photos[0].detail
    assert seen.photos[1].state is PhotoState.QUEUED
    assert await end_leases(bench.ledger) == []


async def test_a_photo_released_over_its_budget_is_poison(ledger: Ledger) -> None:
    job = await sealed_with(ledger, 1)
    (claimed,) = await claim(ledger, job, 0)
    await ledger.release(claimed, strikes=STRIKES, retry_after=NOW)
    assert await end_leases(ledger) == [(0, "poison")]
    assert (await see(ledger, job)).job.state is JobState.COMPLETE


async def test_a_photo_on_its_last_strike_is_left_to_who_leases_it(bench: Bench) -> None:
    job = await sealed_with(bench.ledger, 1)
    for _ in range(STRIKES - 1):
        await claim(bench.ledger, job, 0)
        await bench.advance(LEASE + MOMENT)
    (last,) = await claim(bench.ledger, job, 0)
    assert await end_leases(bench.ledger) == []
    assert await finish(bench.ledger, done(last)) == 1


async def test_a_result_that_comes_after_the_verdict_is_not_counted(bench: Bench) -> None:
    job = await sealed_with(bench.ledger, 1)
    (claimed,) = await claim(bench.ledger, job, 0)
    await bench.ledger.release(claimed, strikes=STRIKES, retry_after=NOW)
    await end_leases(bench.ledger)
    assert await finish(bench.ledger, done(claimed)) == 0
    assert (await see(bench.ledger, job)).job.done == 0


async def test_what_is_not_rendered_by_the_deadline_fails_whoever_has_it(bench: Bench) -> None:
    job = await sealed_with(bench.ledger, 4)
    await finish(bench.ledger, *map(done, await claim(bench.ledger, job, 3)))
    await bench.advance(DEADLINE - MOMENT)
    (held, _) = await claim(bench.ledger, job, 0, 2)
    await bench.ledger.release(held, strikes=0, retry_after=TTL)
    assert await end_leases(bench.ledger) == []
    await bench.advance(2 * MOMENT)
    assert await end_leases(bench.ledger) == [(n, "deadline") for n in range(3)]
    row = (await see(bench.ledger, job)).job
    assert (row.state, row.done, row.failed) == (JobState.COMPLETE, 1, 3)
    assert row.expires_at == (row.completed_at or row.now) + TTL


async def test_a_job_still_open_has_no_deadline_but_the_uploads(bench: Bench) -> None:
    await open_with(bench.ledger, 1, upload_deadline=2 * DEADLINE)
    await bench.advance(DEADLINE + MOMENT)
    assert await end_leases(bench.ledger) == []


async def test_photos_of_dying_jobs_are_not_given_up(bench: Bench) -> None:
    job = await sealed_with(bench.ledger, 1)
    await claim(bench.ledger, job, 0)
    await bench.ledger.expire_now(job)
    await bench.advance(DEADLINE + LEASE)
    assert await end_leases(bench.ledger) == []


# Expiry


async def test_a_completed_job_dies_after_its_hour_and_is_deleted_after_the_grace(bench: Bench) -> None:
    job = await completed_with(bench.ledger, 1)
    await bench.advance(TTL - MOMENT)
    assert await doomed(bench.ledger) == []
    assert (await see(bench.ledger, job)).job.state is JobState.COMPLETE
    await bench.advance(MOMENT)
    assert await doomed(bench.ledger) == []
    assert (await see(bench.ledger, job)).job.state is JobState.EXPIRING
    await bench.advance(GRACE - MOMENT)
    assert await doomed(bench.ledger) == []
    await bench.advance(MOMENT)
    assert await bench.ledger.expire_due(grace=GRACE) == [job]


async def test_what_is_taken_for_deletion_comes_back_after_half_a_minute(bench: Bench) -> None:
    job = await open_with(bench.ledger, 0)
    await bench.ledger.expire_now(job)
    assert await bench.ledger.expire_due(grace=GRACE) == [job]
    await bench.advance(timedelta(seconds=29))
    assert await doomed(bench.ledger) == []
    await bench.advance(MOMENT)
    assert await bench.ledger.expire_due(grace=GRACE) == [job]


async def test_an_abandoned_upload_dies_at_its_deadline_and_without_grace(bench: Bench) -> None:
    job = await open_with(bench.ledger, 1, upload_deadline=DEADLINE)
    await bench.advance(DEADLINE - MOMENT)
    assert await doomed(bench.ledger) == []
    await bench.advance(MOMENT)
    assert await doomed(bench.ledger) == [job]
    row = (await see(bench.ledger, job)).job
    assert (row.state, row.live) == (JobState.EXPIRING, False)


async def test_a_sealed_job_never_expires_before_it_completes(bench: Bench) -> None:
    job = await sealed_with(bench.ledger, 1)
    await bench.advance(24 * TTL)
    assert await doomed(bench.ledger) == []
    assert (await see(bench.ledger, job)).job.state is JobState.RENDERING


async def test_the_first_mark_forgets_everything_but_ids_counts_and_times(ledger: Ledger) -> None:
    job = await open_with(
        ledger,
        [new_photo(0), refused_photo(1)],
        sealed_token=b"token",
        fingerprint=b"print",
        logo_sha256=b"logo",
        idempotency_hash=b"key",
    )
    await ledger.expire_now(job)
    assert await ledger.mark_expired(job, quiet=QUIET)
    seen = await see(ledger, job)
    assert seen.job.state is JobState.EXPIRED
    assert (seen.job.recipe, seen.job.logo_sha256, seen.job.sealed_token, seen.job.fingerprint) == (None,) * 4
    for photo in seen.photos:
        assert (photo.name, photo.detail, photo.removed, photo.sha256) == (None, None, None, b"")
    assert (seen.job.failed, seen.photos[1].code) == (1, "not-an-image")


async def test_the_first_mark_forgets_what_was_removed_from_results(ledger: Ledger) -> None:
    job = await completed_with(ledger, 1)
    assert (await see(ledger, job)).photos[0].removed
    await ledger.expire_now(job)
    assert await ledger.mark_expired(job, quiet=QUIET)
    assert (await see(ledger, job)).photos[0].removed is None


async def test_the_second_mark_counts_only_after_the_quiet_time(bench: Bench) -> None:
    job = await open_with(bench.ledger, 0)
    await bench.ledger.expire_now(job)
    await bench.ledger.mark_expired(job, quiet=QUIET)
    await bench.ledger.mark_expired(job, quiet=QUIET)
    assert await doomed(bench.ledger) == []
    await bench.advance(QUIET)
    assert await bench.ledger.expire_due(grace=GRACE) == [job]
    await bench.ledger.mark_expired(job, quiet=QUIET)
    await bench.advance(24 * TTL)
    assert await doomed(bench.ledger) == []


async def test_an_end_stays_unannounced_until_the_log_has_it(ledger: Ledger) -> None:
    job = await open_with(ledger, 0)
    await ledger.expire_now(job)
    assert all([await ledger.mark_expired(job, quiet=QUIET) for _ in range(2)])
    await ledger.expiry_announced(job)
    assert not await ledger.mark_expired(job, quiet=QUIET)


async def test_an_end_tells_how_long_after_the_links_it_came(bench: Bench) -> None:
    job = await completed_with(bench.ledger, 1)
    await bench.advance(TTL + timedelta(minutes=3))
    await bench.ledger.expire_due(grace=GRACE)
    first = await bench.ledger.mark_expired(job, quiet=QUIET)
    await bench.advance(timedelta(minutes=9))
    second = await bench.ledger.mark_expired(job, quiet=QUIET)
    assert first is not None
    assert second == first
    assert timedelta(minutes=3) <= first.after < timedelta(minutes=3, seconds=30)


async def test_a_job_that_its_owner_ended_had_no_grace(ledger: Ledger) -> None:
    job = await completed_with(ledger, 1)
    await ledger.expire_now(job)
    ended = await ledger.mark_expired(job, quiet=QUIET)
    assert ended is not None
    assert ended.after < timedelta(seconds=30)


async def test_a_living_job_cannot_be_marked_expired(ledger: Ledger) -> None:
    job = await completed_with(ledger, 1)
    assert not await ledger.mark_expired(job, quiet=QUIET)
    assert (await see(ledger, job)).job.state is JobState.COMPLETE
    assert not await ledger.mark_expired(uuid4(), quiet=QUIET)


async def test_tombstones_are_forgotten_in_the_end(bench: Bench) -> None:
    job = await completed_with(bench.ledger, 1)
    other = await completed_with(bench.ledger, 1)
    await delete_fully(bench, job)
    await bench.advance(30 * TTL)
    assert await bench.ledger.forget(tombstone=31 * TTL) == 0
    assert await bench.ledger.forget(tombstone=29 * TTL) == 1
    assert await bench.ledger.snapshot(job) is None
    assert await bench.ledger.snapshot(other) is not None


# Leadership


async def test_only_one_janitor_leads(ledger: Ledger) -> None:
    async with ledger.candidacy() as first, ledger.candidacy() as second:
        assert await first.leads()
        assert not await second.leads()
        assert await first.leads()


async def test_the_next_janitor_leads_when_the_first_leaves(ledger: Ledger) -> None:
    async with ledger.candidacy() as second:
        async with ledger.candidacy() as first:
            await first.leads()
            assert not await second.leads()
        assert await second.leads()
