"""Prometheus, when the machine has one."""

import json
import os
import shutil
from pathlib import Path

from devstack.ports import HOST, answers
from devstack.process import Process

PORTS = ("prometheus",)


def binary() -> str | None:
    """Return the program to run, if there is one."""
    return os.environ.get("EBBMARK_PROMETHEUS_BIN") or shutil.which("prometheus")


def prepare(data: Path, log: Path, ports: dict[str, int], *, program: str, config: Path) -> Process:
    """Return the server; it reads its targets from a file beside the data."""
    data.mkdir(parents=True, exist_ok=True)
    text = config.read_text("utf-8").replace("TARGETS_FILE", str(data / "targets.json"))
    (data / "prometheus.yml").write_text(text, "utf-8")
    command = [
        program,
        f"--config.file={data / 'prometheus.yml'}",
        f"--storage.tsdb.path={data / 'tsdb'}",
        "--storage.tsdb.retention.time=2d",
        f"--web.listen-address={HOST}:{ports['prometheus']}",
        "--log.level=warn",
    ]
    return Process("prometheus", command, log=log, stop_within=5)


def write_targets(data: Path, targets: dict[str, int]) -> None:
    """Tell Prometheus where each process serves its metrics; it notices by itself."""
    data.mkdir(parents=True, exist_ok=True)
    groups = [
        {"targets": [f"{HOST}:{port}"], "labels": {"job": name.rstrip("-0123456789"), "process": name}}
        for name, port in targets.items()
    ]
    (data / "targets.json").write_text(json.dumps(groups, indent=1), "utf-8")


def ready(ports: dict[str, int]) -> bool:
    """Return whether it answers."""
    return answers(ports["prometheus"])
