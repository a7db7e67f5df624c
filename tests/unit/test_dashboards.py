"""The dashboards that Grafana gets are those of the code, and each panel says what it shows."""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

from devstack import postgres
from ebbmark.settings import Settings, variables
from loadtest.metrics import REGISTRY as LOADS
from loadtest.verdicts import PROMISES
from observability import metrics
from observability.dashboards import bounds, door, load, overview
from observability.dashboards.__main__ import FOLDER, PAGES, written
from observability.dashboards.machine import KAFKA_ALONE
from observability.dashboards.panels import Limits, Page, Panel
from tests.unit.visits import House

ROOT = Path(__file__).parents[2]
PROVISIONING = FOLDER.parent / "provisioning"
PANELS = [
    pytest.param(page, panel, id=f"{page.uid}, {panel.title}")
    for page in PAGES
    for _, panels in page.rows
    for panel in panels
]
QUERIES = [
    pytest.param(heading, query.expr, id=f"{page.uid}, {panel.title}, {n}")
    for page in PAGES
    for heading, panels in page.rows
    for panel in panels
    for n, query in enumerate(panel.queries)
]
EXPORTERS = ("node_", "pg_")


def names() -> Iterator[str]:
    """Yield the names under which Prometheus knows what our processes and the load generator show."""
    assert metrics.LEADER
    for family in (*REGISTRY.collect(), *LOADS.collect()):
        ends = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
        yield from (family.name + end for end in ends)


def drawn() -> Iterator[dict[str, Any]]:
    """Yield the panels as Grafana gets them."""
    for page in PAGES:
        yield from (panel for panel in json.loads(written(page))["panels"] if panel["type"] != "row")


def test_what_is_committed_is_what_the_code_writes() -> None:
    kept = {path.name: path.read_text("utf-8") for path in FOLDER.iterdir()}
    assert kept == {f"{page.uid}.json": written(page) for page in PAGES}


@pytest.mark.parametrize(("page", "panel"), PANELS)
def test_a_panel_explains_itself(page: Page, panel: Panel) -> None:
    assert panel.title
    assert panel.description.endswith(".")
    assert panel.unit
    assert len([each for _, row in page.rows for each in row if each.title == panel.title]) == 1


def test_every_panel_asks_the_source_that_was_chosen() -> None:
    for panel in drawn():
        assert panel["datasource"]["uid"] == "${source}"
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${source}"}


def test_every_panel_has_a_unit_and_a_description_in_grafana_too() -> None:
    for panel in drawn():
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]


def test_every_panel_shows_where_it_is_no_longer_well_or_is_never_well_nor_ill() -> None:
    shown = [panel["fieldConfig"]["defaults"]["thresholds"]["steps"] for panel in drawn()]
    colours = [[step["color"] for step in steps] for steps in shown]
    judging = [each for each in colours if {"orange", "red"} & set(each)]
    silent = [each for each in colours if each == ["text"]]
    assert len(judging) + len(silent) == len(colours) == len(PANELS)
    assert all("green" in each for each in judging)
    unlimited = [panel for page in PAGES for _, row in page.rows for panel in row if panel.limits is None]
    assert len(silent) == len(unlimited)


@pytest.mark.parametrize(("page", "panel"), PANELS)
def test_limits_rise_from_too_little_over_well_and_warning_to_alarm(page: Page, panel: Panel) -> None:
    if panel.limits is not None:
        values = [step.value for step in panel.limits.steps()[1:]]
        assert values, page.uid
        assert values == sorted(set(values))


def test_limits_become_steps_from_the_lowest_up() -> None:
    def steps(limits: Limits) -> list[tuple[float | None, str]]:
        return [(step.value, step.color) for step in limits.steps()]

    assert steps(Limits.near(20)) == [(None, "green"), (15, "orange"), (20, "red")]
    assert steps(Limits(least=1, alarm=2)) == [(None, "red"), (1, "green"), (2, "red")]


