"""What is done to the arena and undone again, and what shows that it has its effect; names say to whom."""

import atexit
import functools
import hashlib
import json
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random

import httpx
import psutil
import psycopg

from ebbmark.ledger.postgres import conninfo
from tests.chaos import messages
from tests.chaos.arena import OPERATOR, Arena
from tests.chaos.proxy import Weather
from tests.chaos.sent import Sent

PROCESSES = ("ingest", "worker-1", "worker-2", "janitor")
SERVERS = ("kafka", "postgres", "seaweedfs")
DRAINED_WITHIN = 30.0
TIMES = 8
_REDRIVEN_WITHIN = 45.0
HARM = {"crash": "poison", "hang": "poison", "bomb": "out-of-memory"}
"""Operations that harm their child, and with which code their photo fails."""
_LAST = 25
"""Messages of each partition that are delivered again, in a run whose topics have grown long."""
_DEAD = psutil.STATUS_ZOMBIE
_TWO_HOURS = 2 * 3600


def nothing(arena: Arena, rng: Random, *names: str) -> None:
    """Leave it at that."""


# Processes of ours.


def kill(arena: Arena, _: Random, *names: str) -> None:
    """End them and their children as a power cut would."""
    for name in names:
        arena.down.add(name)
        arena.process(name).kill()


def start(arena: Arena, _: Random, *names: str) -> None:
    """Start them."""
    for name in names:
        arena.process(name).start()
        arena.down.discard(name)


def freeze(arena: Arena, _: Random, *names: str) -> None:
    """Let them stand still."""
    for name in names:
        arena.process(name).pause()


def thaw(arena: Arena, _: Random, *names: str) -> None:
    """Let them go on."""
    for name in names:
        arena.process(name).resume()


def terminate(arena: Arena, _: Random, *names: str) -> None:
    """Tell each to stop, and note how long it takes."""
    for name in names:
        arena.down.add(name)
        process, started = arena.process(name), time.monotonic()
        process.ask_to_stop()
        while process.exit_code is None and time.monotonic() - started < DRAINED_WITHIN + 5:
            time.sleep(0.02)
        took = time.monotonic() - started
        arena.drains.append((name, took, process.exit_code))
        if process.exit_code is None:
            process.kill()


def redeploy(arena: Arena, rng: Random, *names: str) -> None:
    """Replace them one after the other, each when the one before serves."""
    for name in names:
        terminate(arena, rng, name)
        start(arena, rng, name)
        arena.until(partial(arena.answers, name), within=30)


def kill_children(arena: Arena, rng: Random, *names: str) -> None:
    """Kill a rendering child of each, busy or not."""
    arena.killed.clear()
    for name in names:
        with suppress(psutil.NoSuchProcess):
            for child in rng.sample(children := _children(arena, name), min(1, len(children))):
                child.kill()
                arena.killed[name] = child.pid


def _children(arena: Arena, name: str) -> list[psutil.Process]:
    pid = arena.process(name).pid
    servers = [] if pid is None else psutil.Process(pid).children()
    return [child for server in servers for child in server.children() if child.status() != _DEAD]


def harm(arena: Arena, _: Random, operation: str) -> None:
    """Send a job whose operation harms its child, and see it fail with its code and no other."""
    code = HARM[operation]
    if code == "poison":
        arena.expected_letters.add("poison")
    arena.harmed.append(arena.client.send(count=1, recipe=[{"operation": operation}], code=code))


def see_the_harmed_end(arena: Arena, *_: object) -> None:
    """Wait for it: another fault meanwhile could cost their photos a claim that their child did not."""
    arena.settled(arena.harmed)


def blow(arena: Arena, _: Random) -> None:
    """Send a job whose operation harms its child until somebody mends it."""
    arena.fuse.touch()
    arena.expected_letters.add("poison")
    arena.harmed.append(arena.client.send(count=1, recipe=[{"operation": "fused"}], code="poison"))


def given_up(arena: Arena) -> bool:
    """It has failed, and its letter lies before the operators."""
    sent = arena.harmed[-1]
    return sent.state in {"complete", "checked"} and _redrive(arena, sent, dry_run=True) == 1


