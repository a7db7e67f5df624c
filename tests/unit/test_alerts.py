"""Every alert fires on what it is for and on nothing else, and its section says what to do."""

import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from prometheus_client import REGISTRY

from ebbmark.monitoring.tick import DELETION_LATE
from observability import metrics
from tests.watchtower import legible, scaled

ROOT = Path(__file__).parents[2]
RULES = ROOT / "observability" / "prometheus" / "rules.yml"
MANUAL = (ROOT / "docs" / "operating.md").read_text("utf-8")
GROUPS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}

UPLOAD = 'ebbmark_http_requests_total{{method="POST",route="/upload",status="{}"}}'
TAKEN, NOT_TAKEN, REFUSED = UPLOAD.format(202), UPLOAD.format(503), UPLOAD.format(413)
READ = 'ebbmark_http_requests_total{{method="GET",route="/jobs/{{public_id}}",status="{}"}}'
OK, BAD = READ.format(200), READ.format(503)
ACCEPTS, AT_ONCE = "ebbmark_accept_seconds_count", 'ebbmark_accept_seconds_bucket{le="1.0"}'
ALL, SOON = "ebbmark_photo_seconds_count", 'ebbmark_photo_seconds_bucket{le="30.0"}'
ACCEPTED, RENDERED = "ebbmark_photos_accepted_total", "ebbmark_photos_rendered_total"
APPLIED = "ebbmark_outcomes_applied_total"
OVERDUE, LATE = "ebbmark_expiry_overdue_seconds", "ebbmark:deletion_late"
LAG = 'ebbmark_consumer_lag{{agent="planner",topic="uploads",instance="{}"}}'
HANDLED = 'ebbmark_messages_total{{topic="uploads",outcome="handled",instance="{}"}}'
LAG_OF_A, HANDLED_BY_A, HANDLED_BY_B = LAG.format("a:1"), HANDLED.format("a:1"), HANDLED.format("b:1")
WORKER = 'up{{job="worker",process="{}"}}'
ONE, OTHER, ANEW = map(WORKER.format, ("worker-1", "worker-2", "worker-3"))
FOR_LONG = "1+0x90"
LEADS, SWEPT = 'ebbmark_janitor_leader{process="a"}', 'ebbmark_janitor_sweeps_total{{outcome="{}"}}'
INGEST = '{job="ingest",process="ingest"}'
FREE, SIZE = "node_filesystem_avail_bytes", "node_filesystem_size_bytes"
READ_ONLY = "node_filesystem_readonly"
DISK = '{instance="a:9",fstype="ext4",mountpoint="/"}'
MEMORY = '{instance="a:9",fstype="tmpfs",mountpoint="/tmp"}'


class Case(NamedTuple):
    """Series by name, as promtool spells their values a minute apart, and the minute to look at."""

    firing: dict[str, str]
    quiet: dict[str, str]
    at: int
    also_firing: tuple[dict[str, str], ...] = ()
    also_quiet: tuple[dict[str, str], ...] = ()


