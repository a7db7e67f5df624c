"""Every alert fires on what it is for and on nothing else, and its section says what to do."""

import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RULES = ROOT / "observability" / "prometheus" / "rules.yml"
MANUAL = (ROOT / "docs" / "operating.md").read_text("utf-8")
GROUPS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}

OK = 'ebbmark_http_requests_total{status="200"}'
BAD = 'ebbmark_http_requests_total{status="503"}'
ALL, SOON = "ebbmark_photo_seconds_count", 'ebbmark_photo_seconds_bucket{le="30.0"}'
ACCEPTED, RENDERED = "ebbmark_photos_accepted_total", "ebbmark_photos_rendered_total"
APPLIED = "ebbmark_outcomes_applied_total"


class Case(NamedTuple):
    """Series by name, as promtool spells their values a minute apart, and the minute to look at."""

    firing: dict[str, str]
    quiet: dict[str, str]
    at: int


CASES = {
    "DoorFailsFast": Case(
        {OK: "0+980x90", BAD: "0+20x90"},
        # What lasted five minutes is over, and an hour remembers it.
        {OK: "0+980x90", BAD: "0+0x20 200x90"},
        80,
    ),
    "DoorFailsSlowly": Case({OK: "0+990x400", BAD: "0+10x400"}, {OK: "0+999x400", BAD: "0+1x400"}, 390),
    "ResultsLate": Case({ALL: "0+100x90", SOON: "0+60x90"}, {ALL: "0+100x90", SOON: "0+75x90"}, 80),
    "DeletionOverdue": Case(
        {"ebbmark_expiry_overdue_seconds": "301+0x10"}, {"ebbmark_expiry_overdue_seconds": "299+0x10"}, 5
    ),
    "AuditFindings": Case(
        {'ebbmark_audit_findings{kind="orphan"}': "1+0x10"},
        {'ebbmark_audit_findings{kind="orphan"}': "0+0x10"},
        5,
    ),
    "PipelineStuck": Case(
        {ACCEPTED: "0+5x30", RENDERED: "7+0x30", APPLIED: "7+0x30"},
        {ACCEPTED: "0+5x30", RENDERED: "7+1x30", APPLIED: "7+1x30"},
        20,
    ),
    "BacklogGrows": Case(
        {ACCEPTED: "0+30x60", APPLIED: "0+20x60"}, {ACCEPTED: "0+30x60", APPLIED: "0+28x60"}, 45
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
        {'up{job="worker",process="worker-1"}': "0+0x10"},
        {
            'up{job="worker",process="worker-1"}': "0 1+0x10",
            'up{job="loadtest",process="loadtest"}': "0+0x10",
            'up{job="node",process="node"}': "0+0x10",
        },
        5,
    ),
    "NoLeader": Case(
        {'ebbmark_janitor_leader{process="a"}': "0+0x10"},
        {'ebbmark_janitor_leader{process="a"}': "1+0x10", 'ebbmark_janitor_leader{process="b"}': "0+0x10"},
        5,
    ),
    "AuditsMissing": Case(
        {"ebbmark_audit_timestamp_seconds": "0+0x90"}, {"ebbmark_audit_timestamp_seconds": "0+60x90"}, 60
    ),
    "DependencyFails": Case(
        {"ebbmark_ledger_faults_total": "0+10x20", "ebbmark_store_faults_total": "0+0x20"},
        {"ebbmark_ledger_faults_total": "0+1x20", "ebbmark_store_faults_total": "0+1x20"},
        10,
    ),
    "DiskFull": Case(
        {'ebbmark_uploads_refused_total{code="storage-full"}': "0+1x20"},
        {
            'ebbmark_uploads_refused_total{code="storage-full"}': "4+0x20",
            'ebbmark_uploads_refused_total{code="too-many-jobs"}': "0+9x20",
        },
        10,
    ),
}


def fires(promtool: str, alert: str, series: dict[str, str], at: int, folder: Path) -> bool:
    """Whether promtool sees the alert fire in that minute."""
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
    assert ran.returncode == 0 or "got:[" in re.sub(r"\s", "", said), said
    return ran.returncode != 0


def test_every_alert_has_a_case() -> None:
    assert set(CASES) == set(ALERTS)


@pytest.mark.parametrize("alert", CASES)
def test_an_alert_fires_on_its_fault_and_is_quiet_without_it(
    alert: str, promtool: str, tmp_path: Path
) -> None:
    case = CASES[alert]
    assert fires(promtool, alert, case.firing, case.at, tmp_path)
    assert not fires(promtool, alert, case.quiet, case.at, tmp_path)


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_how_urgent_it_is_and_where_its_section_stands(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"]["runbook"] == f"docs/operating.md#{alert.lower()}"
    assert f"### {alert}\n" in MANUAL
