"""Prometheus finds every process, in containers and on the local stack, under the same labels."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from devstack import prometheus
from devstack.halt import Halt
from loadtest.metrics import PORT as LOAD_PORT

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "observability" / "prometheus"
LOCAL, CONTAINERS = FOLDER / "prometheus.yml", FOLDER / "compose.yml"
KINDS = {"ingest", "worker", "janitor"}
EXPORTERS = {"node": "node-exporter", "postgres": "postgres-exporter", "kafka": "kafka-exporter"}


def jobs(config: Path) -> dict[str, dict[str, Any]]:
    return {job["job_name"]: job for job in yaml.safe_load(config.read_text("utf-8"))["scrape_configs"]}


@pytest.mark.parametrize("config", [LOCAL, CONTAINERS], ids=lambda path: path.stem)
def test_promtool_finds_no_fault(config: Path, promtool: str, tmp_path: Path) -> None:
    prometheus.write_targets(tmp_path, {"ingest": "127.0.0.1:8000"})
    # Next to the others, as rules are named relative to it.
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    copy = tmp_path / config.name
    text = config.read_text("utf-8").replace("ALERTMANAGERS_FILE", str(tmp_path / "targets.json"))
    copy.write_text(text.replace("TARGETS_FILE", str(tmp_path / "targets.json")), "utf-8")
    checked = subprocess.run([promtool, "check", "config", copy], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "WARNING" not in checked.stdout + checked.stderr


def test_the_local_stack_is_scraped_from_the_file_that_it_writes() -> None:
    assert jobs(LOCAL)["ebbmark"]["file_sd_configs"][0]["files"] == ["TARGETS_FILE"]


def test_each_tells_its_alertmanager(tmp_path: Path) -> None:
    def told(config: Path) -> dict[str, Any]:
        (only,) = yaml.safe_load(config.read_text("utf-8"))["alerting"]["alertmanagers"]
        return only

    assert told(CONTAINERS) == {"static_configs": [{"targets": ["alertmanager:9093"]}]}
    for ports, targets in (({}, []), ({"alertmanager": 2}, [{"targets": ["127.0.0.1:2"]}])):
        prometheus.prepare(
            tmp_path, tmp_path / "log", {"prometheus": 1, **ports}, Halt(), program="any", config=LOCAL
        )
        (file,) = told(tmp_path / "prometheus.yml")["file_sd_configs"][0]["files"]
        assert json.loads(Path(file).read_text("utf-8")) == targets


def test_the_local_stack_scrapes_the_load_generator_where_it_serves_its_metrics() -> None:
    (group,) = jobs(LOCAL)["loadtest"]["static_configs"]
    assert group == {"targets": [f"127.0.0.1:{LOAD_PORT}"], "labels": {"process": "loadtest"}}


def test_nobody_is_paged_when_no_load_test_runs_or_an_exporter_is_down() -> None:
    groups = yaml.safe_load((FOLDER / "rules.yml").read_text("utf-8"))["groups"]
    asked = [
        each
        for group in groups
        for rule in group["rules"]
        for each in re.findall(r"\bup\b(?:\{.*?\})?", rule["expr"])
    ]
    assert asked == ['up{job=~"ingest|worker|janitor"}'] * 3


def test_every_kind_of_process_is_scraped_in_containers() -> None:
    assert set(jobs(CONTAINERS)) == KINDS | EXPORTERS.keys()


@pytest.mark.parametrize("kind", EXPORTERS)
def test_every_exporter_is_scraped_where_its_health_is_asked_for(kind: str) -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))["services"]
    ((target,),) = [group["targets"] for group in jobs(CONTAINERS)[kind]["static_configs"]]
    name, _, port = target.partition(":")
    assert name == EXPORTERS[kind]
    assert f":{port}/" in services[name]["healthcheck"]["test"][-1]
    (group,) = jobs(CONTAINERS)[kind]["static_configs"]
    assert group["labels"] == {"process": kind}


def test_every_worker_is_found_by_its_address() -> None:
    worker = jobs(CONTAINERS)["worker"]
    assert worker["dns_sd_configs"][0]["names"] == ["worker"]
    assert worker["dns_sd_configs"][0]["type"] == "A"
    port = worker["dns_sd_configs"][0]["port"]
    assert worker["static_configs"] == [{"targets": [f"notifier:{port}"]}]


def test_the_ports_are_those_where_the_containers_serve_metrics() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))["services"]
    port = {
        "ingest": services["ingest"]["environment"]["EBBMARK_HTTP_PORT"],
        "worker": services["worker"]["environment"]["EBBMARK_WORKER_METRICS_PORT"],
        "janitor": services["janitor"]["environment"]["EBBMARK_JANITOR_METRICS_PORT"],
    }
    found = jobs(CONTAINERS)
    assert str(found["worker"]["dns_sd_configs"][0]["port"]) == port["worker"]
    for kind in ("ingest", "janitor"):
        assert found[kind]["static_configs"][0]["targets"] == [f"{kind}:{port[kind]}"]


def test_both_give_a_target_the_labels_job_and_process(tmp_path: Path) -> None:
    prometheus.write_targets(tmp_path, {"ingest": 1, "worker-1": 2, "janitor": 3})
    local = [group["labels"] for group in json.loads((tmp_path / "targets.json").read_text("utf-8"))]
    assert {labels["job"] for labels in local} == KINDS
    assert all(set(labels) == {"job", "process"} for labels in local)
    found = jobs(CONTAINERS)
    for kind in ("ingest", "janitor"):
        assert found[kind]["static_configs"][0]["labels"] == {"process": kind}
    (relabelled,) = found["worker"]["relabel_configs"]
    assert relabelled["target_label"] == "process"
