"""The dashboards that Grafana gets are those of the code, and each panel says what it shows."""

import json
import re
from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY

from observability import metrics
from observability.dashboards.__main__ import FOLDER, PAGES, written
from observability.dashboards.panels import Page, Panel

PANELS = [
    pytest.param(page, panel, id=f"{page.uid}, {panel.title}")
    for page in PAGES
    for _, panels in page.rows
    for panel in panels
]


def names() -> Iterator[str]:
    """Yield the names under which Prometheus knows what our processes show."""
    assert metrics.LEADER
    for family in REGISTRY.collect():
        ends = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
        yield from (family.name + end for end in ends)


def test_what_is_committed_is_what_the_code_writes() -> None:
    kept = {path.name: path.read_text("utf-8") for path in FOLDER.iterdir()}
    assert kept == {f"{page.uid}.json": written(page) for page in PAGES}


@pytest.mark.parametrize(("page", "panel"), PANELS)
def test_a_panel_explains_itself(page: Page, panel: Panel) -> None:
    assert panel.title
    assert panel.description.endswith(".")
    assert panel.unit
    assert len({each.title for _, row in page.rows for each in row if each.title == panel.title}) == 1


def test_every_panel_asks_the_source_that_was_chosen() -> None:
    for page in PAGES:
        for panel in json.loads(written(page))["panels"]:
            if panel["type"] != "row":
                assert panel["datasource"]["uid"] == "${source}"
                assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"]


def test_every_panel_asks_for_metrics_there_are() -> None:
    known = set(names())
    for page in PAGES:
        for _, panels in page.rows:
            for query in (query for panel in panels for query in panel.queries):
                asked = set(re.findall(r"\b(?:ebbmark|process)_\w+", query.expr))
                assert asked, query.expr
                assert asked <= known, query.expr
