"""What stands still ends its process; what was only stopped for a while goes on."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest

from ebbmark.pulse import STOOD_STILL

WITHIN = 0.6
BEGIN = f"""
import asyncio, sys, time
from datetime import timedelta
from ebbmark.pulse import loop_watched, watched
from observability import logs

WITHIN = timedelta(seconds={WITHIN})
logs.configure("test", level="info", form="json")

def said(word):
    print(word, flush=True)

"""
HANGING_LOOP = """
def hang():
    said("hanging")
    time.sleep(60)

async def main():
    async with loop_watched(WITHIN):
        asyncio.get_running_loop().call_soon(hang)
        await asyncio.sleep(60)

asyncio.run(main())
"""
BUSY_LOOP = """
async def main():
    loop = asyncio.get_running_loop()
    async with loop_watched(WITHIN):
        said("ready")
        await loop.run_in_executor(None, sys.stdin.readline)
    said("left")
    sys.stdin.readline()

asyncio.run(main())
"""
HANGING_SWEEP = """
from ebbmark.settings import Janitor, Settings
from ebbmark.testing import MemoryLedger, MemoryLog, MemoryStore
from janitor.app import sweep_for_ever

class Hanging(MemoryLedger):
    async def forget(self, *, tombstone):
        said("hanging")
        await asyncio.Event().wait()

async def main():
    settings = Settings(janitor=Janitor(sweep=timedelta(0), stall=WITHIN))
    ledger = Hanging()
    async with ledger.candidacy() as candidacy, loop_watched(WITHIN):
        await sweep_for_ever(settings, ledger, MemoryStore(), MemoryLog(), candidacy, asyncio.Event())

asyncio.run(main())
"""
LONG_SWEEP = """
from janitor.app import Sweeper
from ebbmark.settings import Settings
from ebbmark.testing import MemoryLedger, MemoryLog, MemoryStore

class Slow(MemoryLedger):
    async def ready(self):
        await asyncio.sleep(WITHIN.total_seconds() / 2)

    async def given_up(self, *, strikes):
        await asyncio.sleep(WITHIN.total_seconds() / 2)
        return []

    async def forget(self, *, tombstone):
        await asyncio.sleep(WITHIN.total_seconds() / 2)

async def main():
    with watched("sweep", WITHIN) as stepped:
        sweeper = Sweeper(Settings(), Slow(), MemoryStore(), MemoryLog(), stepped=stepped)
        said(await sweeper.sweep())

asyncio.run(main())
"""


@contextmanager
def running(script: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN + script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ended(script: str) -> tuple[int, list[str], list[dict[str, object]]]:
    """The exit code of a script, what it said, and its log."""
    with running(script) as process:
        said, logged = process.communicate(timeout=30)
        return process.returncode, said.split(), [msgspec.json.decode(line) for line in logged.splitlines()]


def test_a_process_whose_loop_hangs_ends_and_says_where_it_hung() -> None:
    code, said, (line,) = ended(HANGING_LOOP)
    assert (code, said) == (STOOD_STILL, ["hanging"])
    assert (line["event"], line["what"]) == ("stood still", "event loop")
    assert str(line["where"]).rstrip("]'").endswith(" hang")


def test_a_leader_whose_sweep_hangs_ends_though_its_loop_goes_on() -> None:
    code, said, log = ended(HANGING_SWEEP)
    assert (code, said) == (STOOD_STILL, ["hanging"])
    assert (log[-1]["event"], log[-1]["what"], log[-1]["step"]) == ("stood still", "sweep", "forget")


def test_a_long_sweep_goes_on_as_long_as_its_steps_end() -> None:
    assert ended(LONG_SWEEP)[:2] == (0, ["ok"])


def test_a_process_that_was_frozen_for_longer_goes_on_and_is_not_watched_when_it_leaves() -> None:
    with running(BUSY_LOOP) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for _ in range(3):
            process.send_signal(signal.SIGSTOP)
            time.sleep(3 * WITHIN)
            process.send_signal(signal.SIGCONT)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(WITHIN)
        process.stdin.write("leave\n")
        process.stdin.flush()
        assert process.stdout.readline() == "left\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(3 * WITHIN)  # nobody watches the blocking read
        process.stdin.write("end\n")
        process.stdin.flush()
        assert process.wait(30) == 0


def test_a_log_that_takes_no_line_does_not_keep_it() -> None:
    full = """
import logging, threading

class Full(logging.Handler):
    def emit(self, record):
        threading.Event().wait()

logging.getLogger().handlers[:] = [Full()]
"""
    code, said, log = ended(full + HANGING_LOOP)
    assert (code, said, log) == (STOOD_STILL, ["hanging"], [])
