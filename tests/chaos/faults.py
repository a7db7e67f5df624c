"""Every fault: what it does, how it is undone, and what passing means."""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import httpx
import psutil
import psycopg

from ebbmark.ledger.postgres import conninfo
from ebbmark.topics import DEAD_LETTERS
from tests.chaos import messages
from tests.chaos.arena import Arena
from tests.chaos.proxy import Weather

PROCESSES = ("ingest", "worker-1", "worker-2", "janitor")
SERVERS = ("kafka", "postgres", "seaweedfs")
TIMES = 8
_LAST = 60
"""Messages of each partition that are delivered again, in a run whose topics have grown long."""
_DRAINED_WITHIN = 30.0
_FAKETIME = "faketime/libfaketime.so.1"

KEPT = "what was accepted completes, each result once, and a fresh job goes through"
ANSWERED = f"503 or nothing meanwhile, never another error; {KEPT}"

Act = Callable[[Arena, Random], None]


def nothing(arena: Arena, rng: Random) -> None:
    """Leave it at that."""


def _on(act: Callable[..., None], *args: object) -> Act:
    """Return the act with what it is done to."""
    return lambda arena, rng: act(arena, rng, *args)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something that goes wrong, and how it ends."""

    name: str
    kind: str
    """What is counted as one in the table of recovery times."""
    act: Act
    undo: Act = nothing
    bites: Callable[[Arena], bool] = lambda _: True
    """Whether its effect is seen, while it lasts."""
    holds: float = 1.0
    """Seconds it lasts at least; a random run stretches them up to three times."""
    passes: str = KEPT
    lacks: Callable[[Arena], str] = lambda _: ""
    """Why it cannot be done here; nothing when it can."""


# Processes of ours.


def _kill(arena: Arena, _: Random, *names: str) -> None:
    for name in names:
        arena.down.add(name)
        arena.process(name).kill()


def _start(arena: Arena, _: Random, *names: str) -> None:
    for name in names:
        arena.process(name).start()
        arena.down.discard(name)


def _freeze(arena: Arena, _: Random, name: str) -> None:
    arena.process(name).pause()


def _thaw(arena: Arena, _: Random, name: str) -> None:
    arena.process(name).resume()


def _terminate(arena: Arena, _: Random, name: str) -> None:
    arena.down.add(name)
    process, started = arena.process(name), time.monotonic()
    process.ask_to_stop()
    while process.exit_code is None and time.monotonic() - started < _DRAINED_WITHIN + 5:
        time.sleep(0.02)
    took = time.monotonic() - started
    arena.drains.append((name, took, process.exit_code))
    if process.exit_code is None:
        process.kill()


def _redeploy(arena: Arena, rng: Random) -> None:
    """Replace every process, one after the other, each when the one before serves."""
    for name in PROCESSES:
        _terminate(arena, rng, name)
        _start(arena, rng, name)
        arena.until(partial(arena.answers, name), within=30)


def _kill_children(arena: Arena, rng: Random) -> None:
    """Kill rendering children, busy or not, of either worker."""
    for name in ("worker-1", "worker-2"):
        pid = arena.process(name).pid
        if pid is None:
            continue
        with suppress(psutil.NoSuchProcess):
            servers = psutil.Process(pid).children()
            children = [child for server in servers for child in server.children()]
            for child in rng.sample(children, min(1, len(children))):
                child.kill()


def _crash(arena: Arena, _: Random, operation: str, code: str) -> None:
    """Send a job whose operation harms its child, and see it fail with this code and no other."""
    if code == "poison":
        arena.expected_letters.add("poison")
    arena.harmed.append(
        arena.client.send(count=1, recipe=[{"operation": operation}], code=code),
    )


def _wait_for_the_harmed(arena: Arena, _: Random) -> None:
    arena.settled(arena.harmed)


# Servers.


def _stop_server(arena: Arena, _: Random, name: str) -> None:
    arena.system.stack.server(name).stop()


def _kill_server(arena: Arena, _: Random, name: str) -> None:
    arena.system.stack.server(name).kill()


def _start_server(arena: Arena, _: Random, name: str) -> None:
    arena.system.stack.server(name).start()


def _freeze_server(arena: Arena, _: Random, name: str) -> None:
    arena.system.stack.server(name).pause()


def _thaw_server(arena: Arena, _: Random, name: str) -> None:
    arena.system.stack.server(name).resume()


def _weather(arena: Arena, _: Random, weather: Weather, *names: str) -> None:
    for name in names:
        arena.weather(name, weather)


def _clear(arena: Arena, _: Random, *names: str) -> None:
    for name in names:
        arena.weather(name)


# What shows that a fault has its effect.


def _gone(*names: str) -> Callable[[Arena], bool]:
    return lambda arena: all(arena.process(name).exit_code is not None for name in names)


def _frozen(name: str) -> Callable[[Arena], bool]:
    return lambda arena: psutil.Process(arena.process(name).pid).status() == psutil.STATUS_STOPPED


def _rough(*names: str) -> Callable[[Arena], bool]:
    before: dict[str, int] = {}

    def bites(arena: Arena) -> bool:
        now = {name: arena.proxies[name].harmed for name in names}
        before.update({name: count for name, count in now.items() if name not in before})
        return all(now[name] > before[name] for name in names)

    return bites


def _not_ready(arena: Arena) -> bool:
    return not arena.answers("ingest")


def _no_room(arena: Arena) -> bool:
    with suppress(httpx.TransportError):
        return "storage-full" in httpx.post(f"{arena.system.base_url}/upload", files={"files": b"x"}).text
    return False


# Messages, disks, connections, clocks.


def _wipe(arena: Arena, rng: Random) -> None:
    """Stop who consumes, then wipe."""
    for name in PROCESSES[1:]:
        _terminate(arena, rng, name)
    _wipe_alive(arena, rng)


def _wipe_alive(arena: Arena, _: Random) -> None:
    """Wipe under consumers that may commit where the old topics ended, and must begin anew."""
    arena.witness_announcements()
    arena.wiped += 1
    messages.wipe(arena.direct.kafka)


def _deliver_again(arena: Arena, _: Random) -> None:
    messages.deliver_again(arena.direct.kafka, TIMES, last=_LAST)


def _confuse(arena: Arena, rng: Random) -> None:
    messages.confuse_statuses(arena.direct.kafka, rng, last=_LAST)


def _garbage(arena: Arena, rng: Random) -> None:
    arena.expected_letters.add("malformed-event")
    messages.garbage(arena.direct.kafka, rng)


def _ballast(arena: Arena) -> Path:
    return arena.spool / "ballast"


def _fill_disk(arena: Arena, _: Random) -> None:
    with suppress(OSError), _ballast(arena).open("wb", buffering=0) as ballast:
        while ballast.write(bytes(16 * 1024)):
            pass


def _empty_disk(arena: Arena, _: Random) -> None:
    _ballast(arena).unlink(missing_ok=True)


def _exhaust(arena: Arena, _: Random) -> None:
    """Take every connection of the database, those of the pools included."""
    where = conninfo(arena.direct.ledger)
    with suppress(psycopg.OperationalError):
        while True:
            arena.hoard.append(psycopg.connect(where, autocommit=True))
    arena.hoard[0].execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where backend_type = 'client backend' and not pid = any(%s)",
        [[each.info.backend_pid for each in arena.hoard]],
    )
    with suppress(psycopg.OperationalError):
        while True:
            arena.hoard.append(psycopg.connect(where, autocommit=True))


def _release(arena: Arena, _: Random) -> None:
    while arena.hoard:
        arena.hoard.pop().close()


def faketime() -> str:
    """Return the library that falsifies clocks; nothing when there is none."""
    folders = [os.environ.get("CHAOS_FAKETIME", ""), *map(str, Path("/usr/lib").glob("*/")), "/usr/lib"]
    return next((str(Path(f, _FAKETIME)) for f in folders if f and Path(f, _FAKETIME).exists()), "")


def _wrong_clock(arena: Arena, rng: Random, *names: str) -> None:
    for name in names:
        arena.down.add(name)
        process = arena.process(name)
        process.stop()
        offset = rng.choice(("+2h", "-2h"))
        process.command[:0] = [
            "/usr/bin/env",
            f"LD_PRELOAD={faketime()}",
            f"FAKETIME={offset}",
            "DONT_FAKE_MONOTONIC=1",
        ]
        _start(arena, rng, name)


def _right_clock(arena: Arena, rng: Random, *names: str) -> None:
    for name in names:
        arena.down.add(name)
        process = arena.process(name)
        process.kill()  # its waits for a moment of the day never end, so it may not hear of a stop
        del process.command[:4]
        _start(arena, rng, name)


def _catalogue() -> Mapping[str, Fault]:
    """Name every fault once. A fault of the second worker is of the same kind as one of the first."""
    faults: list[Fault] = []
    for name in PROCESSES:
        kind = name.partition("-")[0]
        faults += [
            Fault(
                name=f"kill {name}",
                kind=f"kill {kind}",
                act=_on(_kill, name),
                undo=_on(_start, name),
                bites=_gone(name),
            ),
            Fault(
                name=f"freeze {name}",
                kind=f"freeze {kind}",
                act=_on(_freeze, name),
                undo=_on(_thaw, name),
                bites=_frozen(name),
                holds=5.0,
                passes=f"a zombie that wakes after its lease changes nothing; {KEPT}",
            ),
            Fault(
                name=f"stop {name}",
                kind=f"stop {kind}",
                act=_on(_terminate, name),
                undo=_on(_start, name),
                bites=_gone(name),
                passes=f"it is gone within {_DRAINED_WITHIN:.0f} s with exit code 0; {KEPT}",
            ),
        ]
    faults += [
        Fault(
            name="kill everything",
            kind="kill everything",
            act=_on(_kill, *PROCESSES),
            undo=_on(_start, *PROCESSES),
            bites=_gone(*PROCESSES),
        ),
        Fault(
            name="redeploy",
            kind="redeploy",
            act=_redeploy,
            passes=f"each is gone within {_DRAINED_WITHIN:.0f} s with exit code 0; {KEPT}",
        ),
        Fault(name="kill children", kind="kill children", act=_kill_children),
    ]
    faults += [
        Fault(
            name=f"{operation} in a child",
            kind=f"{operation} in a child",
            act=_on(_crash, operation, code),
            undo=_wait_for_the_harmed,
            passes=f"the photo fails as `{code}` after at most three claims, and only it; {KEPT}",
        )
        for operation, code in (("crash", "poison"), ("hang", "poison"), ("bomb", "out-of-memory"))
    ]
    for name in SERVERS:
        faults += [
            Fault(
                name=f"kill {name}",
                kind=f"kill {name}",
                act=_on(_kill_server, name),
                undo=_on(_start_server, name),
                bites=_not_ready,
                passes=ANSWERED,
            ),
            Fault(
                name=f"stop {name}",
                kind=f"stop {name}",
                act=_on(_stop_server, name),
                undo=_on(_start_server, name),
                bites=_not_ready,
                holds=4.0,
                passes=ANSWERED,
            ),
            Fault(
                name=f"freeze {name}",
                kind=f"freeze {name}",
                act=_on(_freeze_server, name),
                undo=_on(_thaw_server, name),
                bites=_not_ready,
                holds=5.0,
                passes=ANSWERED,
            ),
        ]
        skies = {
            "delay": (Weather(delay=0.4), 3.0),
            "reset": (Weather(resets=0.5), 3.0),
            "cut": (Weather(holed=True), 5.0),
            "refuse": (Weather(refused=True), 3.0),
        }
        faults += [
            Fault(
                name=f"{sky} {name}",
                kind=f"{sky} {name}",
                act=_on(_weather, weather, name),
                undo=_on(_clear, name),
                bites=_not_ready if sky in {"cut", "refuse"} else _rough(name),
                holds=holds,
                passes=ANSWERED,
            )
            for sky, (weather, holds) in skies.items()
        ]
    faults += [
        Fault(
            name="slice all traffic",
            kind="slice all traffic",
            act=_on(_weather, Weather(piece=97), *SERVERS),
            undo=_on(_clear, *SERVERS),
            bites=_rough(*SERVERS),
            holds=3.0,
        ),
        Fault(
            name="narrow all traffic",
            kind="narrow all traffic",
            act=_on(_weather, Weather(rate=96 * 1024), *SERVERS),
            undo=_on(_clear, *SERVERS),
            bites=_rough(*SERVERS),
            holds=3.0,
            passes=ANSWERED,
        ),
        Fault(
            name="wipe topics",
            kind="wipe topics",
            act=_wipe,
            undo=_on(_start, *PROCESSES[1:]),
            bites=_gone(*PROCESSES[1:]),
            passes=f"with workers and janitor stopped; the ledger dispatches again what was lost; {KEPT}",
        ),
        Fault(
            name="wipe topics in use",
            kind="wipe topics in use",
            act=_wipe_alive,
            passes=f"workers and janitor end by themselves where they must, and are started anew; {KEPT}",
        ),
        Fault(
            name=f"deliver all {TIMES} times",
            kind=f"deliver all {TIMES} times",
            act=_deliver_again,
            passes=f"no photo, counter or ETag changes, no completion differs; {KEPT}",
        ),
        Fault(
            name="shuffle statuses",
            kind="shuffle statuses",
            act=_confuse,
            passes=f"no photo that ended changes; {KEPT}",
        ),
        Fault(
            name="garbage in topics",
            kind="garbage in topics",
            act=_garbage,
            bites=lambda arena: any(True for _ in messages.read(arena.direct.kafka, DEAD_LETTERS)),
            passes=f"it becomes dead letters and every partition moves on; {KEPT}",
        ),
        Fault(
            name="fill the spool's disk",
            kind="fill the spool's disk",
            act=_fill_disk,
            undo=_empty_disk,
            bites=_no_room,
            holds=3.0,
            passes=f"503 `storage-full` meanwhile; {KEPT}",
            lacks=lambda arena: "" if arena.spool_is_small else "only root can give the spool a small disk",
        ),
        Fault(
            name="exhaust connections",
            kind="exhaust connections",
            act=_exhaust,
            undo=_release,
            bites=_not_ready,
            holds=5.0,
            passes=ANSWERED,
        ),
    ]
    faults += [
        Fault(
            name=f"wrong clock of {name}",
            kind=f"wrong clock of {name.partition('-')[0]}",
            act=_on(_wrong_clock, name),
            undo=_on(_right_clock, name),
            holds=5.0,
            passes=f"the database's clock decides; {KEPT}",
            lacks=lambda _: "" if faketime() else "libfaketime (Debian package faketime) is not here",
        )
        for name in ("ingest", "worker-1", "janitor")
    ]
    return {fault.name: fault for fault in faults}


CATALOGUE = _catalogue()
