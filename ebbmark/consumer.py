"""Topics are consumed here, through Faust and under the guard; nothing else but `flow` imports Faust.

One Faust app, and so one consumer group, per name: a process may run any choice of them, and
lag stays true for each. Faust brings the group membership, the flow control and the commits; the
guard decides when a message is done, since Faust's own acks lose messages (see `guard`).
"""

import asyncio
import os
import tempfile
import threading
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Mapping,
    Sequence,
)
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from faust.types import EventT

from ebbmark import flow
from ebbmark.errors import MalformedEvent, Unavailable
from ebbmark.eventlog import EventLog
from ebbmark.events import ORIGINAL_BYTES, DeadLetter, Event
from ebbmark.guard import GiveUp, Hand, Message, Policy, Slots, guarded
from ebbmark.lag import Ages
from ebbmark.progress import (
    Blindness,
    NotJoined,
    Place,
    Stall,
    Standing,
    begin_anew,
    first_since,
    positions,
    standings,
)
from ebbmark.settings import Kafka
from ebbmark.topics import DEAD_LETTERS, E, Topic
from observability import logs, metrics, tracing

log = logs.get(__name__)

_DRAIN = 15.0
"""Seconds for what is in hand at SIGTERM; then it is given back. The process must be gone in 30."""
_HASTE = 2.0
"""The same when the process ends because another of its consumers did."""
_LEAVE = 2.5
"""Seconds for the last commit, and for the farewell to the group."""
_ANEW = 5.0
"""Seconds to see which topics were made anew, and to commit their beginning."""
_GONE = 28.0
"""Seconds after which a process whose consumers end is gone, whatever of it still waits."""
_REBALANCE = 30.0
"""Seconds that a group waits for a member to join it again."""
_ADMITTED = _REBALANCE + 5.0
_LOOK_EVERY = 5.0
_ANSWER_WITHIN = 3.0
_LOOKS = 6
"""At least so many in the time after which a consumer is called stuck."""
_HANGS = 20 * 60.0
"""Seconds after which one try of a message counts as none. Only a handler that waits out an outage takes
longer, and its process then starts anew, which costs nothing."""


class Stopped(Exception):
    """A consumer ended by itself; the process must end with it, for its supervisor to start anew."""


