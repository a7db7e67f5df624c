"""What was given up is seen by operators, and done after the fix; what is unreadable stops nobody."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg
import pytest
from confluent_kafka import Producer

from ebbmark.ledger.postgres import conninfo
from ebbmark.settings import Operator, Settings
from ebbmark.topics import DEAD_LETTERS, EXPIRATIONS, UPLOADS
from tests import system
from tests.people import Person, eventually, photo
from tests.system import System

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

TOKEN = "for this test and no other"  # noqa: S105 - of a system that lives for a minute
_MANY = 40
"""More garbage than a consumer gives up before it brakes, with all that it has in hand."""
BOMB = """
import os, signal
from ebbmark.imaging.operation import Operation

class Bomb(Operation, frozen=True):
    summary = "Kill the process that renders a photo 666 pixels wide, while it is armed."

    def edit(self, image, context):
        if image.width == 666 and os.path.exists(os.environ["BOMB"]):
            os.kill(os.getpid(), signal.SIGKILL)
        return image
"""


@pytest.fixture(scope="module")
def fuse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file that arms an operation which is installed as plugins are; the fix is to delete it."""
    site = tmp_path_factory.mktemp("site")
    (site / "ebbmark_bomb.py").write_text(BOMB)
    information = site / "ebbmark_bomb-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: ebbmark-bomb\nVersion: 1\n")
    (information / "entry_points.txt").write_text("[ebbmark.operations]\nbomb = ebbmark_bomb:Bomb\n")
    armed = site / "armed"
    armed.touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{site}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        patch.setenv("BOMB", str(armed))
        yield armed


@pytest.fixture(scope="module")
def system_settings(room: Settings, fuse: Path) -> Settings:
    assert fuse.exists()
    second = msgspec.convert("PT0.5S", type(room.janitor.sweep))
    return msgspec.structs.replace(
        room,
        worker=msgspec.structs.replace(room.worker, children=1),
        janitor=msgspec.structs.replace(room.janitor, sweep=second),
        operator=Operator(token=TOKEN),
        log=msgspec.structs.replace(room.log, format="console"),
    )


@pytest.fixture(scope="module")
def ann(running_system: System) -> Iterator[Person]:
    with Person(running_system.base_url) as person:
        yield person


@pytest.fixture(scope="module")
def producer(running_system: System) -> Producer:
    return Producer({"bootstrap.servers": running_system.settings.kafka.bootstrap, "log_level": 2})


def dlq(running_system: System, *words: str) -> tuple[int, str]:
    """Do as an operator does at a terminal; return the exit code and what was printed."""
    env = {**os.environ, "EBBMARK_OPERATOR_TOKEN": TOKEN}
    command = [sys.executable, "-m", "ebbmark.cli", "dlq", *words, "--url", running_system.base_url]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, env=env)
    assert TOKEN not in ended.stdout + ended.stderr
    return ended.returncode, ended.stdout or ended.stderr


def letters(running_system: System, *words: str) -> list[dict[str, Any]]:
    code, out = dlq(running_system, "list", "--json", "--limit", "200", *words)
    assert code == 0, out
    return json.loads(out)["letters"]


def metric(running_system: System, name: str) -> float:
    lines = httpx.get(running_system.processes["janitor"].url).text.splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} ")), 0.0)


def internal_id(running_system: System) -> str:
    """Return what the newest job is called inside."""
    with psycopg.connect(conninfo(running_system.settings.ledger)) as connection:
        rows = connection.execute("select id from jobs order by created_at desc limit 1").fetchall()
    return str(rows[0][0])


def assert_counters_are_right(running_system: System) -> None:
    with psycopg.connect(conninfo(running_system.settings.ledger)) as connection:
        wrong = connection.execute(
            "select j.id from jobs j join photos p on p.job = j.id group by j.id"
            " having j.done <> count(*) filter (where p.state = 'done')"
            " or j.failed <> count(*) filter (where p.state = 'failed')"
        ).fetchall()
    assert wrong == []


def test_a_photo_that_kills_its_child_is_redriven_after_the_fix_and_done(
    ann: Person, running_system: System, fuse: Path
) -> None:
    job = ann.send([("a.jpg", photo(640, 480)), ("bad.jpg", photo(666, 480))], operations="bomb")
    status = ann.wait_until_complete(job)
    assert [(each["state"], each["code"]) for each in status["photos"]] == [
        ("done", None),
        ("failed", "poison"),
    ]
    (letter,) = eventually(lambda: letters(running_system, "--reason", "poison"), bool)
    assert (letter["state"], letter["n"], letter["epoch"]) == ("open", 1, 0)
    assert (letter["job"], letter["photo_state"]) == (internal_id(running_system), "failed")
    eventually(lambda: metric(running_system, "ebbmark_dead_letters_open"), lambda count: count == 1)
    assert metric(running_system, 'ebbmark_dead_letters_total{reason="poison"}') == 1

    assert dlq(running_system, "redrive", "--reason", "poison", "--dry-run") == (
        0,
        "1 would be redriven, 0 refused\n",
    )
    assert ann.status(job)["state"] == "complete"
    fuse.unlink()
    assert dlq(running_system, "redrive", "--reason", "poison") == (0, "1 redriven, 0 refused\n")
    status = eventually(lambda: ann.status(job), lambda seen: seen["done"] == 2)
    assert (status["state"], status["total"], status["failed"]) == ("complete", 2, 0)
    assert len(ann.archive(job)) == 3
    (letter,) = letters(running_system, "--job", letter["job"])
    assert (letter["state"], letter["redrives"], letter["photo_state"]) == ("redriven", 1, "done")
    assert_counters_are_right(running_system)
    log = running_system.processes["ingest"].tail(200)
    assert "redrive asked for" in log
    assert TOKEN not in log
    eventually(lambda: metric(running_system, "ebbmark_dead_letters_open"), lambda count: count == 0)


