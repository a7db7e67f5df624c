"""What operators see of a photo where they collect spans: one trace, whatever happened on its way."""

import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta
from uuid import UUID

import httpx
import msgspec
import psutil
import psycopg
import pytest

from ebbmark.ledger.postgres import conninfo
from ebbmark.settings import Settings, Trace
from ebbmark.topics import EXPRESS, STATUSES
from ingest.tokens import token_hash
from observability import tracing
from tests.chaos import messages
from tests.collector import Collector, Seen
from tests.people import Person, eventually, photo
from tests.system import System

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

FORM = {"operations": "resize,watermark", "width": "300", "text": "© Jane Doe"}
WAY = {
    "accept": None,
    "keep": "accept",
    "plan": "accept",
    "attempt": "plan",
    "claim": "attempt",
    "fetch": "attempt",
    "render": "attempt",
    "decode": "render",
    "resize": "render",
    "watermark": "render",
    "encode": "render",
    "thumbnail": "render",
    "store": "attempt",
    "report": "attempt",
    "finish": "report",
}
"""Every span of a photo to which nothing happens, but for the waits, and whose consequence it is."""
WAITS = {"uploads": "accept", "tasks.express": "plan", "statuses": "report"}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as collecting:
        yield collecting


@pytest.fixture(scope="module")
def system_settings(room: Settings, collector: Collector) -> Settings:
    return msgspec.structs.replace(
        room,
        worker=msgspec.structs.replace(room.worker, children=1),
        janitor=msgspec.structs.replace(room.janitor, sweep=timedelta(seconds=0.5)),
        trace=Trace(endpoint=collector.url),
        log=msgspec.structs.replace(room.log, format="console"),
    )


@pytest.fixture(scope="module")
def ann(running_system: System) -> Iterator[Person]:
    """Someone who comes when each worker has its partitions: until then messages are handled twice."""
    workers = [running_system.processes[name].url for name in ("worker-1", "worker-2")]
    with Person(running_system.base_url) as person:

        def both_render() -> bool:
            person.wait_until_complete(person.send([(f"{n}.jpg", photo(64, 48)) for n in range(8)]))
            return not any("ebbmark_photos_rendered_total 0.0" in httpx.get(url).text for url in workers)

        eventually(both_render, bool)
        yield person


def trace_of(running_system: System, job: str, n: int = 0) -> int:
    """Return the id of a photo's trace, which follows from what the ledger knows."""
    with psycopg.connect(conninfo(running_system.settings.ledger)) as connection:
        row = connection.execute(
            "select id from jobs where token_hash = %s", [token_hash(job.rpartition("/")[2])]
        ).fetchone()
    assert row is not None
    found: UUID = row[0]
    return tracing.ids(found, n)[0]


def whole(collector: Collector, trace: int, names: Mapping[str, int]) -> list[Seen]:
    """Return the trace once it has as many spans of these names as it should."""

    def enough(seen: list[Seen]) -> bool:
        counts = Counter(each.name for each in seen)
        return all(counts[name] >= count for name, count in names.items())

    return eventually(lambda: collector.trace(trace), enough)


def parents(spans: list[Seen]) -> dict[str, str | None]:
    """Return the name of each span's parent, by its own; those of waits by their topic."""
    names = {each.id: each.name for each in spans}
    return {
        str(each.attributes.get("ebbmark.topic", each.name)): names[each.parent] if each.parent else None
        for each in spans
    }


@pytest.mark.parametrize("way", ["form", "one by one"])
def test_a_photo_is_one_trace_from_its_acceptance_to_its_end(
    ann: Person, running_system: System, collector: Collector, way: str
) -> None:
    if way == "form":
        job = ann.send([("a.jpg", photo())], **FORM)
    else:
        job = ann.open(**FORM)
        assert ann.put(job, 0, ("a.jpg", photo())).status_code == 201
        ann.seal(job, 1)
    ann.wait_until_complete(job)
    spans = whole(collector, trace_of(running_system, job), dict.fromkeys(WAY, 1) | {"wait": 3})
    assert parents(spans) == {**WAY, **WAITS}
    assert len(spans) == len(WAY) + len(WAITS), "each once"
    by_name = {each.name: each for each in spans if each.name != "wait"}
    within = [by_name[name] for name in ("decode", "resize", "watermark", "encode", "thumbnail")]
    assert [each.name for each in sorted(within, key=lambda each: each.start)] == [e.name for e in within]
    for step in within:
        # By the clock of one machine, but of two processes: to the millisecond.
        assert by_name["render"].start - 1e6 <= step.start <= step.end <= by_name["render"].end + 1e6
    assert {each.service for each in spans} == {"ingest", "worker"}
    assert by_name["attempt"].attributes["ebbmark.outcome"] == "rendered"
    assert not any(each.error for each in spans)


