"""What one client may have, by the clock that the test moves."""

import pytest

from ebbmark.errors import LimitExceeded, Unavailable
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


async def wait_told(backlog: Backlog) -> float | None:
    with pytest.raises(Unavailable, match="backlog-full") as refused:
        await backlog.require_room()
    return refused.value.retry_after


async def test_a_full_backlog_says_how_long_it_takes_at_the_pace_that_was_seen() -> None:
    clock, ledger = Clock(), MemoryLedger()
    backlog = Backlog(ledger, 10, clock=clock)
    job = await sealed_with(ledger, 49)
    assert await wait_told(backlog) == 30
    await finish(ledger, *map(done, await claim(ledger, job, *range(20))))
    assert await wait_told(backlog) == 30  # what was seen is good for some seconds
    clock.now += 10
    assert await wait_told(backlog) == pytest.approx((29 - 9) / 2)
    clock.now += 10
    assert await wait_told(backlog) == 30  # nothing moves
    await finish(ledger, *map(done, await claim(ledger, job, *range(20, 40))))
    clock.now += 10
    await backlog.require_room()


async def test_a_backlog_without_a_limit_asks_nobody() -> None:
    ledger = MemoryLedger()
    ledger.down = True
    await Backlog(ledger, 0).require_room()


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
    rate = Rate(120, REFUSAL, clock=clock)
    assert spent(rate, "a") == 120
    clock.now += 10
    assert spent(rate, "a") == 20
    assert spent(rate, "b") == 120
    clock.now += 3600
    assert spent(rate, "a") == 120


def test_whether_there_may_be_another_is_asked_for_nothing() -> None:
    rate = Rate(6, REFUSAL, clock=Clock())
    for _ in range(100):
        rate.require("a")
    assert spent(rate, "a") == 6
    with pytest.raises(LimitExceeded) as refused:
        rate.require("a")
    assert refused.value.retry_after == pytest.approx(10)
    Rate(0, REFUSAL).require("a")


def test_it_says_when_there_may_be_another() -> None:
    clock = Clock()
    rate = Rate(6, REFUSAL, clock=clock)
    spent(rate, "a")
    with pytest.raises(LimitExceeded) as refused:
        rate.spend("a")
    assert refused.value.retry_after == pytest.approx(10)
    clock.now += 10
    rate.spend("a")


def test_many_clients_are_remembered_within_bounds_and_the_busy_ones_longest() -> None:
    rate = Rate(2, REFUSAL, clock=Clock())
    for n in range(30_000):
        rate.spend(f"client {n}")
        if n % 5000 == 0:
            spent(rate, "busy")
    assert len(rate.__dict__["_full_again"]) <= 10_000
    assert spent(rate, "client 29999") == 1


def test_nobody_is_counted_when_there_is_no_limit() -> None:
    assert spent(Rate(0, REFUSAL, clock=Clock()), "a") == 1000


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
