"""Every event on Kafka is one of these: ids and numbers only, tagged with its type.

No event carries image bytes, a file name, EXIF, the recipe or a capability token, so there is
nothing personal to purge from the log. Unknown fields are ignored; a new field needs a default.
"""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

from ebbmark.patterns import whole

Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
"""What fits the ledger's columns: a number beyond would fail the statement, and all that share it."""
ORIGINAL_BYTES = 16 * 1024
"""How much of a message a dead letter keeps."""

_Word = Annotated[str, Meta(pattern=whole("[a-z0-9.-]*"), max_length=249)]
_Time = Annotated[datetime, Meta(tz=True)]


class Event(Struct, frozen=True, kw_only=True, gc=False, tag=True, tag_field="type"):
    """What all events share: the tag `type` on the wire."""


class JobEvent(Event, frozen=True, kw_only=True, gc=False):
    """An event about one job."""

    job: UUID


class PhotoEvent(JobEvent, frozen=True, kw_only=True, gc=False):
    """An event about photo `n` of `job`, in the round `epoch` (a redrive starts the next one)."""

    n: Count
    epoch: Count = 0


class PhotoUploaded(PhotoEvent, frozen=True, kw_only=True, gc=False):
    """The original is in the store and its row in the ledger."""


class RenderPhoto(PhotoEvent, frozen=True, kw_only=True, gc=False):
    """An order to whoever claims it first; a stale or repeated order is harmless."""


class PhotoRendered(PhotoEvent, frozen=True, kw_only=True, gc=False):
    """The result is in the store: `size` bytes, and right behind them its thumbnail."""

    fence: Count
    width: Count
    height: Count
    size: Count
    thumbnail_size: Count
    media_type: str
    removed: str = ""
    """What of the original's metadata it does not tell: kinds, never what they said."""


class PhotoFailed(PhotoEvent, frozen=True, kw_only=True, gc=False):
    """The photo cannot be rendered as asked; counts only while `fence` is the current one."""

    fence: Count
    code: str
    detail: str


class JobCompleted(JobEvent, frozen=True, kw_only=True, gc=False):
    """Every photo of the job is done or failed: queued once per (job, epoch), delivered at least once."""

    epoch: int
    done: int
    failed: int


class JobExpired(JobEvent, frozen=True, kw_only=True, gc=False):
    """The job's prefix lists empty and its names are forgotten."""


class ExpireJob(JobEvent, frozen=True, kw_only=True, gc=False):
    """An order to delete everything the job owns; repeating it is harmless."""


class NotifyReceiver(JobEvent, frozen=True, kw_only=True, gc=False):
    """An order to tell the job's receiver whatever the ledger says is due; repeating it is harmless."""


class DeadLetter(Event, frozen=True, kw_only=True, gc=False):
    """A message or a photo that was given up: where it came from, how often it was tried, and why.

    `partition` and `offset` are -1 when the ledger gave up a photo, with no message in hand. `topic` is
    without the installation's prefix. Of a longer `original` only the beginning is kept.
    """

    reason: _Word
    attempts: Count
    first_seen: _Time
    last_seen: _Time
    topic: _Word
    partition: Annotated[int, Meta(ge=-1, le=2**31 - 1)]
    offset: Annotated[int, Meta(ge=-1, le=2**63 - 1)]
    original: Annotated[bytes, Meta(max_length=ORIGINAL_BYTES)]
    job: UUID | None = None
    n: Count | None = None
    epoch: Count | None = None