def mend_and_redrive(arena: Arena, _: Random) -> None:
    """Mend it, redrive its letter as operators do, and see its photo done in a second round."""
    sent = arena.harmed[-1]
    arena.settled([sent])
    arena.fuse.unlink()
    sent.expires_at = 0.0  # its hour begins anew
    redriven = arena.until(lambda: _redrive(arena, sent) == 1, within=_REDRIVEN_WITHIN)
    row = "select j.epoch, j.state, j.done, j.failed from jobs j where j.token_hash = %s"
    done = arena.until(
        lambda: arena.ledger(row, _hash(sent)) == [(1, "complete", 1, 0)], within=_REDRIVEN_WITHIN
    )
    if not redriven or not done:
        arena.client.against(
            "I1", f"job {sent.number}: redriven: {redriven}, {arena.ledger(row, _hash(sent))}"
        )
    arena.client.counts["letters redriven"] += redriven


def _redrive(arena: Arena, sent: Sent, *, dry_run: bool = False) -> int:
    """Redrive the letters of this job; return how many were, or would be."""
    jobs = arena.ledger("select id::text from jobs where token_hash = %s", _hash(sent))
    with suppress(httpx.TransportError):
        answer = httpx.post(
            f"{arena.system.base_url}/dlq/redrive",
            json={"job": jobs[0][0] if jobs else "", "dry_run": dry_run},
            headers={"authorization": f"Bearer {OPERATOR}"},
            timeout=30,
        )
        return answer.json()["redriven"] if answer.status_code == 200 else 0
    return 0


def _hash(sent: Sent) -> bytes:
    return hashlib.sha256(sent.token.encode()).digest()


# Servers.


def stop_server(arena: Arena, _: Random, name: str) -> None:
    """Stop it in order."""
    arena.system.stack.server(name).stop()


def kill_server(arena: Arena, _: Random, name: str) -> None:
    """End it as a power cut would."""
    arena.system.stack.server(name).kill()


def start_server(arena: Arena, _: Random, name: str) -> None:
    """Start it; return when it serves."""
    arena.system.stack.server(name).start()


def freeze_server(arena: Arena, _: Random, name: str) -> None:
    """Let it stand still."""
    arena.system.stack.server(name).pause()


def thaw_server(arena: Arena, _: Random, name: str) -> None:
    """Let it go on."""
    arena.system.stack.server(name).resume()


def cloud(arena: Arena, _: Random, *names: str, weather: Weather) -> None:
    """Have this weather between Ebbmark and these servers."""
    for name in names:
        arena.weather(name, weather)


def clear(arena: Arena, _: Random, *names: str) -> None:
    """Have fine weather again."""
    for name in names:
        arena.weather(name)


# Messages, disks, connections, clocks.


def wipe(arena: Arena, rng: Random, *names: str) -> None:
    """Stop who consumes, if anybody is said, then wipe."""
    terminate(arena, rng, *names)
    arena.witness_announcements()
    arena.wiped += 1
    arena.said |= {name: _log(arena, name).stat().st_size for name in arena.system.processes}
    messages.wipe(arena.direct.kafka)


def deliver_again(arena: Arena, _: Random) -> None:
    """Publish what lies in Kafka so many times more."""
    messages.deliver_again(arena.direct.kafka, TIMES, last=_LAST)


def confuse(arena: Arena, rng: Random) -> None:
    """Publish old outcomes in any order, and stale failures beside them."""
    messages.confuse_statuses(arena.direct.kafka, rng, last=_LAST)


def litter(arena: Arena, rng: Random) -> None:
    """Publish what nobody can read."""
    arena.expected_letters.add("malformed-event")
    arena.littered = messages.garbage(arena.direct.kafka, rng)


def fill_disk(arena: Arena, _: Random) -> None:
    """Leave no byte free on the spool's disk."""
    with suppress(OSError), _ballast(arena).open("wb", buffering=0) as ballast:
        while ballast.write(bytes(16 * 1024)):
            pass


def empty_disk(arena: Arena, _: Random) -> None:
    """Give the room back."""
    _ballast(arena).unlink(missing_ok=True)


def _ballast(arena: Arena) -> Path:
    return arena.spool / "ballast"


