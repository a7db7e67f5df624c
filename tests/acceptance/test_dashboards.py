"""Every query of every dashboard has an answer from a Prometheus that watched the real system at work."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.people import Person, photo
from tests.system import System

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "observability" / "grafana" / "dashboards").glob("*.json"))
PATIENCE = 90.0
WINDOW = "1m"
"""What Grafana makes of `$__rate_interval` when every process is scraped each 5 s and a minute is shown."""


def queries() -> Iterator[tuple[str, str]]:
    """Yield where each query of a panel stands, and the query as Grafana sends it."""
    for page in PAGES:
        for panel in json.loads(page.read_text("utf-8"))["panels"]:
            for target in panel.get("targets", []):
                where = f"{page.stem}, {panel['title']}, {target['refId']}"
                yield where, target["expr"].replace("$__rate_interval", WINDOW)


def answered(client: httpx.Client, query: str) -> list[dict[str, Any]]:
    """Return the series of the query that have a number now."""
    answer = client.get("/api/v1/query", params={"query": query}).raise_for_status().json()["data"]["result"]
    return [series for series in answer if series["value"][1] != "NaN"]


def test_every_query_of_every_panel_has_an_answer(watched: httpx.Client, running_system: System) -> None:
    assert PAGES
    waiting = dict(queries())
    assert len(waiting) > 30
    deadline = time.monotonic() + PATIENCE
    with Person(running_system.base_url) as ann:
        while waiting and time.monotonic() < deadline:
            job = ann.send([("a.jpg", photo()), ("b.jpg", b"no photo"), ("c.png", photo(seed=1))])
            ann.wait_until_complete(job)
            ann.archive(job)
            time.sleep(1)
            waiting = {where: query for where, query in waiting.items() if not answered(watched, query)}
    assert not waiting


def test_the_numbers_are_those_of_the_system(watched: httpx.Client, running_system: System) -> None:
    (page,) = (each for each in PAGES if each.stem == "ebbmark-overview")
    panels = {panel["title"]: panel for panel in json.loads(page.read_text("utf-8"))["panels"]}

    def shown(title: str) -> float:
        (series,) = answered(watched, panels[title]["targets"][0]["expr"])
        return float(series["value"][1])

    assert shown("Leaders") == 1
    assert shown("Requests answered well") == 1
    assert shown("Audit findings") == 0
    assert running_system.processes["janitor"].exit_code is None
