"""`ebbmark monitor` beside the running system says what the system does."""

import csv
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from ebbmark.settings import PREFIX
from tests.people import Person, photo
from tests.system import System

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]

PROCESSES = ["ingest", "worker-1", "worker-2", "janitor"]
PATIENCE = 60.0
CONSUMED = {"uploads", "statuses", "expirations", "dead-letters"}


@pytest.fixture(scope="module")
def ann(running_system: System) -> Iterator[Person]:
    with Person(running_system.base_url) as person:
        yield person


def command(running_system: System, *words: str) -> list[str]:
    targets = running_system.stack.data / "prometheus" / "targets.json"
    monitor = [sys.executable, "-m", "ebbmark.cli", "monitor"]
    return [*monitor, "--targets", str(targets), "--every", "0.5", *words]


def looked(running_system: System, *words: str) -> str:
    """Look once and return what was printed."""
    ended = subprocess.run(
        command(running_system, "--once", *words),
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def seen(running_system: System) -> dict[str, Any]:
    return json.loads(looked(running_system, "--json"))


def test_it_sees_the_photos_go_by(running_system: System, ann: Person) -> None:
    watching = subprocess.Popen(
        command(running_system, "--json", "--window", "60"), stdout=subprocess.PIPE, text=True
    )
    try:
        assert watching.stdout is not None
        watching.stdout.readline()  # from here on it has something to compare with
        job = ann.send([("a.jpg", photo()), ("b.jpg", b"no photo"), ("c.png", photo(seed=1, form="PNG"))])
        ann.wait_until_complete(job)
        deadline = time.monotonic() + PATIENCE
        for line in watching.stdout:
            told = json.loads(line)
            # A consumer looks how far behind it is every five seconds.
            rendered = told["throughput"]["rendered"] * told["window"]
            if rendered > 1.5 and {each["topic"] for each in told["topics"]} >= CONSUMED:
                break
            assert time.monotonic() < deadline, told
    finally:
        watching.kill()
        watching.wait()
        if watching.stdout is not None:
            watching.stdout.close()
    assert told["throughput"]["rendered"] * told["window"] == pytest.approx(2, abs=0.2)
    assert (told["up"], told["down"]) == (PROCESSES, [])
    assert 0 < told["accept"]["p50"] < PATIENCE
    assert {each["process"] for each in told["workers"]} == {"worker-1", "worker-2"}
    assert [each["children"] for each in told["workers"]] == [1, 1]
    assert [each["lane"] for each in told["lanes"]] == ["express", "bulk"]
    (failure,) = told["failures"]
    assert (failure["code"], failure["where"]) == ("unsupported-format", "at the door")
    assert told["dead_letters"] == 0


def test_a_process_that_stands_still_is_named(running_system: System) -> None:
    assert seen(running_system)["down"] == []
    running_system.processes["worker-2"].pause()
    try:
        told = seen(running_system)
        assert told["down"] == ["worker-2"]
        assert "worker-2 does not answer" in told["trouble"]
    finally:
        running_system.processes["worker-2"].resume()


def test_a_table_has_a_row_for_each_look(running_system: System) -> None:
    with subprocess.Popen(command(running_system, "--csv"), stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        heads, *rows = csv.reader([watching.stdout.readline() for _ in range(3)])
        watching.send_signal(signal.SIGINT)
        assert watching.wait(PATIENCE) == 0
    assert [dict(zip(heads, row, strict=True))["up"] for row in rows] == ["4", "4"]


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (120, 40)])
def test_it_fills_a_terminal_until_ctrl_c(running_system: System, columns: int, lines: int) -> None:
    leader, follower = pty.openpty()
    env = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    env |= {"TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": str(lines)}
    watching = subprocess.Popen(
        command(running_system), stdin=follower, stdout=follower, stderr=follower, env=env
    )
    os.close(follower)
    try:
        screen = _until(leader, ("Ebbmark", "4 of 4 processes", "Workers", "worker-2", "Left over"))
        assert "\x1b[?1049h" in screen  # the terminal's other screen: the first one stays as it was
        watching.send_signal(signal.SIGINT)
        assert "\x1b[?1049l" in _until(leader, ("\x1b[?1049l",))
        assert watching.wait(PATIENCE) == 0
    finally:
        watching.kill()
        watching.wait()
        os.close(leader)


def _until(leader: int, words: tuple[str, ...]) -> str:
    """Return what was written by when all of these were."""
    screen, deadline = b"", time.monotonic() + PATIENCE
    while not all(word.encode() in screen for word in words):
        assert time.monotonic() < deadline, screen.decode("utf-8", "replace")
        if select.select([leader], [], [], 0.5)[0]:
            with suppress(OSError):  # the other side is gone
                screen += os.read(leader, 65536)
    return screen.decode("utf-8", "replace")
