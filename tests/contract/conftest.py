"""Every port under test comes twice: in memory and on the real server."""

from collections.abc import AsyncGenerator

import pytest

from ebbmark.settings import Ledger as LedgerSettings
from tests.contract.benches import Bench, in_memory, on_postgres

BOTH = ["memory", pytest.param("real", marks=pytest.mark.servers)]


@pytest.fixture(params=BOTH)
def ledger_backend(request: pytest.FixtureRequest) -> LedgerSettings | None:
    return None if request.param == "memory" else request.getfixturevalue("ledger_settings")


@pytest.fixture
async def bench(ledger_backend: LedgerSettings | None) -> AsyncGenerator[Bench]:
    if ledger_backend is None:
        yield in_memory()
    else:
        async with on_postgres(ledger_backend) as real:
            yield real
