"""`ebbmark monitor` tells what the metrics of the real registry say, to eyes and to programs."""

import csv
import io
import json
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, generate_latest, start_http_server
from rich.console import Console

from ebbmark.cli import main
from ebbmark.monitor import COLUMNS
from ebbmark.monitoring.readings import Past, Sight, parse, quantile
from ebbmark.monitoring.screen import Screen
from ebbmark.monitoring.targets import MonitorError, from_addresses, from_file
from ebbmark.monitoring.tick import Tick, look
from observability import metrics

NOW = datetime(2026, 11, 27, 15, 4, 5, tzinfo=UTC)


def shown() -> str:
    """What a process shows now."""
    return generate_latest(REGISTRY).decode()


@contextmanager
def work() -> Iterator[None]:
    """A worker, a door and a janitor in one process, for as long as it lasts."""
    metrics.CHILDREN.set(2)
    metrics.CHILDREN_BUSY.set_function(lambda: 1)
    metrics.LEADER.set(1)
    try:
        yield
    finally:
        metrics.CHILDREN_BUSY.set_function(lambda: 0)
        for gauge in (metrics.CHILDREN, metrics.LEADER, metrics.DEAD_LETTERS_OPEN, metrics.EXPIRY_OVERDUE):
            gauge.set(0)
        for labelled in (
            metrics.AUDIT_FINDINGS,
            metrics.CONSUMER_LAG,
            metrics.CONSUMER_LAG_SECONDS,
            metrics.CONSUMER_BLIND,
        ):
            labelled.clear()


def ten_seconds_of_work() -> None:
    """Twenty photos, of which one failed, with one of three orders still to be taken."""
    metrics.PHOTOS_ACCEPTED.inc(20)
    metrics.PHOTOS_RENDERED.inc(19)
    metrics.PHOTOS_FAILED.labels("corrupt").inc()
    metrics.PIXELS.labels("in").inc(38_000_000)
    metrics.PIXELS.labels("out").inc(9_000_000)
    metrics.BYTES.labels("in").inc(5_000_000)
    metrics.BYTES.labels("out").inc(2_000_000)
    metrics.CHILDREN_BUSY_SECONDS.inc(15)
    for _ in range(19):
        metrics.ACCEPT_SECONDS.observe(0.02)
        metrics.PHOTO_SECONDS.labels("small").observe(0.4)
        metrics.STAGE_SECONDS.labels("fetch").observe(0.004)
    metrics.PHOTO_SECONDS.labels("large").observe(100)
    metrics.QUEUE_SECONDS.labels("bulk").observe(3)
    metrics.MESSAGES.labels("tasks.bulk", "handled").inc(10)
    metrics.CONSUMER_LAG.labels("renderer-bulk", "tasks.bulk").set(430)
    metrics.CONSUMER_LAG.labels("planner", "uploads").set(3)
    metrics.CONSUMER_LAG_SECONDS.labels("renderer-bulk", "tasks.bulk").set(33)
    metrics.CONSUMER_LAG_SECONDS.labels("planner", "uploads").set(0.2)


def worked(window: float = 30.0) -> Sight:
    """Ten seconds of it, seen at their beginning and at their end."""
    past = Past(window)
    past.add(100.0, parse(shown()))
    ten_seconds_of_work()
    past.add(110.0, parse(shown()))
    return Sight({"worker-1": past})


@pytest.fixture
def tick() -> Iterator[Tick]:
    with work():
        yield look(worked(), NOW)


def printed(tick: Tick, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False, legacy_windows=False)
    console.print(Screen(tick))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


# What is seen.


def test_rates_are_of_the_window(tick: Tick) -> None:
    assert tick.window == 10
    assert tick.throughput.accepted == pytest.approx(2.0)
    assert tick.throughput.rendered == pytest.approx(1.9)
    assert tick.throughput.failed == pytest.approx(0.1)
    assert tick.throughput.pixels == pytest.approx(3.8e6)
    assert (tick.throughput.bytes_in, tick.throughput.bytes_out) == pytest.approx((5e5, 2e5))


def test_latencies_are_quantiles_of_what_was_observed_in_the_window(tick: Tick) -> None:
    assert tick.accept.p50 == pytest.approx(0.01 + 0.015 / 2)
    assert tick.result_by_size["small"].p95 == pytest.approx(0.25 + 0.25 * 0.95)
    assert 60 < (tick.result_by_size["large"].p50 or 0) < 120
    assert tick.result_by_size["medium"].p50 is None
    assert 0.0025 < (tick.stages["fetch"].p50 or 0) < 0.005


def test_lanes_tell_their_lag_and_how_long_photos_wait(tick: Tick) -> None:
    express, bulk = tick.lanes
    assert (express.lane, express.lag, express.wait.p95) == ("express", 0, None)
    assert (bulk.lane, bulk.lag, bulk.oldest, bulk.handled) == ("bulk", 430, 33, pytest.approx(1.0))
    assert 2 < (bulk.wait.p50 or 0) < 4
    assert [(each.topic, each.lag, each.oldest) for each in tick.topics] == [("uploads", 3, 0.2)]


