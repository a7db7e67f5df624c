"""What an alert is for is done to the running system: it fires, arrives, and ends with its cause.

The rules are those that are shipped; `tests.watchtower` makes an hour of them a minute.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from confluent_kafka import Producer

from devstack import alertmanager, prometheus
from devstack.supervisor import Stack
from ebbmark.settings import Janitor, Job, Operator, Settings
from ebbmark.topics import DEAD_LETTERS
from tests import system
from tests.causes import (
    SMALL,
    dead_letters,
    frozen,
    frozen_server,
    killed,
    no_room,
    orders_without_a_ledger,
    stray_object,
    under,
)
from tests.chaos.proxy import Proxy, Weather
from tests.conftest import missing
from tests.people import Person, eventually
from tests.receivers import Receiver
from tests.system import System
from tests.watchtower import Watchtower, alerts, legible, unfound, watching

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]

OPERATIONS = Path(__file__).parents[1] / "chaos" / "operations"
TOKEN = "for one night on the tower"  # noqa: S105 - of a system that lives for minutes
ELSEWHERE = {
    "DiskAlmostFull": "a disk of the machine would have to be filled; see it fire in test_alerts.py",
    "DiskFillsSoon": "the same",
    "SweepsMissing": "a sweep would have to hang, and no fault of a server has it do so",
}
"""Alerts whose causes are not brought about here, and why."""
CAUSED = sorted(alerts().keys() - ELSEWHERE.keys())
LATE = 30.0
"""Seconds after which a result is late; a bound of a histogram, so it is not shortened."""


@dataclass
class Night:
    """What is seen from the tower, one fault after the other."""

    tower: Watchtower
    began: float = field(default_factory=time.monotonic)
    fired: dict[str, float] = field(default_factory=dict)
    """The seconds from a fault's beginning to each alert's firing and arrival."""
    undone: dict[str, float] = field(default_factory=dict)
    """When each alert's fault ended."""
    over: dict[str, float] = field(default_factory=dict)
    """The seconds from then to the alert's end."""

    @contextmanager
    def fault(
        self,
        cause: AbstractContextManager[object],
        *expected: str,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> Iterator[None]:
        """Once none of these alerts fires, bring it about and see that all do; it lasts as the body does."""
        # An earlier fault may have been felt as this one is, and outlived by an alert by half an hour: 30 s.
        eventually(lambda: self.tower.firing() & set(expected), lambda early: not early)
        with cause:
            began = time.monotonic()
            waiting = set(expected)
            while waiting:
                assert time.monotonic() - began < 90, f"did not fire: {waiting}, but {self.tower.firing()}"
                meanwhile()
                seen = waiting & self.tower.firing() & self.tower.arrived()
                self.fired |= dict.fromkeys(seen, time.monotonic() - began)
                waiting -= seen
                self.look_back()
            yield
        self.undone |= dict.fromkeys(expected, time.monotonic())

    def see_the_end(self) -> None:
        """Return when nothing fires any more, and the Alertmanager has been told of it."""
        deadline = time.monotonic() + 120
        while self.undone.keys() - self.over.keys() or self.tower.firing():
            assert time.monotonic() < deadline, f"not over: {self.tower.firing()}"
            self.look_back()

    def look_back(self) -> None:
        """Note which alerts ended of those whose fault did, and let a moment pass."""
        there = self.tower.firing() | self.tower.arrived()
        for alert in self.undone.keys() - self.over.keys() - there:
            self.over[alert] = time.monotonic() - self.undone[alert]
        time.sleep(0.2)


def at_once(count: int, act: Callable[[], object]) -> None:
    """Do it so many times at the same time."""
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(lambda _: act(), range(count)))


def every(seconds: float, act: Callable[[], object]) -> Callable[[], None]:
    """Return what does it again, however often it is asked, only after so many seconds."""
    due = time.monotonic()

    def act_when_due() -> None:
        nonlocal due
        if time.monotonic() >= due:
            act()
            due = time.monotonic() + seconds

    return act_when_due


