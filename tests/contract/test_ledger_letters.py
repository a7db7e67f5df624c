"""What was given up stands in the ledger once, with how it stands now, until it is dealt with or old."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from ebbmark.events import ORIGINAL_BYTES, DeadLetter
from ebbmark.ledger import Ledger, Wanted
from ebbmark.ledger.letters import LetterCount, LetterRow, Letters, LetterState, Selection, letter_id
from ebbmark.states import JobState, PhotoState
from tests.contract.benches import Bench
from tests.contract.ledgers import (
    DEADLINE,
    MOMENT,
    STALE,
    TTL,
    claim,
    completed_with,
    done,
    failed,
    finish,
    sealed_with,
)

SEEN = datetime(2026, 3, 1, 11, tzinfo=UTC)
WEEK = timedelta(days=7)
ALL = Selection()


@pytest.fixture
def ledger(bench: Bench) -> Ledger:
    return bench.ledger


@pytest.fixture
def letters(ledger: Ledger) -> Letters:
    return ledger.letters


def message(offset: int = 4, original: bytes = b"\xff{", **changes: object) -> DeadLetter:
    values = {
        "reason": "malformed-event",
        "attempts": 1,
        "first_seen": SEEN,
        "last_seen": SEEN + MOMENT,
        "topic": "uploads",
        "partition": 3,
        "offset": offset,
        "original": original,
    }
    return DeadLetter(**(values | changes))  # pyright: ignore[reportArgumentType]


def of_photo(job: UUID, n: int = 0, epoch: int = 0, reason: str = "poison") -> DeadLetter:
    return message(
        -1, b"{}", reason=reason, topic="tasks.express", partition=-1, job=job, n=n, epoch=epoch, attempts=5
    )


async def only(letters: Letters, selection: Selection = ALL) -> LetterRow:
    (row,) = await letters.find(selection, limit=10)
    return row


async def poisoned(ledger: Ledger) -> UUID:
    """Return a complete job whose only photo failed, and enter its letter."""
    job = await sealed_with(ledger, 1)
    await finish(ledger, *(failed(each) for each in await claim(ledger, job, 0)))
    await ledger.letters.enter(of_photo(job))
    return job


# Entering


async def test_a_letter_is_entered_whole(letters: Letters) -> None:
    letter = message(original=b"\x00\xff" * 200, job=uuid4(), n=7, epoch=2)
    assert await letters.enter(letter)
    row = await only(letters)
    assert row == LetterRow(
        id=letter_id(letter),
        place=row.place,
        reason="malformed-event",
        state=LetterState.OPEN,
        topic="uploads",
        partition=3,
        offset=4,
        job=letter.job,
        n=7,
        epoch=2,
        attempts=1,
        first_seen=SEEN,
        last_seen=SEEN + MOMENT,
        entered_at=row.entered_at,
        redriven_at=None,
        age=row.age,
        redrives=0,
        size=400,
        preview=(b"\x00\xff" * 200)[:256],
        job_state=None,
        job_lives=False,
        photo_state=None,
        photo_epoch=None,
    )
    assert timedelta(0) <= row.age < timedelta(minutes=5)
    assert await letters.original(row.id) == letter.original


async def test_the_longest_original_is_kept_to_its_last_byte(letters: Letters) -> None:
    await letters.enter(message(original=bytes(ORIGINAL_BYTES - 1) + b"z"))
    row = await only(letters)
    assert row.size == ORIGINAL_BYTES
    assert (await letters.original(row.id) or b"")[-1:] == b"z"


async def test_a_message_that_comes_again_is_entered_once_and_what_became_of_it_stays(
    letters: Letters,
) -> None:
    assert await letters.enter(message())
    row = await only(letters)
    await letters.resolve(row.id)
    assert not await letters.enter(message(first_seen=SEEN + MOMENT, last_seen=SEEN + 2 * MOMENT))
    assert (await only(letters)).state is LetterState.RESOLVED


@pytest.mark.parametrize(
    "other",
    [message(5), message(partition=4), message(topic="jobs"), message(original=b"of a topic made anew")],
    ids=["offset", "partition", "topic", "bytes"],
)
async def test_another_message_is_another_letter(letters: Letters, other: DeadLetter) -> None:
    await letters.enter(message())
    assert await letters.enter(other)


async def test_the_end_of_a_photo_is_entered_once_for_each_round_and_reason(letters: Letters) -> None:
    job = uuid4()
    assert await letters.enter(of_photo(job))
    assert not await letters.enter(of_photo(job))
    for other in (of_photo(job, epoch=1), of_photo(job, n=1), of_photo(job, reason="deadline")):
        assert await letters.enter(other)
    assert len(await letters.find(ALL, limit=10)) == 4


# Finding


async def test_the_last_entered_come_first_and_page_by_page(letters: Letters) -> None:
    for offset in range(7):
        await letters.enter(message(offset))
    pages: list[list[int]] = []
    before: int | None = None
    while page := await letters.find(ALL, before=before, limit=3):
        pages.append([row.offset for row in page])
        before = page[-1].place
    assert pages == [[6, 5, 4], [3, 2, 1], [0]]


async def test_they_are_found_by_reason_job_state_and_id_and_by_all_of_these(letters: Letters) -> None:
    job = uuid4()
    for letter in (message(1), of_photo(job, 0), of_photo(job, 1, reason="deadline"), of_photo(uuid4(), 0)):
        await letters.enter(letter)
    late = letter_id(of_photo(job, 1, reason="deadline"))
    await letters.resolve(late)

    async def found(**selection: object) -> list[tuple[str, int | None]]:
        chosen = Selection(**selection)  # pyright: ignore[reportArgumentType]
        return [(row.reason, row.n) for row in await letters.find(chosen, limit=10)]

    assert await found(reason="poison") == [("poison", 0), ("poison", 0)]
    assert await found(job=job) == [("deadline", 1), ("poison", 0)]
    assert await found(state=LetterState.RESOLVED) == [("deadline", 1)]
    assert await found(ids=[late, "no such"]) == [("deadline", 1)]
    assert await found(ids=[]) == []
    assert await found(job=job, state=LetterState.OPEN, reason="poison") == [("poison", 0)]
    assert await found(job=job, reason="malformed-event") == []


async def test_a_letter_says_how_its_photo_stands_now(bench: Bench) -> None:
    job = await poisoned(bench.ledger)
    row = await only(bench.ledger.letters)
    assert row.of_photo
    assert (row.job_state, row.job_lives) == (JobState.COMPLETE, True)
    assert (row.photo_state, row.photo_epoch) == (PhotoState.FAILED, 0)
    await bench.advance(TTL + MOMENT)
    assert not (await only(bench.ledger.letters)).job_lives, "its links are dead though nobody swept"
    await bench.ledger.expire_now(job)
    assert not (await only(bench.ledger.letters)).job_lives


async def test_what_is_not_there_is_not_found(letters: Letters) -> None:
    assert await letters.find(ALL, limit=10) == []
    assert await letters.original("no such") is None
    assert not await letters.resolve("no such")
    await letters.redriven("no such")


# What became of it


async def test_redriving_is_counted_over_all_letters_of_one_photo(letters: Letters) -> None:
    job = uuid4()
    await letters.enter(of_photo(job))
    await letters.redriven((await only(letters)).id)
    await letters.enter(of_photo(job, epoch=1))
    await letters.enter(of_photo(job, n=1))
    newest, again, first = await letters.find(ALL, limit=10)
    assert (first.state, first.redrives) == (LetterState.REDRIVEN, 1)
    assert first.redriven_at is not None
    assert (again.state, again.redrives, again.redriven_at) == (LetterState.OPEN, 1, None)
    assert newest.redrives == 0, "another photo"


async def test_redriving_is_counted_over_all_letters_of_messages_that_read_alike(letters: Letters) -> None:
    await letters.enter(message(1, b"same"))
    await letters.redriven((await only(letters)).id)
    await letters.enter(message(2, b"same"))
    await letters.enter(message(3, b"other"))
    other, again, _ = await letters.find(ALL, limit=10)
    assert (again.redrives, other.redrives) == (1, 0)


async def test_the_letter_of_a_photo_that_went_on_is_resolved(ledger: Ledger, letters: Letters) -> None:
    job = await completed_with(ledger, 1)
    await letters.enter(of_photo(job))  # needless, as its result came in that very moment
    assert await letters.settle() == 1
    assert (await only(letters)).state is LetterState.RESOLVED
    assert await letters.settle() == 0


async def test_the_letter_of_a_photo_that_its_owner_sent_round_again_is_resolved(
    ledger: Ledger, letters: Letters
) -> None:
    job = await poisoned(ledger)
    await ledger.redrive([Wanted(job=job, n=0, epoch=0)], stale=STALE, deadline=DEADLINE)
    await letters.enter(of_photo(job, epoch=1))
    assert await letters.settle() == 1
    later, earlier = await letters.find(ALL, limit=10)
    assert (later.state, earlier.state) == (LetterState.OPEN, LetterState.RESOLVED)


async def test_letters_of_photos_that_failed_are_left_open(ledger: Ledger, letters: Letters) -> None:
    await poisoned(ledger)
    rendering = await sealed_with(ledger, 1)
    await letters.enter(of_photo(rendering))
    await letters.enter(of_photo(uuid4()))
    done_since = await sealed_with(ledger, 1)
    await letters.enter(message(9, b"{}", reason="handler-failed", job=done_since, n=0, epoch=0))
    await finish(ledger, *map(done, await claim(ledger, done_since, 0)))
    assert await letters.settle() == 0


# Counting and forgetting


async def test_they_are_counted_by_reason_and_state(bench: Bench) -> None:
    letters = bench.ledger.letters
    assert (await letters.stats()).counts == []
    assert (await letters.stats()).oldest == timedelta(0)
    await letters.enter(message(0))
    await letters.resolve((await only(letters)).id)
    await bench.advance(timedelta(hours=2))
    for each in (message(1), message(2), of_photo(uuid4())):
        await letters.enter(each)
    await bench.advance(timedelta(hours=1))
    stats = await letters.stats()
    assert stats.counts == [
        LetterCount(reason="malformed-event", state=LetterState.OPEN, letters=2),
        LetterCount(reason="malformed-event", state=LetterState.RESOLVED, letters=1),
        LetterCount(reason="poison", state=LetterState.OPEN, letters=1),
    ]
    assert stats.open == 3
    assert timedelta(hours=1) <= stats.oldest < timedelta(hours=2), "of the open ones"


async def test_what_is_old_is_forgotten_whatever_became_of_it(bench: Bench) -> None:
    letters = bench.ledger.letters
    await letters.enter(message(0))
    await letters.enter(message(1))
    await letters.resolve((await letters.find(ALL, limit=1))[0].id)
    await bench.advance(WEEK - timedelta(minutes=10))
    await letters.enter(message(2))
    assert await letters.forget(retention=WEEK) == 0
    await bench.advance(timedelta(minutes=11))
    assert await letters.forget(retention=WEEK) == 2
    assert (await only(letters)).offset == 2


async def test_a_letter_outlives_the_rows_of_its_job(bench: Bench) -> None:
    job = await poisoned(bench.ledger)
    await bench.ledger.expire_now(job)
    await bench.ledger.mark_expired(job, quiet=timedelta(0))
    await bench.advance(MOMENT)
    assert await bench.ledger.forget(tombstone=timedelta(0)) == 1
    row = await only(bench.ledger.letters)
    assert (row.job, row.job_lives, row.photo_state) == (job, False, None)
