"""Dead letters are sent round again: each is judged first, the pace is kept, and who did it is logged."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any

from msgspec import Struct

from ebbmark.errors import MalformedEvent, Rejected, Unavailable
from ebbmark.eventlog import EventLog
from ebbmark.events import RenderPhoto
from ebbmark.ledger import Ledger, Wanted
from ebbmark.ledger.letters import LetterRow, LetterState, Selection
from ebbmark.settings import Settings
from ebbmark.states import JobState, PhotoState
from ebbmark.topics import TOPICS, Topic, lane
from ingest.letters import Wish
from observability import logs, tracing

log = logs.get(__name__)

REFUSED = MappingProxyType(
    {
        "job-gone": "The photo's job is gone, or its links are dead: there is nothing left to render.",
        "job-open": "The photo's job is not sealed: it can be redriven when all its photos are there.",
        "malformed": "It cannot be read as an event of its topic; nothing reads it better the second time.",
        "not-open": "It was redriven or resolved before.",
        "photo-moved-on": "The photo is not failed any more, or failed anew since: see its last letter.",
        "redriven-too-often": "It came back each time it was redriven: mend the cause before you insist.",
        "unknown-letter": "There is no such letter (any more).",
        "unknown-topic": "This version knows no such topic.",
    }
)
"""Why a letter is not redriven."""

AT_ONCE = 200
_LONGEST = 20.0
_LOOP = 3
"""How often a photo, or a message, is redriven before somebody has to insist."""
_TOPICS: MappingProxyType[str, Topic[Any]] = MappingProxyType({topic.name: topic for topic in TOPICS})


class Verdict(Struct, frozen=True):
    """What was done about a letter: redriven when there is no refusal. `row` is None when it is unknown."""

    id: str
    row: LetterRow | None
    refusal: str | None


class Redriven(Struct, frozen=True):
    """One call's work. With a `cursor` there is more: it goes on from there."""

    verdicts: Sequence[Verdict]
    cursor: int | None


class Redriver:
    """Sends letters round again, for as long as one request may last."""

    def __init__(
        self,
        ledger: Ledger,
        eventlog: EventLog,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`clock` and `sleep` are in seconds; they only keep the pace."""
        self._ledger = ledger
        self._log = eventlog
        self._settings = settings
        self._clock = clock
        self._sleep = sleep

    async def redrive(self, wish: Wish, *, who: str) -> Redriven:
        """Redrive what is wished, or tell what would come of it, the last entered first.

        Raises:
            Unavailable: some may have been redriven; repeating the call is harmless.
        """
        selection = Selection(
            ids=wish.ids,
            reason=wish.reason,
            job=wish.job,
            state=LetterState.OPEN if wish.ids is None else None,
        )
        rows = await self._ledger.letters.find(selection, before=wish.cursor, limit=AT_ONCE)
        verdicts: list[Verdict] = []
        if wish.ids is not None and wish.cursor is None:
            missing = set(wish.ids) - {row.id for row in rows}
            verdicts += [Verdict(id=each, row=None, refusal="unknown-letter") for each in sorted(missing)]
        done = 0
        try:
            done = await self._each(rows, wish, verdicts, who)
        finally:
            _audit(wish, verdicts, who)
        more = done < len(rows) or len(rows) == AT_ONCE
        return Redriven(verdicts=verdicts, cursor=rows[done - 1].place if more and done else None)

    async def _each(self, rows: Sequence[LetterRow], wish: Wish, verdicts: list[Verdict], who: str) -> int:
        """Deal with the rows in order; return how many there was time for, one at least."""
        begun = due = self._clock()
        for done, row in enumerate(rows):
            refusal = await self.judge(row, force=wish.force)
            if refusal is None and not wish.dry_run:
                if done and due - begun > _LONGEST:
                    return done
                await self._sleep(max(0.0, due - self._clock()))
                due = max(due, self._clock()) + 1 / wish.rate
                refusal = await self._redrive(row, who)
            verdicts.append(Verdict(id=row.id, row=row, refusal=refusal))
        return len(rows)

    async def judge(self, row: LetterRow, *, force: bool = False) -> str | None:
        """Return why the letter is not to be redriven, one of `REFUSED`, or None."""
        if row.state is not LetterState.OPEN and not force:
            return "not-open"
        refusal = _standing(row) if row.of_photo else await self._readable(row)
        if refusal is None and row.redrives >= _LOOP and not force:
            return "redriven-too-often"
        return refusal

    async def _readable(self, row: LetterRow) -> str | None:
        topic = _TOPICS.get(row.topic)
        if topic is None:
            return "unknown-topic"
        try:
            topic.decode(await self._ledger.letters.original(row.id))
        except MalformedEvent:
            return "malformed"
        return None

    async def _redrive(self, row: LetterRow, who: str) -> str | None:
        """Send it round, log and then note that: who dies between leaves it open; a repeat is harmless."""
        if row.of_photo:
            if not await self._render_anew(row):
                return "photo-moved-on"
        else:
            original = await self._ledger.letters.original(row.id)
            if original is None:
                return "unknown-letter"
            await self._log.republish(_TOPICS[row.topic], original)
        log.info("dead letter redriven", who=who, letter=row.id)
        await self._ledger.letters.redriven(row.id)
        return None

    async def _render_anew(self, row: LetterRow) -> bool:
        if row.job is None or row.n is None or row.photo_epoch is None:
            return False
        anew = await self._ledger.redrive(
            [Wanted(job=row.job, n=row.n, epoch=row.photo_epoch)],
            stale=self._settings.janitor.stale,
            deadline=self._settings.job.deadline,
        )
        for each in anew:
            tracing.mark("redrive", each.job, each.n, epoch=each.epoch)
            # What the log does not get now, the janitor dispatches: the ledger has it.
            with suppress(Unavailable):
                order = RenderPhoto(job=each.job, n=each.n, epoch=each.epoch)
                await self._log.publish(lane(each.n), [order])
        return bool(anew)


def _standing(row: LetterRow) -> str | None:
    if not row.job_lives:
        return "job-gone"
    if row.job_state is JobState.OPEN:
        return "job-open"
    same_round = row.epoch is None or row.epoch == row.photo_epoch
    return None if row.photo_state is PhotoState.FAILED and same_round else "photo-moved-on"


def _audit(wish: Wish, verdicts: Sequence[Verdict], who: str) -> None:
    redriven = [] if wish.dry_run else [each for each in verdicts if each.refusal is None]
    log.info(
        "redrive asked for",
        who=who,
        by=wish.by,
        dry_run=wish.dry_run,
        force=wish.force,
        redriven=len(redriven),
        letters=len(verdicts),
    )


def require_one_choice(wish: Wish) -> None:
    """Refuse a wish that does not say which letters, or says it in two ways.

    Raises:
        Rejected: code `invalid-redrive`.
    """
    said = [wish.ids is not None, wish.reason is not None, wish.job is not None, wish.all]
    if sum(said) != 1:
        raise Rejected("invalid-redrive", "Say which letters: one of ids, reason, job and all.")