def start_anew(tower: Watchtower, running: System) -> None:
    """Kill the janitor and start it; return when Prometheus has seen the new one."""
    query = 'process_start_time_seconds{process="janitor"}'
    before = [each["value"][1] for each in tower.series(query)]
    with killed(running, "janitor"):
        pass
    eventually(
        lambda: [each["value"][1] for each in tower.series(query)],
        lambda now: bool(now) and now != before,
    )


# The night.


@pytest.fixture(scope="module")
def store_proxy(stack: Stack) -> Iterator[Proxy]:
    """What stands between Ebbmark and its store."""
    port = stack.choose_ports(["tower-store"])["tower-store"]
    with Proxy(port, stack.ports["seaweedfs-s3"]) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def watched_system(stack: Stack, room: Settings, store_proxy: Proxy) -> Iterator[System]:
    """The system behind that proxy, whose janitor looks often, with operations that harm."""
    change = msgspec.structs.replace
    settings = change(
        room,
        http=change(room.http, jobs_per_minute=0, backlog_jobs=0),
        store=change(room.store, endpoint=f"http://127.0.0.1:{store_proxy.port}"),
        job=msgspec.convert({"grace": "PT1S"}, Job, strict=False),
        janitor=msgspec.convert({"sweep": "PT0.5S", "audit": "PT2S"}, Janitor, strict=False),
        worker=change(room.worker, children=1),
        operator=Operator(token=TOKEN),
        log=change(room.log, format="console"),
    )
    with system.running(stack, settings, more={"PYTHONPATH": _path(OPERATIONS)}) as running:
        yield running


def _path(folder: Path) -> str:
    return os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))


@pytest.fixture(scope="module")
def told() -> Iterator[Receiver]:
    """Who hears of alerts."""
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def night(  # noqa: PLR0917 - fixtures
    stack: Stack,
    room: Settings,
    watched_system: System,
    store_proxy: Proxy,
    told: Receiver,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Night]:
    """Every fault, one after the other, each until its alerts are seen; and then the quiet after them."""
    if prometheus.binary() is None or alertmanager.binary() is None:
        missing("prometheus and prometheus-alertmanager are not installed")
    folder = tmp_path_factory.mktemp("tower")
    with (
        watching(watched_system, folder, told.url("/alerts")) as tower,
        Person(watched_system.base_url) as ann,
    ):
        going = Night(tower)
        ann.wait_until_complete(ann.send([("a.jpg", SMALL)]))
        eventually(lambda: tower.firing() | tower.pending(), lambda found: not found)
        _go_through_it(going, stack, room, watched_system, store_proxy, ann)
        going.see_the_end()
        yield going