def test_each_photo_of_a_job_has_a_trace_of_its_own(
    ann: Person, running_system: System, collector: Collector
) -> None:
    job = ann.send([(f"{n}.jpg", photo(64, 48, seed=n)) for n in range(3)], **FORM)
    ann.wait_until_complete(job)
    for n in range(3):
        spans = whole(collector, trace_of(running_system, job, n), {"accept": 1, "finish": 1})
        assert {each.attributes["ebbmark.n"] for each in spans if "ebbmark.n" in each.attributes} == {n}


def test_nothing_of_a_users_is_in_any_span(ann: Person, running_system: System, collector: Collector) -> None:
    job = ann.send([("Grandma in Odesa.jpg", photo(64, 48))], **FORM)
    ann.wait_until_complete(job)
    whole(collector, trace_of(running_system, job), {"finish": 1})
    sent = b"".join(collector.bodies)
    for secret in (b"Grandma", b"Jane Doe", job.rpartition("/")[2].encode(), b"/jobs/"):
        assert secret not in sent


def test_a_message_that_comes_again_is_another_attempt_in_the_same_trace(
    ann: Person, running_system: System, collector: Collector
) -> None:
    job = ann.send([("a.jpg", photo(64, 48, seed=7))], **FORM)
    ann.wait_until_complete(job)
    trace = trace_of(running_system, job)
    kafka = running_system.settings.kafka
    ours = [
        raw
        for topic in (EXPRESS, STATUSES)
        for raw in messages.read(kafka, topic)
        if f"{trace:032x}".encode() in dict(raw.headers)["traceparent"]
    ]
    assert len(ours) == 2
    messages.publish(kafka, ours)
    spans = whole(collector, trace, {"attempt": 2, "finish": 2, "wait": 5})
    first, again = (each for each in spans if each.name == "attempt")
    assert (first.parent, first.attributes["ebbmark.outcome"]) == (again.parent, "rendered")
    assert again.attributes["ebbmark.outcome"] == "refused"


def test_a_message_whose_header_is_missing_or_garbage_is_in_the_trace_all_the_same(
    ann: Person, running_system: System, collector: Collector
) -> None:
    job = ann.send([("a.jpg", photo(64, 48, seed=8))], **FORM)
    ann.wait_until_complete(job)
    trace = trace_of(running_system, job)
    (order,) = (
        raw
        for raw in messages.read(running_system.settings.kafka, EXPRESS)
        if f"{trace:032x}".encode() in dict(raw.headers)["traceparent"]
    )
    foreign = b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"
    headers = [[], [("traceparent", b"\xff{")], [("traceparent", b"")], [("traceparent", foreign)]]
    messages.publish(
        running_system.settings.kafka, [messages.replace(order, headers=each) for each in headers]
    )
    spans = whole(collector, trace, {"attempt": 5})
    (root,) = (each for each in spans if each.name == "accept")
    assert [each.parent for each in spans if each.name == "attempt"].count(root.id) == 4


