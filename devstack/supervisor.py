"""One data folder, one stack: servers started together, stopped in order, found again after a kill."""

import fcntl
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from devstack import (
    alertmanager,
    exporters,
    grafana,
    kafka,
    orphans,
    postgres,
    prometheus,
    records,
    seaweedfs,
)
from devstack.halt import Halt, Halted
from devstack.ports import HOST, choose
from devstack.process import DevstackError, Process, say, wait_until

SERVERS = ("kafka", "postgres", "seaweedfs")
_PORTS: Mapping[str, Sequence[str]] = {
    "kafka": kafka.PORTS,
    "postgres": postgres.PORTS,
    "seaweedfs": seaweedfs.PORTS,
    "prometheus": prometheus.PORTS,
    "alertmanager": alertmanager.PORTS,
    "grafana": grafana.PORTS,
    **{name: (name,) for name in exporters.TARGETS},
}
_READY: Mapping[str, Callable[[dict[str, int]], bool]] = {
    "kafka": kafka.ready,
    "postgres": postgres.ready,
    "seaweedfs": seaweedfs.ready,
    "prometheus": prometheus.ready,
    "alertmanager": alertmanager.ready,
    "grafana": grafana.ready,
    **{name: partial(exporters.ready, name) for name in exporters.TARGETS},
}
_PREPARE: Mapping[str, Callable[[Path, Path, dict[str, int], Halt], Process]] = {
    "kafka": kafka.prepare,
    "postgres": postgres.prepare,
    "seaweedfs": seaweedfs.prepare,
}
_READY_WITHIN = 60.0
_ONLOOKERS_WITHIN = 10.0
"""Seconds that those who only watch get once the servers serve: Grafana's first start may take longer."""


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """Where the servers are; those that were not asked for have no meaning here."""

    kafka: str
    """`host:port`"""
    postgres: str
    """A URL, with the database."""
    s3: str
    """A URL."""
    s3_access_key: str
    s3_secret_key: str
    prometheus: str | None = None
    """A URL, if it runs."""
    alertmanager: str | None = None
    """The same."""
    grafana: str | None = None
    """The same."""


class Server:
    """One server of a running stack, to be stopped, killed, paused and started again on its port."""

    def __init__(self, process: Process, ready: Callable[[], bool], halt: Halt) -> None:
        """`ready` asks whether it serves; `halt` ends the wait for that."""
        self.process = process
        self._ready = ready
        self._halt = halt

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self.process.pid

    def start(self) -> None:
        """Start it and return when it serves.

        Raises:
            DevstackError: it does not come up; with the end of its log.
            Halted: the stack was told to stop meanwhile.
        """
        self.process.start()
        self.wait()

    def serves(self) -> bool:
        """Return whether it does now."""
        return self._ready()

    def wait(self) -> None:
        """Return when it serves; raises as `start` does."""
        wait_until(self._ready, self.process, within=_READY_WITHIN, halt=self._halt)

    def stop(self) -> None:
        """Stop it in order."""
        self.process.stop()

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()

    def pause(self) -> None:
        """Freeze it."""
        self.process.pause()

    def resume(self) -> None:
        """Let it go on."""
        self.process.resume()