def test_garbage_and_old_events_become_letters_and_their_partitions_move_on(
    ann: Person, running_system: System, producer: Producer
) -> None:
    topic = running_system.settings.kafka.prefix + UPLOADS.name
    job = ann.open(operations="grayscale")
    assert ann.put(job, 0, ("a.jpg", photo())).status_code == 201
    inside = internal_id(running_system)
    garbage = b"\xff{<script>"
    too_old = b'{"type":"PhotoUploaded","job":"%s"}' % inside.encode()
    from_later = b'{"type":"PhotoUploaded","job":"%s","n":0,"colour":"blue"}' % inside.encode()
    for partition in range(UPLOADS.partitions):
        producer.produce(topic, garbage, partition=partition)
    for value in (too_old, from_later):
        producer.produce(topic, value, partition=0)
    assert producer.flush(10) == 0

    def seen() -> list[dict[str, Any]]:
        return letters(running_system, "--reason", "malformed-event")

    entered = eventually(seen, lambda found: len(found) >= UPLOADS.partitions + 1)
    assert len(entered) == UPLOADS.partitions + 1, "the one from a later version was understood"
    assert {each["topic"] for each in entered} == {UPLOADS.name}
    assert {each["preview"] for each in entered} == {r"\xff{<script>", too_old.decode()}
    assert ann.seal(job, 1).status_code == 202
    assert ann.wait_until_complete(job)["done"] == 1

    code, out = dlq(running_system, "redrive", "--reason", "malformed-event")
    assert code == 1
    assert f"{UPLOADS.partitions + 1} × malformed: " in out
    ids = [each["id"] for each in entered]
    assert dlq(running_system, "resolve", *ids)[0] == 0
    assert httpx.get(f"{running_system.base_url}/dlq/stats").json()["open"] == 0


def test_garbage_among_the_dead_letters_holds_up_no_deletion(
    ann: Person, running_system: System, producer: Producer
) -> None:
    topic = running_system.settings.kafka.prefix + DEAD_LETTERS.name
    before = len(letters(running_system))
    for _ in range(_MANY):
        producer.produce(topic, b"\xff{", partition=0)
    assert producer.flush(10) == 0
    dropped = 'ebbmark_messages_total{outcome="dead",topic="dead-letters"}'
    eventually(lambda: metric(running_system, dropped), lambda count: count == _MANY)
    job = ann.send([("a.jpg", photo())], operations="grayscale")
    ann.wait_until_complete(job)
    assert ann.http.delete(job).status_code == 204
    eventually(lambda: ann.http.get(job).status_code, lambda status: status == 404)
    assert running_system.processes["janitor"].exit_code is None
    assert len(letters(running_system)) == before


def test_a_consumer_that_can_handle_nothing_stops_its_process_and_goes_on_when_started_again(
    running_system: System, producer: Producer
) -> None:
    topic = running_system.settings.kafka.prefix + EXPIRATIONS.name
    for n in range(_MANY):
        producer.produce(topic, b"garbage %d" % n, partition=0)
    assert producer.flush(10) == 0
    janitor = running_system.processes["janitor"]
    assert eventually(lambda: janitor.exit_code, lambda code: code is not None) == 1
    assert "braked" in janitor.tail(200)
    assert len(letters(running_system, "--state", "open")) < _MANY, "the topic does not drain into letters"

    def tend() -> list[dict[str, Any]]:
        """Start it again whenever it has ended, as its supervisor would."""
        if janitor.exit_code is not None:
            janitor.start()
        return letters(running_system, "--state", "open")

    found = eventually(tend, lambda seen: len(seen) >= _MANY)
    assert sorted(each["preview"] for each in found) == sorted(f"garbage {n}" for n in range(_MANY))


def test_without_the_token_nothing_is_shown(running_system: System) -> None:
    for path in ("/dlq", "/dlq/" + "0" * 32):
        assert httpx.get(running_system.base_url + path).status_code == 401
    assert system.environment(running_system.settings)["EBBMARK_OPERATOR_TOKEN"] == TOKEN
