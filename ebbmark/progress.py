"""Whether a consumer group gets on, asked of the broker: what a stuck client believes of itself says nothing.

Consumers of Faust have been seen alive, heartbeats and all, that received nothing for hours.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    OffsetSpec,  # pyright: ignore[reportPrivateImportUsage] - documented there
)

from ebbmark.errors import Unavailable

_ANSWER_WITHIN = 5.0

Place = tuple[str, int]
"""A topic and a partition."""


class Group:
    """A consumer group as the broker sees it."""

    def __init__(self, bootstrap: str, name: str) -> None:
        """Connect lazily."""
        self._name = name
        self._admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 2, "socket.timeout.ms": 5000})

    async def behind(self, places: Collection[Place]) -> Mapping[Place, tuple[int, int]]:
        """Return, of each of these places, the offset committed and the one at the end.

        Raises:
            Unavailable: the broker does not answer.
        """
        try:
            return await asyncio.to_thread(self._ask, places)
        except (KafkaException, TimeoutError) as exc:
            raise Unavailable("log-unavailable", "Kafka does not answer.") from exc

    def _ask(self, places: Collection[Place]) -> Mapping[Place, tuple[int, int]]:
        partitions = [TopicPartition(topic, partition) for topic, partition in places]
        asked: Any = self._admin.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(self._name, partitions)], request_timeout=_ANSWER_WITHIN
        )
        answer: Any = asked[self._name].result(_ANSWER_WITHIN)
        committed = {(each.topic, each.partition): max(0, each.offset) for each in answer.topic_partitions}
        latest: Any = {each: OffsetSpec.latest() for each in partitions}
        ends: Any = self._admin.list_offsets(latest, request_timeout=_ANSWER_WITHIN)
        return {
            (each.topic, each.partition): (
                committed.get((each.topic, each.partition), 0),
                end.result(_ANSWER_WITHIN).offset,
            )
            for each, end in ends.items()
        }


class Stall:
    """Tells a consumer that is stuck from one that waits, works or has nothing to do."""

    def __init__(self, patience: float, clock: Callable[[], float]) -> None:
        """A place that is behind, and does not move for `patience` seconds of idleness, is stuck."""
        self._patience = patience
        self._clock = clock
        self._still_since: dict[Place, tuple[int, float]] = {}

    def judge(self, behind: Mapping[Place, tuple[int, int]], *, idle: bool) -> Collection[Place]:
        """Return the stuck places; `idle` says that nothing was in hand since the last time."""
        now = self._clock()
        still: dict[Place, tuple[int, float]] = {}
        if idle:
            for place, (committed, end) in behind.items():
                if committed < end:
                    seen, since = self._still_since.get(place, (committed, now))
                    still[place] = (committed, since if seen == committed else now)
        self._still_since = still
        return [place for place, (_, since) in still.items() if now - since >= self._patience]

    def forget(self) -> None:
        """Begin anew: the broker did not answer, so nothing is known of the time since the last look."""
        self._still_since = {}
