"""The dashboards that Grafana gets are those of the code, and each panel says what it shows."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

from loadtest.metrics import REGISTRY as LOADS
from observability import metrics
from observability.dashboards.__main__ import FOLDER, PAGES, written
from observability.dashboards.machine import KAFKA_ALONE
from observability.dashboards.panels import Page, Panel

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


def test_every_panel_has_a_unit_a_description_and_thresholds_in_grafana_too() -> None:
    for panel in drawn():
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"]


@pytest.mark.parametrize(("heading", "query"), QUERIES)
def test_a_query_looks_over_the_interval_that_grafana_chooses_or_says_which(heading: str, query: str) -> None:
    assert set(re.findall(r"\[([^\]]*)\]", query)) <= {"$__rate_interval", "30m"}, heading


@pytest.mark.parametrize(("heading", "query"), QUERIES)
def test_a_query_asks_for_metrics_there_are(heading: str, query: str) -> None:
    asked = set(re.findall(r"\b(?:ebbmark|process|node|pg|kafka)_\w+", query))
    assert asked
    if heading == KAFKA_ALONE:
        assert all(name.startswith("kafka_") for name in asked)
        return
    # What exporters show is looked at where they run.
    assert {name for name in asked if not name.startswith(EXPORTERS)} <= set(names())


def provisioned(kind: str) -> dict[str, Any]:
    (file,) = (PROVISIONING / kind).iterdir()
    return yaml.safe_load(file.read_text("utf-8"))


def test_grafana_is_provisioned_with_prometheus_and_with_every_dashboard() -> None:
    (source,) = provisioned("datasources")["datasources"]
    assert (source["type"], source["url"], source["isDefault"]) == ("prometheus", "${PROMETHEUS_URL}", True)
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
    images = Path(__file__).parents[2] / "docs" / "images"
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
