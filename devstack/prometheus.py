"""Prometheus, when the machine has one."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from devstack import records
from devstack.halt import Halt
from devstack.ports import HOST, serves
from devstack.process import DevstackError, Process

PORTS = ("prometheus",)


def binary() -> str | None:
    """Return the program to run, if there is one.

    Raises:
        DevstackError: the one that was named is none.
    """
    named = os.environ.get("EBBMARK_PROMETHEUS_BIN")
    if named and shutil.which(named) is None:
        message = f"EBBMARK_PROMETHEUS_BIN names {named}, which is no program."
        raise DevstackError(message)
    return named or shutil.which("prometheus")


def prepare(data: Path, log: Path, ports: dict[str, int], _: Halt, *, program: str, config: Path) -> Process:
    """Return the server; it reads its targets from a file beside the data.

    It tells its alerts to the Alertmanager of `ports`, if that has one.
    """
    data.mkdir(parents=True, exist_ok=True)
    for rules in config.parent.glob("*.y*ml"):  # what the configuration names by relative paths
        shutil.copyfile(rules, data / rules.name)
    files = {"TARGETS_FILE": data / "targets.json", "ALERTMANAGERS_FILE": data / "alertmanagers.json"}
    text = config.read_text("utf-8")
    for name, path in files.items():
        text = text.replace(name, str(path))
    told = [{"targets": [f"{HOST}:{ports['alertmanager']}"]}] if "alertmanager" in ports else []
    records.write(files["ALERTMANAGERS_FILE"], told)
    (data / "prometheus.yml").write_text(text, "utf-8")
    command = [
        program,
        f"--config.file={data / 'prometheus.yml'}",
        f"--storage.tsdb.path={data / 'tsdb'}",
        "--storage.tsdb.retention.time=2d",
        f"--web.listen-address={HOST}:{ports['prometheus']}",
        "--enable-feature=exemplar-storage",
        "--log.level=warn",
    ]
    return Process("prometheus", command, log=log, stop_within=5)


def write_targets(data: Path, targets: Mapping[str, str]) -> None:
    """Tell Prometheus where each process serves its metrics; it notices by itself."""
    data.mkdir(parents=True, exist_ok=True)
    groups = [
        {"targets": [address], "labels": {"job": name.rstrip("-0123456789"), "process": name}}
        for name, address in targets.items()
    ]
    records.write(data / "targets.json", groups)


def ready(ports: dict[str, int]) -> bool:
    """Return whether it answers."""
    return serves(ports["prometheus"], "/-/ready")