def _go_through_it(  # noqa: PLR0917 - all that is there
    night: Night, stack: Stack, room: Settings, running: System, store_proxy: Proxy, ann: Person
) -> None:
    kafka = running.settings.kafka
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "log_level": 2})

    def send(count: int = 1) -> str:
        return ann.send([(f"{n}.jpg", SMALL) for n in range(count)])

    def try_to_send() -> None:
        with suppress(httpx.TransportError):
            ann.post([("a.jpg", SMALL)], operations="grayscale")

    def send_nonsense() -> None:
        producer.produce(kafka.prefix + DEAD_LETTERS.name, b"no letter")
        producer.flush(10)

    with night.fault(
        frozen(running, "worker-1", "worker-2"),
        *("ProcessDown", "PipelineStuck", "BacklogGrows"),
        meanwhile=every(1.0, lambda: send(20)),
    ):
        late = time.monotonic() + LATE + 1
        with night.fault(stray_object(room), "AuditFindings"):
            pass
        with night.fault(nullcontext(), "DeadLettersDropped", meanwhile=send_nonsense):
            pass
        with night.fault(no_room(running), "DiskFull", "SpoolLow", meanwhile=try_to_send):
            pass
        while time.monotonic() < late:
            night.look_back()
    with night.fault(nullcontext(), "ResultsLateFast", "ResultsLateSlowly"):
        pass
    ann.wait_until_complete(send(), within=120)
    slow = Weather(delay=0.7)  # for the question and for the answer
    with night.fault(under(store_proxy, slow), "AcceptLateFast", "AcceptLateSlowly", meanwhile=send):
        pass
    with night.fault(
        under(store_proxy, Weather(refused=True)),
        *("AcceptFailsFast", "AcceptFailsSlowly", "DoorFailsFast", "DoorFailsSlowly"),
        *("DependencyFails", "DeletionLateFast", "DeletionLateSlowly", "AuditsMissing"),
        meanwhile=try_to_send,
    ):
        pass
    crashing = dead_letters(running, ann, TOKEN)
    with (
        crashing as again,
        night.fault(nullcontext(), "ChildrenLost", "DeadLettersOpen", meanwhile=every(4.0, again)),
    ):
        pass
    with night.fault(killed(running, "janitor"), "NoLeader"):
        pass
    with night.fault(nullcontext(), "ProcessRestarts", meanwhile=lambda: start_anew(night.tower, running)):
        pass
    with night.fault(unfound(night.tower, "worker-2"), "ProcessDown"):
        pass
    with night.fault(orders_without_a_ledger(stack, running), "ConsumerStuck"):
        pass
    with night.fault(
        frozen_server(stack, "kafka"),
        *("ConsumerBlind", "PublishFails"),
        # Each is given up after eight seconds. They are looked for before the next ones hold the eye up.
        meanwhile=every(10.0, lambda: at_once(4, try_to_send)),
    ):
        pass


def test_an_alert_is_caused_here_or_it_is_said_why_not(night: Night) -> None:
    assert set(night.fired) | ELSEWHERE.keys() == alerts().keys()


@pytest.mark.parametrize("alert", CAUSED)
def test_an_alert_fires_on_its_fault_and_ends_after_it(night: Night, alert: str) -> None:
    assert night.fired[alert] > 0
    assert night.over[alert] > 0
    # Prometheus says the same, now and of the time that has passed.
    series = f'ALERTS{{alertname="{alert}",alertstate="firing"}}'
    assert night.tower.series(f"count_over_time({series}[30m])")
    assert not night.tower.series(series)


def test_who_is_to_know_is_told_when_it_begins_and_when_it_is_over(night: Night, told: Receiver) -> None:
    assert night.fired
    told_in_the_end = {"NoLeader", "ProcessDown", "ConsumerBlind", "DeadLettersOpen"}
    heard = eventually(
        lambda: _heard(told),
        lambda found: all("resolved" in str(found.get(each)) for each in told_in_the_end),
    )
    for alert in ("NoLeader", "ProcessDown", "ConsumerBlind"):
        assert heard[alert] == {("page", "firing"), ("page", "resolved")}
    assert heard["DeadLettersOpen"] == {("ticket", "firing"), ("ticket", "resolved")}
    # What another alert explains is told to nobody.
    assert "SpoolLow" not in heard


def test_what_is_told_says_what_it_is_about(night: Night, told: Receiver) -> None:
    assert night.fired
    down = {f"{who} does not show its metrics." for who in ("worker-1", "worker-2", "one worker at least")}
    said = eventually(
        lambda: [(each["labels"], each["annotations"]["summary"]) for each in _told(told)],
        lambda found: down <= {summary for _, summary in found},
    )
    assert [each for each in said if not legible(each[0]["alertname"], *each)] == []


def _heard(told: Receiver) -> dict[str, set[tuple[str, str]]]:
    """Return what was told of each alert, and as whom."""
    heard: dict[str, set[tuple[str, str]]] = {}
    for alert in _told(told):
        heard.setdefault(alert["labels"]["alertname"], set()).add((alert["receiver"], alert["status"]))
    return heard


def _told(told: Receiver) -> list[dict[str, Any]]:
    """Return the alerts of every message that came, each with its receiver."""
    messages = [json.loads(each.body) for each in list(told.at("/alerts"))]
    return [alert | {"receiver": message["receiver"]} for message in messages for alert in message["alerts"]]
