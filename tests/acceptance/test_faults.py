"""What breaks is repaired: killed workers, servers that go away, the whole system cut off."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import msgspec
import psutil
import psycopg
import pytest

from ebbmark.ledger.postgres import conninfo
from ebbmark.settings import Settings
from tests import system
from tests.people import Person, eventually, photo
from tests.system import System

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

FORM = {"operations": "watermark", "text": "© me"}


@pytest.fixture(scope="module")
def system_settings(room: Settings) -> Settings:
    """Leases and sessions short enough to wait for their end."""
    return msgspec.structs.replace(
        room,
        worker=msgspec.structs.replace(
            room.worker,
            children=1,
            lease=msgspec.convert("PT6S", type(room.worker.lease)),
            child_timeout=msgspec.convert("PT5S", type(room.worker.lease)),
        ),
        janitor=msgspec.structs.replace(
            room.janitor,
            sweep=msgspec.convert("PT0.5S", type(room.worker.lease)),
            stale=msgspec.convert("PT5S", type(room.worker.lease)),
        ),
        kafka=msgspec.structs.replace(
            room.kafka, publish_timeout=msgspec.convert("PT4S", type(room.worker.lease))
        ),
        store=msgspec.structs.replace(room.store, timeout=msgspec.convert("PT4S", type(room.worker.lease))),
        log=msgspec.structs.replace(room.log, format="console"),
    )


@pytest.fixture(scope="module")
def ann(running_system: System) -> Iterator[Person]:
    with Person(running_system.base_url) as person:
        yield person


def fill(ann: Person, count: int, *, size: tuple[int, int] = (1200, 900)) -> str:
    job = ann.open()
    content = photo(*size)
    for n in range(count):
        answer = ann.put(job, n, (f"{n}.jpg", content))
        assert answer.status_code == 201, answer.text
    assert ann.seal(job, count).status_code == 202
    return job


def assert_exact(running_system: System, job_total: int) -> None:
    """Every result once, and counters that equal the rows."""
    with psycopg.connect(conninfo(running_system.settings.ledger)) as connection:
        rows = connection.execute(
            "select j.total, j.done, j.failed, count(*) filter (where p.state = 'done'),"
            " count(*) filter (where p.state = 'failed') from jobs j join photos p on p.job = j.id"
            " where j.state = 'complete' group by j.id"
        ).fetchall()
    assert any(row[0] == job_total for row in rows)
    for total, done, failed, done_rows, failed_rows in rows:
        assert (done, failed) == (done_rows, failed_rows)
        assert done + failed == total


@contextmanager
def frozen_workers(running_system: System) -> Iterator[None]:
    """What is sent meanwhile stays to be done, however slow the test and however fast the workers are."""
    workers = [running_system.processes[name] for name in ("worker-1", "worker-2")]
    for worker in workers:
        worker.pause()
    try:
        yield
    finally:
        for worker in workers:
            worker.resume()


def metric(running_system: System, worker: str, name: str) -> float:
    """Return what a worker's metric says; nothing counted yet is 0."""
    lines = httpx.get(running_system.processes[worker].url).text.splitlines()
    return next((float(line.removeprefix(f"{name} ")) for line in lines if line.startswith(f"{name} ")), 0.0)


def rendered(running_system: System) -> list[float]:
    """Return how many photos each worker has rendered since it was started."""
    return [
        metric(running_system, worker, "ebbmark_photos_rendered_total") for worker in ("worker-1", "worker-2")
    ]


def until_both_render(ann: Person, running_system: System) -> None:
    """Return when each worker has its partitions."""
    before = rendered(running_system)

    def after() -> list[float]:
        ann.wait_until_complete(fill(ann, 8, size=(64, 48)))
        return rendered(running_system)

    eventually(after, lambda seen: all(now > then for now, then in zip(seen, before, strict=True)))


