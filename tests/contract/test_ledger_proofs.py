"""What is proven of the end of a job, and what an audit asks of the ledger."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from ebbmark.ledger import Ledger
from ebbmark.ledger.proofs import Audited, Contents, Expected, Fate, ReceiptRow
from ebbmark.states import JobState
from tests.contract.benches import Bench
from tests.contract.ledgers import (
    DEADLINE,
    GRACE,
    MOMENT,
    QUIET,
    STALE,
    TTL,
    claim,
    completed_with,
    delete_fully,
    done,
    failed,
    finish,
    new_job,
    new_photo,
    open_with,
    refused_photo,
    sealed_with,
    see,
    submit,
)

RECEIPT = b"r" * 32
MARGIN = timedelta(minutes=10)
FIRST, LAST = (UUID(int=0), -1), UUID(int=2**128 - 1)
FOUND = Contents(originals=3, results=2, objects=6, bytes=12_345)


@pytest.fixture
def ledger(bench: Bench) -> Ledger:
    return bench.ledger


async def receipt(ledger: Ledger) -> ReceiptRow:
    row = await ledger.proofs.receipt(RECEIPT)
    assert row is not None
    return row


async def mark(bench: Bench, job: UUID) -> None:
    await bench.ledger.mark_expired(job, quiet=QUIET)


async def audit(bench: Bench) -> None:
    now = await bench.ledger.proofs.clock()
    await bench.ledger.proofs.audited(Audited(started_at=now, objects=0, bytes=0, findings=0))


# Receipts


async def test_a_receipt_is_there_from_the_start_and_no_other_leads_to_it(ledger: Ledger) -> None:
    job = await open_with(ledger, 1, receipt_hash=RECEIPT)
    row = await receipt(ledger)
    assert (row.state, row.expired_at, row.verified_at, row.audited_at) == (JobState.OPEN, None, None, None)
    assert (row.deleted, row.created_at) == (Contents(), (await see(ledger, job)).job.created_at)
    assert await ledger.proofs.receipt(b"another") is None
    assert await ledger.find_job(RECEIPT) is None, "it is no key to the job"


async def test_what_was_found_counts_once_the_prefix_was_seen_empty(bench: Bench) -> None:
    job = await open_with(bench.ledger, 1, receipt_hash=RECEIPT)
    await bench.ledger.expire_now(job)
    await bench.ledger.proofs.note(job, await bench.ledger.proofs.listings(job), FOUND)
    row = await receipt(bench.ledger)
    assert (row.state, row.deleted) == (JobState.EXPIRING, Contents())
    await mark(bench, job)
    row = await receipt(bench.ledger)
    assert (row.state, row.deleted, row.verified_at) == (JobState.EXPIRED, FOUND, None)
    assert row.expired_at is not None
    assert row.expires_at is not None
    assert row.expires_at <= row.expired_at <= row.now


async def test_a_deletion_that_is_taken_up_again_counts_nothing_twice(bench: Bench) -> None:
    """Who dies after the bytes and before the mark has noted all; who goes on finds the rest, or none."""
    job = await open_with(bench.ledger, 1, receipt_hash=RECEIPT)
    await bench.ledger.expire_now(job)
    for found in (FOUND, Contents(results=1, objects=1, bytes=5), Contents()):
        await bench.ledger.proofs.note(job, await bench.ledger.proofs.listings(job), found)
    await mark(bench, job)
    assert (await receipt(bench.ledger)).deleted == FOUND


async def test_of_two_janitors_at_once_the_slower_adds_nothing(bench: Bench) -> None:
    job = await open_with(bench.ledger, 1, receipt_hash=RECEIPT)
    await bench.ledger.expire_now(job)
    quick, slow = [await bench.ledger.proofs.listings(job) for _ in range(2)]
    await bench.ledger.proofs.note(job, quick, FOUND)
    await mark(bench, job)
    await bench.ledger.proofs.note(job, slow, FOUND)
    await mark(bench, job)
    assert (await receipt(bench.ledger)).deleted == FOUND


async def test_what_a_late_writer_left_is_added_and_has_to_be_verified_anew(bench: Bench) -> None:
    job = await open_with(bench.ledger, 1, receipt_hash=RECEIPT)
    await bench.ledger.expire_now(job)
    await bench.ledger.proofs.note(job, 0, FOUND)
    await mark(bench, job)
    await bench.advance(QUIET)
    await mark(bench, job)
    assert (await receipt(bench.ledger)).verified_at is not None
    late = Contents(results=1, objects=1, bytes=100)
    await bench.ledger.proofs.note(job, await bench.ledger.proofs.listings(job), late)
    assert (await receipt(bench.ledger)).verified_at is None
    await mark(bench, job)
    row = await receipt(bench.ledger)
    assert row.deleted == Contents(originals=3, results=3, objects=7, bytes=12_445)
    assert row.verified_at is not None


async def test_an_audit_proves_what_was_verified_before_it_began(bench: Bench) -> None:
    job = await open_with(bench.ledger, 1, receipt_hash=RECEIPT)
    await bench.ledger.expire_now(job)
    await mark(bench, job)
    await bench.advance(QUIET)
    await audit(bench)
    assert (await receipt(bench.ledger)).audited_at is None
    await bench.advance(MOMENT)
    await mark(bench, job)
    assert (await receipt(bench.ledger)).audited_at is None
    await bench.advance(MOMENT)
    await audit(bench)
    row = await receipt(bench.ledger)
    assert row.audited_at is not None
    assert row.verified_at is not None
    assert row.audited_at >= row.verified_at


async def test_a_receipt_outlives_the_job_for_as_long_as_its_row(bench: Bench) -> None:
    job = await open_with(bench.ledger, 1, receipt_hash=RECEIPT)
    await delete_fully(bench, job)
    assert (await see(bench.ledger, job)).job.state is JobState.EXPIRED
    assert (await receipt(bench.ledger)).verified_at is not None
    await bench.advance(TTL)
    await bench.ledger.forget(tombstone=TTL / 2)
    assert await bench.ledger.proofs.receipt(RECEIPT) is None


async def test_notes_on_a_job_that_has_no_row_are_no_trouble(ledger: Ledger) -> None:
    job = uuid4()
    assert await ledger.proofs.listings(job) == 0
    await ledger.proofs.note(job, 0, FOUND)
    await ledger.proofs.recheck([job])


# What objects may expect


async def fate(ledger: Ledger, job: UUID) -> Fate | None:
    fates = await ledger.proofs.fates([job, uuid4()], ttl=TTL, grace=GRACE, quiet=QUIET, margin=MARGIN)
    assert set(fates) <= {job}
    return fates.get(job)


async def assert_overdue_after(bench: Bench, job: UUID, span: timedelta) -> None:
    await bench.advance(span + MARGIN - MOMENT)
    assert await fate(bench.ledger, job) == Fate(verified=False, overdue=False)
    await bench.advance(2 * MOMENT)
    assert await fate(bench.ledger, job) == Fate(verified=False, overdue=True)


async def test_an_open_job_should_be_gone_after_its_upload_deadline(bench: Bench) -> None:
    job = await open_with(bench.ledger, 1, upload_deadline=DEADLINE)
    await assert_overdue_after(bench, job, DEADLINE + GRACE)


async def test_a_rendering_job_should_be_gone_an_hour_after_its_deadline(bench: Bench) -> None:
    job = await sealed_with(bench.ledger, 1)
    await assert_overdue_after(bench, job, DEADLINE + TTL + GRACE)


async def test_a_form_that_was_never_accepted_should_be_gone_after_its_upload_deadline(bench: Bench) -> None:
    for rendered in (0, 1):
        job = await open_with(bench.ledger, 0, upload_deadline=DEADLINE)
        await submit(bench.ledger, job, [new_photo(0)])
        await finish(bench.ledger, *map(done, await claim(bench.ledger, job, *range(rendered))))
        await assert_overdue_after(bench, job, DEADLINE + GRACE)


async def test_a_complete_job_should_be_gone_after_its_hour_and_so_should_a_dying_one(bench: Bench) -> None:
    job = await completed_with(bench.ledger, 1)
    await bench.advance(TTL)
    await bench.ledger.expire_due(grace=GRACE)
    assert (await see(bench.ledger, job)).job.state is JobState.EXPIRING
    await assert_overdue_after(bench, job, GRACE)


async def test_an_expired_job_should_be_verified_soon_and_then_may_have_nothing(bench: Bench) -> None:
    job = await open_with(bench.ledger, 1)
    await bench.ledger.expire_now(job)
    await mark(bench, job)
    await assert_overdue_after(bench, job, QUIET)
    await mark(bench, job)
    verified = await fate(bench.ledger, job)
    assert verified is not None
    assert verified.verified


async def test_a_job_without_a_row_has_no_fate(ledger: Ledger) -> None:
    assert await fate(ledger, uuid4()) is None


async def test_a_verified_job_that_is_doubted_is_due_for_deletion_at_once(bench: Bench) -> None:
    job, living = await open_with(bench.ledger, 1), await open_with(bench.ledger, 1)
    await delete_fully(bench, job)
    assert await bench.ledger.expire_due(grace=GRACE) == []
    await bench.ledger.proofs.recheck([job, living])
    assert await bench.ledger.expire_due(grace=GRACE) == [job]
    assert (await see(bench.ledger, living)).job.state is JobState.OPEN
    await mark(bench, job)
    assert (await fate(bench.ledger, job) or Fate(verified=False, overdue=True)).verified


# What must be there


async def test_results_of_done_photos_and_originals_of_unfinished_ones_must_be_there(ledger: Ledger) -> None:
    job = await open_with(ledger, [*(new_photo(n) for n in range(4)), refused_photo(4)])
    first, second, _ = await claim(ledger, job, 0, 1, 2)
    await finish(ledger, done(first), failed(second))
    assert list(await ledger.proofs.expected(after=FIRST, until=LAST, limit=10)) == [
        Expected(job=job, n=0, epoch=0, done=True, sha256=new_photo(0).sha256),
        Expected(job=job, n=2, epoch=0, done=False, sha256=new_photo(2).sha256),
        Expected(job=job, n=3, epoch=0, done=False, sha256=new_photo(3).sha256),
    ]


async def test_nothing_must_be_there_once_the_links_are_dead(bench: Bench) -> None:
    await completed_with(bench.ledger, 2)
    deleted = await open_with(bench.ledger, 2)
    await bench.ledger.expire_now(deleted)
    await bench.advance(TTL - MOMENT)
    assert len(await bench.ledger.proofs.expected(after=FIRST, until=LAST, limit=10)) == 2
    await bench.advance(2 * MOMENT)
    assert await bench.ledger.proofs.expected(after=FIRST, until=LAST, limit=10) == []


async def test_what_must_be_there_is_read_in_pieces_in_order_and_without_gaps(ledger: Ledger) -> None:
    jobs = sorted([UUID(int=n) for n in (3, 2**127, 5, 2**64)])
    for job in reversed(jobs):
        await ledger.open_job(new_job(id=job))
        await ledger.add_photos(job, [new_photo(n) for n in range(12)], stale=STALE)
    after, read = FIRST, list[tuple[UUID, int]]()
    while page := await ledger.proofs.expected(after=after, until=jobs[2], limit=5):
        read += [(each.job, each.n) for each in page]
        after = read[-1]
    assert read == [(job, n) for job in jobs[:3] for n in range(12)]
