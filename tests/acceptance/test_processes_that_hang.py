"""A process whose event loop hangs ends itself, whatever its metrics say; one that was frozen goes on."""

import os
import signal
import time
from collections.abc import Iterator
from datetime import timedelta

import msgspec
import pytest

from devstack.supervisor import Stack
from ebbmark.pulse import STOOD_STILL
from ebbmark.settings import Process, Settings
from tests import system
from tests.people import Person, eventually, photo
from tests.system import System

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

STALL = 6.0
HANG = "import signal, time\nsignal.signal(signal.SIGUSR1, lambda *_: time.sleep(600))\n"
"""Python runs handlers of signals in the main thread, where the loop is."""


@pytest.fixture(scope="module")
def running_system(
    stack: Stack, room: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("hook")
    (folder / "sitecustomize.py").write_text(HANG, "utf-8")
    settings = msgspec.structs.replace(
        room,
        worker=msgspec.structs.replace(room.worker, children=1),
        process=Process(stall=timedelta(seconds=STALL)),
    )
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    with system.running(stack, settings, workers=1, more={"PYTHONPATH": path}) as running:
        yield running


@pytest.mark.parametrize("name", ["ingest", "worker-1", "janitor"])
def test_a_process_that_hangs_ends_itself_and_the_next_one_does_its_work(
    name: str, running_system: System
) -> None:
    process = running_system.processes[name]
    process.send(signal.SIGUSR1)
    assert eventually(lambda: process.exit_code, lambda code: code is not None) == STOOD_STILL
    assert "stood still" in process.tail()
    process.start()
    require_work(running_system)


def test_processes_that_were_frozen_for_longer_go_on(running_system: System) -> None:
    processes = running_system.processes
    pids = {name: process.pid for name, process in processes.items()}
    for process in processes.values():
        process.pause()
    time.sleep(2.5 * STALL)
    for process in processes.values():
        process.resume()
    require_work(running_system)
    assert {name: process.pid for name, process in processes.items()} == pids
    assert [process.exit_code for process in processes.values()] == [None] * 3


def require_work(running_system: System) -> None:
    running_system.wait_until_ready()
    with Person(running_system.base_url) as ann:
        assert ann.wait_until_complete(ann.send([("a.jpg", photo(64, 48))]), within=120)["done"] == 1
