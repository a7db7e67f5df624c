"""When requests are to be sent, decided beforehand: nothing that the system does can put an arrival off."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of time with one rate of arrivals."""

    name: str
    seconds: float
    rate: float
    """Arrivals a second."""
    at_once: int = 1
    """How many of them come together."""


Phases = Callable[[Callable[[], bool]], Iterator[Phase]]
"""Makes the phases of a shape one by one; asks whether the last one was more than the system can do."""


def arrivals(phase: Phase, chance: random.Random | None = None) -> Iterator[float]:
    """Yield the seconds from the phase's begin at which each arrival is due, in order.

    Evenly spaced, or with `chance` at random as of people who know nothing of each other (Poisson).
    """
    if phase.rate <= 0:
        return
    between = phase.at_once / phase.rate
    due, n = 0.0, 0
    if chance is not None:
        due = chance.expovariate(1 / between)
    while due < phase.seconds - 1e-9:
        for _ in range(phase.at_once):
            yield due
        n += 1
        due = n * between if chance is None else due + chance.expovariate(1 / between)


def level(rate: float, seconds: float) -> Phases:
    """Return one phase of one rate."""
    return lambda _: iter([Phase(name="level", seconds=seconds, rate=rate)])


def bursts(size: int, interval: float, count: int) -> Phases:
    """Return bursts of so many arrivals at one moment, `interval` seconds apart."""
    return lambda _: iter(
        [Phase(name="bursts", seconds=interval * count, rate=size / interval, at_once=size)]
    )


def stairs(*, first: float, step: float, last: float, hold: float, beyond: int = 2) -> Phases:
    """Return steps up until one is too much, some steps beyond, and a long one back down.

    The last phase is half of the highest rate that was not too much: there the system has to recover.
    """

    def phases(overloaded: Callable[[], bool]) -> Iterator[Phase]:
        rate, sustained = first, first / 2
        while rate <= last:
            yield Phase(name="climb", seconds=hold, rate=rate)
            if overloaded():
                break
            sustained, rate = rate, rate + step
        for _ in range(beyond):
            rate += step
            yield Phase(name="beyond", seconds=hold, rate=rate)
        yield Phase(name="recovery", seconds=2 * hold, rate=sustained / 2)

    return phases