class Stack:
    """The servers over one data folder. Use as a context manager, in a thread that outlives them.

    Raises:
        DevstackError: the folder is in use, or a server does not come up.
        Halted: `halt` was set while they were starting; none of them runs.
    """

    def __init__(
        self,
        data: Path | str,
        *,
        services: Sequence[str] = SERVERS,
        config: Path | None = None,
        halt: Halt | None = None,
        proxied: bool = False,
    ) -> None:
        """`config` is Prometheus's; it and what goes with it run when that and their programs are there.

        These watch, and nothing needs them: one that is slow comes later, one that ends is left out.

        `proxied`: Kafka listens a second time, at `ports["kafka-proxied"]`, and sends whoever asks there to
        `ports["kafka-proxy"]`, where something that passes it all on is to listen.
        """
        self.data = Path(data).absolute()
        self.ports: dict[str, int] = {}
        self._services = list(services)
        self._needed = frozenset(services)
        self._config = config
        self._halt = halt or Halt()
        self._proxied = proxied
        self._servers: dict[str, Server] = {}
        self._processes: dict[str, Process] = {}
        self._owned = ExitStack()
        self._claimed = False
        self.left_out: dict[str, str] = {}
        """What nobody asked for by name and ended before it served, and why it is left out."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def claim(self) -> None:
        """Take the data folder, and end what a killed owner of it left running. `start` does it if need be.

        Raises:
            DevstackError: another instance has it, or it cannot be a folder of ours.
        """
        if self._claimed:
            return
        if sys.platform != "linux":
            message = "The local stack runs on Linux; elsewhere use compose.yaml."
            raise DevstackError(message)
        try:
            self.data.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock()
        except OSError as exc:
            self._owned.close()
            message = f"The data folder {self.data} cannot be used: {exc.strerror}."
            raise DevstackError(message) from exc
        orphans.end(self.data / "processes.json", self.data / "logs")
        self._claimed = True

    def start(self) -> None:
        """Start all servers at once; return when every one serves, but for those that only watch."""
        self.claim()
        try:
            if self._config is not None and "prometheus" not in self._services and prometheus.binary():
                self._services += ["prometheus", *exporters.present()]
                if alertmanager.binary():
                    self._services.append("alertmanager")
                if grafana.present():
                    self._services.append("grafana")
            wanted = [port for name in self._services for port in _PORTS[name]]
            self.ports = self.choose_ports([*wanted, *(kafka.PROXIED_PORTS if self._proxied else ())])
            with ThreadPoolExecutor(len(self._services)) as pool:
                prepared = dict(zip(self._services, pool.map(self._prepare, self._services), strict=True))
            for name, process in prepared.items():
                # A child dies with the thread that started it, so it must be this one.
                process.start()
                self._servers[name] = Server(process, partial(_READY[name], self.ports), self._halt)
                self.adopt(process)
            for name, server in self._servers.items():
                if name in self._needed:
                    server.wait()
            self._wait_for_onlookers()
        except BaseException:
            self.stop()
            raise
        records.write(self.data / "endpoints.json", asdict(self.endpoints))

    def _wait_for_onlookers(self) -> None:
        """Give them a moment, together; leave out who has ended, and name who does not serve yet."""
        deadline = time.monotonic() + _ONLOOKERS_WITHIN
        waiting = {name: server for name, server in self._servers.items() if name not in self._needed}
        while waiting and time.monotonic() < deadline:
            for name, server in list(waiting.items()):
                if server.serves():
                    del waiting[name]
                elif server.process.exit_code is not None:
                    del waiting[name], self._servers[name], self._processes[name]
                    log = self.data / "logs" / f"{name}.log"
                    self.left_out[name] = f"it ended with {server.process.exit_code}, see {log}"
                    say(f"{name} is left out: {self.left_out[name]}")
            if self._halt.wait(0.03):
                raise Halted
        self.note_processes()
        for name in waiting:
            say(f"{name} does not answer after {_ONLOOKERS_WITHIN:g} s; the rest goes on without it")

    def stop(self) -> None:
        """Stop all servers, together, and give the data folder back."""
        for server in self._servers.values():
            server.process.ask_to_stop()
        for server in self._servers.values():
            server.stop()
        if "seaweedfs" in self._servers:
            seaweedfs.tidy(self.ports)
        self._servers.clear()
        self._processes.clear()
        if self._claimed:
            (self.data / "processes.json").unlink(missing_ok=True)
            self._claimed = False
        self._owned.close()

    def server(self, name: str) -> Server:
        """Return one of the servers."""
        return self._servers[name]

    @property
    def servers(self) -> Mapping[str, Server]:
        """The servers by name, while the stack runs."""
        return self._servers

    def cpu_seconds(self, name: str) -> float:
        """Return the CPU time a process and its children have taken so far, over all its starts."""
        return self._processes[name].cpu_seconds()

    def adopt(self, process: Process) -> None:
        """Note a process, so that the next start finds it should this one be killed."""
        self._processes[process.name] = process
        self.note_processes()

    def note_processes(self) -> None:
        """Write down who runs, after a start."""
        running: dict[str, dict[str, float]] = {}
        for name, process in self._processes.items():
            with suppress(psutil.NoSuchProcess):
                if (pid := process.pid) is not None:
                    running[name] = {"pid": pid, "born": psutil.Process(pid).create_time()}
        records.write(self.data / "processes.json", running)

    @property
    def processes(self) -> Mapping[str, Process]:
        """All that was adopted, by name: the servers, and whoever came after."""
        return self._processes

    @property
    def endpoints(self) -> Endpoints:
        """Where the servers are."""
        access, secret = (
            seaweedfs.keys(self.data / "seaweedfs") if "seaweedfs" in self._services else ("", "")
        )
        port = {name: self.ports.get(name, 0) for name in ("kafka", "postgres", "seaweedfs-s3")}
        return Endpoints(
            kafka=f"{HOST}:{port['kafka']}",
            postgres=f"postgresql://postgres@{HOST}:{port['postgres']}/{postgres.DATABASE}",
            s3=f"http://{HOST}:{port['seaweedfs-s3']}",
            s3_access_key=access,
            s3_secret_key=secret,
            prometheus=self._url("prometheus"),
            alertmanager=self._url("alertmanager"),
            grafana=self._url("grafana"),
        )

    @property
    def exporters(self) -> Mapping[str, str]:
        """Where Prometheus finds those that run, by what they tell of."""
        return {
            target: f"{HOST}:{self.ports[name]}"
            for name, target in exporters.TARGETS.items()
            if name in self._servers
        }

    def _url(self, name: str) -> str | None:
        return f"http://{HOST}:{self.ports[name]}" if name in self._servers else None

    def choose_ports(self, names: Sequence[str]) -> dict[str, int]:
        """Return a free port for each name, remembered with the data."""
        known = self.data / "ports.json"
        remembered = {name: port for name, port in records.read(known).items() if isinstance(port, int)}
        chosen = choose(names, remembered)
        records.write(known, remembered | chosen)
        return chosen

    def _prepare(self, name: str) -> Process:
        data, log = self.data / name, self.data / "logs" / f"{name}.log"
        if name in _PREPARE:
            return _PREPARE[name](data, log, self.ports, self._halt)
        if name in exporters.TARGETS:
            return exporters.prepare(name, log, self.ports)
        if name == "grafana" and self._config is not None:
            return grafana.prepare(data, log, self.ports, config=self._config.parents[1] / "grafana")
        program = prometheus.binary() if name == "prometheus" else alertmanager.binary()
        if program is None or self._config is None:
            message = f"{name} cannot run here."
            raise DevstackError(message)
        if name == "alertmanager":
            config = self._config.parents[1] / "alertmanager" / "alertmanager.yml"
            address = alertmanager.webhook()
            return alertmanager.prepare(
                data, log, self.ports, self._halt, program=program, config=config, address=address
            )
        prometheus.write_targets(data, {})
        return prometheus.prepare(data, log, self.ports, self._halt, program=program, config=self._config)

    def _lock(self) -> None:
        lock = self._owned.enter_context((self.data / "lock").open("a+", encoding="ascii"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            self._owned.close()
            message = f"The data folder {self.data} is in use by another instance (process {owner})."
            raise DevstackError(message) from exc
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