def test_two_hundred_photos_survive_the_killing_of_one_of_two_workers(
    ann: Person, running_system: System
) -> None:
    until_both_render(ann, running_system)
    before = rendered(running_system)
    job = ann.open()
    large, small = photo(2400, 1800), photo(640, 480)
    with frozen_workers(running_system):
        for n in range(120):
            assert ann.put(job, n, (f"{n}.jpg", large)).status_code == 201
    eventually(lambda: rendered(running_system)[0] - before[0], lambda done: done >= 3)
    done = ann.status(job)["done"]
    running_system.processes["worker-1"].kill()
    assert done < 120
    for n in range(120, 200):
        assert ann.put(job, n, (f"{n}.jpg", small)).status_code == 201
    assert ann.seal(job, 200).status_code == 202
    running_system.processes["worker-1"].start()
    status = ann.wait_until_complete(job, within=120)
    assert (status["done"], status["failed"]) == (200, 0)
    assert len(ann.archive(job)) == 201
    assert_exact(running_system, 200)
    assert rendered(running_system)[1] > before[1]
    with psycopg.connect(conninfo(running_system.settings.ledger)) as connection:
        # A second claim, with nothing given back: the first one died with the worker that held it.
        claimed_anew = connection.execute(
            "select count(*) from photos where fence > 1 and strikes > 1 and job = ("
            " select id from jobs order by created_at desc limit 1)"
        ).fetchone()
    assert claimed_anew > (0,)


def test_each_of_two_workers_renders_its_share(ann: Person, running_system: System) -> None:
    before = rendered(running_system)
    job = fill(ann, 60, size=(320, 240))
    ann.wait_until_complete(job, within=90)
    after = rendered(running_system)
    assert all(now > then for now, then in zip(after, before, strict=True))
    assert sum(after) - sum(before) >= 60


@pytest.mark.parametrize("server", ["kafka", "postgres", "seaweedfs"])
def test_a_server_that_goes_away_means_503_and_its_return_is_enough(
    ann: Person, running_system: System, server: str
) -> None:
    before = ann.send([("a.jpg", photo(320, 240))])
    ann.wait_until_complete(before)
    running_system.stack.server(server).stop()
    try:
        refused = ann.post([("b.jpg", photo(320, 240, seed=1))], **FORM)
        assert refused.status_code == 503, refused.text
        assert int(refused.headers["retry-after"]) > 0
        assert refused.json()["code"].endswith("-unavailable")
        assert ann.http.get("/readyz").status_code == 503
        assert ann.http.get("/healthz").status_code == 200
        if server == "seaweedfs":
            for path in ("photos/0", "photos/0/thumbnail", "archive"):
                late = ann.http.get(f"{before}/{path}")
                assert (late.status_code, late.json()["code"]) == (503, "store-unavailable")
                assert int(late.headers["retry-after"]) > 0
    finally:
        running_system.stack.server(server).start()
    eventually(lambda: ann.http.get("/readyz").status_code, lambda status: status == 200)
    accepted = eventually(
        lambda: ann.post([("c.jpg", photo(320, 240, seed=2))], **FORM),
        lambda answer: answer.status_code == 202,
    )
    status = ann.wait_until_complete(accepted.json()["status_url"], within=90)
    assert status["done"] == 1


def test_a_server_killed_in_the_middle_of_a_job_loses_nothing(ann: Person, running_system: System) -> None:
    for server in ("kafka", "postgres", "seaweedfs"):
        with frozen_workers(running_system):
            job = fill(ann, 30)
        begun = eventually(lambda job=job: ann.status(job)["done"], lambda done: done >= 1)
        running_system.stack.server(server).kill()
        assert begun < 30
        running_system.stack.server(server).start()
        status = eventually(
            lambda job=job: _status_or_none(ann, job),
            lambda seen: seen is not None and seen["state"] == "complete",
            within=120,
        )
        assert (server, status["done"], status["failed"]) == (server, 30, 0)
    assert_exact(running_system, 30)


def test_killed_children_cost_their_photos_nothing_but_time(ann: Person, running_system: System) -> None:
    until_both_render(ann, running_system)
    worker = psutil.Process(running_system.processes["worker-2"].pid)

    def lost() -> float:
        reasons = ("died", "broken")  # at work, or waiting for it
        return sum(
            metric(running_system, "worker-2", f'ebbmark_children_lost_total{{reason="{reason}"}}')
            for reason in reasons
        )

    def kill_the_children() -> float:
        for child in (child for server in worker.children() for child in server.children()):
            with suppress(psutil.NoSuchProcess):
                child.kill()
        return lost()

    before = lost()
    with frozen_workers(running_system):
        job = fill(ann, 20, size=(2400, 1800))
    eventually(kill_the_children, lambda now: now >= before + 2)
    status = ann.wait_until_complete(job, within=120)
    assert (status["done"], status["failed"]) == (20, 0)


