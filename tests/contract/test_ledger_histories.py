"""Whatever happens to a ledger, in any order, its invariants hold, and both ledgers say the same."""

import asyncio

import pytest
from hypothesis import given, settings

from ebbmark.settings import Ledger as LedgerSettings
from tests.contract.benches import in_memory, on_postgres
from tests.contract.histories import Seen, Step, play, steps


@given(history=steps)
@settings(max_examples=200, deadline=None)
def test_no_history_breaks_an_invariant(history: list[Step]) -> None:
    asyncio.run(play(in_memory(), history))


@pytest.mark.servers
@given(history=steps)
@settings(max_examples=20, deadline=None)
def test_both_ledgers_tell_every_history_alike(ledger_settings: LedgerSettings, history: list[Step]) -> None:
    async def on_both() -> tuple[Seen, Seen]:
        async with on_postgres(ledger_settings) as real:
            return await play(in_memory(), history), await play(real, history)

    in_mind, on_disk = asyncio.run(on_both())
    assert in_mind == on_disk