def test_a_worker_is_as_busy_as_its_children_were(tick: Tick) -> None:
    (worker,) = tick.workers
    assert (worker.process, worker.children, worker.busy) == ("worker-1", 2, 1)
    assert worker.utilisation == pytest.approx(15 / (2 * 10))
    assert worker.memory > 1e6


def test_failures_are_told_by_code(tick: Tick) -> None:
    (failure,) = tick.failures
    assert (failure.code, failure.where, failure.per_minute) == ("corrupt", "rendering", pytest.approx(6))


def test_nothing_is_troubled_when_all_is_well(tick: Tick) -> None:
    assert tick.trouble == []
    assert (tick.dead_letters, tick.deletion_overdue, tick.audit_findings) == (0, 0, None)


def test_every_trouble_is_told() -> None:
    with work():
        metrics.LEADER.set(0)
        metrics.CHILDREN.set(0)
        metrics.DEAD_LETTERS_OPEN.set(3)
        metrics.EXPIRY_OVERDUE.set(600)
        metrics.AUDIT_FINDINGS.labels("orphan").set(2)
        metrics.CONSUMER_BLIND.labels("planner").set(1)
        past, away = Past(30), Past(30)
        past.add(0, parse(shown()))
        metrics.STORE_FAULTS.inc(5)
        past.add(10, parse(shown()))
        away.add(10, None)
        tick = look(Sight({"janitor": past, "worker-2": away}), NOW)
    assert tick.trouble == [
        "worker-2 does not answer",
        "no janitor leads",
        "no worker renders",
        "Kafka does not answer planner",
        "the store left 30 questions a minute unanswered",
        "3 dead letters are open",
        "a deletion is 10 minutes late",
        "the audit found 2 objects that are wrong",
    ]
    assert (tick.up, tick.down) == (["janitor"], ["worker-2"])


def test_several_processes_are_one_system() -> None:
    with work():
        metrics.CONSUMER_LAG.labels("renderer-bulk", "tasks.bulk").set(5)
        first, second = Past(30), Past(30)
        for past in (first, second):
            past.add(0, parse(shown()))
        ten_seconds_of_work()
        for past in (first, second):
            past.add(10, parse(shown()))
        tick = look(Sight({"worker-1": first, "worker-2": second}), NOW)
    assert tick.throughput.rendered == pytest.approx(3.8)
    assert tick.lanes[1].lag == 860
    assert len(tick.workers) == 2


def test_a_process_that_began_anew_counts_from_nothing() -> None:
    past = Past(30)
    for at, count in ((0, 100), (10, 110), (20, 4)):
        past.add(at, parse(f"# TYPE a_total counter\na_total {count}\n"))
    assert sum(past.grown("a_total").values()) == 14
    assert past.seconds == 20


def test_what_lies_before_the_window_is_forgotten() -> None:
    past = Past(30)
    for at, count in ((0, 0), (10, 1000), (20, 1001), (30, 1002), (40, 1003)):
        past.add(at, parse(f"# TYPE a_total counter\na_total {count}\n"))
    assert sum(past.grown("a_total").values()) == 3
    assert past.seconds == 30


def test_a_label_cannot_steer_the_terminal() -> None:
    past = Past(30)
    past.add(0, parse(""))
    name = "ebbmark_photos_failed"
    past.add(10, parse(f'# TYPE {name} counter\n{name}_total{{code="\x1b[2J"}} 1\n'))
    (failure,) = look(Sight({"a": past}), NOW).failures
    assert failure.code == "?[2J"


@pytest.mark.parametrize(
    ("q", "expected"), [(0.0, 0.0), (0.2, 0.5), (0.4, 1.0), (0.6, 1.5), (0.8, 2.0), (1.0, 2.0)]
)
def test_a_quantile_is_that_of_prometheus(q: float, expected: float) -> None:
    assert quantile(q, [(1.0, 4.0), (2.0, 8.0), (float("inf"), 10.0)]) == pytest.approx(expected)


def test_of_nothing_there_is_no_quantile() -> None:
    assert quantile(0.5, []) is None
    assert quantile(0.5, [(1.0, 0.0), (float("inf"), 0.0)]) is None


# How it looks.


