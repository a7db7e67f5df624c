"""What tells Prometheus of the machine and of PostgreSQL, when the machine has it."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from devstack.ports import HOST, serves
from devstack.process import DevstackError, Process

NODE, POSTGRES = "node-exporter", "postgres-exporter"
TARGETS: Mapping[str, str] = {NODE: "node", POSTGRES: "postgres"}
"""The name that Prometheus gives to what each of them tells of."""
PROGRAMS: Mapping[str, Sequence[str]] = {
    NODE: ("prometheus-node-exporter", "node_exporter"),
    POSTGRES: ("prometheus-postgres-exporter", "postgres_exporter"),
}
COLLECTORS = ("cpu", "diskstats", "filesystem", "loadavg", "meminfo", "stat")
"""What the dashboard *Machine* asks for; all others would cost CPU for nothing."""


def present() -> list[str]:
    """Return which of them can run here."""
    return [name for name in TARGETS if _program(name) is not None]


def prepare(name: str, log: Path, ports: Mapping[str, int]) -> Process:
    """Return one of them.

    Raises:
        DevstackError: its program is not there.
    """
    program = _program(name)
    if program is None:
        message = f"{name} is not installed."
        raise DevstackError(message)
    command = [program, f"--web.listen-address={HOST}:{ports[name]}", "--log.level=warn"]
    if name == NODE:
        command += ["--collector.disable-defaults", *(f"--collector.{each}" for each in COLLECTORS)]
        return Process(name, command, log=log, stop_within=5)
    source = f"postgresql://postgres@{HOST}:{ports['postgres']}/ebbmark?sslmode=disable"
    env = {**os.environ, "DATA_SOURCE_NAME": source}
    return Process(name, [*command, "--disable-settings-metrics"], log=log, env=env, stop_within=5)


def ready(name: str, ports: Mapping[str, int]) -> bool:
    """Return whether it answers."""
    return serves(ports[name], "/")


def _program(name: str) -> str | None:
    return next(filter(None, map(shutil.which, PROGRAMS[name])), None)
