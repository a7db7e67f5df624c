"""The delivery policy of every consumer: decode, handle, retry, dead-letter, and only then ack.

At least once, whatever dies: a message is acknowledged after its effect is durable, and never
before every earlier message of its partition. The guard knows no Faust; it takes any stream of
`Message`s. It exists because no stock pattern of Faust delivers at least once: an agent that raises
or is cancelled acks what it had in hand, and out-of-order acks can be committed over a gap.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from msgspec import Struct

from ebbmark.errors import MalformedEvent, Unavailable
from observability import logs, metrics
from observability.tracing import Arrival, carry

log = logs.get(__name__)

T = TypeVar("T")

_LAST_WORDS = 4.0
"""Seconds for a cancelled handler to give back what it holds."""


class Message(Struct, frozen=True, kw_only=True, eq=False):
    """One message as it came from a partition, in one assignment (`generation`) of it."""

    topic: str
    partition: int
    offset: int
    generation: int
    value: bytes | None
    ack: Callable[[], None]
    """Say that this message and all before it may be committed; ignored for a lost assignment."""
    arrival: Arrival | None = None
    """Whose consequence it is, while traces are asked for."""


class Braked(Exception):
    """The fault is ours, not the messages': the process must end, and begin anew."""


class Slots(Protocol):
    """Bounds how many messages are in hand; `asyncio.Semaphore` is one."""

    async def acquire(self) -> object: ...
    def release(self) -> None: ...


class Policy(Struct, frozen=True, kw_only=True):
    """How patient the guard is. Times are in seconds."""

    attempts: int = 3
    """Tries of a message whose handler fails for no known reason, before it is given up."""
    first_wait: float = 0.2
    longest_wait: float = 5.0
    brake: int | None = 20
    """Messages given up in a row, none handled between, that stop the consumer; None: it never stops."""


class GiveUp(Protocol):
    """Make a dead letter of the message, durably; raises `Unavailable` to be called again."""

    async def __call__(self, message: Message, reason: str, attempts: int, first_seen: datetime) -> None: ...


async def patiently(act: Callable[[], Awaitable[T]], topic: str, policy: Policy | None = None) -> T:
    """Call `act` until it raises no `Unavailable`, waiting longer each time; return what it returned."""
    policy = policy or Policy()
    tries = 0
    while True:
        try:
            return await act()
        except Unavailable as exc:
            tries += 1
            metrics.MESSAGE_RETRIES.labels(topic).inc()
            if tries in {1, 10, 100}:
                log.warning("waiting for a dependency", topic=topic, code=exc.code, tries=tries)
            await asyncio.sleep(_wait(tries, policy))


def _wait(tries: int, policy: Policy) -> float:
    longest = min(policy.longest_wait, policy.first_wait * 2 ** min(tries - 1, 10))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, guards no secret


class Hand:
    """The messages a consumer has in hand, and the word that it shall take no more."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin empty, and willing; `clock` is in seconds."""
        self.draining = False
        self.waiting = 0
        """How many guards have taken a message and wait for a slot."""
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._tried: dict[Message, float] = {}

    def hold(self, message: Message, task: asyncio.Task[None]) -> None:
        """Count the message until its task ends."""
        self.tries(message)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._tried.pop(message, None))

    def tries(self, message: Message) -> None:
        """Note that the message is tried, now: whoever is tried again and again does not hang."""
        self._tried[message] = self._clock()

    def at_work(self, within: float) -> frozenset[tuple[str, int]]:
        """Return the topics and partitions of which a message is in hand that was tried `within` seconds."""
        oldest = self._clock() - within
        return frozenset((m.topic, m.partition) for m, tried in self._tried.items() if tried >= oldest)

    async def drain(self, within: float) -> bool:
        """Take no more, let what is in hand end, and cancel what has not ended `within` seconds.

        What is cancelled or never taken stays unacked: it comes again, here or elsewhere. Returns
        whether all of it ended by itself.
        """
        self.draining = True
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=within)
        left = set(self._tasks)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=_LAST_WORDS)
        return not left


