"""The table of every fault: how it begins and ends, what shows it, and what passing means."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from tests.chaos import acts
from tests.chaos.acts import DRAINED_WITHIN, HARM, PROCESSES, SERVERS, TIMES
from tests.chaos.arena import Arena
from tests.chaos.proxy import Weather

KEPT = "what was accepted completes, each result once, and a fresh job goes through"
ANSWERED = f"503 or nothing meanwhile, never another error; {KEPT}"
DRAINED = f"it is gone within {DRAINED_WITHIN:.0f} s with exit code 0; {KEPT}"
WORKERS = ("worker-1", "worker-2")

Act = Callable[..., None]
"""Takes the arena, chance, and whom it is done to."""


def _can(_: Arena) -> str:
    return ""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something that goes wrong, and how it ends."""

    name: str
    kind: str
    """What is counted as one in the table of recovery times."""
    how: str
    """How it begins and ends, in words, for the manual; alike for all whom it may meet."""
    on: Sequence[str] = ()
    """Whom it is done to."""
    inject: Act
    heal: Act = acts.nothing
    shows: Callable[..., bool] = acts.always
    """Whether its effect is seen, while it lasts."""
    holds: float = 1.0
    """Seconds it lasts at least; a random run stretches them."""
    passes: str = KEPT
    lacks: Callable[[Arena], str] = _can
    """Why it cannot be done here; nothing when it can."""

    def begin(self, arena: Arena, rng: Random) -> None:
        """Do it."""
        self.inject(arena, rng, *self.on)

    def end(self, arena: Arena, rng: Random) -> None:
        """Undo it."""
        self.heal(arena, rng, *self.on)

    def bites(self, arena: Arena) -> bool:
        """Return whether its effect is seen."""
        return self.shows(arena, *self.on)


def _each(row: str, names: Sequence[str], **what: Any) -> Iterator[Fault]:  # noqa: ANN401 - of Fault
    """Yield the row once for each name. The second worker's fault is of the same kind as the first's."""
    for name in names:
        kind = row.format(name.partition("-")[0])
        yield Fault(name=row.format(name), kind=kind, on=(name,), **what)


def _all(row: str, names: Sequence[str] = (), **what: Any) -> Iterator[Fault]:  # noqa: ANN401 - of Fault
    """Yield the row once, for all the names together."""
    yield Fault(name=row, kind=row, on=names, **what)


def _sky(row: str, weather: Weather, shows: Callable[..., bool], holds: float, how: str) -> Iterator[Fault]:
    """Yield the row for every server: their traffic has this weather for a while."""
    cloud = partial(acts.cloud, weather=weather)
    yield from _each(
        row, SERVERS, how=how, inject=cloud, heal=acts.clear, shows=shows, holds=holds, passes=ANSWERED
    )


