"""A form that came whole is entered and sealed at once, or not at all."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from ebbmark.ledger import Hearing, Ledger, Waiting
from ebbmark.ledger.deliveries import Webhook
from ebbmark.states import JobState, PhotoState
from tests.contract.benches import Bench
from tests.contract.histories import check
from tests.contract.ledgers import (
    DEADLINE,
    GRACE,
    MOMENT,
    RECIPE,
    STALE,
    TTL,
    claim,
    completed_with,
    delete_fully,
    done,
    failed,
    finish,
    new_photo,
    open_with,
    redrive,
    refused_photo,
    seal,
    sealed_with,
    see,
    submit,
    take_back,
)

UPLOAD = timedelta(minutes=20)
HOOK = Webhook(url="https://example.org/hook", secret=b"s" * 24)


@pytest.fixture
def ledger(bench: Bench) -> Ledger:
    return bench.ledger


async def test_photos_recipe_and_seal_are_entered_together(ledger: Ledger) -> None:
    job = await open_with(ledger, 0, recipe=None)
    row = await submit(ledger, job, [new_photo(1), refused_photo(0)])
    assert row is not None
    assert (row.state, row.total, row.done, row.failed) == (JobState.RENDERING, 2, 0, 1)
    assert (row.recipe, row.logo_sha256, row.fingerprint) == (RECIPE, b"logo", b"print")
    assert row.bytes == sum(photo.size for photo in (new_photo(1), refused_photo(0)))
    seen = await see(ledger, job)
    check(seen, None)
    assert [photo.state for photo in seen.photos] == [PhotoState.FAILED, PhotoState.QUEUED]


async def test_its_last_photo_completes_it(ledger: Ledger) -> None:
    job = await open_with(ledger, 0)
    await submit(ledger, job, [new_photo(0), new_photo(1)])
    claims = await claim(ledger, job, 0, 1)
    assert [await finish(ledger, done(each)) for each in claims] == [0, 1]
    assert (await see(ledger, job)).job.state is JobState.COMPLETE


async def test_it_completes_at_once_when_every_photo_was_refused(ledger: Ledger) -> None:
    job = await open_with(ledger, 0)
    row = await submit(ledger, job, [refused_photo(0), refused_photo(1)])
    assert row is not None
    assert (row.state, row.failed) == (JobState.COMPLETE, 2)
    assert row.completed_at is not None
    assert row.expires_at is not None
    assert row.expires_at - row.completed_at == TTL


async def test_what_nobody_ordered_is_dispatched_when_it_is_stale(bench: Bench) -> None:
    job = await open_with(bench.ledger, 0)
    await submit(bench.ledger, job, [new_photo(0), refused_photo(1)])
    await bench.advance(STALE - MOMENT)
    assert await bench.ledger.overdue(limit=9) == []
    await bench.advance(MOMENT)
    assert [each.n for each in await bench.ledger.overdue(limit=9)] == [0]


@pytest.mark.parametrize("rendered", [0, 1, 2])
async def test_what_was_never_accepted_dies_at_its_upload_deadline_however_far_it_is(
    bench: Bench, rendered: int
) -> None:
    ledger = bench.ledger
    job = await open_with(ledger, 0, upload_deadline=UPLOAD)
    await submit(ledger, job, [new_photo(0), new_photo(1)])
    await finish(ledger, *map(done, await claim(ledger, job, *range(rendered))))
    await bench.advance(UPLOAD - MOMENT)
    assert await ledger.expire_due(grace=GRACE) == []
    assert (await see(ledger, job)).job.live
    await bench.advance(2 * MOMENT)
    await ledger.expire_due(grace=GRACE)
    dying = (await see(ledger, job)).job
    assert (dying.state, dying.live) == (JobState.EXPIRING, False)
    assert dying.expires_at is not None
    assert dying.expires_at <= dying.now
    assert await ledger.expire_due(grace=GRACE) == [job], (
        "nobody knows its links, so no download is under way"
    )
    assert not await ledger.accepted(job)


@pytest.mark.parametrize("rendered", [0, 2])
async def test_what_was_accepted_has_its_hour(bench: Bench, rendered: int) -> None:
    ledger = bench.ledger
    job = await open_with(ledger, 0, upload_deadline=UPLOAD)
    await submit(ledger, job, [new_photo(0), new_photo(1)])
    await finish(ledger, *map(done, await claim(ledger, job, *range(rendered))))
    assert await ledger.accepted(job)
    assert await ledger.accepted(job), "an answer that was lost costs nothing"
    await bench.advance(UPLOAD + MOMENT)
    await ledger.expire_due(grace=GRACE)
    assert (await see(ledger, job)).job.live


async def test_what_was_never_accepted_does_not_live_on_by_a_new_round(bench: Bench) -> None:
    ledger = bench.ledger
    job = await open_with(ledger, 0, upload_deadline=UPLOAD)
    await submit(ledger, job, [new_photo(0)])
    await finish(ledger, *map(failed, await claim(ledger, job, 0)))
    assert await redrive(ledger, job, 0) == [0]
    await bench.advance(UPLOAD + MOMENT)
    await ledger.expire_due(grace=GRACE)
    assert (await see(ledger, job)).job.state is JobState.EXPIRING


async def test_a_form_that_comes_at_the_last_moment_has_time_to_be_accepted(bench: Bench) -> None:
    ledger = bench.ledger
    job = await open_with(ledger, 0, upload_deadline=UPLOAD)
    await bench.advance(UPLOAD - MOMENT)
    await submit(ledger, job, [new_photo(0)])
    await bench.advance(20 * MOMENT)
    await ledger.expire_due(grace=GRACE)
    assert (await see(ledger, job)).job.live
    await bench.advance(11 * MOMENT)
    await ledger.expire_due(grace=GRACE)
    assert (await see(ledger, job)).job.state is JobState.EXPIRING


async def test_what_is_filled_photo_by_photo_is_accepted_by_its_seal(bench: Bench) -> None:
    ledger = bench.ledger
    job = await open_with(ledger, 1, upload_deadline=UPLOAD)
    await seal(ledger, job, 1)
    await bench.advance(UPLOAD + 30 * MOMENT)
    await ledger.expire_due(grace=GRACE)
    assert (await see(ledger, job)).job.live


async def test_nobody_is_told_of_what_was_never_accepted(bench: Bench) -> None:
    ledger = bench.ledger
    told: dict[bool, int] = {}
    for accepted in (False, True):
        job = await open_with(ledger, 0, upload_deadline=UPLOAD)
        await submit(ledger, job, [new_photo(0)])
        assert await ledger.deliveries.subscribe(job, HOOK) is not None
        if accepted:
            await ledger.accepted(job)
        await finish(ledger, *map(done, await claim(ledger, job, 0)))
        await ledger.deliveries.enter(job)
        await delete_fully(bench, job)
        await ledger.deliveries.enter(job)
        told[accepted] = len(await ledger.deliveries.log(job))
    assert told == {False: 0, True: 2}


async def test_accepting_what_is_gone_says_so(ledger: Ledger) -> None:
    assert not await ledger.accepted(uuid4())
    job = await sealed_with(ledger, 1)
    await ledger.expire_now(job)
    assert not await ledger.accepted(job)


async def test_what_is_not_rendered_by_the_deadline_fails(bench: Bench) -> None:
    job = await open_with(bench.ledger, 0)
    await submit(bench.ledger, job, [new_photo(0)])
    await bench.advance(DEADLINE + MOMENT)
    (lost,) = await take_back(bench.ledger)
    assert (lost.job, lost.code) == (job, "deadline")


async def test_submitting_the_same_again_changes_nothing(ledger: Ledger) -> None:
    job = await open_with(ledger, 0)
    first = await submit(ledger, job, [new_photo(0)])
    again = await submit(ledger, job, [new_photo(0), new_photo(1)])
    assert first is not None
    assert again is not None
    assert (again.state, again.total, again.version) == (first.state, 1, first.version)


async def test_nothing_is_entered_into_a_job_that_is_not_open_and_empty(bench: Bench) -> None:
    ledger = bench.ledger
    late = await open_with(ledger, 0, upload_deadline=timedelta(minutes=1))
    await bench.advance(timedelta(minutes=1))
    dying = await open_with(ledger, 0)
    await ledger.expire_now(dying)
    filled, sealed, complete = await open_with(ledger, 1), await sealed_with(ledger, 1), None
    complete = await completed_with(ledger, 1)
    for job in (late, dying, filled, sealed, complete):
        before = await see(ledger, job)
        answer = await submit(ledger, job, [new_photo(7)])
        assert answer is not None
        after = await see(ledger, job)
        assert (after.job.version, after.photos) == (before.job.version, before.photos)
        assert answer.state is before.job.state


async def test_submitting_into_nothing_says_so(ledger: Ledger) -> None:
    assert await submit(ledger, uuid4(), [new_photo(0)]) is None


async def test_of_different_forms_at_once_one_is_entered_whole(ledger: Ledger) -> None:
    job = await open_with(ledger, 0, recipe=None)
    rows = await asyncio.gather(
        *(
            submit(ledger, job, [new_photo(n, size=size) for n in range(size)], fingerprint=bytes([size]))
            for size in range(1, 9)
        )
    )
    seen = await see(ledger, job)
    check(seen, None)
    assert {row.fingerprint for row in rows if row} == {bytes([len(seen.photos)])}
    assert {photo.size for photo in seen.photos} == {seen.job.total}


async def test_a_watcher_hears_of_it(ledger: Ledger) -> None:
    job = await open_with(ledger, 0)
    async with ledger.changes() as changes:
        assert await anext(changes) is Hearing.CONNECTED
        await submit(ledger, job, [new_photo(0)])
        async with asyncio.timeout(20):
            assert await anext(changes) == job


async def test_jobs_that_wait_for_their_first_result_are_told(ledger: Ledger) -> None:
    job = await sealed_with(ledger, 18)
    await sealed_with(ledger, 1)
    assert await ledger.backlog() == Waiting(photos=19, jobs=2)
    await finish(ledger, *map(done, await claim(ledger, job, 3, 17)))
    assert await ledger.backlog() == Waiting(photos=17, jobs=1)


async def test_a_job_waits_for_its_first_result_whichever_photo_that_is(ledger: Ledger) -> None:
    await sealed_with(ledger, [refused_photo(0), new_photo(1)])
    await open_with(ledger, [new_photo(7)])
    job = await sealed_with(ledger, 2)
    await finish(ledger, *map(failed, await claim(ledger, job, 0)))
    await completed_with(ledger, 2)
    await open_with(ledger, [refused_photo(0)])
    assert await ledger.backlog() == Waiting(photos=3, jobs=3)


async def test_a_job_that_must_know_its_total_waits_for_its_sender_and_for_no_worker(ledger: Ledger) -> None:
    job = await open_with(
        ledger, 2, recipe=b'{"operations":[{"operation":"watermark","text":"{n}/{total}"}]}'
    )
    assert await ledger.backlog() == Waiting(photos=2, jobs=0)
    await seal(ledger, job, 2)
    assert await ledger.backlog() == Waiting(photos=2, jobs=1)


async def test_the_backlog_is_what_has_not_ended_of_jobs_that_live(bench: Bench) -> None:
    ledger = bench.ledger
    assert (await ledger.backlog()).photos == 0
    job = await open_with(ledger, 0)
    await submit(ledger, job, [new_photo(0), new_photo(1), new_photo(2), refused_photo(3)])
    assert (await ledger.backlog()).photos == 3
    (first, second) = await claim(ledger, job, 0, 1)
    await ledger.release(first, strikes=0, retry_after=MOMENT)
    assert (await ledger.backlog()).photos == 3
    await finish(ledger, done(second))
    assert (await ledger.backlog()).photos == 2
    await claim(ledger, await sealed_with(ledger, 1), 0)
    assert (await ledger.backlog()).photos == 3
    await delete_fully(bench, job)
    assert (await ledger.backlog()).photos == 1
