"""The whole system behind proxies, with a client that holds it to its word, and somebody who restarts it."""

import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import msgspec
import psycopg
from psycopg.rows import TupleRow

from devstack.keeper import Keeper
from devstack.process import Process
from devstack.supervisor import Stack
from ebbmark.errors import MalformedEvent
from ebbmark.events import JobCompleted
from ebbmark.ledger.postgres import conninfo
from ebbmark.settings import Kafka, Ledger, Operator, Settings, Store
from ebbmark.topics import JOBS
from tests import system
from tests.chaos import messages
from tests.chaos.client import Client
from tests.chaos.hooks import Hooks
from tests.chaos.memory import Memory
from tests.chaos.proxy import CLEAR, Proxy, Weather
from tests.chaos.sent import Sent
from tests.system import System

SPOOL_MIB = 3
OPERATOR = "of this run and no other"
OPERATIONS = Path(__file__).parent / "operations"
_RECOVERED_WITHIN = 180.0
_S = timedelta(seconds=1)


@dataclass
class Arena:
    """What faults act on. Use it in the thread that made it: processes die with the one that starts them."""

    system: System
    direct: Settings
    """The same settings, past the proxies: for those who look on."""
    proxies: Mapping[str, Proxy]
    client: Client
    spool: Path
    spool_is_small: bool
    """Whether the spool has a disk of its own that can be filled."""
    down: set[str] = field(default_factory=set)
    """Processes that are meant not to run just now."""
    ended: Counter[str] = field(default_factory=Counter)
    """Processes that ended by themselves and were started anew, with their exit codes."""
    drains: list[tuple[str, float, int | None]] = field(default_factory=list)
    """Each SIGTERM: whom it met, the seconds it took, the exit code."""
    expected_letters: set[str] = field(default_factory=set)
    """Reasons for which there may be dead letters."""
    late_within: tuple[datetime, datetime] | None = None
    """When audits may find that what is over is not deleted yet."""
    """Kinds that audits may find before all is over: who is gone for ten minutes deletes nothing then."""
    harmed: list[Sent] = field(default_factory=list)
    """Jobs whose operation harms its child."""
    littered: set[messages.Place] = field(default_factory=set)
    """Where messages lie that nobody can read."""
    killed: dict[str, int] = field(default_factory=dict)
    """The rendering child of each worker that was killed last."""
    said: dict[str, int] = field(default_factory=dict)
    """Bytes in the log of each from before the fault that its later words show."""
    hoard: list[psycopg.Connection] = field(default_factory=list)
    """Connections to the database that nobody else gets."""
    announcements: dict[tuple[str, int], set[bytes]] = field(default_factory=dict)
    """Every JobCompleted that was seen, by job and epoch."""
    keepers: dict[str, Keeper] = field(default_factory=dict)
    memory: Memory = field(default_factory=Memory)
    fuse: Path = Path("fuse")
    """The file while which is there the operation `fused` kills its child."""
    wiped: int = 0
    """How often the topics were wiped: what they held by then was seen only in passing."""

    def process(self, name: str) -> Process:
        """Return one of Ebbmark's processes."""
        return self.system.processes[name]

    def tend(self) -> None:
        """Start anew what ended by itself, as the supervisor of `make up` does, and look at memory."""
        for name, process in self.system.processes.items():
            if name not in self.down:
                code, keeper = process.exit_code, self.keepers.setdefault(name, Keeper(process))
                if keeper.tend(time.monotonic()):
                    self.ended[f"{name} ({code})"] += 1
        self.memory.look(self.system.processes)

    def answers(self, name: str) -> bool:
        """Return whether the process says that it serves."""
        with suppress(httpx.TransportError):
            return httpx.get(self.process(name).url, timeout=10).status_code == 200
        return False

    def wait(self, seconds: float) -> None:
        """Let time pass, tending."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.tend()
            time.sleep(min(0.1, left))

    def may_be_late(self, timestamp: str) -> bool:
        """Tell whether an audit of that moment may find what is not deleted yet."""
        return self.late_within is not None and (
            self.late_within[0] <= datetime.fromisoformat(timestamp) <= self.late_within[1]
        )

    def until(self, good: Callable[[], bool], *, within: float) -> bool:
        """Wait for it, tending; return whether it came true in time."""
        until = time.monotonic() + within
        while not good():
            if time.monotonic() > until:
                return False
            self.tend()
            time.sleep(0.05)
        return True

    def probe(self) -> float | None:
        """Return after how many seconds a fresh job of six photos was complete; None when it never was."""
        started = time.monotonic()
        sent = self.client.send()
        if not self.until(lambda: sent.state in {"complete", "checked", "unread"}, within=_RECOVERED_WITHIN):
            return None
        return time.monotonic() - started

    def settled(self, jobs: list[Sent]) -> bool:
        """Wait until these jobs are seen through; return whether they were."""
        ends = {"checked", "unread", "deleted", "aborted", "refused"}
        return self.until(lambda: all(sent.state in ends for sent in jobs), within=_RECOVERED_WITHIN)

    def weather(self, server: str, weather: Weather = CLEAR) -> None:
        """Change what happens between Ebbmark and this server."""
        self.proxies[server].set(weather)

    def ledger(self, statement: str, *values: object) -> list[TupleRow]:
        """Ask the ledger, past everything."""
        with psycopg.connect(conninfo(self.direct.ledger), autocommit=True) as connection:
            return connection.execute(statement, values).fetchall()  # pyright: ignore[reportArgumentType]

    def witness_announcements(self) -> None:
        """Note every JobCompleted that is in the log now."""
        for raw in messages.read(self.direct.kafka, JOBS):
            with suppress(MalformedEvent):
                event = JOBS.decode(raw.value)
                if isinstance(event, JobCompleted):
                    self.announcements.setdefault((str(event.job), event.epoch), set()).add(raw.value)

    @property
    def logs(self) -> Path:
        """The folder of all logs."""
        return self.system.stack.data / "logs"


def brisk(settings: Settings, *, spool: Path, hooks: Hooks) -> Settings:
    """Return the settings with durations short enough to wait for their end."""
    change = msgspec.structs.replace
    return change(
        settings,
        job=change(
            settings.job,
            ttl=60 * _S,
            grace=2 * _S,
            quiet=20 * _S,  # longer than any fault keeps a request under way
            upload_deadline=45 * _S,
            deadline=timedelta(minutes=12),
        ),
        http=change(settings.http, spool=str(spool), spool_free=64 * 1024, jobs_per_minute=0),
        kafka=change(settings.kafka, publish_timeout=4 * _S),
        store=change(settings.store, timeout=4 * _S),
        worker=change(settings.worker, children=1, lease=4 * _S, child_timeout=4 * _S),
        janitor=change(settings.janitor, sweep=_S / 2, stale=4 * _S, audit=5 * _S),
        webhook=hooks.allowed(settings.webhook),
        operator=Operator(token=OPERATOR),
        log=change(settings.log, format="json"),
    )


@contextmanager
def entered(data: Path, *, seed: int) -> Iterator[Arena]:
    """Run it all on a data folder of its own: servers, proxies, ingest, two workers, janitor, client."""
    with ExitStack() as leaving:
        stack = leaving.enter_context(Stack(data, proxied=True))
        proxies = _proxies(stack)
        for proxy in proxies.values():
            leaving.enter_context(proxy)
        spool = stack.data / "spool"
        spool.mkdir(exist_ok=True)
        small = _mount(spool)
        if small:
            leaving.callback(lambda: subprocess.run(["umount", "--lazy", str(spool)], check=False))
        hooks = leaving.enter_context(Hooks(seed=seed))
        at = stack.endpoints
        direct = brisk(
            Settings(
                kafka=Kafka(bootstrap=at.kafka, prefix="chaos."),
                ledger=Ledger(url=at.postgres, schema="chaos"),
                store=Store(
                    endpoint=at.s3, bucket="chaos", access_key=at.s3_access_key, secret_key=at.s3_secret_key
                ),
            ),
            spool=spool,
            hooks=hooks,
        )
        fuse = stack.data / "fuse"
        paths = os.pathsep.join(filter(None, [str(OPERATIONS), os.environ.get("PYTHONPATH")]))
        more = {"PYTHONPATH": paths, "CHAOS_FUSE": str(fuse)}
        running = leaving.enter_context(system.running(stack, _through(direct, proxies), more=more))
        client = leaving.enter_context(Client(running.base_url, seed=seed, hooks=hooks))
        arena = Arena(running, direct, proxies, client, spool, small, fuse=fuse)
        leaving.callback(client.stop_sending)
        yield arena


def _proxies(stack: Stack) -> dict[str, Proxy]:
    front = stack.choose_ports(["postgres-proxy", "s3-proxy"])
    return {
        "kafka": Proxy(stack.ports["kafka-proxy"], stack.ports["kafka-proxied"]),
        "postgres": Proxy(front["postgres-proxy"], stack.ports["postgres"]),
        "seaweedfs": Proxy(front["s3-proxy"], stack.ports["seaweedfs-s3"]),
    }


def _through(direct: Settings, proxies: Mapping[str, Proxy]) -> Settings:
    """Return the settings with which every server is seen through its proxy."""
    change = msgspec.structs.replace
    database = urlsplit(direct.ledger.url)
    return change(
        direct,
        kafka=change(direct.kafka, bootstrap=f"127.0.0.1:{proxies['kafka'].port}"),
        ledger=change(
            direct.ledger,
            url=database._replace(
                netloc=f"{database.username}@127.0.0.1:{proxies['postgres'].port}"
            ).geturl(),
        ),
        store=change(direct.store, endpoint=f"http://127.0.0.1:{proxies['seaweedfs'].port}"),
    )


def _mount(folder: Path) -> bool:
    """Give the folder a disk of a few MiB; only root can."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    options = f"size={SPOOL_MIB}m,mode=777"
    with suppress(OSError):
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    return False
