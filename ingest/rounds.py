"""Which photos begin a new round when somebody asks for one, and why none does."""

from collections.abc import Sequence
from datetime import timedelta

from msgspec import Struct

from ebbmark.errors import Conflict, Rejected
from ebbmark.ledger import CANCELLED, PhotoRow, Snapshot
from ebbmark.states import TERMINAL_PHOTO_STATES, JobState, PhotoState
from ingest.remedies import retryable


class Again(Struct, frozen=True):
    """The photos, None for all that may fare better, and the recipe and logo, None for the job's own."""

    photos: frozenset[int] | None = None
    recipe: bytes | None = None
    logo_sha256: bytes | None = None


def to_retry(photos: Sequence[PhotoRow], named: frozenset[int] | None) -> Sequence[PhotoRow]:
    """Return the failed photos that are meant; what was cancelled on purpose only when it is named.

    Raises:
        Rejected: there is no photo of one of the numbers, code `unknown-photo`.
    """
    if named is None:
        return [row for row in photos if retryable(row) and row.code != CANCELLED]
    if named - {row.n for row in photos}:
        raise Rejected("unknown-photo", "There is no photo of this number.")
    return [row for row in photos if row.n in named and row.state is PhotoState.FAILED and row.size]


def require_retried(now: Snapshot, again: Again, within: timedelta) -> None:
    """Return when the photos are in a new round all the same, as after a repeat.

    Raises:
        Conflict: they are not; the code says why.
    """
    job = now.job
    under_way = [row for row in now.photos if row.state not in TERMINAL_PHOTO_STATES]
    if job.state is JobState.OPEN:
        raise Conflict("nothing-to-retry", "The job still takes photos; seal it first.")
    if again.recipe is not None and under_way:
        raise Conflict(
            "photos-under-way", "Photos are being rendered; other options can be chosen when all have ended."
        )
    if any(row.epoch for row in under_way if again.photos is None or row.n in again.photos):
        return
    if job.created_at <= job.now - within:
        raise Conflict("too-late-to-retry", "The job is too old by now; send the photos again.")
    raise Conflict(
        "nothing-to-retry", "None of these photos can be retried; what failed has to be sent anew."
    )