def test_what_a_dashboard_takes_for_a_setting_is_its_default() -> None:
    defaults = Settings()
    for name, value in bounds.SETTINGS.items():
        section, key, _ = variables()[name]
        default = getattr(getattr(defaults, section), key)
        assert (default.total_seconds() if isinstance(default, timedelta) else default) == value, name


def test_postgres_has_as_many_connections_everywhere_as_the_dashboard_says() -> None:
    option = f"max_connections={bounds.MAX_CONNECTIONS}"
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
    assert option in compose["services"]["postgres"]["command"]
    assert f'"{option}"' in Path(postgres.__file__).read_text("utf-8")


def test_what_is_read_from_the_rules_is_what_they_promise() -> None:
    assert (bounds.kept("DoorFailsFast"), bounds.kept("ResultsLateFast")) == (0.999, 0.95)
    assert (bounds.ACCEPTED_WITHIN, bounds.RESULT_WITHIN, bounds.DELETION_LATE) == (1, 30, 180)


def test_the_limits_of_a_load_test_are_those_it_promises() -> None:
    limits = {panel.title: panel.limits for _, row in load.PAGE.rows for panel in row}

    def promised(shape: str, step: str) -> float:
        (limit,) = (each.limit for each in PROMISES[shape] if each.figure == f"steps.{step}.p95")
        return limit

    for title, step in (("Accepting a photo", "accept"), ("Upload → result", "done")):
        assert limits[title] == Limits(promised("steady30", step), promised("peak100", step))
    status = limits["Status and download"]
    assert status is not None
    assert status.warning == promised("peak100", "status")


@pytest.mark.parametrize(("heading", "query"), QUERIES)
def test_a_query_looks_over_the_interval_that_grafana_chooses_or_says_which(heading: str, query: str) -> None:
    assert set(re.findall(r"\[([^\]]*)\]", query)) <= {"$__rate_interval", "15m", "30m"}, heading


@pytest.mark.parametrize(("heading", "query"), QUERIES)
def test_a_query_asks_for_metrics_there_are(heading: str, query: str) -> None:
    computed = set(re.findall(r"\bebbmark:[\w:]+", query))
    asked = set(re.findall(r"\b(?:ebbmark|process|node|pg|kafka)_\w+", query))
    assert asked | computed
    assert computed <= recorded()
    if heading == KAFKA_ALONE:
        assert all(name.startswith("kafka_") for name in asked)
        return
    # What exporters show is looked at where they run.
    assert {name for name in asked if not name.startswith(EXPORTERS)} <= set(names())


def recorded() -> set[str]:
    """Return the names that rules give to what they compute."""
    rules = yaml.safe_load((FOLDER.parents[1] / "prometheus" / "rules.yml").read_text("utf-8"))
    return {rule["record"] for group in rules["groups"] for rule in group["rules"] if "record" in rule}


def test_overview_shows_every_promise_and_how_fast_its_budget_goes() -> None:
    asked = " ".join(query.expr for _, row in overview.PAGE.rows for panel in row for query in panel.queries)
    promises = {name.split(":")[1] for name in recorded() if ":ratio" in name}
    assert len(promises) == 5
    for promise in promises:
        assert f"1 - ebbmark:{promise}:ratio30m" in asked
        assert f"ebbmark:{promise}:ratio1h / " in asked
    assert (bounds.pace("DoorFailsSlowly"), bounds.pace("DoorFailsFast")) == (6, 14.4)
    assert bounds.budget("ResultsLateFast") == 0.05


def test_the_time_of_answers_is_not_that_of_event_streams() -> None:
    (excluded,) = re.findall(r"route!~'([^']+)'", json.dumps(written(door.PAGE)))
    routes = [route.path_format for route in House().app.routes]
    streams = [route for route in routes if re.fullmatch(excluded, route)]
    assert streams == ["/jobs/{public_id}/events"]


