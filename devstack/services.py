"""Which Ebbmark processes there are, and the environment in which each finds the others and the servers."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from devstack import alertmanager, prometheus
from devstack.ports import HOST
from devstack.process import Process, say
from devstack.supervisor import Endpoints, Stack

COMMAND = (sys.executable, "-m", "ebbmark.cli")
_DRAIN_WITHIN = 35.0
OWN = {"EBBMARK_PROMETHEUS_BIN", alertmanager.BINARY, alertmanager.WEBHOOK_FILE}
"""What is set for the local stack, and is no setting of theirs."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """One `ebbmark` command that keeps running, and the variables that tell its processes apart."""

    command: str
    host: str
    """The variable of the address it listens on."""
    serves: str = "metrics"
    """What is asked for to see that it serves."""
    several: bool = False
    metrics_port: str = ""
    """The variable of its metrics port; without one it serves them where it serves everything."""
    instance: str = ""
    folder: str = ""


SERVICES = (
    Service(command="ingest", host="EBBMARK_HTTP_HOST", serves="readyz"),
    Service(
        command="worker",
        host="EBBMARK_WORKER_METRICS_HOST",
        several=True,
        metrics_port="EBBMARK_WORKER_METRICS_PORT",
        instance="EBBMARK_WORKER_INSTANCE",
        folder="EBBMARK_WORKER_DATA",
    ),
    Service(
        command="janitor",
        host="EBBMARK_JANITOR_METRICS_HOST",
        metrics_port="EBBMARK_JANITOR_METRICS_PORT",
    ),
)


def environment(endpoints: Endpoints, given: Mapping[str, str], *, data: Path, port: int) -> dict[str, str]:
    """Return the environment of every Ebbmark process: what was given, and where the servers are."""
    spool = data / "spool"
    spool.mkdir(parents=True, exist_ok=True)
    defaults = {
        "EBBMARK_HTTP_HOST": HOST,
        "EBBMARK_STORE_BUCKET": "ebbmark",
        "EBBMARK_HTTP_SPOOL": str(spool),
        "EBBMARK_LOG_FORMAT": "console",
    }
    env = {name: value for name, value in defaults.items() if f"{name}_FILE" not in given}
    env |= {name: value for name, value in given.items() if name not in OWN}
    return _saying(
        env,
        {
            "EBBMARK_HTTP_PORT": str(port),
            "EBBMARK_KAFKA_BOOTSTRAP": endpoints.kafka,
            "EBBMARK_LEDGER_URL": endpoints.postgres,
            "EBBMARK_LEDGER_PASSWORD": "",
            "EBBMARK_STORE_ENDPOINT": endpoints.s3,
            "EBBMARK_STORE_ACCESS_KEY": endpoints.s3_access_key,
            "EBBMARK_STORE_SECRET_KEY": endpoints.s3_secret_key,
            "PYTHONUNBUFFERED": "1",
        },
    )


def ebbmark_processes(
    stack: Stack, env: Mapping[str, str], *, workers: int, port: int, quiet: bool = False
) -> Iterator[Process]:
    """Yield ingest, worker-1 and on, and the janitor, not started yet; Prometheus is told of them all.

    It is told of the exporters, too.
    """
    named = {name: service for service in SERVICES for name in _names(service, workers)}
    measured = [name for name, service in named.items() if service.metrics_port]
    chosen = stack.choose_ports([f"{name}-metrics" for name in measured])
    targets = {
        name: f"{_reached_at(env.get(service.host, HOST))}:{chosen.get(f'{name}-metrics', port)}"
        for name, service in named.items()
    }
    prometheus.write_targets(stack.data / "prometheus", {**stack.exporters, **targets})
    for name, service in named.items():
        own: dict[str, str] = {}
        if service.metrics_port:
            own[service.metrics_port] = str(chosen[f"{name}-metrics"])
        if service.instance:
            own[service.instance] = name
        if service.folder:
            folder = stack.data / name
            folder.mkdir(exist_ok=True)
            own[service.folder] = str(folder)
        yield Process(
            name,
            [*COMMAND, service.command],
            log=stack.data / "logs" / f"{name}.log",
            env=_saying(env, own),
            stop_within=_DRAIN_WITHIN,
            on_line=None if quiet else _show,
            url=f"http://{targets[name]}/{service.serves}",
        )


def dotenv(path: Path) -> dict[str, str]:
    """Return the variables of a file of NAME=VALUE lines; none when there is no such file."""
    if not path.exists():
        return {}
    lines = (line.strip().removeprefix("export ") for line in path.read_text("utf-8").splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name.strip(): _unquoted(value.strip()) for name, _, value in pairs}


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value


def _saying(env: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which our own values hold, not those of files meant for elsewhere."""
    return {name: value for name, value in env.items() if name.removesuffix("_FILE") not in own} | dict(own)


def _reached_at(host: str) -> str:
    return HOST if host in {"", "0.0.0.0"} else host  # noqa: S104 - where all listen, loopback does


def _names(service: Service, workers: int) -> list[str]:
    return [f"{service.command}-{n}" for n in range(1, workers + 1)] if service.several else [service.command]


def _show(name: str, line: str) -> None:
    say(f"{name:<9} | {line}")
