"""The whole of Ebbmark as child processes, for tests that meet it from outside."""

import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta

import msgspec

from devstack.ports import choose
from devstack.process import DevstackError, Process
from devstack.supervisor import Endpoints, Stack
from devstack.up import ebbmark_processes
from ebbmark.settings import PREFIX, Settings, variables

READY_WITHIN = 60


def environment(settings: Settings) -> dict[str, str]:
    """Return the `EBBMARK_…` variables from which `Settings.from_env` makes these settings."""
    values = {
        name: getattr(getattr(settings, section), key) for name, (section, key, _) in variables().items()
    }
    return {
        name: msgspec.to_builtins(value) if isinstance(value, timedelta) else str(value)
        for name, value in values.items()
    }


def process_environment(settings: Settings) -> dict[str, str]:
    """Return the environment of a process with these settings and none of the caller's."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return own | environment(settings) | {"PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True)
class System:
    """A running Ebbmark. `processes`: ingest, worker-1, worker-2, …, janitor; kill and start them at will."""

    base_url: str
    settings: Settings
    stack: Stack
    processes: Mapping[str, Process]

    @property
    def endpoints(self) -> Endpoints:
        """Where its servers are."""
        return self.stack.endpoints

    def wait_until_ready(self) -> None:
        """Return when ingest says so."""
        deadline = time.monotonic() + READY_WITHIN
        # Its own exit counts first: somebody else may answer on a port that it did not get.
        while self.processes["ingest"].pid is None or not _answers(f"{self.base_url}/readyz"):
            for name, process in self.processes.items():
                if process.exit_code is not None:
                    message = f"{name} ended with {process.exit_code}:\n{process.tail(40)}"
                    raise DevstackError(message)
            if time.monotonic() > deadline:
                logs = "\n".join(process.tail() for process in self.processes.values())
                message = f"Ebbmark is not ready after {READY_WITHIN} s:\n{logs}"
                raise DevstackError(message)
            time.sleep(0.05)


@contextmanager
def running(
    stack: Stack, settings: Settings, *, workers: int = 2, more: Mapping[str, str] | None = None
) -> Iterator[System]:
    """Run Ebbmark with these settings, prepared by its own command; leave in the thread it began in.

    `more` are variables of its environment besides the settings.
    """
    port = stack.choose_ports(["test-http"])["test-http"]
    http = msgspec.structs.replace(settings.http, host="127.0.0.1", port=port)
    settings = msgspec.structs.replace(settings, http=http)
    env = process_environment(settings) | dict(more or {})
    with ExitStack() as started:
        processes = {
            process.name: process
            for process in ebbmark_processes(stack, env, workers=workers, port=port, quiet=True)
        }
        _prepare(processes["ingest"], stack, env)
        for process in processes.values():
            process.start()
            started.callback(process.stop)
            started.callback(process.ask_to_stop)
        system = System(f"http://127.0.0.1:{port}", settings, stack, processes)
        system.wait_until_ready()
        yield system


def _prepare(like: Process, stack: Stack, env: Mapping[str, str]) -> None:
    command = [*like.command[:-1], "prepare"]
    process = Process("prepare", command, log=stack.data / "logs" / "prepare.log", env=env)
    process.start()
    deadline = time.monotonic() + READY_WITHIN
    while process.exit_code is None and time.monotonic() < deadline:
        time.sleep(0.02)
    if process.exit_code != 0:
        process.stop()
        message = f"`ebbmark prepare` ended with {process.exit_code}:\n{process.tail(40)}"
        raise DevstackError(message)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own server
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def free_port() -> int:
    """Return a port that nobody listens on."""
    return choose(["any"], {})["any"]