@pytest.mark.parametrize("width", [80, 120])
def test_a_moment_fits_the_terminal(tick: Tick, width: int) -> None:
    text = printed(tick, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text  # nothing is cut off
    for word in ("all is well", "1 of 1 processes", "express", "430", "worker-1", "corrupt, rendering"):
        assert word in text
    assert "75%" in text
    assert "none" in text


def test_troubles_come_first_and_a_few_of_them() -> None:
    past = Past(30)
    past.add(0, None)
    sight = Sight({f"worker-{n}": past for n in range(9)})
    lines = printed(look(sight, NOW), 80).splitlines()
    assert lines[1].strip() == "! worker-0 does not answer"
    assert lines[5].strip() == "! and 7 more"


# Whom it asks.


def test_the_file_of_prometheus_names_the_processes(tmp_path: Path) -> None:
    file = tmp_path / "targets.json"
    file.write_text(
        json.dumps(
            [
                {"targets": ["127.0.0.1:1"], "labels": {"job": "worker", "process": "worker-1"}},
                {"targets": ["127.0.0.1:2"]},
                {"targets": ["127.0.0.1:3"], "labels": {"job": "node", "process": "node"}},
            ]
        ),
        "utf-8",
    )
    assert from_file(file) == {
        "worker-1": "http://127.0.0.1:1/metrics",
        "127.0.0.1:2": "http://127.0.0.1:2/metrics",
    }


@pytest.mark.parametrize("content", ["", "{}", '[{"targets": 1}]'])
def test_a_file_that_is_none_is_refused(content: str, tmp_path: Path) -> None:
    file = tmp_path / "targets.json"
    file.write_text(content, "utf-8")
    with pytest.raises(MonitorError, match="cannot be read"):
        from_file(file)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("127.0.0.1:9101", "http://127.0.0.1:9101/metrics"),
        ("http://127.0.0.1:9101/", "http://127.0.0.1:9101/metrics"),
        ("https://photos.example/own/metrics", "https://photos.example:443/own/metrics"),
        ("[::1]:9101", "http://[::1]:9101/metrics"),
    ],
)
def test_an_address_may_be_short(given: str, url: str) -> None:
    assert list(from_addresses([given]).values()) == [url]


@pytest.mark.parametrize("given", ["ftp://a:1", "http://", ":9", "a:port"])
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(MonitorError, match="this is not an address"):
        from_addresses([given])


def test_a_name_of_several_hosts_stands_for_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def answers(host: str, port: int, **_: object) -> list[object]:
        assert (host, port) == ("worker", 9101)
        return [(2, 1, 6, "", (f"172.18.0.{n}", port)) for n in (5, 4)]

    monkeypatch.setattr("socket.getaddrinfo", answers)
    assert from_addresses(["worker:9101"]) == {
        "worker 172.18.0.4": "http://172.18.0.4:9101/metrics",
        "worker 172.18.0.5": "http://172.18.0.5:9101/metrics",
    }


# As a command.


def monitor(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["ebbmark", "monitor", *words])
    return main(["monitor", *words])


@pytest.fixture
def process() -> Iterator[str]:
    """A process that shows the real metrics."""
    with ExitStack() as leaving, work():
        server, thread = start_http_server(0, addr="127.0.0.1")
        leaving.callback(thread.join)
        leaving.callback(server.server_close)
        leaving.callback(server.shutdown)
        yield f"127.0.0.1:{server.server_port}"


def test_programs_get_one_object_a_line(
    process: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert monitor(monkeypatch, process, "--once", "--json", "--every", "0.2") == 0
    (line,) = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert (told["up"], told["down"], told["trouble"]) == ([process], [], [])
    assert told["workers"][0]["children"] == 2


def test_programs_get_a_table(
    process: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert monitor(monkeypatch, process, "--once", "--csv", "--every", "0.2") == 0
    heads, row = csv.reader(io.StringIO(capsys.readouterr().out))
    assert heads == list(COLUMNS)
    told = dict(zip(heads, row, strict=True))
    assert (told["up"], told["children"], told["accept_p50"]) == ("1", "2", "")


def test_people_get_one_look(
    process: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert monitor(monkeypatch, process, "--once", "--every", "0.2") == 0
    assert "all is well" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--targets", "/no/such/file"], 2, "is not there: is `make up` running?"),
        (["127.0.0.1:1", "--once"], 3, "nobody answers: 127.0.0.1:1"),
        (["127.0.0.1:1", "--every", "0"], 2, "between two looks there are 0.2 s"),
        (["127.0.0.1:1", "--window", "1"], 2, "a window is no shorter"),
    ],
)
def test_what_goes_wrong_is_said(
    words: list[str],
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert monitor(monkeypatch, *words) == code
    assert said in capsys.readouterr().err


def test_it_asks_for_metrics_there_are() -> None:
    source = (Path(__file__).parents[2] / "ebbmark" / "monitoring" / "tick.py").read_text("utf-8")
    known: set[str] = set()
    for family in REGISTRY.collect():
        ends = {"counter": ["_total"], "histogram": ["", "_sum", "_count"]}.get(family.type, [""])
        known |= {family.name + end for end in ends}
    asked = set(re.findall(r'"((?:ebbmark|process)_\w+)"', source))
    assert len(asked) > 20
    assert asked <= known
