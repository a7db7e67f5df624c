"""The ledger's dead letters in memory, beside the jobs of a `MemoryLedger`."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from msgspec import Struct

from ebbmark.events import DeadLetter
from ebbmark.ledger.letters import (
    PREVIEW_BYTES,
    LetterCount,
    LetterRow,
    Letters,
    LetterState,
    LetterStats,
    Selection,
    letter_id,
    letter_subject,
)
from ebbmark.states import LIVE_JOB_STATES, JobState, PhotoState


class Letter(Struct, kw_only=True):
    """A row of the table `dead_letters`."""

    letter: DeadLetter
    id: str
    subject: str
    place: int
    entered_at: datetime
    state: LetterState = LetterState.OPEN
    redrives: int = 0
    redriven_at: datetime | None = None


class Photo(Protocol):
    """What is read of a photo here."""

    @property
    def state(self) -> PhotoState: ...
    @property
    def epoch(self) -> int: ...


class Job(Protocol):
    """What is read of a job here."""

    @property
    def state(self) -> JobState: ...
    @property
    def expires_at(self) -> datetime | None: ...
    @property
    def photos(self) -> Mapping[int, Photo]: ...


class MemoryLetters(Letters):
    """The same answers as `PostgresLetters`."""

    def __init__(
        self, rows: dict[str, Letter], jobs: Mapping[UUID, Job], now: Callable[[], datetime]
    ) -> None:
        """`now` raises `Unavailable` while the ledger is down; `rows` are the ledger's to keep."""
        self._rows = rows
        self._jobs = jobs
        self._now = now

    async def enter(self, letter: DeadLetter) -> bool:
        now = self._now()
        known = letter_id(letter)
        if known in self._rows:
            return False
        place = 1 + max((each.place for each in self._rows.values()), default=0)
        self._rows[known] = Letter(
            letter=letter, id=known, subject=letter_subject(letter), place=place, entered_at=now
        )
        return True

    async def find(
        self, selection: Selection, *, before: int | None = None, limit: int
    ) -> Sequence[LetterRow]:
        now = self._now()
        meant = [
            each
            for each in self._rows.values()
            if (selection.ids is None or each.id in selection.ids)
            and selection.reason in {None, each.letter.reason}
            and selection.job in {None, each.letter.job}
            and selection.state in {None, each.state}
            and (before is None or each.place < before)
        ]
        meant.sort(key=lambda each: -each.place)
        return [self._row(each, now) for each in meant[:limit]]

    async def original(self, letter: str) -> bytes | None:
        self._now()
        return self._rows[letter].letter.original if letter in self._rows else None

    async def redriven(self, letter: str) -> None:
        now = self._now()
        if letter in self._rows:
            row = self._rows[letter]
            row.state, row.redriven_at = LetterState.REDRIVEN, now
            row.redrives += 1

    async def resolve(self, letter: str) -> bool:
        self._now()
        if letter in self._rows:
            self._rows[letter].state = LetterState.RESOLVED
        return letter in self._rows

    async def settle(self) -> int:
        self._now()
        settled = [each for each in self._rows.values() if self._went_on(each)]
        for each in settled:
            each.state = LetterState.RESOLVED
        return len(settled)

    async def forget(self, *, retention: timedelta) -> int:
        now = self._now()
        old = [each.id for each in self._rows.values() if each.entered_at < now - retention]
        for letter in old:
            del self._rows[letter]
        return len(old)

    async def stats(self) -> LetterStats:
        now = self._now()
        counts = Counter((each.letter.reason, each.state) for each in self._rows.values())
        opened = (now - each.entered_at for each in self._rows.values() if each.state is LetterState.OPEN)
        return LetterStats(
            counts=[
                LetterCount(reason=reason, state=state, letters=letters)
                for (reason, state), letters in sorted(counts.items())
            ],
            oldest=max(opened, default=timedelta(0)),
        )

    def _photo(self, letter: DeadLetter) -> Photo | None:
        job = self._jobs.get(letter.job) if letter.job else None
        return job.photos.get(letter.n) if job and letter.n is not None else None

    def _went_on(self, each: Letter) -> bool:
        letter, photo = each.letter, self._photo(each.letter)
        if each.state is not LetterState.OPEN or letter.partition >= 0 or photo is None:
            return False
        later = letter.epoch is not None and photo.epoch > letter.epoch
        return later or photo.state is PhotoState.DONE

    def _row(self, each: Letter, now: datetime) -> LetterRow:
        letter, photo = each.letter, self._photo(each.letter)
        job = self._jobs.get(letter.job) if letter.job else None
        same = (other.redrives for other in self._rows.values() if other.subject == each.subject)
        shared = {
            name: getattr(letter, name)
            for name in LetterRow.__struct_fields__
            if name in DeadLetter.__struct_fields__
        }
        return LetterRow(
            **shared,
            id=each.id,
            place=each.place,
            state=each.state,
            entered_at=each.entered_at,
            redriven_at=each.redriven_at,
            age=now - each.entered_at,
            redrives=sum(same),
            size=len(letter.original),
            preview=letter.original[:PREVIEW_BYTES],
            job_state=job.state if job else None,
            job_lives=job is not None
            and job.state in LIVE_JOB_STATES
            and (job.expires_at is None or job.expires_at > now),
            photo_state=photo.state if photo else None,
            photo_epoch=photo.epoch if photo else None,
        )
