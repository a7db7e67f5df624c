"""A time line as a person reads it: a bar and a sentence for each photo."""

from datetime import UTC, datetime

from msgspec import Struct

from ebbmark.ledger import CANCELLED
from ebbmark.states import PhotoState
from ingest.schemas import PhotoTimes, Timeline

WIDTH = 1000
"""Of a whole bar; its parts are measured in this."""
_NARROWEST = 4.0
"""What took no time is seen all the same."""


class Part(Struct, frozen=True):
    """A part of a bar: `wait`, `work` or `fail`."""

    kind: str
    start: float
    width: float


class Bar(Struct, frozen=True, kw_only=True):
    """A photo's line."""

    photo: PhotoTimes
    parts: list[Part]
    says: str
    moments: list[tuple[str, datetime]]
    """What happened, and when, UTC."""


class Chart(Struct, frozen=True, kw_only=True):
    """All lines, and what they are measured by."""

    bars: list[Bar]
    began: datetime
    span: str
    """From where the first bar begins to where the last one ends."""
    ended: bool


def chart(timeline: Timeline) -> Chart | None:
    """Return the lines of a job's photos; None while it has none."""
    if not timeline.photos:
        return None
    now = timeline.server_time
    began = min(photo.round_at for photo in timeline.photos)
    until = max(photo.ended_at or now for photo in timeline.photos)
    whole = max((until - began).total_seconds(), 0.001)

    def part(kind: str, start: datetime, end: datetime) -> Part:
        left = (start - began).total_seconds() / whole * WIDTH
        left = min(max(left, 0.0), WIDTH - _NARROWEST)
        width = max((end - start).total_seconds() / whole * WIDTH, _NARROWEST)
        return Part(kind, round(left, 1), round(min(width, WIDTH - left), 1))

    def bar(photo: PhotoTimes) -> Bar:
        end = photo.ended_at or now
        claimed = photo.claimed_at if photo.ended_at or photo.state is PhotoState.RENDERING else None
        parts = [part("wait", photo.round_at, claimed or end)] if (claimed or end) > photo.round_at else []
        if claimed or photo.state is PhotoState.FAILED:
            kind = "fail" if photo.state is PhotoState.FAILED else "work"
            parts.append(part(kind, claimed or end, end))
        return Bar(photo=photo, parts=parts, says=_says(photo, claimed, end), moments=_moments(photo))

    return Chart(
        bars=[bar(photo) for photo in timeline.photos],
        began=began.astimezone(UTC),
        span=spelt((until - began).total_seconds()),
        ended=all(photo.ended_at for photo in timeline.photos),
    )


def _says(photo: PhotoTimes, claimed: datetime | None, end: datetime) -> str:
    waited = spelt(((claimed or end) - photo.round_at).total_seconds())
    took = spelt((end - claimed).total_seconds()) if claimed else ""
    if photo.state is PhotoState.DONE:
        said = [f"waited {waited}", f"rendered in {took}"] if claimed else [f"done after {waited}"]
    elif photo.state is not PhotoState.FAILED:
        said = [f"waited {waited}", f"rendering for {took}"] if claimed else [f"waiting for {waited}"]
    elif photo.code == CANCELLED:
        said = [f"cancelled after {spelt((end - photo.round_at).total_seconds())}"]
    elif claimed:
        said = [f"waited {waited}", f"failed after {took}"]
    else:
        said = ["refused when it came"] if _refused(photo) else [f"given up after {waited}"]
    if photo.attempts > 1:
        said.append(f"{photo.attempts} attempts")
    if photo.round > 1:
        said.append(f"round {photo.round}")
    return ", ".join(said)


def _refused(photo: PhotoTimes) -> bool:
    return photo.ended_at == photo.accepted_at


def _moments(photo: PhotoTimes) -> list[tuple[str, datetime]]:
    if _refused(photo):
        return [("refused", photo.accepted_at.astimezone(UTC))]
    happened = [
        ("accepted", photo.accepted_at),
        ("begun anew", photo.round_at if photo.round > 1 else None),
        ("claimed", photo.claimed_at),
        ("ended", photo.ended_at),
    ]
    return [(what, when.astimezone(UTC)) for what, when in happened if when]


def spelt(seconds: float) -> str:
    """Return a time as people say it."""
    seconds = max(seconds, 0)
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
