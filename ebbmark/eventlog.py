"""Events are published through `EventLog`, which returns only when the broker has them."""

import asyncio
import hashlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from ebbmark.errors import Unavailable
from ebbmark.events import Event, PhotoEvent
from ebbmark.settings import Kafka
from ebbmark.topics import TOPICS, E, Topic
from observability import logs, metrics, tracing

log = logs.get(__name__)

_MAX_MESSAGE = 64 * 1024
_FLUSH = 3.0


class EventLog(ABC):
    """Where events go."""

    @abstractmethod
    async def publish(self, topic: Topic[E], events: Sequence[E]) -> None:
        """Return when every event is acknowledged by all in-sync replicas.

        After `Unavailable` any of them may be in the log all the same, or be there twice.
        """

    @abstractmethod
    async def republish(self, topic: Topic[E], value: bytes) -> None:
        """Publish an event anew, byte for byte: fields that this version does not know stay in it.

        Raises:
            MalformedEvent: it is not an event of the topic.
            Unavailable: it may be in the log all the same.
        """

    @abstractmethod
    async def ready(self) -> None:
        """Return when a broker answers. Raises `Unavailable`."""


def event_id(value: bytes) -> bytes:
    """Return the CloudEvents id: the same event published again keeps it, so receivers can tell."""
    return hashlib.blake2b(value, digest_size=16).hexdigest().encode()


def headers(event: Event, value: bytes, *, source: str) -> list[tuple[str, str | bytes | None]]:
    """Return the headers of an event encoded as `value`: CloudEvents, in binary mode, and its trace."""
    found: list[tuple[str, str | bytes | None]] = [
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id(value)),
        ("ce_type", type(event).__name__.encode()),
        ("ce_source", f"ebbmark/{source}".encode()),
        ("ce_time", datetime.now(UTC).isoformat().encode()),
    ]
    if isinstance(event, PhotoEvent) and (parent := tracing.traceparent(event.job, event.n)):
        found.append((tracing.HEADER, parent))
    return found


class _Delivery:
    """Counts the acknowledgements of one `publish` and wakes its caller once."""

    def __init__(self, count: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._left = count
        self._failed: KafkaError | None = None
        self.done: asyncio.Future[None] = self._loop.create_future()

    def __call__(self, error: KafkaError | None, _: Message) -> None:
        self._failed = self._failed or error
        self._left -= 1
        if self._left == 0 and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        if self.done.done():
            return
        if self._failed is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(Unavailable("log-unavailable", "Kafka does not acknowledge."))


class KafkaLog(EventLog):
    """An idempotent producer, acks=all; a thread of its own turns delivery reports into futures.

    A producer that has lost count of what the brokers hold refuses everything from then on (librdkafka
    calls that fatal). It is replaced, and what it had not delivered is reported as not published.
    """

    def __init__(
        self,
        settings: Kafka,
        *,
        source: str,
        make_producer: Callable[[dict[str, Any]], Producer] = Producer,
    ) -> None:
        """Connect lazily; `source` becomes the CloudEvents source of every event."""
        self._prefix = settings.prefix
        self._timeout = settings.publish_timeout.total_seconds()
        self._source = source
        self._make_producer = make_producer
        self._config: dict[str, Any] = {
            "bootstrap.servers": settings.bootstrap,
            "client.id": f"ebbmark-{source}",
            "enable.idempotence": True,
            "acks": "all",
            # The default hash disagrees with every other client on where a key belongs.
            "partitioner": "murmur2_random",
            # A topic's max.message.bytes limits what is sent at once, not the single event.
            "batch.size": _MAX_MESSAGE // 2,
            "linger.ms": 1,
            "delivery.timeout.ms": int(self._timeout * 1000),
            "request.timeout.ms": int(self._timeout * 1000),
            "socket.timeout.ms": int(self._timeout * 1000),
            "reconnect.backoff.max.ms": 1000,
            "queue.buffering.max.messages": 20_000,
            "log_level": 2,
        }
        self._producer = make_producer(self._config)
        self._stopping = threading.Event()
        self._reports = threading.Thread(target=self._poll, name="kafka-delivery-reports", daemon=True)
        self._reports.start()

    def _poll(self) -> None:
        while not self._stopping.is_set():
            producer = self._producer
            try:
                producer.poll(0.2)
            except KafkaException as exc:  # raised for nothing but a fatal error, once
                log.error("producer replaced", reason=str(exc))  # noqa: TRY400 - the sentence says it all
                self._producer = self._make_producer(self._config)
                producer.purge(blocking=False)
                producer.poll(0)  # reports what it had not delivered

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def publish(self, topic: Topic[E], events: Sequence[E]) -> None:
        await self._publish(topic, [(event, topic.encode(event)) for event in events])

    async def republish(self, topic: Topic[E], value: bytes) -> None:
        await self._publish(topic, [(topic.decode(value), value)])

    async def _publish(self, topic: Topic[E], messages: Sequence[tuple[E, bytes]]) -> None:
        if not messages:
            return
        try:
            with metrics.PUBLISH_SECONDS.labels(topic.name).time():
                await self._acknowledged(topic, messages)
        except Unavailable:
            metrics.PUBLISH_FAULTS.inc()
            raise

    async def _acknowledged(self, topic: Topic[E], messages: Sequence[tuple[E, bytes]]) -> None:
        delivery = _Delivery(len(messages))
        name = self._prefix + topic.name
        try:
            for event, value in messages:
                self._producer.produce(
                    name,
                    value,
                    topic.key(event),
                    on_delivery=delivery,
                    headers=headers(event, value, source=self._source),
                )
        except (BufferError, KafkaException) as exc:
            raise Unavailable("log-unavailable", "Kafka does not accept events.") from exc
        try:
            async with asyncio.timeout(self._timeout + 2):
                await delivery.done
        except TimeoutError as exc:
            raise Unavailable("log-unavailable", "Kafka does not acknowledge.") from exc

    async def ready(self) -> None:
        try:
            await asyncio.to_thread(self._producer.list_topics, self._prefix + TOPICS[0].name, 3)
        except KafkaException as exc:
            raise Unavailable("log-unavailable", "Kafka does not answer.") from exc

    async def close(self) -> None:
        """Wait a moment for what is under way, then stop the thread; nobody waits for an answer any more."""
        await asyncio.to_thread(self._producer.flush, _FLUSH)
        self._stopping.set()
        await asyncio.to_thread(self._reports.join)


def create_topics(settings: Kafka) -> list[str]:
    """Create the topics that are missing and return their names; may be called twice.

    Raises:
        Unavailable: no broker answered in time, or it refused.
    """
    admin = AdminClient({"bootstrap.servers": settings.bootstrap, "log_level": 2})
    wanted = [
        NewTopic(
            settings.prefix + topic.name,
            num_partitions=topic.partitions,
            replication_factor=settings.replication,
            config={
                "retention.ms": str(int(topic.retention.total_seconds() * 1000)),
                "max.message.bytes": str(_MAX_MESSAGE),
            },
        )
        for topic in TOPICS
    ]
    created: list[str] = []
    answers: dict[str, Any] = admin.create_topics(wanted, operation_timeout=20, request_timeout=20)
    for name, answer in answers.items():
        try:
            answer.result()
        except KafkaException as exc:
            error: KafkaError = exc.args[0]
            if error.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise Unavailable("log-unavailable", f"The topic {name} was not created: {error}") from exc
        else:
            created.append(name)
    return created
