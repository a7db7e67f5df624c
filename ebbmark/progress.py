"""Whether a consumer gets on, judged by what is committed and where its log ends: heartbeats say nothing.

Consumers of Faust have been seen alive that received nothing for hours. No client is made for this: the
question goes over the consumer's own connection, in its own thread, and is dropped when no answer comes.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from msgspec import Struct

Place = tuple[str, int]
"""A topic, with its prefix, and a partition."""

_ANSWER_WITHIN = 5.0
_SOON = 2.0
"""The same for what may also be told at the next look."""
_LATE = 15.0
"""Seconds between two looks, of which each may wait for its answer; after more, this process itself slept."""


class NotJoined(Exception):
    """The group has not admitted this consumer yet, not assigned it anything yet, or has put it out."""


class Standing(Struct, frozen=True, kw_only=True):
    """How far a consumer has come in one place."""

    begin: int
    """The first offset that the log still has."""
    committed: int
    """The offset to go on with after a restart; 0 when there is none."""
    reached: int
    """The highest offset it knows to have been there."""
    end: int
    """The offset that the next message will get."""

    @property
    def lag(self) -> int:
        """How many messages are there that are not done."""
        return max(0, self.end - max(self.begin, self.committed))

    @property
    def anew(self) -> bool:
        """Whether the log ends before what was read of it: it was deleted and made anew, or cut off."""
        return self.reached > self.end


class First(Struct, frozen=True):
    """The first message of a place at or after some moment."""

    offset: int
    at: float
    """Its own time, in seconds since 1970."""


async def standings(consumer: Any) -> Mapping[Place, Standing]:  # noqa: ANN401 - Faust's consumer
    """Return how far Faust's consumer has come in each place that is assigned to it.

    None are when the group has more members than partitions.

    Raises whatever its client raises while Kafka does not answer, `TimeoutError`, and `NotJoined`; and what
    its group met that it did not expect, once: with that it joins again.
    """
    # Faust keeps both to itself; `call_thread` would queue behind a commit that waits for Kafka.
    thread, client = consumer._thread, consumer._thread._consumer  # noqa: SLF001
    if client is None:
        raise NotJoined
    await _in_thread(thread, _meet_errors(client))
    if client._coordinator.generation < 0:  # noqa: SLF001 - the only word of it
        raise NotJoined
    assigned = client.assignment()
    if not assigned:
        # Between joining and the first assignment it has a generation already.
        if client._subscription.reassignment_in_progress:  # noqa: SLF001 - as above
            raise NotJoined
        return {}
    # Before the question, so that no answer can be older than what was reached.
    known = {
        each: (
            consumer._committed_offset.get(each) or 0,  # noqa: SLF001 - as above
            consumer._read_offset.get(each) or 0,  # noqa: SLF001 - as above
        )
        for each in assigned
    }

    async def ask() -> tuple[Mapping[Any, int], Mapping[Any, int]]:
        # Both at once: either may wait for a fetch before it on the connection that finds nothing for 1.5 s.
        begins, ends = await asyncio.gather(client.beginning_offsets(assigned), client.end_offsets(assigned))
        return begins, ends

    begins, ends = await _in_thread(thread, ask())
    return {
        (each.topic, each.partition): Standing(
            begin=begins[each], committed=committed, reached=max(committed, read), end=ends[each]
        )
        for each, (committed, read) in known.items()
    }


async def _meet_errors(client: Any) -> None:  # noqa: ANN401 - Faust's client
    # It rests from its group until it is asked what went wrong, as by its own `getmany`; Faust never asks.
    client._coordinator.check_errors()  # noqa: SLF001 - as above


async def first_since(
    consumer: Any,  # noqa: ANN401 - Faust's
    places: Collection[Place],
    moments: Sequence[float],
) -> Sequence[Mapping[Place, First]]:
    """Return for each moment the first message of each place at or after it.

    Moments are seconds since 1970. Places without such a message are left out. Raises as `standings`.
    """
    thread, client = consumer._thread, consumer._thread._consumer  # noqa: SLF001 - as above
    asked = [each for each in client.assignment() if (each.topic, each.partition) in places]

    async def ask() -> list[Mapping[Any, Any]]:
        # All at once, as above.
        return await asyncio.gather(
            *(client.offsets_for_times(dict.fromkeys(asked, int(moment * 1000))) for moment in moments)
        )

    return [
        {
            (each.topic, each.partition): First(found.offset, found.timestamp / 1000)
            for each, found in answer.items()
            if found is not None
        }
        for answer in await _in_thread(thread, ask(), within=_SOON)
    ]


def positions(consumer: Any) -> Mapping[Any, int | None]:  # noqa: ANN401 - Faust's consumer
    """Return how far it has read each place, as it knows without asking."""
    return dict(consumer._read_offset)  # noqa: SLF001 - as above


async def _in_thread(thread: Any, question: Any, *, within: float = _ANSWER_WITHIN) -> Any:  # noqa: ANN401 - Faust's thread, any coroutine
    async with asyncio.timeout(within):
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(question, thread.thread_loop))


async def begin_anew(consumer: Any, seen: Collection[Place]) -> Collection[Place]:  # noqa: ANN401 - Faust's
    """Commit the beginning of each place whose log was made anew, and return these; raises as `standings`.

    `seen` are those that were seen to be: since then their logs may have outgrown what was read of the old.
    Nothing may be acked any more, since it could be a message of the old log.
    """
    begun = await _commit_beginnings(consumer, set(seen))  # first, as Kafka may answer slowly after a wipe
    found = {place for place, standing in (await standings(consumer)).items() if standing.anew}
    return sorted({*begun, *await _commit_beginnings(consumer, found - begun)})


async def _commit_beginnings(consumer: Any, places: Collection[Place]) -> set[Place]:  # noqa: ANN401 - Faust's
    thread, client = consumer._thread, consumer._thread._consumer  # noqa: SLF001 - as above
    offsets = {each: 0 for each in client.assignment() if (each.topic, each.partition) in places}
    for each in offsets:
        consumer._acked.pop(each, None)  # noqa: SLF001 - else Faust commits it when it stops
    if offsets:
        await _in_thread(thread, client.commit(offsets))
    return {(each.topic, each.partition) for each in offsets}


class Blindness:
    """Tells a consumer whose own connection has died from one whose Kafka has."""

    def __init__(self, patience: float, clock: Callable[[], float]) -> None:
        """Who has seen nothing for `patience` seconds, while others were answered, is cut off."""
        self._patience = patience
        self._clock = clock
        self._since: float | None = None
        self._looked_at = float("-inf")

    def judge(self, *, others_do: bool) -> bool:
        """Return whether it is cut off, after a look that saw nothing; `others_do` see something."""
        now = self._clock()
        late, self._looked_at = now - self._looked_at > _LATE, now
        if not others_do:
            self.forget()
        elif self._since is None or late:
            self._since = now
        return self._since is not None and now - self._since >= self._patience

    def forget(self) -> None:
        """Begin anew: it saw something, or nobody did."""
        self._since = None


class Stall:
    """Tells a consumer that is stuck from one that waits, works, or has nothing to do."""

    def __init__(self, patience: float, clock: Callable[[], float]) -> None:
        """A place that is behind, idle and does not move for `patience` seconds is stuck."""
        self._patience = patience
        self._clock = clock
        self._still_since: dict[Place, tuple[int, float]] = {}
        self._era: object = None
        self._looked_at = float("-inf")

    def judge(
        self, places: Mapping[Place, Standing], *, working: Collection[Place], era: object
    ) -> Collection[Place]:
        """Return the stuck places.

        `working` are those that have messages in hand. With another `era`, as after a rebalance, the time
        begins anew.
        """
        now = self._clock()
        if era != self._era or now - self._looked_at > _LATE:
            self.forget()
        self._era, self._looked_at = era, now
        still: dict[Place, tuple[int, float]] = {}
        for place, standing in places.items():
            if standing.lag and place not in working:
                seen, since = self._still_since.get(place, (standing.committed, now))
                still[place] = (standing.committed, since if seen == standing.committed else now)
        self._still_since = still
        return [place for place, (_, since) in still.items() if now - since >= self._patience]

    def forget(self) -> None:
        """Begin anew: Kafka did not answer, so nothing is known of the time since the last look."""
        self._still_since = {}
