"""A service that is told to stop while it is still being imported ends at once, and well."""

import importlib
import os
import signal
from collections.abc import Iterator
from types import ModuleType

import pytest

from ebbmark.cli import main


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("command", ["ingest", "worker", "janitor"])
def test_a_service_told_to_stop_while_it_is_imported_ends_well(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(_: str) -> ModuleType:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("it went on")

    # What would end this process, if the service did not see to it.
    signal.signal(signal.SIGTERM, lambda *_: pytest.fail("nobody listens"))
    monkeypatch.setattr(importlib, "import_module", told)
    with pytest.raises(SystemExit) as ended:
        main([command])
    assert ended.value.code == 0