CASES = {
    "AcceptFailsFast": Case(
        {TAKEN: "0+98x90", NOT_TAKEN: "0+2x90", OK: "0+9000x90"},
        # What lasted five minutes is over, and an hour remembers it.
        {TAKEN: "0+98x90", NOT_TAKEN: "0+0x20 20x90"},
        80,
        also_quiet=(
            {TAKEN: "0+98x90", REFUSED: "0+2x90"},
            {TAKEN: "0+98x90", BAD: "0+9x90"},
            {TAKEN: "0+1x90", NOT_TAKEN: "0+0x78 1 2"},  # two in a quiet hour
        ),
    ),
    "AcceptFailsSlowly": Case(
        {TAKEN: "0+990x400", NOT_TAKEN: "0+10x400"}, {TAKEN: "0+999x400", NOT_TAKEN: "0+1x400"}, 390
    ),
    "AcceptLateFast": Case(
        {ACCEPTS: "0+100x90", AT_ONCE: "0+80x90"},
        {ACCEPTS: "0+100x90", AT_ONCE: "0+90x90"},
        80,
        also_quiet=({ACCEPTS: "0+0x76 0+1x10", AT_ONCE: "0+0x90"},),
    ),
    "AcceptLateSlowly": Case(
        {ACCEPTS: "0+100x400", AT_ONCE: "0+93x400"}, {ACCEPTS: "0+100x400", AT_ONCE: "0+95x400"}, 390
    ),
    "DoorFailsFast": Case(
        {OK: "0+980x90", BAD: "0+20x90"},
        {OK: "0+980x90", BAD: "0+0x20 200x90"},
        80,
        also_quiet=({OK: "0+1x90", BAD: "0+0x78 1 2"},),
    ),
    "DoorFailsSlowly": Case({OK: "0+990x400", BAD: "0+10x400"}, {OK: "0+999x400", BAD: "0+1x400"}, 390),
    "ResultsLateFast": Case(
        {ALL: "0+100x90", SOON: "0+20x90"},
        {ALL: "0+100x90", SOON: "0+30x90"},
        80,
        also_quiet=({ALL: "0+0x76 0+1x10", SOON: "0+0x90"},),
    ),
    "ResultsLateSlowly": Case(
        {ALL: "0+100x400", SOON: "0+60x400"}, {ALL: "0+100x400", SOON: "0+75x400"}, 390
    ),
    "DeletionLateFast": Case(
        {OVERDUE: "0+0x80 181+60x10"},
        {OVERDUE: "0+0x80 170+1x9"},
        83,
        also_quiet=({OVERDUE: "0+0x60 200 0+0x40"},),  # a minute of it, and that is long over
    ),
    "DeletionLateSlowly": Case({OVERDUE: "0+0x380 181+60x10"}, {OVERDUE: "0+0x300 200 260 320 0+0x90"}, 385),
    "AuditFindings": Case(
        {'ebbmark_audit_findings{kind="orphan"}': "1+0x10"},
        {'ebbmark_audit_findings{kind="orphan"}': "0+0x10"},
        5,
    ),
    "PipelineStuck": Case(
        {ACCEPTED: "0+5x30", RENDERED: "7+0x30", APPLIED: "7+0x30"},
        {ACCEPTED: "0+5x30", RENDERED: "7+1x30", APPLIED: "7+1x30"},
        20,
        # The workers died in the middle of their work, and show nothing any more.
        also_firing=({ACCEPTED: "0+5x30", RENDERED: "0+5x5 stale", APPLIED: "0+5x5 stale"},),
    ),
    "ConsumerStuck": Case(
        {LAG_OF_A: "4+0x30", HANDLED_BY_A: "9+0x30"},
        {LAG_OF_A: "4+0x30", HANDLED_BY_A: "9+1x30"},
        20,
        also_firing=({LAG_OF_A: "4+0x30"}, {LAG_OF_A: "4+0x30", HANDLED_BY_B: "9+1x30"}),
        also_quiet=({LAG_OF_A: "0+0x30", HANDLED_BY_A: "9+0x30"},),
    ),
    "ConsumerBlind": Case(
        {'ebbmark_consumer_blind{agent="planner"}': "1+0x10"},
        {'ebbmark_consumer_blind{agent="planner"}': "1 1 0+0x10"},
        5,
    ),
    "BacklogGrows": Case(
        {ACCEPTED: "0+30x60", APPLIED: "0+20x60"},
        {ACCEPTED: "0+30x60", APPLIED: "0+28x60"},
        45,
        also_firing=({ACCEPTED: "0+30x60", APPLIED: "0+30x5 stale"},),
        also_quiet=({ACCEPTED: "0+5x60", APPLIED: "0+0x60"},),
    ),
    "DeadLettersOpen": Case(
        {"ebbmark_dead_letters_open": "1+0x30"}, {"ebbmark_dead_letters_open": "1+0x5 0+0x30"}, 15
    ),
    "DeadLettersDropped": Case(
        {'ebbmark_messages_total{topic="dead-letters",outcome="dead"}': "0+1x30"},
        {
            'ebbmark_messages_total{topic="dead-letters",outcome="handled"}': "0+1x30",
            'ebbmark_messages_total{topic="uploads",outcome="dead"}': "0+1x30",
        },
        15,
    ),
    "ChildrenLost": Case(
        {'ebbmark_children_lost_total{reason="died"}': "0+9x60"},
        {'ebbmark_children_lost_total{reason="died"}': "0+3x60"},
        40,
    ),
    "ProcessDown": Case(
        {ONE: "0+0x90"},
        {
            ONE: "0+0x78 1+0x10",
            'up{job="loadtest",process="loadtest"}': "0+0x90",
            'up{job="node",process="node"}': "0+0x90",
        },
        80,
        also_firing=(
            # What is found by a name is not found when it is gone: one of two, the only one, and one that
            # comes back for moments to end again.
            {ONE: FOR_LONG, OTHER: "1+0x70 stale"},
            {ONE: "1+0x70 stale"},
            {ONE: FOR_LONG, OTHER: "1+0x69 stale _ 1 stale _ 1 stale _ 1 stale _"},
        ),
        also_quiet=(
            {ONE: FOR_LONG, OTHER: "_x77 1+0x10", ANEW: "_x77 1+0x10"},
            {ONE: FOR_LONG, OTHER: "1+0x70 stale", ANEW: "_x71 1+0x20"},
            {ONE: FOR_LONG, OTHER: "1+0x70 stale", ANEW: "_x69 1+0x20"},  # found twice for a moment
            {ONE: FOR_LONG, OTHER: "1+0x73 stale 1+0x20"},
            {ONE: FOR_LONG, OTHER: "1+0x9 stale"},  # more than an hour ago
            {'up{job="node",process="node"}': "1+0x70 stale"},
        ),
    ),
    "ProcessRestarts": Case(
        {'process_start_time_seconds{job="worker",process="worker-1"}': "1 1 1 2 2 3 3 4 4 4 4 4 4"},
        {'process_start_time_seconds{job="worker",process="worker-1"}': "1 1 1 2 2 3 3 3 3 3 3 3 3"},
        10,
    ),
    "NoLeader": Case(
        {'ebbmark_janitor_leader{process="a"}': "0+0x10"},
        {'ebbmark_janitor_leader{process="a"}': "1+0x10", 'ebbmark_janitor_leader{process="b"}': "0+0x10"},
        5,
    ),
    "SweepsMissing": Case(
        {LEADS: "1+0x30", SWEPT.format("ok"): "0+30x10 300+0x20"},
        {LEADS: "1+0x30", SWEPT.format("ok"): "0+30x30"},
        20,
        also_firing=(
            {LEADS: "1+0x30"},  # the first one hangs
            {LEADS: "1+0x30", SWEPT.format("ok"): "0+30x10 300+0x20", SWEPT.format("failed"): "0+30x30"},
        ),
        also_quiet=(
            {LEADS: "0+0x30", SWEPT.format("ok"): "300+0x30"},  # another alert's
            {LEADS: "1+0x30", SWEPT.format("unavailable"): "0+10x30"},  # another one's, too
            {LEADS: "1+0x30", SWEPT.format("ok"): "0+30x17 510+0x0 510+30x20"},
        ),
    ),
    "AuditsMissing": Case(
        {"ebbmark_audit_timestamp_seconds": "0+0x90"}, {"ebbmark_audit_timestamp_seconds": "0+60x90"}, 60
    ),
    "DependencyFails": Case(
        {f"ebbmark_ledger_faults_total{INGEST}": "0+10x20", f"ebbmark_store_faults_total{INGEST}": "0+0x20"},
        {f"ebbmark_ledger_faults_total{INGEST}": "0+1x20", f"ebbmark_store_faults_total{INGEST}": "0+1x20"},
        10,
    ),
    "PublishFails": Case(
        {f"ebbmark_publish_faults_total{INGEST}": "4+0x5 5+1x5"},
        {f"ebbmark_publish_faults_total{INGEST}": "4+0x5 5 6+0x3"},
        10,
        also_quiet=({f"ebbmark_publish_faults_total{INGEST}": "0+9x3 27+0x9"},),  # over for six minutes
    ),
    "DiskFull": Case(
        {'ebbmark_uploads_refused_total{process="ingest",code="storage-full"}': "0+1x20"},
        {
            'ebbmark_uploads_refused_total{process="ingest",code="storage-full"}': "4+0x20",
            'ebbmark_uploads_refused_total{process="ingest",code="too-many-jobs"}': "0+9x20",
        },
        10,
    ),
    "SpoolLow": Case(
        {f"ebbmark_spool_free_bytes{INGEST}": "19+0x20", f"ebbmark_spool_least_bytes{INGEST}": "10+0x20"},
        {f"ebbmark_spool_free_bytes{INGEST}": "21+0x20", f"ebbmark_spool_least_bytes{INGEST}": "10+0x20"},
        15,
    ),
    "DiskAlmostFull": Case(
        {FREE + DISK: "9+0x30", SIZE + DISK: "100+0x30", READ_ONLY + DISK: "0+0x30"},
        {
            FREE + DISK: "11+0x30",
            SIZE + DISK: "100+0x30",
            READ_ONLY + DISK: "0+0x30",
            FREE + MEMORY: "1+0x30",
            SIZE + MEMORY: "100+0x30",
            READ_ONLY + MEMORY: "0+0x30",
        },
        20,
        also_quiet=({FREE + DISK: "0+0x30", SIZE + DISK: "100+0x30", READ_ONLY + DISK: "1+0x30"},),
    ),
    "DiskFillsSoon": Case(
        {FREE + DISK: "1900-8x90", SIZE + DISK: "10000+0x90", READ_ONLY + DISK: "0+0x90"},
        {FREE + DISK: "1900-1x90", SIZE + DISK: "10000+0x90", READ_ONLY + DISK: "0+0x90"},
        85,
        # A large copy onto an empty disk.
        also_quiet=({FREE + DISK: "9000-60x90", SIZE + DISK: "10000+0x90", READ_ONLY + DISK: "0+0x90"},),
    ),
}


