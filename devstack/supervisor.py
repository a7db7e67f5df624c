"""One data folder, one stack: servers started together, kept alive, stopped in order, found again."""

import fcntl
import json
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from devstack import kafka, postgres, prometheus, seaweedfs
from devstack.ports import HOST, choose
from devstack.process import DevstackError, Process, wait_until

SERVERS = ("kafka", "postgres", "seaweedfs")
_READY: Mapping[str, Callable[[dict[str, int]], bool]] = {
    "kafka": kafka.ready,
    "postgres": postgres.ready,
    "seaweedfs": seaweedfs.ready,
    "prometheus": prometheus.ready,
}
_READY_WITHIN = 60.0


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """Where the servers are."""

    kafka: str
    postgres: str
    s3: str
    s3_access_key: str
    s3_secret_key: str
    prometheus: str | None = None


class Server:
    """One server of a running stack, to be stopped, killed, paused and started again on its port."""

    def __init__(self, process: Process, ready: Callable[[], bool]) -> None:
        """`ready` asks whether it serves."""
        self.process = process
        self._ready = ready

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self.process.pid

    def start(self) -> None:
        """Start it and return when it serves."""
        self.process.start()
        wait_until(self._ready, self.process, within=_READY_WITHIN)

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
    """The servers over one data folder. Use as a context manager.

    Raises:
        DevstackError: the folder is in use, or a server does not come up.
    """

    def __init__(
        self, data: Path | str, *, services: Sequence[str] = SERVERS, config: Path | None = None
    ) -> None:
        """`config` is Prometheus's; it runs only when that and its program are given."""
        self.data = Path(data).absolute()
        self._services = list(services)
        if config is not None and prometheus.binary():
            self._services.append("prometheus")
        self._config = config
        self._servers: dict[str, Server] = {}
        self._owned = ExitStack()
        self._processes: dict[str, Process] = {}
        self.ports: dict[str, int] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start all servers at once; return when every one serves."""
        self.data.mkdir(parents=True, exist_ok=True)
        self._lock()
        try:
            _stop_orphans(self.data / "processes.json")
            self.ports = self._choose_ports()
            with ThreadPoolExecutor(len(self._services)) as pool:
                prepared = dict(zip(self._services, pool.map(self._prepare, self._services), strict=True))
            for name, process in prepared.items():
                # A child dies with the thread that started it, so it must be this one.
                process.start()
                self._servers[name] = Server(process, lambda name=name: _READY[name](self.ports))
                self.adopt(process)
            for name, server in self._servers.items():
                wait_until(lambda name=name: _READY[name](self.ports), server.process, within=_READY_WITHIN)
        except BaseException:
            self.stop()
            raise
        _write(self.data / "endpoints.json", asdict(self.endpoints))

    def stop(self) -> None:
        """Stop all servers, together."""
        for server in self._servers.values():
            server.process.ask_to_stop()
        for server in self._servers.values():
            server.stop()
        self._processes.clear()
        with suppress(FileNotFoundError):
            (self.data / "processes.json").unlink()
        self._owned.close()

    def server(self, name: str) -> Server:
        """Return one of the servers."""
        return self._servers[name]

    def cpu_seconds(self, name: str) -> float:
        """Return the CPU time a server and its children have taken so far."""
        return self._servers[name].process.cpu_seconds()

    def adopt(self, process: Process) -> None:
        """Note a process, so that the next start finds it should this one be killed."""
        self._processes[process.name] = process
        self.note_processes()

    def note_processes(self) -> None:
        """Write down who runs, after a start."""
        running: dict[str, dict[str, float]] = {}
        for name, process in self._processes.items():
            if process.pid is not None:
                with suppress(psutil.NoSuchProcess):
                    running[name] = {"pid": process.pid, "born": psutil.Process(process.pid).create_time()}
        _write(self.data / "processes.json", running)

    @property
    def processes(self) -> Mapping[str, Process]:
        """All that runs, by name."""
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
            prometheus=f"http://{HOST}:{self.ports['prometheus']}"
            if "prometheus" in self._services
            else None,
        )

    def choose_ports(self, names: Sequence[str]) -> dict[str, int]:
        """Return further ports, remembered with the data."""
        known = self.data / "ports.json"
        remembered: dict[str, int] = json.loads(known.read_text("utf-8")) if known.exists() else {}
        chosen = choose(names, remembered)
        _write(known, remembered | chosen)
        return chosen

    def _choose_ports(self) -> dict[str, int]:
        modules = {"kafka": kafka, "postgres": postgres, "seaweedfs": seaweedfs, "prometheus": prometheus}
        return self.choose_ports([port for name in self._services for port in modules[name].PORTS])

    def _prepare(self, name: str) -> Process:
        data, log = self.data / name, self.data / "logs" / f"{name}.log"
        if name == "kafka":
            return kafka.prepare(data, log, self.ports)
        if name == "postgres":
            return postgres.prepare(data, log, self.ports)
        if name == "seaweedfs":
            return seaweedfs.prepare(data, log, self.ports)
        program = prometheus.binary()
        if program is None or self._config is None:
            message = f"{name} cannot run here."
            raise DevstackError(message)
        prometheus.write_targets(data, {})
        return prometheus.prepare(data, log, self.ports, program=program, config=self._config)

    def _lock(self) -> None:
        lock = self._owned.enter_context((self.data / "lock").open("w", encoding="ascii"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            self._owned.close()
            message = f"The data folder {self.data} is in use by another instance."
            raise DevstackError(message) from exc


def _stop_orphans(noted: Path) -> None:
    """End what a killed supervisor left behind, known by its id and its birth."""
    if not noted.exists():
        return
    orphans: list[psutil.Process] = []
    with suppress(ValueError):
        for entry in json.loads(noted.read_text("utf-8")).values():
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(int(entry["pid"]))
                if abs(process.create_time() - entry["born"]) < 0.02:
                    orphans += [process, *process.children(recursive=True)]
    for process in orphans:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGCONT)
            process.terminate()
    _, stubborn = psutil.wait_procs(orphans, timeout=5)
    for process in stubborn:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(stubborn, timeout=5)


def _write(path: Path, content: object) -> None:
    """Replace the file at once: a reader sees the old or the new, never half."""
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    draft.write_text(json.dumps(content, indent=1), "utf-8")
    draft.chmod(0o600)
    draft.replace(path)


def elapsed_since(moment: float) -> str:
    """Return the seconds since a moment of `time.monotonic`, for people."""
    return f"{time.monotonic() - moment:.1f} s"
