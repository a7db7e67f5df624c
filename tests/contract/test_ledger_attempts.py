"""Requests that share a job: one that fails takes nothing from the others."""

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from ebbmark.ledger import Ledger
from ebbmark.states import JobState
from tests.contract.benches import Bench
from tests.contract.ledgers import (
    GRACE,
    MOMENT,
    QUIET,
    RECIPE,
    STALE,
    completed_with,
    delete_fully,
    new_job,
    new_photo,
    open_with,
    seal,
    see,
)

A, B, C = (UUID(int=n) for n in (10, 11, 12))


@pytest.fixture
def ledger(bench: Bench) -> Ledger:
    return bench.ledger


async def opened_by(ledger: Ledger, *attempts: UUID) -> UUID:
    """Open one job by several requests with one Idempotency-Key."""
    jobs = [
        await ledger.open_job(new_job(idempotency_hash=b"shared", attempt=attempt)) for attempt in attempts
    ]
    assert len({job.id for job in jobs}) == 1
    return jobs[0].id


async def state_of(ledger: Ledger, job: UUID) -> JobState:
    return (await see(ledger, job)).job.state


async def test_a_job_is_deleted_when_the_only_attempt_fails(ledger: Ledger) -> None:
    job = await opened_by(ledger, A)
    await ledger.abandon(job, A)
    seen = (await see(ledger, job)).job
    assert (seen.state, seen.live) == (JobState.EXPIRING, False)
    assert await ledger.expire_due(grace=GRACE) == [job]
    assert (await ledger.open_job(new_job(idempotency_hash=b"shared"))).id != job


@pytest.mark.parametrize("failed", [A, B])
async def test_an_attempt_that_fails_takes_nothing_from_the_other(ledger: Ledger, failed: UUID) -> None:
    job = await opened_by(ledger, A, B)
    await ledger.abandon(job, failed)
    await ledger.abandon(job, failed)  # a statement may be repeated
    assert await state_of(ledger, job) is JobState.OPEN
    await ledger.abandon(job, B if failed is A else A)
    assert await state_of(ledger, job) is JobState.EXPIRING


async def test_an_attempt_that_never_was_ends_nothing(ledger: Ledger) -> None:
    job = await opened_by(ledger, A)
    await ledger.abandon(job, C)
    await ledger.abandon(uuid4(), A)
    assert await state_of(ledger, job) is JobState.OPEN


async def test_a_sealed_job_goes_too_when_nobody_holds_it(ledger: Ledger) -> None:
    job = await opened_by(ledger, A, B)
    await ledger.add_photos(job, [new_photo(0)], stale=STALE)
    await seal(ledger, job, 1)
    await ledger.abandon(job, A)
    assert await state_of(ledger, job) is JobState.RENDERING
    await ledger.abandon(job, B)
    assert await state_of(ledger, job) is JobState.EXPIRING


async def test_a_job_of_a_version_without_attempts_is_never_abandoned(ledger: Ledger) -> None:
    job = (await ledger.open_job(new_job(idempotency_hash=b"old"))).id
    await ledger.open_job(new_job(idempotency_hash=b"old", attempt=A))
    await ledger.abandon(job, A)
    assert await state_of(ledger, job) is JobState.OPEN


async def test_attempts_that_fail_at_one_moment_leave_no_job_behind(ledger: Ledger) -> None:
    attempts = [UUID(int=n) for n in range(20, 28)]
    job = await opened_by(ledger, *attempts)
    await asyncio.gather(*(ledger.abandon(job, attempt) for attempt in attempts))
    assert await state_of(ledger, job) is JobState.EXPIRING


async def test_a_watcher_sees_that_the_job_was_abandoned(ledger: Ledger) -> None:
    job = await opened_by(ledger, A)
    before = (await see(ledger, job)).job.version
    await ledger.abandon(job, A)
    assert (await see(ledger, job)).job.version > before


async def test_what_was_verified_is_looked_through_again_after_a_late_attempt(bench: Bench) -> None:
    job = await opened_by(bench.ledger, A, B)
    await delete_fully(bench, job)
    await bench.advance(timedelta(minutes=5))
    assert await bench.ledger.expire_due(grace=GRACE) == []
    await bench.ledger.abandon(job, A)
    assert await bench.ledger.expire_due(grace=GRACE) == [job]
    await bench.ledger.mark_expired(job, quiet=QUIET)
    await bench.advance(timedelta(minutes=5))
    assert await bench.ledger.expire_due(grace=GRACE) == []
    assert await state_of(bench.ledger, job) is JobState.EXPIRED


async def test_an_expired_job_stays_expired_when_its_last_attempt_fails(bench: Bench) -> None:
    job = await opened_by(bench.ledger, A)
    await delete_fully(bench, job)
    await bench.ledger.abandon(job, A)
    assert await state_of(bench.ledger, job) is JobState.EXPIRED


async def test_a_job_that_ran_its_hour_keeps_its_end(bench: Bench) -> None:
    job = await completed_with(bench.ledger, 1)
    before = (await see(bench.ledger, job)).job
    await bench.advance(MOMENT)
    await bench.ledger.abandon(job, A)
    assert (await see(bench.ledger, job)).job.state is before.state


async def test_another_fingerprint_enters_nothing_into_an_open_job(ledger: Ledger) -> None:
    job = await open_with(ledger, 0, recipe=None)
    await ledger.add_photos(job, [], recipe=RECIPE, fingerprint=b"first", stale=STALE)
    rows = await ledger.add_photos(job, [new_photo(0)], recipe=b"other", fingerprint=b"second", stale=STALE)
    assert rows == []
    seen = await see(ledger, job)
    assert (seen.job.recipe, seen.job.fingerprint, seen.photos) == (RECIPE, b"first", [])
    assert len(await ledger.add_photos(job, [new_photo(0)], fingerprint=b"first", stale=STALE)) == 1
    assert len(await ledger.add_photos(job, [new_photo(1)], stale=STALE)) == 1


async def test_a_job_is_read_by_its_id_in_any_state(bench: Bench) -> None:
    job = await opened_by(bench.ledger, A)
    assert await bench.ledger.read_job(uuid4()) is None
    for state in (JobState.OPEN, JobState.EXPIRED):
        read = await bench.ledger.read_job(job)
        assert read is not None
        assert (read.id, read.state) == (job, state)
        await delete_fully(bench, job)
