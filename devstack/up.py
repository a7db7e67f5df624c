"""`make up`: the servers, then every Ebbmark process, kept running until Ctrl-C."""

import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from devstack import prometheus
from devstack.ports import HOST, is_free
from devstack.process import DevstackError, Process, say
from devstack.supervisor import Endpoints, Stack, elapsed_since

_FIRST_PAUSE, _LONGEST_PAUSE, _SOUND_AFTER = 0.5, 10.0, 30.0
_READY_WITHIN = 60.0
_DRAIN_WITHIN = 35.0


class Stop(BaseException):
    """The person at the terminal wants an end."""


@dataclass
class Kept:
    """A process that is started again whenever it ends."""

    process: Process
    pause: float = _FIRST_PAUSE
    due: float = 0.0


def up(data: Path, *, port: int, workers: int, config: Path | None) -> int:
    """Run the whole system; return the exit code."""

    def stop(_: int, __: FrameType | None) -> None:
        raise Stop

    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, stop)
    began = time.monotonic()
    kept: list[Kept] = []
    stack = Stack(data, config=config)
    try:
        if not is_free(port):
            message = f"Port {port} is taken; say another one: make up PORT={port + 1}"
            raise DevstackError(message)
        stack.start()
        servers_took = elapsed_since(began)
        began = time.monotonic()
        env = environment(stack.endpoints, os.environ, data=stack.data, port=port)
        _prepare(stack.data, env)
        kept = [Kept(process) for process in ebbmark_processes(stack, env, workers=workers, port=port)]
        for each in kept:
            each.process.start()
            stack.adopt(each.process)
        _wait_until_ready(stack, kept, port)
        _greet(stack, port, f"servers {servers_took}, Ebbmark {elapsed_since(began)}")
        while True:
            keep_alive(stack, kept)
            time.sleep(0.2)
    except Stop:
        return 0
    except DevstackError as exc:
        sys.stderr.write(f"make up: {exc}\n")
        return 2
    finally:
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)
        _stop(stack, kept)


def environment(endpoints: Endpoints, given: Mapping[str, str], *, data: Path, port: int) -> dict[str, str]:
    """Return the environment of every Ebbmark process: what was given, and where the servers are."""
    env = {**_dotenv(Path(".env")), **given}
    env.pop("EBBMARK_PROMETHEUS_BIN", None)  # ours, not a setting of the services
    spool = data / "spool"
    spool.mkdir(parents=True, exist_ok=True)
    env.setdefault("EBBMARK_HTTP_HOST", HOST)
    env.setdefault("EBBMARK_STORE_BUCKET", "ebbmark")
    env.setdefault("EBBMARK_HTTP_SPOOL", str(spool))
    env.setdefault("EBBMARK_LOG_FORMAT", "console")
    return env | {
        "EBBMARK_HTTP_PORT": str(port),
        "EBBMARK_KAFKA_BOOTSTRAP": endpoints.kafka,
        "EBBMARK_LEDGER_URL": endpoints.postgres,
        "EBBMARK_STORE_ENDPOINT": endpoints.s3,
        "EBBMARK_STORE_ACCESS_KEY": endpoints.s3_access_key,
        "EBBMARK_STORE_SECRET_KEY": endpoints.s3_secret_key,
        "PYTHONUNBUFFERED": "1",
    }


def ebbmark_processes(
    stack: Stack, env: Mapping[str, str], *, workers: int, port: int, quiet: bool = False
) -> Iterator[Process]:
    """Yield ingest, the workers and the janitor, each with its metrics port, not started yet."""
    names = ["ingest", *(f"worker-{n}" for n in range(1, workers + 1)), "janitor"]
    metrics = stack.choose_ports([f"{name}-metrics" for name in names[1:]])
    targets = {"ingest": port} | {name: metrics[f"{name}-metrics"] for name in names[1:]}
    prometheus.write_targets(stack.data / "prometheus", targets)
    for name in names:
        command = name.rstrip("-0123456789")
        own = dict(env)
        if command == "worker":
            own["EBBMARK_WORKER_INSTANCE"] = name
            own["EBBMARK_WORKER_DATA"] = str(stack.data / name)
        if command != "ingest":
            own[f"EBBMARK_{command.upper()}_METRICS_PORT"] = str(targets[name])
        yield Process(
            name,
            [sys.executable, "-m", "ebbmark.cli", command],
            log=stack.data / "logs" / f"{name}.log",
            env=own,
            stop_within=_DRAIN_WITHIN,
            on_line=None if quiet else _show,
        )


def keep_alive(stack: Stack, kept: list[Kept]) -> None:
    """Start again what ended: services after a pause that doubles, servers at once."""
    now = time.monotonic()
    for each in kept:
        process = each.process
        if process.pid is not None:
            if now - process.started_at > _SOUND_AFTER:
                each.pause = _FIRST_PAUSE
        elif not each.due:
            say(f"{process.name} ended with {process.exit_code}; starting it again in {each.pause:g} s")
            each.due = now + each.pause
            each.pause = min(_LONGEST_PAUSE, each.pause * 2)
        elif now >= each.due:
            each.due = 0.0
            process.start()
            stack.note_processes()
    for name in list(stack.processes):
        process = stack.processes[name]
        if process.pid is None and all(process is not each.process for each in kept):
            say(f"{name} ended with {process.exit_code}; starting it again")
            with suppress(DevstackError):
                stack.server(name).start()
            stack.note_processes()


def _show(name: str, line: str) -> None:
    say(f"{name:<10}| {line}")


def _prepare(data: Path, env: Mapping[str, str]) -> None:
    process = Process(
        "prepare",
        [sys.executable, "-m", "ebbmark.cli", "prepare"],
        log=data / "logs" / "prepare.log",
        env=env,
    )
    process.start()
    deadline = time.monotonic() + _READY_WITHIN
    try:
        while process.exit_code is None and time.monotonic() < deadline:
            time.sleep(0.02)
        if process.exit_code != 0:
            message = f"The database, topics and bucket cannot be prepared:\n{process.tail()}"
            raise DevstackError(message)
    finally:
        process.stop()


def _wait_until_ready(stack: Stack, kept: list[Kept], port: int) -> None:
    deadline = time.monotonic() + _READY_WITHIN
    while not _is_ready(port):
        keep_alive(stack, kept)
        if time.monotonic() > deadline:
            message = (
                f"Ebbmark is not ready after {_READY_WITHIN:.0f} s; its logs are in {stack.data / 'logs'}"
            )
            raise DevstackError(message)
        time.sleep(0.05)


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/readyz", timeout=5) as answer:  # noqa: S310 - loopback
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def _greet(stack: Stack, port: int, took: str) -> None:
    metrics = stack.endpoints.prometheus or "not installed here, so left out"
    say(
        f"""
  Ebbmark is ready ({took}).

    photos       http://{HOST}:{port}/
    API          http://{HOST}:{port}/docs
    metrics      http://{HOST}:{port}/metrics
    Prometheus   {metrics}
    data, logs   {stack.data}

  Ctrl-C stops everything; the data stays.
"""
    )


def _stop(stack: Stack, kept: list[Kept]) -> None:
    # The services first, together: they finish what they have in hand while the servers are there.
    for each in kept:
        each.process.ask_to_stop()
    for each in kept:
        each.process.stop()
    stack.stop()


def _dotenv(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    lines = (line.strip() for line in path.read_text("utf-8").splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name.strip(): value.strip().strip("'\"") for name, _, value in pairs}
