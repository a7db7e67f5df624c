"""A random run: faults chosen by a seed under a steady load, each timed; at the end a verdict."""

import os
import platform
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any

from devstack.process import say
from tests.chaos.arena import Arena
from tests.chaos.faults import CATALOGUE, OUTAGES, Fault, outage
from tests.chaos.invariants import Onlooker
from tests.chaos.verdicts import Verdict, as_json

_BITES_WITHIN = 25.0
_OVERDUE = 480.0
"""Seconds of absence after which audits may rightly call deletions late: they are ten minutes late."""


@dataclass(frozen=True)
class Struck:
    """One fault as it went."""

    fault: Fault
    lasted: float
    recovery: float | None
    """Seconds from its undoing until a fresh job of six photos was complete; None when it never was."""
    against: Sequence[str] = ()
    """What was found wrong right after it."""
    seen: bool = True
    """Whether its effect was: else it was no test, and says nothing for or against."""

    def __str__(self) -> str:
        recovery = f"{self.recovery:5.1f} s" if self.recovery is not None else "  never"
        return f"{self.fault.name:<26} {self.lasted:5.1f} s  back after {recovery}" + (
            "  " + "; ".join(self.against[:3]) if self.against else "" if self.seen else "  no effect seen"
        )


def strike(
    arena: Arena,
    onlooker: Onlooker,
    fault: Fault,
    rng: Random,
    *,
    stretch: float = 1.0,
    during: Callable[[], object] = lambda: None,
) -> Struck:
    """Do it, let it last, undo it, and time the recovery; `during` is called when it has begun."""
    started = time.monotonic()
    try:
        fault.begin(arena, rng)
        lasts_until = time.monotonic() + fault.holds * stretch
        during()
        bitten = arena.until(lambda: fault.bites(arena), within=_BITES_WITHIN)
        arena.wait(lasts_until - time.monotonic())
    finally:
        fault.end(arena, rng)
    lasted = time.monotonic() - started
    recovery = arena.probe()
    against = [f"{v.invariant}: {what}" for v in onlooker.meanwhile() for what in v.violations]
    return Struck(fault, lasted, recovery, against, bitten)


def choose(rng: Random, arena: Arena, mention: Callable[[str], None]) -> Iterator[Fault]:
    """Yield faults for ever: all of them in one order, then all in another."""
    while True:
        round_ = list(CATALOGUE.values())
        rng.shuffle(round_)
        for fault in round_:
            if lack := fault.lacks(arena):
                mention(f"left out: {fault.name}: {lack}")
            else:
                yield fault


def outages(rng: Random, seconds: float, of: str) -> list[Fault]:
    """Return who is gone for so long: one by name, one of the seed's choice, or `each` after the other."""
    chosen = rng.choice(OUTAGES)
    if not seconds:
        return []
    return [outage(name, seconds) for name in (OUTAGES if of == "each" else (of or chosen,))]


def away(arena: Arena, onlooker: Onlooker, fault: Fault, rng: Random) -> Struck:
    """Have it gone for long; senders are as patient as that."""
    client = arena.client
    before, client.patience = client.patience, client.patience + fault.holds
    began = datetime.now(UTC)
    struck = strike(arena, onlooker, fault, rng)
    arena.settled([sent for sent in client.log if sent.accepted_at])
    if fault.holds > _OVERDUE:
        arena.late_within = began, datetime.now(UTC)
    client.patience = before
    return struck


