"""Dead letters on their way: from what was given up, over the topic, into the ledger and the metrics."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import pytest
from prometheus_client import REGISTRY

from ebbmark.consumer import dead_letter, last_resort
from ebbmark.errors import MalformedEvent, Unavailable
from ebbmark.events import ORIGINAL_BYTES, DeadLetter, ExpireJob, JobCompleted, PhotoUploaded
from ebbmark.guard import Braked, Message, guarded
from ebbmark.ledger import NewJob
from ebbmark.ledger.letters import Selection
from ebbmark.store import result_key
from ebbmark.testing import MemoryLedger, MemoryLog, MemoryStore
from ebbmark.topics import DEAD_LETTERS, EXPIRATIONS, JOBS, UPLOADS, E, Topic
from janitor.expire import Expirer
from janitor.letters import Keeper, keep_letters
from tests.unit.test_guard import Partition

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


async def test_letters_that_nobody_can_read_or_enter_are_dropped_and_hold_up_no_deletion() -> None:
    ledger, store, log = MemoryLedger(), MemoryStore(), MemoryLog()
    dropped = measured("ebbmark_messages_total", topic=DEAD_LETTERS.name, outcome="dead")
    await ledger.open_job(NewJob(id=JOB, token_hash=b"t"))
    await store.put_new(result_key(JOB, 0, 0), b"a result", {})
    await ledger.expire_now(JOB)
    garbage, refused, good = b"\xff{", given_up(UPLOADS, b"no"), given_up(UPLOADS, b"x")
    last_words = [DEAD_LETTERS.encode(letter) for letter in (refused, good)]
    letters = Partition([*[garbage] * 500, *last_words, *[garbage] * 500])
    keeper, came = Keeper(ledger), asyncio.Event()

    async def enter(letter: DeadLetter) -> None:
        if letter == refused:
            raise ValueError
        await keeper.handle(letter)

    async def delete(event: ExpireJob) -> None:
        came.set()
        async with asyncio.timeout(20):
            while len(letters.acked) < 600:  # noqa: ASYNC110 - acks tell nobody
                await asyncio.sleep(0)
        await Expirer(ledger, store, log, quiet=timedelta(0)).handle(event)

    async def consume(topic: Topic[E], messages: Partition, handle: Callable[[E], Awaitable[None]]) -> None:
        give_up, policy = last_resort(topic, log)
        policy = msgspec.structs.replace(policy, first_wait=0.0, longest_wait=0.0)
        await guarded(
            aiter(messages),
            topic=topic.name,
            decode=topic.decode,
            handle=handle,
            give_up=give_up,
            slots=asyncio.Semaphore(8),
            policy=policy,
        )

    orders = Partition([EXPIRATIONS.encode(ExpireJob(job=JOB))])
    async with asyncio.TaskGroup() as process:
        process.create_task(consume(EXPIRATIONS, orders, delete))
        await came.wait()
        process.create_task(consume(DEAD_LETTERS, letters, enter))
    assert await store.keys("") == []
    assert (orders.acked, letters.acked) == ([0], [*range(1002)])
    assert [row.preview for row in await ledger.letters.find(Selection(), limit=9)] == [b"x"]
    assert log.events(DEAD_LETTERS) == [], "none comes round again"
    assert measured("ebbmark_messages_total", topic=DEAD_LETTERS.name, outcome="dead") == dropped + 1001
    assert not measured("ebbmark_messages_dead_in_a_row", topic=DEAD_LETTERS.name), "it promises a stop"


async def test_other_topics_drain_into_dead_letters_until_the_brake_stops_them() -> None:
    log = MemoryLog()
    give_up, policy = last_resort(UPLOADS, log)
    with pytest.raises(Braked):
        await guarded(
            aiter(Partition([b"\xff{"] * 1000)),
            topic=UPLOADS.name,
            decode=UPLOADS.decode,
            handle=lambda _: asyncio.sleep(0),
            give_up=give_up,
            slots=asyncio.Semaphore(1),
            policy=policy,
        )
    assert len(log.events(DEAD_LETTERS)) == policy.brake


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
