"""What load tests there are: how requests arrive, what is sent, and how its sender waits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from loadtest import schedule
from loadtest.schedule import Phases

POLLS = (0.25, 0.75, 1.5)
"""Seconds after its acceptance at which a job's status is asked; after those every half a second."""


@dataclass(frozen=True, kw_only=True)
class Closed:
    """Users who send their next request when the last was answered, as B's did and bulk senders do."""

    users: int
    ramp: float
    """Seconds in which they come, evenly."""
    hold: float
    """Seconds that all of them stay."""
    pause: float
    """Seconds between the begins of two requests of one user, if the first is answered by then."""
    count: int = 0
    """Photos after which all is over; 0 for none."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One load test, whole."""

    shape: str
    options: Mapping[str, float]
    """What of the shape can be said on the command line, as it was said."""
    mix: str = "0.3MP"
    """Which photos of the corpus."""
    watch: str = "events"
    """`events`: by the event stream, as the page does. `polls`: by asking for the status, with its ETag."""
    phases: Phases | None = None
    """Open loop: arrivals come when they are due, whatever became of those before."""
    closed: Closed | None = None
    poisson: bool = False
    seconds: float = 0.0
    """How long it is at most, without the wait for the last results."""
    whole: bool = True
    """Whether this is the shape as published: a shorter one proves nothing of its promises."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A kind of load test with its options and their defaults."""

    about: str
    options: Mapping[str, tuple[float, str]]
    """Default and meaning of each option."""
    make: Callable[[Mapping[str, float]], Plan]
    mix: str = "0.3MP"
    watch: str = "events"

    def plan(self, name: str, given: Mapping[str, float]) -> Plan:
        """Return the plan with these options, the others as they are by default."""
        options = {key: given.get(key, default) for key, (default, _) in self.options.items()}
        whole = all(options[key] == default for key, (default, _) in self.options.items())
        made = self.make(options)
        return replace(made, shape=name, options=options, mix=self.mix, watch=self.watch, whole=whole)


def _level(given: Mapping[str, float]) -> Plan:
    phases = schedule.level(given["rate"], given["seconds"])
    return Plan(shape="", options={}, phases=phases, seconds=given["seconds"])


def _bursts(given: Mapping[str, float]) -> Plan:
    phases = schedule.bursts(int(given["burst_size"]), given["interval"], int(given["bursts"]))
    return Plan(shape="", options={}, phases=phases, seconds=given["interval"] * given["bursts"])


def _stairs(given: Mapping[str, float]) -> Plan:
    first, step, last, hold = (given[name] for name in ("first", "step", "last", "hold"))
    phases = schedule.stairs(first=first, step=step, last=last, hold=hold)
    return Plan(
        shape="", options={}, phases=phases, seconds=hold * (1 + int((last - first) / step + 1e-9) + 4)
    )


def _ramp(given: Mapping[str, float]) -> Plan:
    closed = Closed(users=int(given["users"]), ramp=given["ramp"], hold=given["hold"], pause=given["pause"])
    return Plan(shape="", options={}, closed=closed, seconds=closed.ramp + closed.hold)


def _bulk(given: Mapping[str, float]) -> Plan:
    closed = Closed(users=int(given["workers"]), ramp=0, hold=3600, pause=0, count=int(given["count"]))
    return Plan(shape="", options={}, closed=closed, seconds=closed.hold)


_RATE = "uploads a second"
_SECONDS = "how long"

SHAPES: Mapping[str, Shape] = {
    "short": Shape(
        about="10 uploads/s of 0.3 MP for a minute, open loop: whether all is well",
        options={"rate": (10, _RATE), "seconds": (60, _SECONDS)},
        make=_level,
    ),
    "steady30": Shape(
        about="30 uploads/s of 0.3 MP for 5 minutes, open loop, watched by event stream",
        options={"rate": (30, _RATE), "seconds": (300, _SECONDS)},
        make=_level,
    ),
    "peak100": Shape(
        about="100 requests/s for 5 minutes, open loop: 20 uploads, 60 statuses and 20 results",
        options={"rate": (20, _RATE), "seconds": (300, _SECONDS)},
        make=_level,
        watch="polls",
    ),
    "ramp": Shape(
        about="as B was measured: 0 to 100 users in 3 minutes and 2 minutes more, closed loop",
        options={
            "users": (100, "users in the end"),
            "ramp": (180, "seconds in which they come"),
            "hold": (120, "seconds that all of them stay"),
            "pause": (1, "seconds between two requests of one user"),
        },
        make=_ramp,
        watch="polls",
    ),
    "burst": Shape(
        about="50 uploads of 0.3 MP at one moment, every 5 seconds, 12 times, open loop",
        options={
            "burst_size": (50, "uploads at one moment"),
            "interval": (5, "seconds between two bursts"),
            "bursts": (12, "how many bursts"),
        },
        make=_bursts,
    ),
    "stairs": Shape(
        about="10 uploads/s more every 20 seconds until it is too much, two steps beyond, and back down",
        options={
            "first": (10, "uploads a second at first"),
            "step": (10, "how many more with each step"),
            "last": (200, "the highest step"),
            "hold": (20, "seconds of each step"),
        },
        make=_stairs,
    ),
    "soak": Shape(
        about="2 uploads/s of phone photos' sizes and formats for an hour, open loop",
        options={"rate": (2, _RATE), "seconds": (3600, _SECONDS)},
        make=_level,
        mix="phone",
    ),
    "bulk": Shape(
        about="200 photos from 8 senders at once, each sends its next when the last is answered",
        options={"count": (200, "photos in all"), "workers": (8, "senders at once")},
        make=_bulk,
        mix="2MP",
    ),
    "heavy": Shape(
        about="160 photos of 12 MP from 32 senders at once: rendering is what limits",
        options={"count": (160, "photos in all"), "workers": (32, "senders at once")},
        make=_bulk,
        mix="12MP",
    ),
}
