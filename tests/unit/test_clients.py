"""What one client may have, by the clock that the test moves."""

import asyncio

import pytest
from prometheus_client import Counter

from ebbmark.errors import LimitExceeded, Unavailable
from ebbmark.ledger import Waiting
from ebbmark.testing import MemoryLedger
from ingest.backlog import Backlog
from ingest.clients import Rate, client_key
from tests.contract.ledgers import claim, done, finish, sealed_with


class Clock:
    """Seconds, as the test says."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


REFUSAL = LimitExceeded("too-many", "Too many.")
COUNTED = Counter("test_refused_total", "What is refused here.", ["code"], registry=None)


async def wait_told(backlog: Backlog) -> float | None:
    with pytest.raises(Unavailable, match="backlog-full") as refused:
        await backlog.require_room("a", new_job=True)
    return refused.value.retry_after


async def test_a_full_backlog_says_how_long_it_takes_at_the_pace_that_was_seen() -> None:
    clock, ledger = Clock(), MemoryLedger()
    backlog = Backlog(ledger, most=10, jobs=0, clock=clock)
    job = await sealed_with(ledger, 49)
    assert await wait_told(backlog) == 30
    await finish(ledger, *map(done, await claim(ledger, job, *range(20))))
    assert await wait_told(backlog) == 30  # what was seen is good for a second
    clock.now += 10
    assert await wait_told(backlog) == pytest.approx((29 - 9) / 2)
    clock.now += 10
    assert await wait_told(backlog) == 30  # nothing moves
    await finish(ledger, *map(done, await claim(ledger, job, *range(20, 40))))
    clock.now += 10
    await backlog.require_room("a", new_job=True)


async def test_jobs_that_wait_for_their_first_result_keep_new_ones_out_and_nobody_who_is_in() -> None:
    clock, ledger = Clock(), MemoryLedger()
    backlog = Backlog(ledger, most=100, jobs=2, clock=clock)
    long = await sealed_with(ledger, 60)  # however many: it is one
    await backlog.require_room("a", new_job=True)
    other = await sealed_with(ledger, 4)
    clock.now += 2
    assert await wait_told(backlog) == 5
    await backlog.require_room("a", new_job=False)
    await finish(ledger, *map(done, await claim(ledger, other, 3)))
    clock.now += 2
    await backlog.require_room("a", new_job=True)
    assert await wait_told(backlog) == 2  # it is let in, and `long` has nothing yet
    await finish(ledger, *map(done, await claim(ledger, long, *range(1, 40))))
    clock.now += 2
    await backlog.require_room("a", new_job=True)


async def test_who_was_let_in_since_the_count_is_counted() -> None:
    clock = Clock()
    backlog = Backlog(MemoryLedger(), most=100, jobs=20, clock=clock)
    for _ in range(20):
        await backlog.require_room("a", new_job=True)
    assert await wait_told(backlog) == 5
    clock.now += 2  # by then the ledger would know, had they sent anything
    await backlog.require_room("a", new_job=True)


async def test_what_came_to_nothing_gives_its_room_back() -> None:
    backlog = Backlog(MemoryLedger(), most=100, jobs=2, clock=Clock())
    for _ in range(5):
        await backlog.require_room("a", new_job=True)
        backlog.gave_up("a")
    backlog.gave_up("a")  # its count may have been forgotten meanwhile
    for _ in range(2):
        await backlog.require_room("a", new_job=True)
    assert await refused(backlog, "a")


async def test_room_for_one_is_room_for_whoever_brought_most() -> None:
    backlog = Backlog(MemoryLedger(), most=1, jobs=0, clock=Clock())
    backlog.brought("a", 5)
    assert not await refused(backlog, "b", new_job=False)
    assert not await refused(backlog, "a", new_job=False)


async def refused(backlog: Backlog, client: str, *, new_job: bool = True) -> bool:
    try:
        await backlog.require_room(client, new_job=new_job)
    except Unavailable:
        return True
    return False


async def test_who_brought_most_photos_has_half_of_the_room_once_others_come() -> None:
    clock, ledger = Clock(), MemoryLedger()
    backlog = Backlog(ledger, most=100, jobs=0, clock=clock)
    greedy = await sealed_with(ledger, 90)
    backlog.brought("greedy", 90)
    assert not await refused(backlog, "greedy")  # alone, it may have all of it
    assert not await refused(backlog, "other")
    assert await refused(backlog, "greedy")
    assert await refused(backlog, "greedy", new_job=False)
    await sealed_with(ledger, 10)
    backlog.brought("other", 10)
    clock.now += 2
    assert await refused(backlog, "other")  # there is no room for anybody
    await finish(ledger, *map(done, await claim(ledger, greedy, *range(50))))
    clock.now += 2
    assert (await refused(backlog, "other"), await refused(backlog, "greedy")) == (False, True)
    await finish(ledger, *map(done, await claim(ledger, greedy, 50)))
    clock.now += 2
    assert not await refused(backlog, "greedy")


async def test_who_opens_most_jobs_has_half_of_the_room_once_others_come() -> None:
    backlog = Backlog(MemoryLedger(), most=0, jobs=20, clock=Clock())
    assert [await refused(backlog, "greedy") for _ in range(12)] == [False] * 12
    assert not await refused(backlog, "other")
    assert await refused(backlog, "greedy")
    assert [await refused(backlog, "other") for _ in range(8)] == [False] * 7 + [True]


async def test_what_somebody_brought_is_forgotten_and_so_is_who_came_in_vain() -> None:
    clock, ledger = Clock(), MemoryLedger()
    backlog = Backlog(ledger, most=100, jobs=0, clock=clock)
    await sealed_with(ledger, 60)
    backlog.brought("a", 2)
    assert not await refused(backlog, "b")
    assert await refused(backlog, "a")
    clock.now += 61
    assert await refused(backlog, "a") is False  # nobody else came since
    assert not await refused(backlog, "b")
    clock.now += 61
    backlog.brought("b", 9)
    assert (await refused(backlog, "a"), await refused(backlog, "b")) == (False, True)


class SlowLedger(MemoryLedger):
    """Counts the questions, and answers none of them before it is told to, with a fault."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.gate = asyncio.Event()

    async def backlog(self) -> Waiting:
        self.asked += 1
        await self.gate.wait()
        raise Unavailable("ledger-unavailable", "The ledger does not answer.")


