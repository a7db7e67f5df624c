"""The ledger's dead letters on Postgres, over the ledger's own pool."""

from collections.abc import Sequence
from datetime import timedelta

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
from ebbmark.ledger.postgres_deliveries import Row, Run
from ebbmark.states import JobState, PhotoState


class PostgresLetters(Letters):
    """One statement each."""

    def __init__(self, run: Run) -> None:
        """Ask through `run`."""
        self._run = run

    async def enter(self, letter: DeadLetter) -> bool:
        values = {name: getattr(letter, name) for name in DeadLetter.__struct_fields__}
        rows = await self._run("enter_letter", **values, id=letter_id(letter), subject=letter_subject(letter))
        return bool(rows)

    async def find(
        self, selection: Selection, *, before: int | None = None, limit: int
    ) -> Sequence[LetterRow]:
        rows = await self._run(
            "find_letters",
            ids=None if selection.ids is None else list(selection.ids),
            reason=selection.reason,
            job=selection.job,
            state=selection.state,
            before=before,
            limit=limit,
            preview=PREVIEW_BYTES,
        )
        return [_letter(row) for row in rows]

    async def original(self, letter: str) -> bytes | None:
        rows = await self._run("letter_original", id=letter)
        return rows[0]["original"] if rows else None

    async def redriven(self, letter: str) -> None:
        await self._run("redriven_letter", id=letter)

    async def resolve(self, letter: str) -> bool:
        return bool(await self._run("resolve_letter", id=letter))

    async def settle(self) -> int:
        return (await self._run("settle_letters"))[0]["rows"]

    async def forget(self, *, retention: timedelta) -> int:
        return (await self._run("forget_letters", retention=retention))[0]["rows"]

    async def stats(self) -> LetterStats:
        rows = await self._run("letter_counts")
        return LetterStats(
            counts=[
                LetterCount(reason=row["reason"], state=LetterState(row["state"]), letters=row["letters"])
                for row in rows
            ],
            oldest=max((row["age"] for row in rows), default=timedelta(0)),
        )


def _letter(row: Row) -> LetterRow:
    state, job, photo = row.pop("state"), row.pop("job_state"), row.pop("photo_state")
    return LetterRow(
        **row,
        state=LetterState(state),
        job_state=JobState(job) if job else None,
        photo_state=PhotoState(photo) if photo else None,
    )