def test_a_child_that_is_killed_is_seen_and_the_next_attempt_beside_it(
    ann: Person, running_system: System, collector: Collector
) -> None:
    job = ann.open(operations="blur,watermark", radius="0.01", text="© me")
    before = {child.pid: spent(child) for child in children(running_system)}
    assert ann.put(job, 0, ("large.jpg", photo(6000, 4000))).status_code == 201
    ann.seal(job, 1)
    busy = eventually(
        lambda: [each for each in children(running_system) if spent(each) > before.get(each.pid, 0) + 0.1],
        bool,
    )
    busy[0].kill()
    assert ann.wait_until_complete(job)["done"] == 1
    spans = whole(collector, trace_of(running_system, job), {"attempt": 2, "finish": 1})
    attempts = [each for each in spans if each.name == "attempt"]
    lost, done = (each for each in attempts if each.attributes.get("ebbmark.outcome") != "refused")
    assert lost.error == "child-lost-died"
    assert (done.error, done.attributes["ebbmark.outcome"]) == (None, "rendered")
    assert done.attributes["ebbmark.fence"] == 2
    (again,) = (each for each in spans if each.name == "redispatch")
    assert lost.end <= again.start <= done.start


@pytest.mark.parametrize(
    "histogram",
    [
        "ebbmark_accept_seconds",
        "ebbmark_photo_seconds",
        "ebbmark_queue_seconds",
        "ebbmark_render_stage_seconds",
        "ebbmark_render_step_seconds",
    ],
)
def test_a_latency_in_prometheus_leads_to_the_trace_of_a_photo_that_took_so_long(
    ann: Person, running_system: System, watched: httpx.Client, histogram: str
) -> None:
    jobs = [ann.send([("a.jpg", photo(64, 48, seed=n))], **FORM) for n in range(2)]
    for job in jobs:
        ann.wait_until_complete(job)
    ours = {f"{trace_of(running_system, job):032x}" for job in jobs}

    def exemplars() -> set[str]:
        now = time.time()
        asked = {"query": f"{histogram}_bucket", "start": now - 300, "end": now + 60}
        answer = watched.get("/api/v1/query_exemplars", params=asked).raise_for_status().json()
        return {each["labels"]["trace_id"] for series in answer["data"] for each in series["exemplars"]}

    assert eventually(lambda: exemplars() & ours, bool)


@pytest.mark.parametrize("how", ["refuses", "silent"])
def test_a_collector_that_does_not_take_spans_costs_nothing_but_a_line_of_the_log(
    ann: Person, running_system: System, collector: Collector, how: str
) -> None:
    names = [name for name in running_system.processes if name != "janitor"]
    before = {name: complaints(running_system, name) for name in names}
    setattr(collector, how, True)
    try:
        for _ in range(3):
            asked = collector.asked
            job = ann.send([(f"{n}.jpg", photo(64, 48, seed=n)) for n in range(8)], **FORM)
            assert ann.wait_until_complete(job)["done"] == 8
            eventually(lambda: collector.asked, lambda now, asked=asked: now > asked)
        ended = running_system.processes["worker-2"]
        ended.stop()
        assert ended.exit_code == 0, "a process ends whether its last spans are taken or not"
        ended.start()
    finally:
        setattr(collector, how, False)
    job = ann.send([("a.jpg", photo(64, 48, seed=9))], **FORM)
    ann.wait_until_complete(job)
    whole(collector, trace_of(running_system, job), {"accept": 1, "finish": 1})
    said = [line for name in names for line in complaints(running_system, name)[len(before[name]) :]]
    assert how == "silent" or any("spans are not taken" in line for line in said)
    for name in names:
        new = complaints(running_system, name)[len(before[name]) :]
        assert [line for line in new if not re.search("spans are (not taken|taken again)", line)] == []
        assert len(new) <= 4, new  # not taken, taken again; and a restarted process may say it once more


def complaints(running_system: System, name: str) -> list[str]:
    """Return what a process has logged about collecting, from whatever library."""
    lines = (running_system.stack.data / "logs" / f"{name}.log").read_text("utf-8").splitlines()
    words = ("spans", "opentelemetry", "otlp", "urllib3", "requests.", "Traceback")
    return [line for line in lines if any(word in line for word in words)]


def children(running_system: System) -> list[psutil.Process]:
    """Return the rendering children of both workers."""
    pids = [running_system.processes[name].pid for name in ("worker-1", "worker-2")]
    servers = [
        each
        for pid in pids
        for each in psutil.Process(pid).children()
        if "forkserver" in " ".join(each.cmdline())
    ]
    return [child for server in servers for child in server.children()]


def spent(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
