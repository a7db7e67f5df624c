"""The ledger keeps what was given up where operators can see it, until it is redriven, resolved or old.

Entering is idempotent: a letter is known by what it is about. Every method raises `Unavailable` when the
database does not answer in time.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from msgspec import Struct

from ebbmark.events import DeadLetter
from ebbmark.states import JobState, PhotoState

PREVIEW_BYTES = 256


class LetterState(StrEnum):
    """`open`: nobody has dealt with it; `redriven`: it went round again; `resolved`: it needs no more."""

    OPEN = "open"
    REDRIVEN = "redriven"
    RESOLVED = "resolved"


class LetterRow(Struct, frozen=True, kw_only=True):
    """A dead letter, and how things stand now with the photo it names."""

    id: str
    place: int
    """Grows with every letter that is entered: where a reader left off."""
    reason: str
    state: LetterState
    topic: str
    partition: int
    offset: int
    job: UUID | None
    n: int | None
    epoch: int | None
    attempts: int
    first_seen: datetime
    last_seen: datetime
    entered_at: datetime
    redriven_at: datetime | None
    age: timedelta
    """Since it was entered, by the database's clock."""
    redrives: int
    """Of every letter about the same photo, or the same message."""
    size: int
    preview: bytes
    """The first `PREVIEW_BYTES` of the original, of which `size` are kept."""
    job_state: JobState | None
    job_lives: bool
    photo_state: PhotoState | None
    photo_epoch: int | None

    @property
    def of_photo(self) -> bool:
        """Whether it is a photo that the ledger gave up, not a message that a consumer did."""
        return self.partition < 0


class Selection(Struct, frozen=True, kw_only=True):
    """Which letters are meant: those for which all that is said holds."""

    ids: Sequence[str] | None = None
    reason: str | None = None
    job: UUID | None = None
    state: LetterState | None = None


class LetterCount(Struct, frozen=True, kw_only=True):
    """How many letters there are of one reason, in one state."""

    reason: str
    state: LetterState
    letters: int


class LetterStats(Struct, frozen=True, kw_only=True):
    """How many letters there are, and the age of the oldest open one: zero when there is none."""

    counts: Sequence[LetterCount]
    oldest: timedelta

    @property
    def open(self) -> int:
        """Return how many are open."""
        return sum(each.letters for each in self.counts if each.state is LetterState.OPEN)


def letter_id(letter: DeadLetter) -> str:
    """Return the same for every report of the same end: of a photo's round, or of one message.

    The bytes count too, as a topic that was made anew uses its offsets again.
    """
    if letter.partition < 0:
        return _digest(letter.reason, letter.job, letter.n, letter.epoch)
    return _digest(letter.topic, letter.partition, letter.offset, letter.original.hex())


def letter_subject(letter: DeadLetter) -> str:
    """Return the same for every letter about this photo, or about a message that reads like this one."""
    if letter.partition < 0:
        return _digest(letter.job, letter.n)
    return _digest(letter.topic, letter.original.hex())


def _digest(*parts: object) -> str:
    return hashlib.blake2b("\n".join(map(str, parts)).encode(), digest_size=16).hexdigest()


class Letters(ABC):
    """The part of a `Ledger` that dead letters need."""

    @abstractmethod
    async def enter(self, letter: DeadLetter) -> bool:
        """Enter it as open and return True; one that is there already stays as it is (False)."""

    @abstractmethod
    async def find(
        self, selection: Selection, *, before: int | None = None, limit: int
    ) -> Sequence[LetterRow]:
        """Return the letters meant, the last entered first, from those with a `place` below `before`."""

    @abstractmethod
    async def original(self, letter: str) -> bytes | None:
        """Return all that is kept of the original, None when there is no such letter."""

    @abstractmethod
    async def redriven(self, letter: str) -> None:
        """Note that it went round again, and count it: twice at worst, when an answer is lost on the way."""

    @abstractmethod
    async def resolve(self, letter: str) -> bool:
        """Note that it needs no more; return whether there is such a letter."""

    @abstractmethod
    async def settle(self) -> int:
        """Resolve open letters of photos that are done or in a later round by now; return how many."""

    @abstractmethod
    async def forget(self, *, retention: timedelta) -> int:
        """Delete what was entered that long ago, whatever its state; return how many."""

    @abstractmethod
    async def stats(self) -> LetterStats:
        """Return how many there are, by reason and state."""
