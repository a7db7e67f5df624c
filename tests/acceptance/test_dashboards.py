"""Every panel and every rule has an answer from a Prometheus that watched the real system under load."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPMethod, HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from confluent_kafka import Producer
from PIL import Image

from devstack import exporters
from ebbmark.imaging.operation import catalogue
from ebbmark.ledger.postgres import QUERIES
from ebbmark.store import S3Store
from ebbmark.topics import DEAD_LETTERS, TOPICS
from janitor.audit import KINDS
from loadtest import metrics as load
from loadtest.shapes import SHAPES
from observability.dashboards.machine import KAFKA_ALONE
from tests.conftest import missing
from tests.people import Person, eventually, photo
from tests.system import System
from tests.unit.visits import House

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "observability" / "grafana" / "dashboards").glob("*.json"))
RULES = ROOT / "observability" / "prometheus" / "rules.yml"
PATIENCE = 150.0
WINDOW = "1m"
"""What Grafana makes of `$__rate_interval` when every process is scraped each 5 s and a minute is shown."""
COMPARISON = re.compile(r"==|!=|>=|<=|>|<")

pytestmark = pytest.mark.timeout(400)


def queries() -> Iterator[tuple[str, str]]:
    """Yield where each query of a panel stands, and the query as Grafana sends it."""
    for page in PAGES:
        row = ""
        for panel in json.loads(page.read_text("utf-8"))["panels"]:
            row = panel["title"] if panel["type"] == "row" else row
            if row != KAFKA_ALONE:
                for target in panel.get("targets", []):
                    where = f"{page.stem}, {panel['title']}, {target['refId']}"
                    yield where, target["expr"].replace("$__rate_interval", WINDOW)


def rules() -> Iterator[tuple[str, str]]:
    """Yield the name of each rule, and its expression, with an answer whether it holds or not."""
    for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"]:
        for rule in group["rules"]:
            # What takes the other side away, when it has an answer, is asked for by itself.
            for place, side in enumerate(re.split(r"\bunless on \([^)]*\)", rule["expr"])):
                parts = re.split(r"(\{[^}]*\})", side)  # labels are compared, too, within braces
                yield (
                    f"rule {rule.get('alert') or rule['record']}, side {place}",
                    "".join(p if p.startswith("{") else COMPARISON.sub(r"\g<0> bool ", p) for p in parts),
                )


def answered(client: httpx.Client, query: str) -> list[dict[str, Any]]:
    """Return the series of the query that have a number now."""
    answer = client.get("/api/v1/query", params={"query": query}).raise_for_status().json()["data"]["result"]
    return [series for series in answer if series["value"][1] != "NaN"]


@contextmanager
def loading(url: str, port: int, folder: Path) -> Iterator[None]:
    """Put a load on the system that looks, polls and downloads, for as long as it takes."""
    shape = ("peak100", "--rate", "3", "--seconds", str(int(2 * PATIENCE)))
    where = ["--url", url, "--out", folder / "kept", "--corpus", folder / "corpus", "--metrics-port", port]
    command = [sys.executable, "-m", "loadtest", "run", *shape, *map(str, where)]
    with (folder / "load.log").open("wb") as log:
        running = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield
        assert running.poll() is None, (folder / "load.log").read_text("utf-8")
    finally:
        running.terminate()
        try:
            running.wait(60)
        finally:
            running.kill()


def test_every_query_of_every_panel_and_rule_has_an_answer(
    watched: httpx.Client, running_system: System, load_port: int, tmp_path: Path
) -> None:
    if set(exporters.present()) != set(exporters.TARGETS):
        missing("an exporter is not installed")
    asked = {**dict(queries()), **dict(rules())}
    assert len(PAGES) == 6
    assert len(asked) > 110
    waiting = dict(asked)
    deadline = time.monotonic() + PATIENCE
    with Person(running_system.base_url) as ann, loading(running_system.base_url, load_port, tmp_path):
        while waiting and time.monotonic() < deadline:
            job = ann.send([("a.jpg", photo()), ("b.jpg", b"no photo"), ("c.png", photo(seed=1))])
            ann.wait_until_complete(job)
            ann.archive(job)
            ann.post([("a.jpg", photo())], path="/preview", operations="grayscale").raise_for_status()
            ann.http.delete(job).raise_for_status()
            time.sleep(1)
            waiting = {where: query for where, query in waiting.items() if not answered(watched, query)}
        assert not waiting
        pictures = drawn(str(watched.base_url), tmp_path)
        # What the load generator shows is gone from Prometheus as soon as it is.
        assert out_of_bounds(watched, 'job="loadtest"', LOAD) == []
    assert {path.stem for path in pictures} == {path.stem.replace("ebbmark-", "dashboard-") for path in PAGES}
    for picture in pictures:
        assert picture.stat().st_size < 200_000
        with Image.open(picture) as image:
            assert image.width == 1440
            assert len(image.convert("RGB").getcolors(1 << 24) or ()) > 8, "there is something on it"


def drawn(prometheus: str, folder: Path) -> list[Path]:
    """Return the pictures that the documentation's command makes of the last two minutes."""
    where = ("--prometheus", prometheus, "--minutes", "2", "--out", str(folder))
    subprocess.run([sys.executable, ROOT / "docs" / "panels.py", *where], cwd=ROOT, check=True)
    return sorted(folder.glob("dashboard-*.png"))