def random_run(
    arena: Arena,
    *,
    seed: int,
    minutes: float,
    faults: int,
    rate: float,
    pause: float = 0.4,
    gone: float = 0.0,
    who: str = "",
) -> dict[str, Any]:
    """Run until the time is over and so many faults have struck; print as it goes, return the report.

    In the middle of it `who` is gone for `gone` seconds, which are not of its time.
    """
    rng, onlooker = Random(seed), Onlooker(arena)
    said: set[str] = set()

    def once(line: str) -> None:
        if line not in said:
            said.add(line)
            say(line)

    long = outages(Random(seed), gone, who)
    started, begun, until = datetime.now(UTC), time.monotonic(), time.monotonic() + minutes * 60
    say(f"seed {seed}, {minutes:g} min, at least {faults} faults, {rate:g} photos/s")
    arena.probe()  # what was idle until now has grown to what it is at rest
    arena.memory.rest(arena.system.processes)
    arena.client.start_sending(rate)
    struck: list[Struck] = []
    for fault in choose(rng, arena, once):
        if time.monotonic() > until and len(struck) >= faults:
            break
        while long and time.monotonic() > (begun + until) / 2 and len(struck) >= faults // 2:
            at = time.monotonic()
            struck.append(away(arena, onlooker, long.pop(0), rng))
            until += time.monotonic() - at
            say(f"{len(struck):>4}  {struck[-1]}")
        arena.wait(rng.uniform(0.5, 2) * pause)
        struck.append(strike(arena, onlooker, fault, rng, stretch=rng.uniform(1, 1.6)))
        say(f"{len(struck):>4}  {struck[-1]}")
    for fault in long:
        struck.append(away(arena, onlooker, fault, rng))
        say(f"{len(struck):>4}  {struck[-1]}")
    arena.client.stop_sending()
    arena.settled(arena.client.log)
    verdicts = [_recovered(struck), *onlooker.finally_()]
    say("")
    for verdict in verdicts:
        say(str(verdict))
        for what in verdict.violations[:10]:
            say(f"       {what}")
    return _report(
        arena,
        seed=seed,
        rate=rate,
        started=started,
        struck=struck,
        verdicts=verdicts,
        left_out=sorted(said),
    )


def _recovered(struck: Sequence[Struck]) -> Verdict:
    found = [f"nothing went through after {each.fault.name}" for each in struck if each.recovery is None]
    found += [f"after {each.fault.name}: {what}" for each in struck for what in each.against]
    return Verdict("I1", "after every fault a fresh job goes through", len(struck), found)


def _report(
    arena: Arena,
    *,
    seed: int,
    rate: float,
    started: datetime,
    struck: Sequence[Struck],
    verdicts: Sequence[Verdict],
    left_out: Sequence[str],
) -> dict[str, Any]:
    kinds: dict[str, list[float]] = {}
    for each in struck:
        if each.seen or each.recovery is None:
            kinds.setdefault(each.fault.kind, []).append(
                -1.0 if each.recovery is None else round(each.recovery, 2)
            )
    client = arena.client
    return {
        "seed": seed,
        "started": started.isoformat(timespec="seconds"),
        "minutes": round((datetime.now(UTC) - started).total_seconds() / 60, 1),
        "machine": machine(),
        "commit": commit(),
        "rate": rate,
        "faults": sum(each.seen for each in struck),
        "unseen": [each.fault.name for each in struck if not each.seen],
        "jobs": len(client.log),
        "accepted": len(client.accepted),
        "photos": sum(len(sent.photos) for sent in client.accepted),
        "checked": sum(sent.state == "checked" for sent in client.log),
        "counts": dict(sorted(client.counts.items())),
        "states": dict(sorted(Counter(f"{sent.way} {sent.state}" for sent in client.log).items())),
        "restarted": dict(arena.ended),
        "longest_drain": round(max((took for _, took, _ in arena.drains), default=0.0), 1),
        "recovery": kinds,
        "outages": [
            {
                "of": each.fault.name.removeprefix("outage of "),
                "seconds": each.fault.holds,
                "back": each.recovery,
            }
            for each in struck
            if each.fault.name.startswith("outage of ")
        ],
        "memory": {
            name: {"rest": arena.memory.idle[name], "highest": high}
            for name, high in arena.memory.highest.items()
        },
        "passes": {each.fault.kind: each.fault.passes for each in struck},
        "struck": [str(each) for each in struck],
        "left_out": list(left_out),
        "verdicts": as_json(verdicts),
    }


def machine() -> str:
    """Say on what this runs."""
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    return (
        f"{os.cpu_count()} cores, {gib:.0f} GiB, {platform.system()} {platform.release().partition('-')[0]}, "
        f"Python {platform.python_version()}"
    )


def commit() -> str:
    """Say which state of the code this is; `-dirty` when it is none that was committed."""
    with suppress(OSError):
        command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.strip() or "unknown"
    return "unknown"