def test_a_worker_told_to_stop_finishes_what_it_has_in_hand(ann: Person, running_system: System) -> None:
    job = fill(ann, 40)
    eventually(lambda: ann.status(job)["done"], lambda done: done >= 3)
    worker = running_system.processes["worker-1"]
    worker.stop()
    assert worker.exit_code == 0
    worker.start()
    status = ann.wait_until_complete(job, within=90)
    assert (status["done"], status["failed"]) == (40, 0)
    with psycopg.connect(conninfo(running_system.settings.ledger)) as connection:
        strikes = connection.execute(
            "select distinct p.strikes from photos p join jobs j on j.id = p.job"
            " where j.id = (select id from jobs order by created_at desc limit 1)"
        ).fetchall()
    assert strikes == [(1,)]  # the claim that rendered it: being told to stop burns nothing


def test_a_garbage_message_becomes_a_dead_letter_and_the_topic_moves_on(
    ann: Person, running_system: System
) -> None:
    from confluent_kafka import Consumer, Producer  # noqa: PLC0415 - only this test speaks Kafka

    kafka = running_system.settings.kafka
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "log_level": 2})
    for topic in ("uploads", "tasks.express", "statuses", "expirations"):
        for partition in range(12):
            producer.produce(f"{kafka.prefix}{topic}", b"\xff{garbage", partition=partition)
    assert producer.flush(10) == 0
    job = fill(ann, 20, size=(320, 240))
    assert ann.wait_until_complete(job, within=90)["done"] == 20
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": f"{kafka.prefix}test",
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([f"{kafka.prefix}dead-letters"])
    try:
        letters: list[dict[str, object]] = []

        def collect() -> int:
            letters.extend(json.loads(m.value() or b"{}") for m in consumer.consume(100, timeout=0.5))
            return len(letters)

        eventually(collect, lambda count: count >= 48)
    finally:
        consumer.close()
    assert {letter["reason"] for letter in letters} == {"malformed-event"}


def test_make_up_killed_and_started_again_on_the_same_data_completes_its_jobs(tmp_path: Path) -> None:
    data, port = tmp_path / "data", system.free_port()
    first = _make_up(data, port)
    try:
        with Person(f"http://127.0.0.1:{port}") as ann:
            _wait_until_ready(ann)
            worker = psutil.Process(json.loads((data / "processes.json").read_text())["worker-1"]["pid"])
            worker.suspend()
            job = fill(ann, 40)
            worker.resume()
            eventually(lambda: ann.status(job)["done"], lambda done: done > 0, every=0.01)
            worker.suspend()
            cut = ann.status(job)
            assert cut["state"] == "rendering"
            assert 0 < cut["done"] < 40
            os.killpg(first.pid, signal.SIGKILL)
            first.wait()
            second = _make_up(data, port)
            try:
                _wait_until_ready(ann)
                status = eventually(
                    lambda: _status_or_none(ann, job),
                    lambda seen: seen is not None and seen["state"] == "complete",
                    within=150,
                )
                assert (status["done"], status["failed"]) == (40, 0)
                refused = subprocess.run(
                    [sys.executable, "-m", "devstack", "up", "--data", str(data), "--port", str(port + 1)],
                    capture_output=True,
                    check=False,
                    text=True,
                )
                assert refused.returncode == 2
                assert "is in use by another instance" in refused.stderr
            finally:
                second.send_signal(signal.SIGINT)
                output = second.communicate(timeout=60)[0]
            assert second.returncode == 0
            assert "Traceback" not in output
            assert not [
                p for p in psutil.process_iter(["cmdline"]) if str(data) in " ".join(p.info["cmdline"] or [])
            ]
    finally:
        if first.poll() is None:
            first.kill()
        if first.stdout:
            first.stdout.close()


def _make_up(data: Path, port: int) -> subprocess.Popen[str]:
    env = {
        **os.environ,
        "EBBMARK_WORKER_LEASE": "PT10S",
        "EBBMARK_JANITOR_STALE": "PT10S",
        "EBBMARK_WORKER_CHILDREN": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "devstack", "up", "--data", str(data), "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=env,
        text=True,
        start_new_session=True,
    )


def _wait_until_ready(ann: Person) -> None:
    def ready() -> bool:
        try:
            return ann.http.get("/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    eventually(ready, bool)


def _status_or_none(ann: Person, job: str) -> dict[str, object] | None:
    try:
        answer = ann.http.get(job)
    except httpx.HTTPError:
        return None
    return answer.json() if answer.status_code == 200 else None