def test_quantiles_of_what_leads_to_a_trace_show_where_one_took_so_long() -> None:
    traced = {
        (panel["title"], histogram)
        for panel in drawn()
        for target in panel["targets"]
        if target.get("exemplar")
        for histogram in re.findall(r"(\w+)_bucket", target["expr"])
    }
    assert traced == {
        ("Upload → result", "ebbmark_photo_seconds"),
        ("Upload → result, by size", "ebbmark_photo_seconds"),
        ("Wait for a worker, by lane", "ebbmark_queue_seconds"),
        ("Last byte → acceptance", "ebbmark_accept_seconds"),
    }
    for panel in drawn():
        assert sum(bool(target.get("exemplar")) for target in panel["targets"]) <= 1


UNSHOWN = {
    "ebbmark_audit_objects": "their bytes are",
    "ebbmark_children_busy": "of now, for the monitor; over time it is a share of their seconds",
    "ebbmark_delivery_seconds": "it is the receiver's time; what it costs is the age of what is not told",
    "ebbmark_messages_dead_in_a_row": "what is dead is; the brake stops a process before a scrape sees why",
    "ebbmark_spans_total": "of use when traces do not arrive, and then by its two numbers",
}
"""Metrics on no dashboard, and why."""


def test_every_metric_is_on_a_dashboard_or_it_is_said_why_not() -> None:
    asked = " ".join(target["expr"] for panel in drawn() for target in panel["targets"])
    families = {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in names()}
    unshown = {
        name
        for name in families
        if name.startswith("ebbmark_")
        and not name.startswith("ebbmark_load_")
        and not re.search(rf"\b{name}(_bucket|_sum|_count)?\b", asked)
    }
    assert unshown == UNSHOWN.keys()


def provisioned(kind: str) -> dict[str, Any]:
    (file,) = (PROVISIONING / kind).iterdir()
    return yaml.safe_load(file.read_text("utf-8"))


def test_grafana_is_provisioned_with_prometheus_and_with_every_dashboard() -> None:
    (source,) = provisioned("datasources")["datasources"]
    assert (source["type"], source["url"], source["isDefault"]) == ("prometheus", "${PROMETHEUS_URL}", True)
    (traces,) = source["jsonData"]["exemplarTraceIdDestinations"]
    assert (traces["name"], traces["url"]) == ("trace_id", "${TRACE_PAGE}")
    (provider,) = provisioned("dashboards")["providers"]
    assert provider["options"] == {"path": "${DASHBOARDS}"}
    assert provider["allowUiUpdates"] is False
    assert {path.name for path in PROVISIONING.iterdir()} == {"datasources", "dashboards"}


def test_grafana_knows_how_often_prometheus_scrapes() -> None:
    (source,) = provisioned("datasources")["datasources"]
    for name in ("prometheus.yml", "compose.yml"):
        config = yaml.safe_load((Path(FOLDER).parents[1] / "prometheus" / name).read_text("utf-8"))
        assert config["global"]["scrape_interval"] == source["jsonData"]["timeInterval"]


def test_the_picture_of_every_dashboard_is_among_those_of_the_manual() -> None:
    images = ROOT / "docs" / "images"
    manual = (images.parent / "operating.md").read_text("utf-8")
    drawings = {f"dashboard-{page.uid.removeprefix('ebbmark-')}.png" for page in PAGES}
    assert {path.name for path in images.glob("dashboard-*")} == drawings
    assert all(f"images/{name}" in manual for name in drawings)
    assert all((images / name).stat().st_size < 200_000 for name in drawings)


def test_the_help_of_every_metric_says_what_to_do_when_it_moves() -> None:
    assert metrics.LEADER
    ours = [family for family in REGISTRY.collect() if family.name.startswith("ebbmark_")]
    assert len(ours) > 60
    # What it is, and then: what is seen, a colon, what to do.
    silent = [
        each.name
        for each in ours
        if not re.search(r"\. \S[^:]*: \S|\. .* names what to mend", each.documentation)
    ]
    assert silent == []