def exhaust(arena: Arena, _: Random) -> None:
    """Take every connection of the database, those of the pools included, which race for it."""
    where = conninfo(arena.direct.ledger)
    others = "from pg_stat_activity where backend_type = 'client backend' and not pid = any(%s)"
    for _round in range(50):
        with suppress(psycopg.OperationalError):
            while True:
                arena.hoard.append(psycopg.connect(where, autocommit=True))
        ours = [[each.info.backend_pid for each in arena.hoard]]
        ended = arena.hoard[0].execute(f"select pg_terminate_backend(pid) {others}", ours)
        if not ended.fetchall():
            return


def release(arena: Arena, _: Random) -> None:
    """Give the connections back."""
    while arena.hoard:
        arena.hoard.pop().close()


@functools.cache
def clock() -> str:
    """Return the library that falsifies clocks, made of `clock.c`; nothing without a compiler."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        return ""
    made = Path(tempfile.mkdtemp(prefix="ebbmark-clock-")) / "clock.so"
    atexit.register(shutil.rmtree, made.parent, ignore_errors=True)
    source = Path(__file__).with_name("clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", str(made), str(source)], check=True)
    return str(made)


def falsify_clock(arena: Arena, rng: Random, name: str) -> None:
    """Start it anew two hours early or late."""
    arena.down.add(name)
    process = arena.process(name)
    process.stop()
    arena.said[name] = _log(arena, name).stat().st_size
    offset = rng.choice((_TWO_HOURS, -_TWO_HOURS))
    process.command[:0] = ["/usr/bin/env", f"LD_PRELOAD={clock()}", f"CHAOS_CLOCK={offset}"]
    start(arena, rng, name)


def correct_clock(arena: Arena, rng: Random, name: str) -> None:
    """Start it anew as it was."""
    arena.down.add(name)
    process = arena.process(name)
    process.stop()
    del process.command[:3]
    start(arena, rng, name)


# What shows that it has its effect.


def always(*_: object) -> bool:
    """Nothing needs to be shown: it is done when it returns."""
    return True


def gone(arena: Arena, *names: str) -> bool:
    """They have ended."""
    return all(arena.process(name).exit_code is not None for name in names)


def frozen(arena: Arena, *names: str) -> bool:
    """They stand still."""
    stopped = psutil.STATUS_STOPPED
    return all(psutil.Process(arena.process(name).pid).status() == stopped for name in names)


def rough(arena: Arena, *names: str) -> bool:
    """The weather has met traffic of each."""
    return all(arena.proxies[name].harmed for name in names)


def not_ready(arena: Arena, *_: str) -> bool:
    """Ingest says that something is amiss, or cannot say anything."""
    return not arena.answers("ingest")


def no_room(arena: Arena) -> bool:
    """An upload is refused since the disk is full."""
    with suppress(httpx.TransportError):
        return "storage-full" in httpx.post(f"{arena.system.base_url}/upload", files={"files": b"x"}).text
    return False


def buried(arena: Arena) -> bool:
    """All that nobody can read has become dead letters, so every partition has moved on."""
    return arena.littered <= messages.buried(arena.direct.kafka)


def replaced(arena: Arena, *names: str) -> bool:
    """In place of each child that was killed there is another."""
    with suppress(psutil.NoSuchProcess):
        living = {name: [child.pid for child in _children(arena, name)] for name in names}
        return all(living[name] and arena.killed.get(name) not in living[name] for name in names)
    return False


def anew(arena: Arena) -> bool:
    """Somebody who reads topics has seen that they were made anew."""
    return any(b"topics made anew" in line for name in arena.said for line in _said(arena, name))


def astray(arena: Arena, name: str) -> bool:
    """It has said something, since its start with that clock, that it dates hours ago or hence."""
    for line in _said(arena, name):
        with suppress(TypeError, KeyError, ValueError):  # what libraries say is no JSON
            said = datetime.fromisoformat(json.loads(line)["timestamp"])
            if abs(said - datetime.now(UTC)) > timedelta(hours=1):
                return True
    return False


def _said(arena: Arena, name: str) -> list[bytes]:
    """Return the lines of its log since the last fault that counts by them."""
    log = _log(arena, name)
    with log.open("rb") as lines:
        lines.seek(min(arena.said.get(name, 0), log.stat().st_size))
        return list(lines)


def _log(arena: Arena, name: str) -> Path:
    return arena.logs / f"{name}.log"
