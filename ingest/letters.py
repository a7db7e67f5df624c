"""What operators send about dead letters and what they are answered, as JSON."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

from ebbmark.ledger.letters import LetterRow, LetterState, LetterStats
from ebbmark.patterns import whole
from ebbmark.states import PhotoState

Reason = Annotated[str, Meta(pattern=whole("[a-z0-9.-]{1,60}"))]
Id = Annotated[str, Meta(pattern=whole("[0-9a-f]{32}"))]
Cursor = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Wish(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which letters are to be redriven, and how. Exactly one of the first four is said."""

    ids: Annotated[list[Id], Meta(min_length=1, max_length=200)] | None = None
    reason: Reason | None = None
    job: UUID | None = None
    all: bool = False
    dry_run: bool = False
    rate: Annotated[float, Meta(ge=0.1, le=1000)] = 50.0
    """Letters a second."""
    force: bool = False
    """Redrive what was redriven before, however often."""
    cursor: Cursor | None = None

    @property
    def by(self) -> str:
        """Return which of the four it is."""
        return next(name for name in ("ids", "reason", "job", "all") if getattr(self, name))


class Letter(Struct, frozen=True, kw_only=True):
    """A dead letter. `preview` is the beginning of the message, escaped; `redrives` counts all about it."""

    id: str
    reason: str
    state: LetterState
    topic: str
    partition: int
    offset: int
    job: UUID | None
    n: int | None
    epoch: int | None
    attempts: int
    redrives: int
    first_seen: datetime
    last_seen: datetime
    entered_at: datetime
    redriven_at: datetime | None
    age_seconds: float
    size: int
    preview: str
    photo_state: PhotoState | None


class Inspected(Struct, frozen=True, kw_only=True):
    """A dead letter, and why it would not be redriven; null when it would."""

    letter: Letter
    refusal: str | None
    detail: str | None


class Page(Struct, frozen=True, kw_only=True):
    """Some letters, the last entered first. With a `cursor` there are more."""

    letters: list[Letter]
    cursor: int | None


class Count(Struct, frozen=True, kw_only=True):
    """How many letters there are of a reason, in a state."""

    reason: str
    state: LetterState
    letters: int


class Stats(Struct, frozen=True, kw_only=True):
    """How many letters there are, and the age of the oldest that is open; zero when none is."""

    open: int
    oldest_open_seconds: float
    counts: list[Count]


class Outcome(Struct, frozen=True, kw_only=True):
    """What was done about a letter, or would be: redriven, unless there is a `refusal`."""

    id: str
    reason: str | None
    topic: str | None
    job: UUID | None
    n: int | None
    refusal: str | None
    detail: str | None


class Answer(Struct, frozen=True, kw_only=True):
    """What was done in one request, or would be. With a `cursor` there is more: ask again with it."""

    dry_run: bool
    redriven: int
    refused: int
    outcomes: list[Outcome]
    cursor: int | None


def letter(row: LetterRow) -> Letter:
    """Return the letter as operators see it."""
    shared = {
        name: getattr(row, name)
        for name in Letter.__struct_fields__
        if name not in {"age_seconds", "preview"}
    }
    return Letter(**shared, age_seconds=round(row.age.total_seconds(), 1), preview=escaped(row.preview))


def stats(found: LetterStats) -> Stats:
    """Return the counts as anybody may see them."""
    return Stats(
        open=found.open,
        oldest_open_seconds=round(found.oldest.total_seconds(), 1),
        counts=[Count(reason=each.reason, state=each.state, letters=each.letters) for each in found.counts],
    )


def escaped(original: bytes) -> str:
    r"""Return bytes that anybody may have written as printable ASCII; the others, and `\`, as `\xff`."""
    return "".join(chr(byte) if 32 <= byte < 127 and byte != 92 else f"\\x{byte:02x}" for byte in original)
