"""The process that sends the load: Locust's runner and users, over a client of its own.

Importing Locust replaces the standard library's blocking calls for the whole process, so nothing else imports
this module: `loadtest.run` starts it as a program of its own, and reads what it says and writes.
"""

import argparse
import json
import logging
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gevent
from gevent.event import Event
from gevent.pool import Group
from locust import User, task
from locust.env import Environment
from prometheus_client import start_http_server

from loadtest import metrics, published, samples
from loadtest.expected import FIELDS, Verifier, sha256
from loadtest.journey import Journey, Parcel
from loadtest.options import add_shapes, plan_of
from loadtest.recorder import COUNTS, Recorder
from loadtest.schedule import arrivals
from loadtest.shapes import Plan
from loadtest.summary import IN_TIME
from loadtest.wire import Wire, form

_TELL = 0.5
_BEFORE_OTHERS = -10
"""Of -20 to 19: it takes a tenth of a core, and must not wait for a core behind what it loads."""
_SEED = 20261124


class Generator:
    """One run: who sends, what, from where, and until when."""

    def __init__(self, plan: Plan, url: str, *, corpus: Path, addresses: int, patience: float) -> None:
        """Send to `url` from so many addresses of the loopback network; none when it is elsewhere."""
        self.plan = plan
        self.patience = patience
        self.recorder = Recorder()
        self.verifier = Verifier()
        self.closing = Event()
        self.group = Group()
        self.left = plan.closed.count if plan.closed and plan.closed.count else sys.maxsize
        self.users = 0
        self.stopped = False
        self._cpu_before = 0.0
        self._url = urlsplit(url)
        self._addresses = addresses
        self._people = 0
        self.parcels = _parcels(plan, corpus)
        self._turn: Iterator[Parcel] = cycle(self.parcels)

    def journey(self, **more: Any) -> tuple[Journey, Wire]:  # noqa: ANN401 - what is Journey's
        """Return the way of somebody new, who has an address and a connection of their own."""
        self._people += 1
        wire = self._wire(self._people)
        journey = Journey(
            wire, self.recorder, self.verifier, watch=self.plan.watch, patience=self.patience, **more
        )
        return journey, wire

    def next_parcel(self) -> Parcel:
        """Return the next photo of the mix, in turn."""
        return next(self._turn)

    def learn(self) -> None:
        """Have every photo of the mix rendered once and look at the result; then twice more, to warm up.

        Raises:
            SystemExit: a result is wrong, or none came.
        """
        warming = (self.parcels * 2)[: max(16, len(self.parcels))]
        come = _Prepared("looking at the first results", len(self.parcels) + len(warming))
        for parcel in self.parcels:
            result = self._rendered(parcel)
            wrong = self.verifier.learn(parcel.entry, parcel.content, result)
            if wrong:
                raise SystemExit(f"The result of {parcel.entry.name} is wrong before any load: {wrong}.")
            come.one()
        again = Group()
        for parcel in warming:
            again.spawn(self._rendered, parcel).rawlink(come.one)
            if len(again) >= 4:
                gevent.wait(list(again), count=1)
        again.join()

    def _rendered(self, parcel: Parcel) -> bytes:
        self._people += 1
        wire = self._wire(self._people)
        try:
            with gevent.Timeout(self.patience):
                answer = wire.post("/upload", parcel.body)
                while answer.refused:
                    gevent.sleep(answer.pause)
                    answer = wire.post("/upload", parcel.body)
                if answer.status != 202:
                    raise SystemExit(
                        f"Before any load an upload is answered {answer.status}: {answer.body!r}"
                    )
                job = answer.location
                while json.loads(wire.get(job).body).get("state") != "complete":
                    gevent.sleep(0.1)
                return wire.get(f"{job}/photos/0", accept="*/*").body
        except (gevent.Timeout, OSError) as exc:
            raise SystemExit(f"Before any load {parcel.entry.name} does not come back: {exc}") from exc
        finally:
            wire.close()

    def _wire(self, person: int) -> Wire:
        host, tls = self._url.hostname or "", self._url.scheme == "https"
        near = self._addresses and host in {"127.0.0.1", "localhost"}
        n = person % self._addresses if near else 0
        address = f"127.0.{1 + n // 250}.{1 + n % 250}" if near else None
        port = self._url.port or (443 if tls else 80)
        return Wire(host, port, tls=tls, address=address, patience=self.patience)

    # The open loop

    def arrive(self) -> None:
        """Let people arrive when they are due; what became of those before puts none of them off."""
        if self.plan.phases is None:
            return
        chance = random.Random(_SEED) if self.plan.poisson else None  # noqa: S311 - arrivals, not secrets
        for phase in self.plan.phases(self._overloaded):
            self.recorder.begin_phase(phase.name, phase.rate)
            self._plan_rate(phase.rate)
            begin = self.recorder.now()
            for due in arrivals(phase, chance):
                self._sleep_until(begin + due)
                if self.closing.is_set():
                    break
                self.group.spawn(self._visit, begin + due)
            self._sleep_until(begin + phase.seconds)
            self.recorder.end_phase()
            if self.closing.is_set():
                break
        self.closing.set()

    def _sleep_until(self, due: float) -> None:
        wait = due - self.recorder.now()
        if wait > 0 and not self.closing.is_set():
            self.closing.wait(wait)

    def _visit(self, planned: float) -> None:
        metrics.USERS.inc()
        journey, wire = self.journey()
        journey.travel(self.next_parcel(), planned)
        wire.close()
        metrics.USERS.dec()

    def _overloaded(self) -> bool:
        """Whether something was not served, or more than two seconds' worth of photos is under way."""
        counts, rate = self.recorder.counts, float(self.recorder.phases[-1]["rate"])
        under_way = counts["asked"] - counts["served"]
        return counts["refused"] + counts["errors"] > 0 or under_way > rate * IN_TIME

    def _plan_rate(self, rate: float) -> None:
        polls = self.plan.watch == "polls"
        for request, each in (("upload", 1), ("result", 1), ("status", 3 * polls), ("events", not polls)):
            metrics.RATE_PLANNED.labels(request).set(rate * each)

    # The closed loop

    def stay(self) -> None:
        """Send one photo after another until all is over, each request when the one before was answered."""
        closed = self.plan.closed
        if closed is None:
            return
        last = -closed.pause

        def pace() -> None:
            nonlocal last
            gevent.sleep(max(0.0, last + closed.pause - self.recorder.now()))
            last = self.recorder.now()

        metrics.USERS.inc()
        self.users += 1
        journey, wire = self.journey(pace=pace)
        while self.left > 0 and not self.closing.is_set():
            self.left -= 1
            pace()
            journey.travel(self.next_parcel(), self.recorder.now())
        wire.close()
        metrics.USERS.dec()
        self.users -= 1
        if self.users == 0 and self.left <= 0:
            self.closing.set()

    # The run

    def run(self) -> None:
        """Run it from its begin to its last result."""
        closed = self.plan.closed
        crowd: type[User] = _Member if closed else _Crowd
        environment = Environment(user_classes=[crowd])
        environment.generator = self  # pyright: ignore[reportAttributeAccessIssue] - Locust hands it on to users
        runner = environment.create_local_runner()
        self.recorder = Recorder(environment.events.request.fire)
        with suppress(PermissionError):  # only root may
            os.setpriority(os.PRIO_PROCESS, 0, _BEFORE_OTHERS)
        used = resource.getrusage(resource.RUSAGE_SELF)
        self._cpu_before = used.ru_utime + used.ru_stime
        telling = gevent.spawn(self._tell)
        if closed:
            self.recorder.begin_phase("closed", 0)
            runner.start(closed.users, spawn_rate=closed.users / closed.ramp if closed.ramp else closed.users)
            self._sleep_until(closed.ramp + closed.hold)
            self.recorder.end_phase()
            self.closing.set()
        else:
            runner.start(1, spawn_rate=1)
        self.closing.wait()
        self._plan_rate(0)
        deadline = time.monotonic() + self.patience + 1
        while (self.group or self.users) and time.monotonic() < deadline:
            gevent.sleep(0.02)
        telling.kill()
        self._say()
        runner.quit()

    def outcome(self) -> dict[str, Any]:
        """Return all that is known of the run besides its samples."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        recorder = self.recorder
        return {
            "shape": self.plan.shape,
            "loop": "closed" if self.plan.closed else "open",
            "options": dict(self.plan.options),
            "mix": self.plan.mix,
            "watch": self.plan.watch,
            "poisson": self.plan.poisson,
            "whole": self.plan.whole and not self.stopped,
            "stopped": self.stopped,
            "patience": self.patience,
            "seconds": recorder.now(),
            "phases": recorder.phases,
            "counts": {name: recorder.counts[name] for name in COUNTS},
            "generator_priority": os.getpriority(os.PRIO_PROCESS, 0),
            "generator_cpu_seconds": used.ru_utime + used.ru_stime - self._cpu_before,
        }

    def stop(self) -> None:
        """End before time: nobody comes any more, and who is there has their result."""
        self.stopped = True
        self.closing.set()

    def _tell(self) -> None:
        while True:
            self._say()
            gevent.sleep(_TELL)

    def _say(self) -> None:
        _line(at=round(self.recorder.now(), 2), **{name: self.recorder.counts[name] for name in COUNTS})


class _Prepared:
    """Tells how far a preparation is, each time that one more of it is done."""

    def __init__(self, what: str, of: int) -> None:
        self._what = what
        self._of = of
        self._done = 0

    def one(self, _: object = None) -> None:
        self._done += 1
        _line(preparing=self._what, done=self._done, of=self._of)


def _line(**said: object) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


class _Crowd(User):
    """Everybody who comes: in an open loop Locust has one user, who lets the others in."""

    @task
    def arrive(self) -> None:
        """Let them in, and stay: Locust would start anew."""
        self.environment.generator.arrive()
        gevent.sleep(3600)


class _Member(User):
    """One of the users of a closed loop."""

    @task
    def stay(self) -> None:
        """Send photo after photo."""
        self.environment.generator.stay()
        gevent.sleep(3600)


def _parcels(plan: Plan, corpus: Path) -> list[Parcel]:
    made = _Prepared("making the photos", len(published.MIXES[plan.mix]))
    parcels = [
        Parcel(entry, content, sha256(content), form(entry.name, content, FIELDS))
        for entry, content in published.load(plan.mix, corpus, made.one).items()
    ]
    random.Random(_SEED).shuffle(parcels)  # noqa: S311 - an order, not a secret
    return parcels


def main() -> int:
    """Send the load that the command line asks for, and write down what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, required=True, help="folder for samples.csv.gz and outcome.json")
    add_shapes(parser)
    args = parser.parse_args()
    logging.getLogger("locust").setLevel(logging.WARNING)
    plan = plan_of(args)
    generator = Generator(
        plan, args.url, corpus=args.corpus, addresses=args.addresses, patience=args.patience
    )
    for each in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(each, generator.stop)
    metrics.begin(plan.shape, "closed" if plan.closed else "open")
    if args.metrics_port:
        start_http_server(args.metrics_port, "127.0.0.1", metrics.REGISTRY)
    generator.learn()
    generator.run()
    samples.write(args.into / "samples.csv.gz", generator.recorder.samples)
    (args.into / "outcome.json").write_text(json.dumps(generator.outcome()), "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