def _rows() -> Iterator[Fault]:
    yield from _each(
        "kill {}",
        PROCESSES,
        how="SIGKILL to it and its children; started anew",
        inject=acts.kill,
        heal=acts.start,
        shows=acts.gone,
    )
    yield from _each(
        "freeze {}",
        PROCESSES,
        how="SIGSTOP for longer than a lease; SIGCONT",
        inject=acts.freeze,
        heal=acts.thaw,
        shows=acts.frozen,
        holds=5.0,
        passes=f"a zombie that wakes after its lease changes nothing; {KEPT}",
    )
    yield from _each(
        "stop {}",
        PROCESSES,
        how="SIGTERM; started anew",
        inject=acts.terminate,
        heal=acts.start,
        shows=acts.gone,
        passes=DRAINED,
    )
    yield from _all(
        "kill everything",
        PROCESSES,
        how="SIGKILL to all of ours at once; all started anew",
        inject=acts.kill,
        heal=acts.start,
        shows=acts.gone,
    )
    yield from _all(
        "redeploy",
        PROCESSES,
        how="SIGTERM and a new start, one after the other, under load",
        inject=acts.redeploy,
        passes=f"each is gone within {DRAINED_WITHIN:.0f} s with exit code 0; {KEPT}",
    )
    yield from _all(
        "kill children",
        WORKERS,
        how="SIGKILL to a rendering child of each worker; the pool replaces it",
        inject=acts.kill_children,
        shows=acts.replaced,
    )
    for operation, code in HARM.items():
        yield from _each(
            "{} in a child",
            (operation,),
            how="a photo whose operation does so; it is given up",
            inject=acts.harm,
            heal=acts.see_the_harmed_end,
            passes=f"the photo fails as `{code}` after at most three claims, and only it; {KEPT}",
        )
    yield from _all(
        "redrive a dead letter",
        how="a photo whose operation kills its child is given up; that is mended, an operator redrives it",
        inject=acts.blow,
        heal=acts.mend_and_redrive,
        shows=acts.given_up,
        passes=f"its dead letter is redriven and the photo is done in a second round; {KEPT}",
    )
    yield from _each(
        "kill {}",
        SERVERS,
        how="SIGKILL to the server; started anew on its data",
        inject=acts.kill_server,
        heal=acts.start_server,
        shows=acts.not_ready,
        passes=ANSWERED,
    )
    yield from _each(
        "stop {}",
        SERVERS,
        how="stopped in order; started anew on its data",
        inject=acts.stop_server,
        heal=acts.start_server,
        shows=acts.not_ready,
        holds=4.0,
        passes=ANSWERED,
    )
    yield from _each(
        "freeze {}",
        SERVERS,
        how="SIGSTOP to the server; SIGCONT",
        inject=acts.freeze_server,
        heal=acts.thaw_server,
        shows=acts.not_ready,
        holds=5.0,
        passes=ANSWERED,
    )
    yield from _sky("delay {}", Weather(delay=0.4), acts.rough, 3.0, "each piece of its traffic 0.4 s late")
    yield from _sky("reset {}", Weather(resets=0.5), acts.rough, 3.0, "its connections reset every 0.5 s")
    yield from _sky("cut {}", Weather(holed=True), acts.not_ready, 5.0, "nothing passes, nobody is told")
    yield from _sky("refuse {}", Weather(refused=True), acts.not_ready, 3.0, "its connections refused")
    yield from _all(
        "slice all traffic",
        SERVERS,
        how="97 bytes at a time, to every server",
        inject=partial(acts.cloud, weather=Weather(piece=97)),
        heal=acts.clear,
        shows=acts.rough,
        holds=3.0,
    )
    yield from _all(
        "narrow all traffic",
        SERVERS,
        how="96 KiB/s on each connection to every server",
        inject=partial(acts.cloud, weather=Weather(rate=96 * 1024)),
        heal=acts.clear,
        shows=acts.rough,
        holds=3.0,
        passes=ANSWERED,
    )
    yield from _all(
        "wipe topics",
        PROCESSES[1:],
        how="workers and janitor stopped, all topics deleted and made anew; started anew",
        inject=acts.wipe,
        heal=acts.start,
        shows=acts.gone,
        passes=f"the ledger dispatches again what was lost; {KEPT}",
    )
    yield from _all(
        "wipe topics in use",
        how="all topics deleted and made anew under those who consume them",
        inject=acts.wipe,
        shows=acts.anew,
        passes=f"who reads them ends, is started anew and reads them from the beginning; {KEPT}",
    )
    yield from _all(
        f"deliver all {TIMES} times",
        how=f"the last messages of every topic but dead letters published {TIMES} times more",
        inject=acts.deliver_again,
        passes=f"no photo, counter or ETag changes, no completion differs; {KEPT}",
    )
    yield from _all(
        "shuffle statuses",
        how="old outcomes published in any order, among them failures by earlier claimants",
        inject=acts.confuse,
        passes=f"no photo that ended changes; {KEPT}",
    )
    yield from _all(
        "garbage in topics",
        how="a message nobody can read in every partition",
        inject=acts.litter,
        shows=acts.buried,
        passes=f"it becomes dead letters and every partition moves on; {KEPT}",
    )
    yield from _all(
        "fill the spool's disk",
        how="a file as large as what is free; removed",
        inject=acts.fill_disk,
        heal=acts.empty_disk,
        shows=acts.no_room,
        holds=3.0,
        passes=f"503 `storage-full` meanwhile; {KEPT}",
        lacks=lambda arena: "" if arena.spool_is_small else "only root can give the spool a small disk",
    )
    yield from _all(
        "exhaust connections",
        how="every connection of PostgreSQL taken from the pools; given back",
        inject=acts.exhaust,
        heal=acts.release,
        shows=acts.not_ready,
        holds=5.0,
        passes=ANSWERED,
    )
    yield from _each(
        "wrong clock of {}",
        ("ingest", "worker-1", "janitor"),
        how="started anew two hours early or late; started anew as it was",
        inject=acts.falsify_clock,
        heal=acts.correct_clock,
        shows=acts.astray,
        holds=5.0,
        passes=f"the database's clock decides; {KEPT}",
        lacks=lambda _: "" if acts.clock() else "there is no C compiler",
    )


CATALOGUE: Mapping[str, Fault] = {fault.name: fault for fault in _rows()}


def outage(of: str, seconds: float) -> Fault:
    """Return the long absence of one server, or of all of Ebbmark's processes."""
    ours = of == "ebbmark"
    return Fault(
        name=f"outage of {of}",
        kind=f"outage of {of}",
        how=f"killed; started anew on its data after {seconds:g} s",
        on=PROCESSES if ours else (of,),
        inject=acts.kill if ours else acts.kill_server,
        heal=acts.start if ours else acts.start_server,
        shows=acts.gone if ours else acts.not_ready,
        holds=seconds,
        passes=ANSWERED,
    )


OUTAGES = (*SERVERS, "ebbmark")
"""Who can be gone for long."""
