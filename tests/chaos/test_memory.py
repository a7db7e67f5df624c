"""What processes hold is seen while they run, and held against what they held at rest."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.process import Process
from tests.chaos.memory import Memory
from tests.people import eventually

GROWS = "import time; held = b'x' * (%d * 1024**2); print('grown', flush=True); time.sleep(60)"


def started(folder: Path, mib: int) -> Process:
    process = Process("ingest", [sys.executable, "-c", GROWS % mib], log=folder / f"{mib}.log")
    process.start()
    return process


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Process]:
    process = started(tmp_path, 1)
    yield process
    process.kill()


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Process]:
    process = started(tmp_path, 400)
    yield process
    process.kill()


def test_what_grew_beyond_its_bound_is_found_and_what_did_not_is_not(small: Process, large: Process) -> None:
    eventually(lambda: (small.tail(1), large.tail(1)), lambda said: "grown" in said[0] and "grown" in said[1])
    memory = Memory()
    memory.rest({"ingest": small})
    assert memory.beyond() == []
    memory.idle["worker-1"] = memory.idle["ingest"]
    eventually(lambda: memory.look({"worker-1": large}) or memory.highest, lambda seen: "worker-1" in seen)
    (found,) = memory.beyond()
    assert found.startswith("worker-1 held ")
    assert memory.looks == 2


def test_one_that_does_not_run_holds_nothing(tmp_path: Path) -> None:
    memory = Memory()
    memory.rest({"ingest": Process("ingest", ["true"], log=tmp_path / "log")})
    assert (memory.looks, memory.highest) == (0, {})