class Consumer:
    """A consumer group of its own, over any number of topics."""

    def __init__(
        self, name: str, settings: Kafka, eventlog: EventLog, *, instance: str = "", data: str = ""
    ) -> None:
        """`instance` keeps its partitions through a quick restart; `data` is Faust's own folder."""
        self.name = name
        self._log = eventlog
        self._prefix = settings.prefix
        self._failure: asyncio.Future[None] | None = None
        self._hand = Hand()
        self._patience = settings.stall.total_seconds()
        self._topics: list[str] = []
        self._anew: list[Place] = []
        self._ages = Ages()
        folder = Path(data or tempfile.gettempdir())
        folder.mkdir(parents=True, exist_ok=True)
        self._app = flow.App(
            f"{settings.prefix}ebbmark-{name}",
            broker=";".join(f"kafka://{each}" for each in settings.bootstrap.split(",")),
            store="memory://",
            datadir=folder / f"faust-{name}",
            web_enabled=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            autodiscover=False,
            key_serializer="raw",
            value_serializer="raw",
            broker_commit_interval=1.0,
            broker_session_timeout=10.0,
            broker_heartbeat_interval=2.0,
            broker_rebalance_timeout=_REBALANCE,
            consumer_max_fetch_size=262_144,
            # Topics that were wiped and made anew are found only when it looks; by default every 5 min.
            consumer_metadata_max_age_ms=10_000,
            consumer_group_instance_id=f"{name}-{instance}" if instance else None,
            stream_buffer_maxsize=64,
            stream_wait_empty=False,  # the guard drains; Faust would wait without a bound
        )

    def consume(self, topic: Topic[E], handle: Callable[[E], Awaitable[None]], slots: Slots) -> None:
        """Add a topic; call before `run`."""
        self._topics.append(topic.name)
        source = self._app.topic(self._prefix + topic.name, value_serializer="raw", key_serializer="raw")
        give_up, policy = last_resort(topic, self._log)

        async def agent(stream: Any) -> None:  # noqa: ANN401 - Faust's stream
            try:
                await guarded(
                    self._messages(stream.noack().events(), topic.name),
                    topic=topic.name,
                    decode=topic.decode,
                    handle=handle,
                    give_up=give_up,
                    slots=slots,
                    policy=policy,
                    hand=self._hand,
                )
            except Exception as exc:  # noqa: BLE001 - it ends the process, in `run`
                self._fail(exc)
                # An agent that raises makes Faust crash, before what was acked is committed.
                await asyncio.Event().wait()

        agent.__name__ = agent.__qualname__ = topic.name.replace(".", "_")
        self._app.agent(source, name=f"{self.name}.{topic.name}")(agent)

    async def run(self, stop: asyncio.Event, ending: Callable[[int], None] | None = None) -> None:
        """Consume until `stop`, then finish what is in hand or give it back: 24 s at most, 16 when cancelled.

        `ending` is called when it begins to end, with the exit code: 0 when told to, 1 by itself.

        Raises:
            Stopped: the consumer ended by itself.
        """
        self._failure = asyncio.get_running_loop().create_future()
        told = asyncio.ensure_future(stop.wait())
        starting = asyncio.ensure_future(self._app.start())  # it waits for Kafka, and for its group
        watching = asyncio.create_task(self._watch())
        watching.add_done_callback(self._unwatched)
        aside: list[asyncio.Future[Any]] = [told, starting, watching]
        try:
            await asyncio.wait([told, starting, self._failure], return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                await starting
                log.info("consuming", group=self._app.conf.id)
                ended = asyncio.ensure_future(self._app.wait_until_stopped())
                aside.append(ended)
                await asyncio.wait([told, ended, self._failure], return_when=asyncio.FIRST_COMPLETED)
        finally:
            if ending is not None:
                ending(0 if stop.is_set() else 1)
            for task in aside:
                task.cancel()
            await self._leave(told_to=stop.is_set())
        if not stop.is_set():
            reason = self._failure.exception() if self._failure.done() else self._app.crash_reason
            raise Stopped(f"the consumer {self.name} stopped by itself") from reason

    async def _watch(self) -> None:
        """Fail the consumer when it can only go on in another process.

        That is when its partitions hold messages that it neither has in hand nor takes, when a topic was made
        anew under it (Faust drops messages with offsets that it has seen before), and when Kafka does not
        answer its connection, or does not admit it to its group, while another connection is answered.
        """
        stall = Stall(self._patience, time.monotonic)
        # To be admitted it waits for the others, who may take as long as a rebalance.
        blindness = Blindness(max(self._patience, _ADMITTED), time.monotonic)
        blind, read = False, positions(self._app.consumer)
        self._show_none()
        while True:
            await asyncio.sleep(min(_LOOK_EVERY, self._patience / _LOOKS))
            now = time.time()
            try:
                places = await standings(self._app.consumer)
            except Exception as exc:  # noqa: BLE001 - Kafka is down, or not joined yet: then nothing is known
                if not blind:
                    log.info("cannot see how far behind", group=self._app.conf.id, reason=repr(exc))
                blind = True
                metrics.CONSUMER_BLIND.labels(self.name).set(1)
                if isinstance(exc, NotJoined):
                    self._show_none()
                stall.forget()
                before, read = read, positions(self._app.consumer)
                if before != read:  # what it takes shows that it is not cut off
                    blindness.forget()
                elif blindness.judge(others_do=await self._kafka_answers()):
                    metrics.CONSUMER_STALLS.labels(self.name).inc()
                    log.error("cut off", group=self._app.conf.id)  # noqa: TRY400 - the reason was told
                    self._fail(Stopped(f"the consumer {self.name} gets no answer, and others do"))
                continue
            blind = False
            blindness = Blindness(self._patience, time.monotonic)
            metrics.CONSUMER_BLIND.labels(self.name).set(0)
            for name in self._topics:
                ours = [each for (topic, _), each in places.items() if topic == self._prefix + name]
                metrics.CONSUMER_PARTITIONS.labels(self.name, name).set(len(ours))
                metrics.CONSUMER_LAG.labels(self.name, name).set(sum(each.lag for each in ours))
            if anew := [place for place, each in places.items() if each.anew]:
                log.error("topics made anew", group=self._app.conf.id, places=_spelt(anew))
                self._anew = sorted({*self._anew, *anew})
                self._fail(Stopped(f"topics of the consumer {self.name} were made anew"))
            # A rebalance that does not end is a stall, too; one that ends begins another era.
            era = (self._app.consumer_generation_id, self._app.rebalancing_count)
            if stuck := stall.judge(places, working=self._working(places), era=era):
                metrics.CONSUMER_STALLS.labels(self.name).inc()
                log.error("stuck", group=self._app.conf.id, places=_spelt(stuck))
                self._fail(Stopped(f"the consumer {self.name} is behind and takes nothing"))
            await self._tell_ages(places, now)

    def _show_none(self) -> None:
        """Have the metrics say that its group gave it no partition."""
        for name in self._topics:
            metrics.CONSUMER_PARTITIONS.labels(self.name, name).set(0)

    async def _tell_ages(self, places: Mapping[Place, Standing], now: float) -> None:
        """Told last, as nothing is decided by it; what Kafka does not answer in time stays as it was told."""
        moments = self._ages.begin(places, now)
        if moments:
            try:
                answers = await first_since(self._app.consumer, self._ages.lagging, moments)
            except Exception:  # noqa: BLE001 - whatever it is, the next look meets it too
                return
            for answer in answers:
                self._ages.learn(answer)
        for name in self._topics:
            metrics.CONSUMER_LAG_SECONDS.labels(self.name, name).set(self._ages.oldest(self._prefix + name))

    async def _kafka_answers(self) -> bool:
        try:
            async with asyncio.timeout(_ANSWER_WITHIN):
                await self._log.ready()
        except (TimeoutError, Unavailable):
            return False
        return True

    def _working(self, places: Mapping[Place, Standing]) -> Collection[Place]:
        working = self._hand.at_work(_HANGS)
        # While one waits for a slot that another holds, nothing is taken of any place.
        return places if working and self._hand.waiting else working

    async def _leave(self, *, told_to: bool) -> None:
        """Whatever is not acked comes again, so leaving may always be cut short."""
        drained = await self._hand.drain(_DRAIN if told_to else _HASTE)
        await _at_most(_LEAVE, self._app.consumer.commit())
        if not told_to:
            # Now, that nothing is in hand: what was acked since may have spoken of the old log again.
            await _at_most(_ANEW, self._begin_anew())
        await _at_most(_LEAVE, self._app.stop())
        log.info("drained" if drained else "left before all was done", group=self._app.conf.id)

    async def _begin_anew(self) -> None:
        if anew := await begin_anew(self._app.consumer, self._anew):
            log.warning("begun anew", group=self._app.conf.id, places=_spelt(anew))

    def _unwatched(self, watching: "asyncio.Task[None]") -> None:
        if not watching.cancelled() and (error := watching.exception()) is not None:
            self._fail(Stopped(f"nobody watches the consumer {self.name} any more: {error!r}"))

    def _fail(self, error: Exception) -> None:
        if self._failure is not None and not self._failure.done():
            self._failure.set_exception(error)

    async def _messages(self, events: AsyncIterator[EventT[Any]], topic: str) -> AsyncGenerator[Message]:
        async for event in events:
            message = event.message

            def ack(event: EventT[Any] = event) -> None:
                # An ack of a lost assignment would speak of offsets that belong to someone else now.
                if event.message.generation_id == self._app.consumer_generation_id:
                    event.ack()

            yield Message(
                topic=message.topic,
                partition=message.partition,
                offset=message.offset,
                generation=message.generation_id or 0,
                value=message.value,
                ack=ack,
                arrival=tracing.arrived(message.headers, topic, message.timestamp),
            )


async def _at_most(seconds: float, step: Coroutine[Any, Any, object]) -> None:
    """Give the step so much time, whatever comes of it.

    No `asyncio.timeout`: Faust may swallow the cancellation, and would then be waited for without end.
    """
    task = asyncio.ensure_future(step)
    await asyncio.wait({task}, timeout=seconds)
    if task.done():
        with suppress(asyncio.CancelledError):
            task.exception()
    else:
        task.cancel()


def last_resort(topic: Topic[E], eventlog: EventLog) -> tuple[GiveUp, Policy]:
    """Return what becomes of messages of the topic that are given up, and when the brake stops it.

    They become dead letters. A dead letter that nobody can read or enter is dropped, as there is nowhere
    further to bury it; the guard logs and counts it. It stops nobody, however many there are: the brake saves
    a topic from draining into dead letters, and this one is where they drain to.
    """

    async def bury(message: Message, reason: str, attempts: int, first_seen: datetime) -> None:
        await eventlog.publish(DEAD_LETTERS, [dead_letter(topic, message, reason, attempts, first_seen)])

    async def drop(message: Message, reason: str, attempts: int, first_seen: datetime) -> None:
        """Leave it to the topic, which keeps it for a week."""

    return (drop, Policy(brake=None)) if topic is DEAD_LETTERS else (bury, Policy())


def _spelt(places: Collection[Place]) -> list[str]:
    return sorted(f"{topic}/{partition}" for topic, partition in places)


def dead_letter(
    topic: Topic[E], message: Message, reason: str, attempts: int, first_seen: datetime
) -> DeadLetter:
    """Return what is written down of a message that was given up, with the ids that can be read from it."""
    event: Event | None = None
    with suppress(MalformedEvent):
        event = topic.decode(message.value)
    return DeadLetter(
        reason=reason,
        attempts=attempts,
        first_seen=first_seen,
        last_seen=datetime.now(UTC),
        topic=topic.name,
        partition=message.partition,
        offset=message.offset,
        original=(message.value or b"")[:ORIGINAL_BYTES],
        job=getattr(event, "job", None),
        n=getattr(event, "n", None),
        epoch=getattr(event, "epoch", None),
    )


async def run_all(consumers: Sequence[Consumer], stop: asyncio.Event) -> None:
    """Run them together until `stop`; one that ends by itself ends all.

    From the first that ends on, the process has 28 s: what it waits for may be the very thing that is stuck.

    Raises:
        Stopped: a consumer ended by itself.
    """

    def ending(code: int) -> None:
        if not timers:
            timers.append(threading.Timer(_GONE, os._exit, [code]))
            timers[0].daemon = True
            timers[0].start()

    timers: list[threading.Timer] = []
    try:
        async with asyncio.TaskGroup() as tasks:
            for consumer in consumers:
                tasks.create_task(consumer.run(stop, ending))
    except ExceptionGroup as group:
        raise group.exceptions[0] from group
    for timer in timers:
        timer.cancel()  # all left in time