async def test_who_asks_of_a_ledger_that_is_away_shares_one_question_and_its_fault() -> None:
    clock, ledger = Clock(), SlowLedger()
    backlog = Backlog(ledger, most=10, jobs=0, clock=clock)
    asking = [asyncio.create_task(backlog.require_room("a", new_job=True)) for _ in range(20)]
    await asyncio.sleep(0)
    asking[0].cancel()  # who goes away takes nothing from the others
    await asyncio.sleep(0)
    ledger.gate.set()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(answer) for answer in answers[1:]] == [Unavailable] * 19
    with pytest.raises(Unavailable):
        await backlog.require_room("a", new_job=True)
    assert ledger.asked == 1
    clock.now += 2
    with pytest.raises(Unavailable):
        await backlog.require_room("a", new_job=True)
    assert ledger.asked == 2


async def test_a_backlog_without_a_limit_asks_nobody() -> None:
    ledger = MemoryLedger()
    ledger.down = True
    await Backlog(ledger, most=0, jobs=0).require_room("a", new_job=True)


def spent(rate: Rate, client: str, most: int = 1000) -> int:
    """Spend until it is refused; return how often it went well."""
    for count in range(most):
        try:
            rate.spend(client)
        except LimitExceeded:
            return count
    return most


def test_a_client_gets_a_minutes_worth_at_once_and_then_its_pace() -> None:
    clock = Clock()
    rate = Rate(120, REFUSAL, counted_in=COUNTED, clock=clock)
    assert spent(rate, "a") == 120
    clock.now += 10
    assert spent(rate, "a") == 20
    assert spent(rate, "b") == 120
    clock.now += 3600
    assert spent(rate, "a") == 120


def test_whether_there_may_be_another_is_asked_for_nothing() -> None:
    rate = Rate(6, REFUSAL, counted_in=COUNTED, clock=Clock())
    for _ in range(100):
        rate.require("a")
    assert spent(rate, "a") == 6
    with pytest.raises(LimitExceeded) as refused:
        rate.require("a")
    assert refused.value.retry_after == pytest.approx(10)
    Rate(0, REFUSAL, counted_in=COUNTED).require("a")


def test_it_says_when_there_may_be_another() -> None:
    clock = Clock()
    rate = Rate(6, REFUSAL, counted_in=COUNTED, clock=clock)
    spent(rate, "a")
    with pytest.raises(LimitExceeded) as refused:
        rate.spend("a")
    assert refused.value.retry_after == pytest.approx(10)
    clock.now += 10
    rate.spend("a")


def test_many_clients_are_remembered_within_bounds_and_the_busy_ones_longest() -> None:
    rate = Rate(2, REFUSAL, counted_in=COUNTED, clock=Clock())
    for n in range(30_000):
        rate.spend(f"client {n}")
        if n % 5000 == 0:
            spent(rate, "busy")
    assert len(rate.__dict__["_full_again"]) <= 10_000
    assert spent(rate, "client 29999") == 1


def test_nobody_is_counted_when_there_is_no_limit() -> None:
    assert spent(Rate(0, REFUSAL, counted_in=COUNTED, clock=Clock()), "a") == 1000


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        (None, ""),
    ],
)
def test_a_client_is_its_address_or_its_network(host: str | None, key: str) -> None:
    assert client_key(host) == key