class Fired(NamedTuple):
    """One alert as it would be told."""

    labels: dict[str, str]
    annotations: dict[str, str]


def fired(promtool: str, alert: str, series: dict[str, str], at: int, folder: Path) -> list[Fired]:
    """Return what promtool sees of the alert in that minute; nothing when it does not fire."""
    test = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "alert_rule_test": [{"eval_time": f"{at}m", "alertname": alert, "exp_alerts": []}],
            }
        ],
    }
    written = folder / "test.yml"
    written.write_text(yaml.safe_dump(test), "utf-8")
    ran = subprocess.run([promtool, "test", "rules", written], capture_output=True, text=True, check=False)
    said = ran.stdout + ran.stderr
    # That none were expected, it says by telling which it got.
    told = [
        Fired(*(dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', part)) for part in each))
        for each in re.findall(r"Labels:(\{.*\})\s+Annotations:(\{.*\})", said)
    ]
    assert bool(told) == (ran.returncode != 0), said
    return told


def test_every_alert_has_a_case() -> None:
    assert set(CASES) == set(ALERTS)


@pytest.mark.parametrize("alert", CASES)
def test_an_alert_fires_on_its_fault_and_is_quiet_without_it(
    alert: str, promtool: str, tmp_path: Path
) -> None:
    case = CASES[alert]
    for series in (case.firing, *case.also_firing):
        told = fired(promtool, alert, series, case.at, tmp_path)
        assert told, series
        for each in told:
            assert legible(alert, each.labels, each.annotations["summary"]), each
    for series in (case.quiet, *case.also_quiet):
        assert not fired(promtool, alert, series, case.at, tmp_path), series


def test_an_alert_is_not_legible_when_it_says_nothing_of_what_it_is_about() -> None:
    stuck = {"instance": "a:1", "topic": "uploads"}
    said = "4 messages of uploads wait in a:1, and none is dealt with."
    assert legible("ConsumerStuck", stuck, said)
    assert not legible("ConsumerStuck", stuck | {"instance": ""}, said.replace("a:1", ""))
    assert not legible("ConsumerStuck", {"topic": "uploads"}, said)
    assert not legible("ConsumerStuck", stuck, said.replace("4", "<no value>"))
    assert not legible("ConsumerStuck", stuck, said.replace("4", "NaN"))
    assert not legible("PipelineStuck", {"process": "worker-1"}, "Photos come in and none is rendered.")
    assert legible("PipelineStuck", {"severity": "page"}, "Photos come in and none is rendered.")


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_how_urgent_it_is_and_where_its_section_stands(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"]["runbook"] == f"docs/operating.md#{alert.lower()}"
    assert f"### {alert}\n" in MANUAL


def test_a_promise_has_a_fast_pair_of_windows_that_pages_and_a_slow_one_that_does_not() -> None:
    promises: dict[str, dict[str, str]] = {}
    for name, rule in ALERTS.items():
        if promise := rule["labels"].get("promise"):
            promises.setdefault(promise, {})[rule["labels"]["severity"]] = name
    assert set(promises) == {"accept", "accept-latency", "answer", "result", "deletion"}
    for pair in promises.values():
        fast, slow = ALERTS[pair["page"]]["expr"], ALERTS[pair["ticket"]]["expr"]
        (base,) = {each.rsplit(":", 1)[0] for each in re.findall(r"ebbmark:\w+:ratio\w+", fast + slow)}
        assert re.findall(r"ebbmark:[\w:]+ > ([\d.]+)", fast) == ["14.4", "14.4"]
        assert re.findall(r"ebbmark:[\w:]+ > ([\d.]+)", slow) == ["6", "6"]
        assert re.findall(r"ebbmark:\w+:ratio\w+", fast) == [f"{base}:ratio5m", f"{base}:ratio1h"]
        assert re.findall(r"ebbmark:\w+:ratio\w+", slow) == [f"{base}:ratio30m", f"{base}:ratio6h"]


def test_a_recorded_ratio_is_of_the_window_in_its_name() -> None:
    records = [rule for group in GROUPS for rule in group["rules"] if ":ratio" in rule.get("record", "")]
    assert len(records) == 20
    for rule in records:
        window = rule["record"].partition(":ratio")[2]
        assert set(re.findall(r"\[(\w+)\]", rule["expr"])) == {window}


def test_the_monitor_calls_a_deletion_late_when_the_alerts_do() -> None:
    (late,) = (rule for group in GROUPS for rule in group["rules"] if rule.get("record") == LATE)
    assert re.findall(r"- (\d+)", late["expr"]) == [f"{DELETION_LATE:g}"]


def test_every_rule_asks_for_metrics_there_are() -> None:
    assert metrics.LEADER
    known = {rule["record"] for group in GROUPS for rule in group["rules"] if "record" in rule}
    for family in REGISTRY.collect():
        ends = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
        known |= {family.name + end for end in ends}
    for rule in (rule for group in GROUPS for rule in group["rules"]):
        asked = set(re.findall(r"\bebbmark[_:][\w:]+", rule["expr"]))
        assert asked <= known, rule["expr"]
        assert asked or re.match(
            r"(count by \(job\) \()?up\b|node_|predict_linear\(node_|changes\(process_start_time_seconds",
            rule["expr"],
        )


def test_what_is_handed_in_is_told_from_other_requests_in_one_place() -> None:
    assert RULES.read_text("utf-8").count('method=~"POST|PUT"') == 1


def test_the_limits_of_time_that_are_promised_are_bounds_of_their_histograms() -> None:
    metrics.PHOTO_SECONDS.labels("small")  # what has labels shows its bounds once it has some
    text = RULES.read_text("utf-8")
    for histogram, bound in set(re.findall(r'(ebbmark_\w+)_bucket\{le="([\d.]+)"\}', text)):
        (family,) = (each for each in REGISTRY.collect() if each.name == histogram)
        assert bound in {sample.labels["le"] for sample in family.samples if "le" in sample.labels}


def test_rules_in_a_hurry_differ_in_their_durations_alone() -> None:
    def timeless(text: str) -> str:
        text = re.sub(r"\[\w+\]|offset \w+|(?m:^ *for: \w+$)", "T", text)
        return re.sub(r"(_seconds\) [>-] )[\d.]+", r"\1T", text)

    text = RULES.read_text("utf-8")
    hurried = scaled(text, 60)
    assert timeless(hurried) == timeless(text)
    windows = [set(re.findall(r"(?:\[|for: |offset )(\w+)", each)) for each in (text, hurried)]
    assert windows[0] == {"1m", "2m", "5m", "10m", "15m", "30m", "1h", "6h"}
    assert windows[1] == {f"{seconds}000ms" for seconds in (1, 2, 5, 10, 15, 30, 60, 360)}
    assert "- 3, 0)" in hurried
    assert "> 30\n" in hurried


def test_promtool_finds_no_fault_in_rules_in_a_hurry(promtool: str, tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(scaled(RULES.read_text("utf-8"), 60), "utf-8")
    subprocess.run([promtool, "check", "rules", tmp_path / "rules.yml"], check=True, capture_output=True)
