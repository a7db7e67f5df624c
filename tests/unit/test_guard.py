"""The delivery policy, on messages made by hand."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from ebbmark.errors import MalformedEvent, Rejected, Unavailable
from ebbmark.guard import Braked, Hand, Message, OrderedAcks, Policy, guarded

QUICK = Policy(first_wait=0.001, longest_wait=0.002)


class Partition:
    """A stream of messages that remembers what was acked, in order."""

    def __init__(self, values: list[bytes], *, generation: int = 1, partition: int = 0) -> None:
        self.acked: list[int] = []
        self.messages = [
            Message(
                topic="t",
                partition=partition,
                offset=offset,
                generation=generation,
                value=value,
                ack=lambda offset=offset: self.acked.append(offset),
            )
            for offset, value in enumerate(values)
        ]

    async def __aiter__(self) -> AsyncIterator[Message]:
        for message in self.messages:
            yield message


class Graves:
    """Where given-up messages go."""

    def __init__(self, *, failures: int = 0) -> None:
        self.buried: list[tuple[int, str, int]] = []
        self._failures = failures

    async def __call__(self, message: Message, reason: str, attempts: int, first_seen: datetime) -> None:
        assert first_seen.tzinfo is not None
        if self._failures:
            self._failures -= 1
            raise Unavailable("down", "The log is down.")
        self.buried.append((message.offset, reason, attempts))


def decode(value: bytes | None) -> bytes:
    if not value or value.startswith(b"garbage"):
        raise MalformedEvent("malformed-event", "It is garbage.")
    return value


async def run(
    stream: Partition,
    handle: Callable[[bytes], Awaitable[None]],
    graves: Graves | None = None,
    *,
    slots: int = 4,
    policy: Policy = QUICK,
    hand: Hand | None = None,
) -> None:
    await guarded(
        aiter(stream),
        topic="t",
        decode=decode,
        handle=handle,
        give_up=graves or Graves(),
        slots=asyncio.Semaphore(slots),
        policy=policy,
        hand=hand,
    )


async def test_a_message_is_acked_only_after_its_handler_returned() -> None:
    stream = Partition([b"a"])
    seen: list[list[int]] = []

    async def handle(_: bytes) -> None:
        await asyncio.sleep(0)
        seen.append(list(stream.acked))

    await run(stream, handle)
    assert seen == [[]]
    assert stream.acked == [0]


async def test_messages_finished_out_of_order_are_acked_in_order() -> None:
    stream = Partition([b"0", b"1", b"2", b"3"])
    first_may_end = asyncio.Event()
    acked_meanwhile: list[int] = []

    async def handle(value: bytes) -> None:
        if value == b"0":
            await first_may_end.wait()
        if value == b"3":
            acked_meanwhile.extend(stream.acked)
            first_may_end.set()

    await run(stream, handle)
    assert acked_meanwhile == []
    assert stream.acked == [0, 1, 2, 3]


@given(order=st.permutations(range(12)), upto=st.integers(min_value=0, max_value=12))
def test_what_is_acked_is_always_the_finished_prefix(order: list[int], upto: int) -> None:
    stream = Partition([b"x"] * 12)
    acks = OrderedAcks()
    done = [acks.expect(message) for message in stream.messages]
    finished: set[int] = set()
    for offset in order[:upto]:
        done[offset]()
        finished.add(offset)
        prefix = next((n for n in range(12) if n not in finished), 12)
        assert stream.acked == list(range(prefix))


def test_a_gap_in_one_assignment_does_not_hold_back_the_next() -> None:
    acks = OrderedAcks()
    old, new = Partition([b"0", b"1"], generation=1), Partition([b"0"], generation=2)
    _, done_old = [acks.expect(message) for message in old.messages]
    done_new = acks.expect(new.messages[0])
    done_old()
    done_new()
    assert old.acked == []
    assert new.acked == [0]


async def test_an_unavailable_dependency_is_waited_for_and_nothing_is_lost() -> None:
    stream = Partition([b"a", b"b"])
    failures = {b"a": 7, b"b": 3}
    handled: list[bytes] = []

    async def handle(value: bytes) -> None:
        if failures[value]:
            failures[value] -= 1
            raise Unavailable("down", "It is down.")
        handled.append(value)

    graves = Graves()
    await run(stream, handle, graves)
    assert sorted(handled) == [b"a", b"b"]
    assert stream.acked == [0, 1]
    assert graves.buried == []


async def test_garbage_is_buried_and_the_partition_moves_on() -> None:
    stream = Partition([b"garbage", b"fine", b""])
    handled: list[bytes] = []
    graves = Graves(failures=3)

    async def handle(value: bytes) -> None:
        handled.append(value)

    await run(stream, handle, graves)
    assert handled == [b"fine"]
    assert sorted(graves.buried) == [(0, "malformed-event", 1), (2, "malformed-event", 1)]
    assert stream.acked == [0, 1, 2]


@pytest.mark.parametrize("error", [ValueError("a bug"), Rejected("no", "No.")])
async def test_a_handler_that_keeps_failing_is_given_up_after_its_attempts(error: Exception) -> None:
    stream = Partition([b"a"])
    calls = 0

    async def handle(_: bytes) -> None:
        nonlocal calls
        calls += 1
        raise error

    graves = Graves()
    await run(stream, handle, graves)
    assert calls == 3
    assert graves.buried == [(0, "handler-failed", 3)]
    assert stream.acked == [0]


async def test_when_everything_fails_the_brake_stops_the_consumer_and_the_next_start_gets_further() -> None:
    graves = Graves()
    values, starts = [b"x"] * 12, 0

    async def handle(_: bytes) -> None:
        raise ValueError

    while values:
        stream, starts = Partition(values), starts + 1
        with suppress(Braked), capture_logs() as lines:
            await run(stream, handle, graves, policy=Policy(first_wait=0.0, longest_wait=0.0, brake=5))
            assert len(values) < 5, "it did not stop"
        assert len(stream.acked) >= min(4, len(values))
        values = values[len(stream.acked) :]
        told = [(line["topic"], line["in_a_row"]) for line in lines if line["event"] == "braked"]
        assert told == ([("t", 5)] if in_a_row() >= 5 else [])
    assert starts > 2


def in_a_row() -> float:
    return REGISTRY.get_sample_value("ebbmark_messages_dead_in_a_row", {"topic": "t"}) or 0.0


async def test_a_success_between_failures_releases_the_brake() -> None:
    stream = Partition([b"bad", b"good"] * 20)

    async def handle(value: bytes) -> None:
        if value == b"bad":
            raise ValueError

    graves = Graves()
    await run(stream, handle, graves, slots=1, policy=Policy(first_wait=0.0, longest_wait=0.0, brake=2))
    assert len(graves.buried) == 20
    assert stream.acked == list(range(40))
    assert in_a_row() == 0


async def test_no_more_messages_are_in_hand_than_there_are_slots() -> None:
    stream = Partition([b"x"] * 30)
    in_hand = most = 0

    async def handle(_: bytes) -> None:
        nonlocal in_hand, most
        in_hand += 1
        most = max(most, in_hand)
        await asyncio.sleep(0)
        in_hand -= 1

    await run(stream, handle, slots=3)
    assert most == 3


async def test_cancelled_work_is_never_acked() -> None:
    stream = Partition([b"a", b"b"])
    started = asyncio.Event()

    async def handle(_: bytes) -> None:
        started.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(run(stream, handle))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert stream.acked == []


async def test_a_handler_may_say_that_no_message_can_fare_better() -> None:
    stream, graves = Partition([b"a", b"b"]), Graves()

    async def handle(_: bytes) -> None:
        raise Braked("the children are gone")

    with pytest.raises(Braked, match="children"):
        await run(stream, handle, graves)
    assert (stream.acked, graves.buried) == ([], [])


async def test_a_hand_that_drains_ends_what_it_holds_and_takes_no_more() -> None:
    stream, hand, gate = Partition([b"0", b"1", b"2", b"3"]), Hand(), asyncio.Event()
    begun: list[bytes] = []
    full = asyncio.Event()

    async def handle(value: bytes) -> None:
        begun.append(value)
        if len(begun) == 2:
            full.set()
        await gate.wait()

    running = asyncio.create_task(run(stream, handle, slots=2, hand=hand))
    await full.wait()
    draining = asyncio.create_task(hand.drain(60))
    await asyncio.sleep(0)
    gate.set()
    assert await draining
    await running
    assert begun == [b"0", b"1"]
    assert stream.acked == [0, 1], "the others come again, here or elsewhere"


async def test_what_does_not_end_in_time_is_cancelled_and_stays_unacked() -> None:
    stream, hand, given_back = Partition([b"slow"]), Hand(), asyncio.Event()

    async def handle(_: bytes) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            given_back.set()
            raise

    running = asyncio.create_task(run(stream, handle, hand=hand))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not await hand.drain(0)
    await running
    assert given_back.is_set()
    assert stream.acked == []


async def until(good: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not good():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0)


async def test_a_message_is_at_work_while_it_is_tried_again_and_not_when_it_hangs() -> None:
    now = [0.0]
    stream, hand = Partition([b"down", b"hangs"]), Hand(lambda: now[0])
    down, gate = True, asyncio.Event()

    async def handle(value: bytes) -> None:
        if value == b"down" and down:
            now[0] += 1
            raise Unavailable("down", "The ledger is down.")
        if value == b"hangs":
            await gate.wait()

    running = asyncio.create_task(run(stream, handle, hand=hand, policy=Policy(first_wait=0, longest_wait=0)))
    await until(lambda: now[0] >= 200)
    assert hand.at_work(100) == {("t", 0)}
    down = False
    await until(lambda: not hand.at_work(100))
    assert hand.at_work(1000) == {("t", 0)}
    gate.set()
    await running
    await until(lambda: not hand.at_work(1000))


async def test_a_guard_that_waits_for_a_slot_says_so() -> None:
    stream, hand, gate = Partition([b"0", b"1"]), Hand(), asyncio.Event()

    async def handle(_: bytes) -> None:
        await gate.wait()

    running = asyncio.create_task(run(stream, handle, slots=1, hand=hand))
    await until(lambda: hand.waiting)
    assert hand.at_work(60)
    gate.set()
    await running
    assert not hand.waiting
