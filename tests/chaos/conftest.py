"""One arena for all tests of chaos: they follow each other in it, as faults do in life."""

from collections.abc import Iterator

import pytest

from devstack.process import DevstackError
from tests.chaos import arena
from tests.chaos.arena import Arena
from tests.chaos.invariants import Onlooker
from tests.conftest import missing


@pytest.fixture(scope="package")
def chaos(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """The whole system behind proxies, at rest."""
    if request.config.getoption("--servers") != "own":
        pytest.skip("needs servers of its own")
    try:
        with arena.entered(tmp_path_factory.mktemp("chaos"), seed=20) as entered:
            yield entered
    except DevstackError as exc:
        missing(f"The servers do not run here: {exc}")


@pytest.fixture(scope="package")
def onlooker(chaos: Arena) -> Onlooker:
    """Who remembers through all tests what may not change any more."""
    return Onlooker(chaos)
