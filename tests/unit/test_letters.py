"""Dead letters on their way: from what was given up, over the topic, into the ledger and the metrics."""

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import pytest
from prometheus_client import REGISTRY

from ebbmark.consumer import dead_letter
from ebbmark.errors import MalformedEvent, Unavailable
from ebbmark.events import ORIGINAL_BYTES, DeadLetter, JobCompleted, PhotoUploaded
from ebbmark.guard import Message
from ebbmark.ledger.letters import Selection
from ebbmark.testing import MemoryLedger
from ebbmark.topics import DEAD_LETTERS, JOBS, UPLOADS, E, Topic
from janitor.letters import Keeper, keep_letters

JOB = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
SEEN = datetime(2026, 5, 1, tzinfo=UTC)


def given_up(topic: Topic[E], value: bytes | None) -> DeadLetter:
    message = Message(
        topic=f"prefix.{topic.name}", partition=3, offset=4, generation=1, value=value, ack=lambda: None
    )
    return dead_letter(topic, message, "handler-failed", 3, SEEN)


# From a message


def test_a_letter_names_what_can_be_read_from_its_message() -> None:
    letter = given_up(UPLOADS, UPLOADS.encode(PhotoUploaded(job=JOB, n=7, epoch=2)))
    assert (letter.job, letter.n, letter.epoch) == (JOB, 7, 2)
    assert (letter.reason, letter.attempts, letter.first_seen) == ("handler-failed", 3, SEEN)
    assert (letter.topic, letter.partition, letter.offset) == ("uploads", 3, 4), "without the prefix"


def test_a_letter_about_a_job_names_no_photo_and_is_keyed_by_its_place() -> None:
    letter = given_up(JOBS, JOBS.encode(JobCompleted(job=JOB, epoch=1, done=1, failed=0)))
    assert (letter.job, letter.n, letter.epoch) == (JOB, None, 1)
    assert DEAD_LETTERS.key(letter) == "jobs/3"


@pytest.mark.parametrize("value", [b"\xff{", b"", None, b'{"type":"PhotoUploaded","n":1}'])
def test_a_letter_about_what_nobody_can_read_names_nothing(value: bytes | None) -> None:
    letter = given_up(UPLOADS, value)
    assert (letter.job, letter.n, letter.epoch) == (None, None, None)
    assert letter.original == (value or b"")


def test_of_a_long_message_the_beginning_is_kept_and_the_letter_can_be_read() -> None:
    letter = given_up(UPLOADS, b"a" * 60_000)
    assert letter.original == b"a" * ORIGINAL_BYTES
    assert DEAD_LETTERS.decode(DEAD_LETTERS.encode(letter)) == letter


@pytest.mark.parametrize(
    "wrong",
    [
        {"n": 2**31},
        {"epoch": -1},
        {"attempts": 2**40},
        {"partition": -2},
        {"offset": 2**64},
        {"first_seen": "2026-05-01T00:00:00"},
        {"reason": "<script>"},
        {"topic": "a\x00b"},
        {"original": "A" * 30_000},
    ],
)
def test_a_letter_that_the_ledger_could_not_take_is_malformed(wrong: dict[str, object]) -> None:
    letter = json.loads(DEAD_LETTERS.encode(given_up(UPLOADS, b"x")))
    assert DEAD_LETTERS.decode(json.dumps(letter).encode())
    with pytest.raises(MalformedEvent):
        DEAD_LETTERS.decode(json.dumps(letter | wrong).encode())


def test_letters_of_the_version_before_are_read() -> None:
    letter = json.loads(DEAD_LETTERS.encode(given_up(UPLOADS, b"x")))
    for name in ("job", "n", "epoch"):
        del letter[name]
    assert DEAD_LETTERS.decode(json.dumps(letter).encode()).epoch is None


# Into the ledger


def measured(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def counted(reason: str) -> float:
    return measured("ebbmark_dead_letters_total", reason=reason)


def gauges() -> tuple[float, float]:
    return measured("ebbmark_dead_letters_open"), measured("ebbmark_dead_letter_age_seconds")


async def test_a_letter_that_comes_twice_is_entered_and_counted_once() -> None:
    ledger, before = MemoryLedger(), counted("handler-failed")
    keeper = Keeper(ledger)
    letter = given_up(UPLOADS, b"x")
    await keeper.handle(letter)
    await keeper.handle(msgspec.structs.replace(letter, last_seen=SEEN + timedelta(seconds=9)))
    assert len(await ledger.letters.find(Selection(), limit=9)) == 1
    assert counted("handler-failed") == before + 1


async def test_a_letter_waits_for_the_ledger() -> None:
    ledger = MemoryLedger()
    ledger.down = True
    with pytest.raises(Unavailable):
        await Keeper(ledger).handle(given_up(UPLOADS, b"x"))


async def test_the_sweep_measures_what_is_open_and_forgets_what_is_old() -> None:
    now = SEEN
    ledger = MemoryLedger(lambda: now)
    await ledger.letters.enter(given_up(UPLOADS, b"x"))
    now += timedelta(hours=1)
    await ledger.letters.enter(given_up(UPLOADS, b"y"))
    await keep_letters(ledger)
    assert gauges() == (2, 3600)
    now += timedelta(days=7)
    await keep_letters(ledger)
    assert gauges() == (1, 7 * 86400)
    now += timedelta(seconds=1)
    await keep_letters(ledger)
    assert gauges() == (0, 0)