def test_the_numbers_are_those_of_the_system(watched: httpx.Client, running_system: System) -> None:
    (page,) = (each for each in PAGES if each.stem == "ebbmark-overview")
    panels = {panel["title"]: panel for panel in json.loads(page.read_text("utf-8"))["panels"]}

    def shown(title: str) -> float:
        query = panels[title]["targets"][0]["expr"]
        (series,) = eventually(lambda: answered(watched, query), bool)
        return float(series["value"][1])

    assert shown("Leaders") == 1
    assert shown("Requests answered well") == 1
    assert shown("Audit findings") == 0
    assert running_system.processes["janitor"].exit_code is None


# Labels

CODES = {
    *re.findall(r"^\| `([a-z-]+)` \|", (ROOT / "docs" / "errors.md").read_text("utf-8"), re.MULTILINE),
}
OPERATIONS = set(catalogue())
LEDGER_CALLS = {"report", "release"}
"""What the renderer tries again besides publishing, told under `topic`."""
SWEEP = {"end_leases", "give_up", "redispatch", "announce", "expire", "tell", "letters", "forget"}
EVERYWHERE = {
    "job": {"ingest", "worker", "janitor", "loadtest"},
    "process": {"ingest", "worker-1", "worker-2", "janitor", "loadtest"},
    "generation": {"0", "1", "2"},
    "implementation": {"CPython"},
    "major": {"3"},
}
OURS: dict[str, set[str]] = EVERYWHERE | {
    "route": {"unrouted", *(path for each in House().app.routes for path in (each.path, each.path_format))},
    "method": {*HTTPMethod, "other"},
    "status": {str(status.value) for status in HTTPStatus} | {"499"},
    "code": CODES,
    "topic": {topic.name for topic in TOPICS} | LEDGER_CALLS,
    "agent": {
        *("planner", "renderer-express", "renderer-bulk", "projector", "notifier"),
        *("janitor", "dead-letters"),
    },
    "outcome": {"handled", "dead", "ok", "unavailable", "failed", "made", "sent", "delivered"},
    "reason": {"timeout", "died", "failed", "broken", "child", "dependency", "stop", "deadline", "poison"}
    | CODES,
    "stage": {"claim", "fetch", "render", "store", "report"},
    "size": {"small", "medium", "large"},
    "lane": {"express", "bulk"},
    "step": {"decode", "encode", "thumbnail"} | OPERATIONS | SWEEP,
    "direction": {"in", "out"},
    "state": {"busy", "idle"},
    "kind": set(KINDS),
    "statement": set(QUERIES),
    "call": {name.strip("_") for name in vars(S3Store)},
}
LOAD: dict[str, set[str]] = EVERYWHERE | {
    "shape": set(SHAPES),
    "loop": {"open", "closed"},
    "request": set(load.REQUESTS),
    "outcome": set(load.OUTCOMES),
    "reason": {*load.REASONS, *load.WRONGS},
    "step": set(load.STEPS),
}
NUMBERS = {"le", "minor", "patchlevel", "version"}
"""Limits of histograms, which the code has, and the parts of Python's version."""
NAMES = {"__name__", "instance"}
"""Names of metrics, which the code has, and addresses of processes, which Prometheus was given."""


def out_of_bounds(client: httpx.Client, selector: str, bounds: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Return the labels of all series there ever were that have a value they must not have."""
    told = client.get("/api/v1/series", params={"match[]": f"{{{selector}}}"}).raise_for_status().json()
    assert len(told["data"]) > 50
    wrong: set[tuple[str, str]] = set()
    for series in told["data"]:
        for label, value in series.items():
            if label in NUMBERS:
                known = re.fullmatch(r"\+Inf|[\d.e+-]+", value) is not None
            else:
                known = label in NAMES or value in bounds.get(label, ())
            if not known:
                wrong.add((f"{series['__name__']}: {label}", value))
    return sorted(wrong)


def test_no_label_has_a_value_that_somebody_sent(watched: httpx.Client, running_system: System) -> None:
    told = "c0ffee-of-ann"
    kafka = running_system.settings.kafka
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "log_level": 2})
    for topic in TOPICS:
        producer.produce(kafka.prefix + topic.name, told.encode(), told)
    assert producer.flush(20) == 0
    with Person(running_system.base_url) as ann:
        for method, path in (("GET", f"/{told}"), ("BREW", "/upload"), ("GET", f"/jobs/{told}")):
            ann.http.request(method, path, headers={"x-filename": told, "idempotency-key": told * 2})
        ann.post([(f"{told}.jpg", photo())], operations=told)
        ann.post([(f"{told}.jpg", photo())], recipe=json.dumps({"operations": [{"operation": told}]}))
        job = ann.send(
            [(f"{told}.jpg", photo()), (f"{told}.png", b"no photo")], operations="watermark", text=told
        )
        ann.wait_until_complete(job)
        seen = f'ebbmark_messages_total{{topic="{DEAD_LETTERS.name}",outcome="dead"}} > 0'
        eventually(lambda: answered(watched, seen), bool)
    assert out_of_bounds(watched, 'job=~"ingest|worker|janitor"', OURS) == []