class OrderedAcks:
    """Acks in offset order within each assignment of a partition, whatever order the work ends in."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, int, int], deque[list[Message | bool]]] = {}

    def expect(self, message: Message) -> Callable[[], None]:
        """Enter a message, in the order of arrival; call the answer once its effect is durable."""
        place = (message.topic, message.partition, message.generation)
        line = self._open.setdefault(place, deque())
        entry: list[Message | bool] = [message, False]
        line.append(entry)

        def done() -> None:
            entry[1] = True
            last: Message | None = None
            while line and line[0][1]:
                head = line.popleft()[0]
                if isinstance(head, Message):
                    last = head
                    head.ack()
            if last is not None and not line:
                self._open.pop(place, None)

        return done


async def guarded(
    messages: AsyncIterator[Message],
    *,
    topic: str,
    decode: Callable[[bytes | None], T],
    handle: Callable[[T], Awaitable[None]],
    give_up: GiveUp,
    slots: Slots,
    policy: Policy | None = None,
    hand: Hand | None = None,
) -> None:
    """Deal with every message until the stream ends, then finish what is in hand.

    `handle` returns when its effect is durable. What it raises decides: `Unavailable` is tried again
    for as long as it takes, holding its slot, so that an outage slows the consumer to a stop;
    anything else is tried `policy.attempts` times and then given up. `handle` may see a message
    again that it already handled. Once `hand` is draining, messages are left alone, unacked.

    Raises:
        Braked: `policy.brake` messages in a row were given up, or a handler said that no other
            message can fare better.
    """
    for outcome in ("handled", "dead"):
        metrics.MESSAGES.labels(topic, outcome)  # from zero on: a rise from nothing is none to Prometheus
    hand = hand or Hand()
    guard = _Guard(topic, decode, handle, give_up, policy or Policy())
    acks = OrderedAcks()
    slot_wait = metrics.SLOT_WAIT_SECONDS.labels(topic)

    async def one(message: Message, done: Callable[[], None]) -> None:
        try:
            await guard.deal_with(message, lambda: hand.tries(message))
            done()
        finally:
            slots.release()

    try:
        async with asyncio.TaskGroup() as tasks:
            async for message in messages:
                if hand.draining:
                    continue
                done = acks.expect(message)
                hand.waiting += 1
                asked = time.monotonic()
                try:
                    await slots.acquire()
                finally:
                    hand.waiting -= 1
                    slot_wait.inc(time.monotonic() - asked)
                if hand.draining:
                    slots.release()
                    continue
                hand.hold(message, tasks.create_task(one(message, done)))
    except BaseExceptionGroup as group:
        braked, others = group.split(Braked)
        if others is None and braked is not None:
            raise Braked(*braked.exceptions[0].args) from group
        raise


class _Guard:
    def __init__(
        self,
        topic: str,
        decode: Callable[[bytes | None], T],
        handle: Callable[[T], Awaitable[None]],
        give_up: GiveUp,
        policy: Policy,
    ) -> None:
        self._topic = topic
        self._decode = decode
        self._handle = handle
        self._give_up = give_up
        self._policy = policy
        self._seconds = metrics.MESSAGE_SECONDS.labels(topic)
        self._given_up_in_a_row = 0

    async def deal_with(self, message: Message, tries: Callable[[], None]) -> None:
        """Return once the message has had its effect, or is a dead letter; call `tries` before each try."""
        first_seen = datetime.now(UTC)
        carry(message.arrival)
        with (
            metrics.MESSAGES_OPEN.labels(self._topic).track_inprogress(),
            self._seconds.time(),
        ):
            try:
                event = self._decode(message.value)
            except MalformedEvent as exc:
                await self._bury(message, exc.code, 1, first_seen, tries)
                return

            async def handle() -> None:
                tries()
                await self._handle(event)

            failures = 0
            while failures < self._policy.attempts:
                try:
                    await patiently(handle, self._topic, self._policy)
                except Braked as exc:
                    log.error("braked", topic=self._topic, reason=str(exc))  # noqa: TRY400 - it says it all
                    raise
                except Exception:
                    failures += 1
                    log.exception(
                        "handler failed", topic=self._topic, offset=message.offset, attempt=failures
                    )
                    await asyncio.sleep(_wait(failures, self._policy))
                else:
                    self._given_up_in_a_row = 0
                    metrics.MESSAGES_DEAD_IN_A_ROW.labels(self._topic).set(0)
                    metrics.MESSAGES.labels(self._topic, "handled").inc()
                    return
            await self._bury(message, "handler-failed", failures, first_seen, tries)

    async def _bury(
        self,
        message: Message,
        reason: str,
        attempts: int,
        first_seen: datetime,
        tries: Callable[[], None],
    ) -> None:
        async def give_up() -> None:
            tries()
            await self._give_up(message, reason, attempts, first_seen)

        await patiently(give_up, self._topic, self._policy)
        metrics.MESSAGES.labels(self._topic, "dead").inc()
        log.warning(
            "message given up",
            topic=self._topic,
            partition=message.partition,
            offset=message.offset,
            reason=reason,
        )
        if self._policy.brake is None:
            return
        # Counted only now, so that each start gets further than the one before, if only by so many.
        self._given_up_in_a_row += 1
        metrics.MESSAGES_DEAD_IN_A_ROW.labels(self._topic).set(self._given_up_in_a_row)
        if self._given_up_in_a_row >= self._policy.brake:
            if self._given_up_in_a_row == self._policy.brake:  # others in hand may get here, too
                log.error("braked", topic=self._topic, in_a_row=self._policy.brake, reason=reason)
            raise Braked(f"{self._given_up_in_a_row} messages of {self._topic} in a row could not be handled")
