"""The ledger's proofs on Postgres, over the ledger's own pool."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from ebbmark.ledger.postgres_deliveries import Run
from ebbmark.ledger.proofs import Audited, Contents, Expected, Fate, Proofs, ReceiptRow
from ebbmark.states import JobState


class PostgresProofs(Proofs):
    """One statement each."""

    def __init__(self, run: Run) -> None:
        """Ask through `run`."""
        self._run = run

    async def clock(self) -> datetime:
        return (await self._run("clock"))[0]["now"]

    async def listings(self, job: UUID) -> int:
        rows = await self._run("listings", job=job)
        return rows[0]["listings"] if rows else 0

    async def note(self, job: UUID, listing: int, contents: Contents) -> None:
        await self._run("note_deletion", job=job, listing=listing, **msgspec.structs.asdict(contents))

    async def receipt(self, receipt_hash: bytes) -> ReceiptRow | None:
        rows = await self._run("receipt", receipt_hash=receipt_hash)
        if not rows:
            return None
        row = rows[0]
        deleted = Contents(**{name: row.pop(name) for name in Contents.__struct_fields__})
        return ReceiptRow(state=JobState(row.pop("state")), **row, deleted=deleted)

    async def fates(
        self, jobs: Sequence[UUID], *, ttl: timedelta, grace: timedelta, quiet: timedelta, margin: timedelta
    ) -> Mapping[UUID, Fate]:
        rows = await self._run("fates", jobs=list(jobs), ttl=ttl, grace=grace, quiet=quiet, margin=margin)
        return {row["id"]: Fate(row["verified"], row["overdue"]) for row in rows}

    async def expected(self, *, after: tuple[UUID, int], until: UUID, limit: int) -> Sequence[Expected]:
        job, n = after
        return [
            Expected(**row) for row in await self._run("expected", job=job, n=n, until=until, limit=limit)
        ]

    async def recheck(self, jobs: Sequence[UUID]) -> None:
        await self._run("recheck", jobs=list(jobs))

    async def audited(self, audit: Audited) -> None:
        await self._run("audited", **msgspec.structs.asdict(audit))
