"""Prometheus and Alertmanager as they are shipped, in a hurry: every duration is a fixed part of itself."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from devstack import alertmanager, prometheus, records
from devstack.halt import Halt
from devstack.process import Process
from tests.people import eventually
from tests.system import System

FACTOR = 60
"""An hour is a minute, and five minutes are five seconds."""
_OBSERVABILITY = Path(__file__).parents[1] / "observability"
_MS = {"s": 1000, "m": 60_000, "h": 3_600_000}
_LOOKS = {"scrape_interval: 5s": "500ms", "evaluation_interval: 15s": "500ms"}
"""Looks more often than these cost too much; they are no part of what an alert says."""


def scaled(text: str, factor: int) -> str:
    """Return rules, or routes, whose durations are all shorter by that: windows, waits, limits of seconds."""

    def shorter(number: str, unit: str) -> str:
        return f"{int(number) * _MS[unit] // factor}ms"

    text = re.sub(r"\[(\d+)([smh])\]", lambda found: f"[{shorter(*found.groups())}]", text)
    text = re.sub(r"offset (\d+)([smh])", lambda found: f"offset {shorter(*found.groups())}", text)
    text = re.sub(r"(?m)^( *\w+: )(\d+)([smh])$", lambda found: found[1] + shorter(found[2], found[3]), text)
    return re.sub(r"(_seconds\) [>-] )(\d+)", lambda found: f"{found[1]}{int(found[2]) / factor:g}", text)


class Watchtower:
    """Sees what fires, and what has arrived at the Alertmanager."""

    def __init__(self, metrics: httpx.Client, alerts: httpx.Client, targets: Path) -> None:
        self.targets = targets
        """The file in which Prometheus finds whom to look at, read again whenever it changes."""
        self._metrics = metrics
        self._alerts = alerts

    def firing(self) -> set[str]:
        """Return the alerts that Prometheus finds firing."""
        return self._in("firing")

    def pending(self) -> set[str]:
        """Return those that will fire if it goes on."""
        return self._in("pending")

    def _in(self, state: str) -> set[str]:
        answer = self._metrics.get("/api/v1/alerts").raise_for_status().json()
        return {each["labels"]["alertname"] for each in answer["data"]["alerts"] if each["state"] == state}

    def arrived(self) -> set[str]:
        """Return the alerts that the Alertmanager knows and has not been told the end of."""
        answer = self._alerts.get("/api/v2/alerts").raise_for_status().json()
        return {each["labels"]["alertname"] for each in answer}

    def series(self, query: str) -> list[dict[str, Any]]:
        """Return the answer to a query."""
        answer = self._metrics.get("/api/v1/query", params={"query": query})
        return answer.raise_for_status().json()["data"]["result"]


@contextmanager
def watching(system: System, folder: Path, told: str) -> Iterator[Watchtower]:
    """Have the running system watched; `told` is the address that hears of alerts."""
    programs = prometheus.binary(), alertmanager.binary()
    assert all(programs), "Prometheus and Alertmanager are not installed"
    ports = system.stack.choose_ports(["tower-prometheus", "tower-alertmanager"])
    ports = {"prometheus": ports["tower-prometheus"], "alertmanager": ports["tower-alertmanager"]}
    config = _hurried(folder)
    data = folder / "prometheus"
    data.mkdir()
    groups = json.loads((system.stack.data / "prometheus" / "targets.json").read_text("utf-8"))
    # Exporters are no business of these alerts, and cost a lot when they are asked so often.
    ours = [group for group in groups if group["labels"]["process"] in system.processes]
    (data / "targets.json").write_text(json.dumps(ours), "utf-8")
    log = folder / "log"
    watcher = prometheus.prepare(
        data, log, ports, Halt(), program=str(programs[0]), config=config / "prometheus.yml"
    )
    teller = alertmanager.prepare(
        folder / "alertmanager",
        log,
        ports,
        Halt(),
        program=str(programs[1]),
        config=config / "alertmanager.yml",
        address=told,
    )
    with ExitStack() as leaving:
        _started(watcher, lambda: prometheus.ready(ports), leaving)
        _started(teller, lambda: alertmanager.ready(ports), leaving)
        clients = [
            leaving.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{ports[name]}", timeout=20))
            for name in ("prometheus", "alertmanager")
        ]
        yield Watchtower(*clients, data / "targets.json")


@contextmanager
def unfound(tower: Watchtower, process: str) -> Iterator[None]:
    """Prometheus does not find a process, as one in a container that is gone."""
    found = json.loads(tower.targets.read_text("utf-8"))
    records.write(tower.targets, [each for each in found if each["labels"]["process"] != process])
    try:
        yield
    finally:
        records.write(tower.targets, found)


def _hurried(folder: Path) -> Path:
    """Write the configurations as they are shipped, with shorter durations, and return their folder."""
    written = folder / "hurried"
    written.mkdir()
    rules, routes = (
        (_OBSERVABILITY / name).read_text("utf-8")
        for name in ("prometheus/rules.yml", "alertmanager/alertmanager.yml")
    )
    (written / "rules.yml").write_text(scaled(rules, FACTOR), "utf-8")
    (written / "alertmanager.yml").write_text(scaled(routes, FACTOR), "utf-8")
    text = (_OBSERVABILITY / "prometheus" / "prometheus.yml").read_text("utf-8")
    for shipped, hurried in _LOOKS.items():
        assert shipped in text
        text = text.replace(shipped, f"{shipped.partition(':')[0]}: {hurried}")
    (written / "prometheus.yml").write_text(text, "utf-8")
    return written


def _started(process: Process, ready: Callable[[], bool], leaving: ExitStack) -> None:
    process.start()
    leaving.callback(process.stop)
    eventually(ready, bool)


def alerts() -> dict[str, Any]:
    """Return every alert that is shipped, by name."""
    text = (_OBSERVABILITY / "prometheus" / "rules.yml").read_text("utf-8")
    rules = [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
    return {rule["alert"]: rule for rule in rules if "alert" in rule}


def legible(alert: str, labels: Mapping[str, str], summary: str) -> bool:
    """Return whether a summary is its rule's, with all it wants to name, and names what it is about."""
    rule = alerts()[alert]
    pattern = ""
    for place, part in enumerate(re.split(r"\{\{(.+?)\}\}", rule["annotations"]["summary"])):
        name = re.fullmatch(r" \$labels\.(\w+) ", part) if place % 2 else None
        if name is not None and not labels.get(name[1]):
            return False
        if name is not None:
            pattern += re.escape(labels[name[1]])
        else:
            pattern += r"\d[\w.%]*( \w+)*?" if place % 2 else re.escape(part)
    own = {value for name, value in labels.items() if name not in {"alertname", "job", *rule["labels"]}}
    return re.fullmatch(pattern, summary) is not None and (not own or any(each in summary for each in own))
