"""Every topic of Ebbmark is declared here, and nothing else spells a topic's name."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Generic, TypeVar

import msgspec

from ebbmark.errors import MalformedEvent
from ebbmark.events import (
    DeadLetter,
    Event,
    ExpireJob,
    JobCompleted,
    JobEvent,
    JobExpired,
    NotifyReceiver,
    PhotoEvent,
    PhotoFailed,
    PhotoRendered,
    PhotoUploaded,
    RenderPhoto,
)

E = TypeVar("E", bound=Event)

EXPRESS_PHOTOS = 16
"""The first photos of every job travel in the express lane, so that each job shows results at once."""

_ENCODER = msgspec.json.Encoder()


class Topic(Generic[E]):
    """A named log of events of one type or union, with its key, partitions and retention."""

    def __init__(
        self,
        name: str,
        events: Any,  # noqa: ANN401 - a union of types has no type of its own that 3.11 can spell
        *,
        key: Callable[[E], str],
        partitions: int,
        retention: timedelta,
    ) -> None:
        """Declare the topic; `name` is without the installation's prefix."""
        self.name = name
        self.key = key
        self.partitions = partitions
        self.retention = retention
        self._decoder: msgspec.json.Decoder[E] = msgspec.json.Decoder(events)

    def __repr__(self) -> str:
        return f"Topic({self.name!r})"

    def encode(self, event: E) -> bytes:
        """Return the event as it stands on the wire: one JSON object, UTF-8."""
        return _ENCODER.encode(event)

    def decode(self, value: bytes | None) -> E:
        """Return the event on the wire.

        Raises:
            MalformedEvent: it is not JSON, or not an event of this topic.
        """
        try:
            return self._decoder.decode(value or b"")
        except msgspec.DecodeError as exc:
            raise MalformedEvent("malformed-event", f"not an event of {self.name}: {exc}") from exc


def _by_job(event: JobEvent) -> str:
    return str(event.job)


def _by_photo(event: PhotoEvent) -> str:
    return f"{event.job}/{event.n}"


def _dead_letter_key(event: DeadLetter) -> str:
    photo = event.job is not None and event.n is not None
    return f"{event.job}/{event.n}" if photo else f"{event.topic}/{event.partition}"


_DAY = timedelta(days=1)

UPLOADS: Topic[PhotoUploaded] = Topic("uploads", PhotoUploaded, key=_by_job, partitions=12, retention=_DAY)
EXPRESS: Topic[RenderPhoto] = Topic(
    "tasks.express", RenderPhoto, key=_by_photo, partitions=24, retention=timedelta(hours=6)
)
BULK: Topic[RenderPhoto] = Topic(
    "tasks.bulk", RenderPhoto, key=_by_photo, partitions=24, retention=timedelta(hours=6)
)
STATUSES: Topic[PhotoRendered | PhotoFailed] = Topic(
    "statuses", PhotoRendered | PhotoFailed, key=_by_job, partitions=12, retention=_DAY
)
JOBS: Topic[JobCompleted | JobExpired] = Topic(
    "jobs", JobCompleted | JobExpired, key=_by_job, partitions=12, retention=_DAY
)
EXPIRATIONS: Topic[ExpireJob] = Topic("expirations", ExpireJob, key=_by_job, partitions=12, retention=_DAY)
NOTIFICATIONS: Topic[NotifyReceiver] = Topic(
    "notifications", NotifyReceiver, key=_by_job, partitions=6, retention=timedelta(hours=6)
)
DEAD_LETTERS: Topic[DeadLetter] = Topic(
    "dead-letters", DeadLetter, key=_dead_letter_key, partitions=6, retention=timedelta(days=7)
)

TOPICS: tuple[Topic[Any], ...] = (
    UPLOADS,
    EXPRESS,
    BULK,
    STATUSES,
    JOBS,
    EXPIRATIONS,
    NOTIFICATIONS,
    DEAD_LETTERS,
)


def lane(n: int) -> Topic[RenderPhoto]:
    """Return the lane of photo `n` of any job."""
    return EXPRESS if n < EXPRESS_PHOTOS else BULK
