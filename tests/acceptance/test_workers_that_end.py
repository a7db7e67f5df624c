"""A worker that cannot go on ends at once, and one that is told to stop is gone in time, whatever is down."""

import signal
import time
from collections.abc import Iterator

import msgspec
import psutil
import psycopg
import pytest

from ebbmark.ledger.postgres import conninfo
from ebbmark.settings import Settings
from tests.people import Person, eventually, photo
from tests.system import System

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

FORM = {"operations": "watermark", "text": "© me"}
DRAIN = 30


@pytest.fixture(scope="module")
def system_settings(room: Settings) -> Settings:
    return msgspec.structs.replace(
        room,
        worker=msgspec.structs.replace(room.worker, children=1),
        log=msgspec.structs.replace(room.log, format="console"),
    )


@pytest.fixture(scope="module")
def ann(running_system: System) -> Iterator[Person]:
    with Person(running_system.base_url) as person:
        yield person


def fork_server(worker: int) -> psutil.Process:
    (server,) = [each for each in psutil.Process(worker).children() if each.children()]
    return server


def test_a_worker_without_its_fork_server_ends_and_spends_no_strike(
    ann: Person, running_system: System
) -> None:
    running_system.processes["worker-2"].stop()
    worker = running_system.processes["worker-1"]
    assert worker.pid is not None
    fork_server(worker.pid).send_signal(signal.SIGKILL)
    job = ann.send([(f"{n}.jpg", photo(320, 240, seed=n)) for n in range(6)], **FORM)
    assert eventually(lambda: worker.exit_code, lambda code: code is not None) == 1
    worker.start()
    status = ann.wait_until_complete(job)
    assert (status["done"], status["failed"]) == (6, 0)
    with psycopg.connect(conninfo(running_system.settings.ledger)) as connection:
        spent = connection.execute(
            "select max(strikes), max(fence) from photos join jobs on jobs.id = job where total = 6"
        ).fetchone()
    assert spent is not None
    strikes, claims = spent
    assert claims > 1, "no photo was in the hands of the worker that ended"
    assert strikes == 1
    running_system.processes["worker-2"].start()


@pytest.mark.parametrize("server", ["kafka", "postgres", "seaweedfs"])
def test_a_worker_told_to_stop_is_gone_in_time_even_when_a_server_is_frozen(
    ann: Person, running_system: System, server: str
) -> None:
    worker = running_system.processes["worker-1"]
    job = ann.open(**FORM)
    for n in range(12):
        assert ann.put(job, n, (f"{n}.jpg", photo(1600, 1200, seed=n))).status_code == 201
    assert worker.pid is not None
    process = psutil.Process(worker.pid)
    running_system.stack.server(server).pause()
    try:
        began = time.monotonic()
        worker.ask_to_stop()
        process.wait(DRAIN)
        assert time.monotonic() - began < DRAIN
        assert eventually(lambda: worker.exit_code, lambda code: code is not None) == 0
    finally:
        running_system.stack.server(server).resume()
    worker.start()
    eventually(lambda: ann.http.get("/readyz").status_code, lambda code: code == 200)
    eventually(lambda: ann.seal(job, 12).status_code, lambda code: code == 202)
    status = ann.wait_until_complete(job, within=120)
    assert (status["done"], status["failed"]) == (12, 0)
