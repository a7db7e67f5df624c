"""An `EventLog` that remembers what was published, for a test to read back."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from ebbmark.errors import Unavailable
from ebbmark.eventlog import EventLog, headers
from ebbmark.topics import E, Topic


class Record(Struct, frozen=True, kw_only=True):
    """One message as a consumer would read it; `topic` is without any prefix."""

    topic: str
    key: str
    value: bytes
    headers: Mapping[str, str | bytes | None]


class MemoryLog(EventLog):
    """All events of all topics, in the order of publication."""

    def __init__(self, *, source: str = "test") -> None:
        """Begin empty; `source` becomes the CloudEvents source of every event."""
        self.down = False
        self.records: list[Record] = []
        self._source = source

    def _answer(self) -> None:
        if self.down:
            raise Unavailable("log-unavailable", "Kafka does not answer.")

    async def publish(self, topic: Topic[E], events: Sequence[E]) -> None:
        if not events:
            return
        self._answer()
        for event in events:
            self._append(topic, event, topic.encode(event))

    async def republish(self, topic: Topic[E], value: bytes) -> None:
        event = topic.decode(value)
        self._answer()
        self._append(topic, event, value)

    def _append(self, topic: Topic[E], event: E, value: bytes) -> None:
        self.records.append(
            Record(
                topic=topic.name,
                key=topic.key(event),
                value=value,
                headers=dict(headers(event, value, source=self._source)),
            )
        )

    async def ready(self) -> None:
        self._answer()

    def events(self, topic: Topic[E]) -> list[E]:
        """Return what was published to the topic, decoded as its consumers would."""
        return [topic.decode(record.value) for record in self.records if record.topic == topic.name]
