"""Receivers are told, told again when it is time, and left alone when it is not."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import pytest
from prometheus_client import REGISTRY

from ebbmark.events import NotifyReceiver
from ebbmark.ledger.deliveries import DeliveryRow, Webhook, event_id
from ebbmark.settings import Settings
from ebbmark.settings import Webhook as WebhookSettings
from ebbmark.testing import MemoryLedger, MemoryLog
from ebbmark.topics import NOTIFICATIONS
from ebbmark.webhooks import parse_secret
from janitor.deliveries import order_deliveries
from processors.courier import Courier
from processors.notifier import Notifier, message
from tests.contract.ledgers import QUIET, TTL, claim, done, failed, finish, new_photo, sealed_with
from tests.people import eventually
from tests.receivers import Receiver, silence, status

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - of the published example
FILE_NAME, REFERENCE = "holiday in Rome.jpg", "order 17 ü"
SECOND = timedelta(seconds=1)


class World:
    """A ledger, a log, a janitor's hand and a notifier, around a receiver on loopback."""

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self.now = datetime(2026, 5, 1, 12, tzinfo=UTC)
        self.ledger = MemoryLedger(lambda: self.now)
        self.log = MemoryLog()
        self.settings = WebhookSettings(
            allow_http=True, networks="127.0.0.1/32", ports=str(receiver.port), host_attempts=1
        )
        self.notifier = Notifier(self.ledger.deliveries, Courier(self.settings), self.settings)
        self.read = 0

    async def complete(self, path: str = "/", **changes: object) -> UUID:
        """Return a complete job that wants this path told."""
        job = await sealed_with(self.ledger, [new_photo(0, name=FILE_NAME), new_photo(1), new_photo(2)])
        webhook = Webhook(url=self.receiver.url(path), secret=parse_secret(SECRET), reference=REFERENCE)
        await self.ledger.deliveries.subscribe(job, msgspec.structs.replace(webhook, **changes))
        claims = await claim(self.ledger, job, 0, 1, 2)
        await finish(self.ledger, done(claims[0]), done(claims[1]), failed(claims[2]))
        return job

    async def hear_of(self, job: UUID) -> None:
        await self.notifier.handle(NotifyReceiver(job=job))

    async def sweep(self) -> int:
        """Let the janitor order, and the notifier follow."""
        ordered = await order_deliveries(self.ledger, self.log, farewell=self.settings.farewell)
        for order in self.log.events(NOTIFICATIONS)[self.read :]:
            self.read += 1
            await self.notifier.handle(order)
        return ordered

    async def row(self, job: UUID) -> DeliveryRow:
        return (await self.ledger.deliveries.log(job))[-1]

    async def wait_for_retry(self, job: UUID) -> timedelta:
        """Let the time pass until the next attempt is due; return how long that was."""
        row = await self.row(job)
        assert row.next_attempt_at is not None
        waited = row.next_attempt_at - self.now
        self.now = row.next_attempt_at
        return waited


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def world(receiver: Receiver) -> World:
    return World(receiver)


async def test_a_completion_is_told_with_ids_counts_and_times_and_nothing_else(world: World) -> None:
    job = await world.complete()
    await world.hear_of(job)
    (seen,) = world.receiver.seen
    assert seen.verified(SECRET) == {
        "type": "job.completed",
        "timestamp": "2026-05-01T12:00:00Z",
        "data": {
            "job": str(job),
            "reference": REFERENCE,
            "epoch": 0,
            "state": "complete",
            "total": 3,
            "done": 2,
            "failed": 1,
            "created_at": "2026-05-01T12:00:00Z",
            "completed_at": "2026-05-01T12:00:00Z",
            "expires_at": "2026-05-01T13:00:00Z",
        },
    }
    assert seen.headers["webhook-id"] == event_id(job, 0, "job.completed")
    assert "." not in seen.headers["webhook-id"]
    assert abs(int(seen.headers["webhook-timestamp"]) - datetime.now(UTC).timestamp()) < 60
    assert seen.headers["content-type"] == "application/json"
    row = await world.row(job)
    assert (row.outcome, row.status, row.delivered_at) == ("delivered", 200, world.now)


async def test_an_end_is_told_and_then_nothing_is_known_of_the_receiver(world: World) -> None:
    job = await world.complete()
    await world.hear_of(job)
    await world.ledger.expire_now(job)
    await world.ledger.mark_expired(job, quiet=QUIET)
    await world.notifier.handle(NotifyReceiver(job=job))
    told = world.receiver.seen[-1].verified(SECRET)
    assert (told["type"], told["data"]["state"], told["data"]["job"]) == ("job.expired", "expired", str(job))
    assert world.receiver.seen[-1].headers["webhook-id"] == event_id(job, 0, "job.expired")
    stranger = Webhook(url="https://example.org/", secret=b"s" * 32)
    assert await world.ledger.deliveries.subscribe(job, stranger) is None


async def test_a_job_without_a_receiver_tells_nobody(world: World) -> None:
    job = await sealed_with(world.ledger, 1)
    await finish(world.ledger, *map(done, await claim(world.ledger, job, 0)))
    await world.hear_of(job)
    assert await world.sweep() == 0
    assert world.receiver.seen == []


async def test_repeated_events_and_orders_tell_it_once(world: World) -> None:
    job = await world.complete()
    for _ in range(3):
        await world.hear_of(job)
        await world.sweep()
    assert len(world.receiver.seen) == 1


async def test_two_that_hear_of_it_at_once_tell_it_once(world: World) -> None:
    job = await world.complete()
    other = Notifier(world.ledger.deliveries, Courier(world.settings), world.settings)
    event = NotifyReceiver(job=job)
    await asyncio.gather(world.notifier.handle(event), other.handle(event))
    assert len(world.receiver.seen) == 1


async def test_a_failure_is_told_again_with_the_same_id_and_body_under_a_signature_of_its_time(
    world: World,
) -> None:
    world.receiver.scripts["/"] = [status(500), status(503), status(200)]
    job = await world.complete()
    await world.hear_of(job)
    for _ in range(2):
        assert await world.sweep() == 0
        await world.wait_for_retry(job)
        assert await world.sweep() == 1
    assert len(world.receiver.seen) == 3
    assert len({(each.headers["webhook-id"], each.body) for each in world.receiver.seen}) == 1
    for each in world.receiver.seen:
        each.verified(SECRET)
    row = await world.row(job)
    assert (row.attempts, row.status, row.next_attempt_at) == (3, 200, None)


async def test_each_wait_is_three_times_as_long_up_to_the_longest(world: World) -> None:
    world.receiver.scripts["/"] = [status(500)]
    job = await world.complete()
    await world.hear_of(job)
    for expected in (5, 15, 45, 135, 405, 600, 600):
        waited = (await world.wait_for_retry(job)).total_seconds()
        assert expected * 0.8 <= waited <= expected * 1.2
        await world.sweep()


async def test_it_is_given_up_when_the_links_die(world: World) -> None:
    world.receiver.scripts["/"] = [status(500)]
    job = await world.complete()
    await world.hear_of(job)
    world.now += TTL
    assert await world.sweep() == 0
    row = await world.row(job)
    assert (row.given_up_at, row.next_attempt_at, row.attempts) == (world.now, None, 1)


async def test_a_receiver_that_says_gone_is_not_asked_again(world: World) -> None:
    world.receiver.scripts["/"] = [status(410)]
    job = await world.complete()
    await world.hear_of(job)
    row = await world.row(job)
    assert (row.outcome, row.next_attempt_at, row.given_up_at) == ("gone", None, world.now)


async def test_what_no_event_told_of_is_found_by_the_sweep(world: World) -> None:
    job = await world.complete()
    assert await world.sweep() == 1
    assert (await world.row(job)).delivered_at is not None


async def test_an_attempt_whose_sender_died_is_made_again(world: World) -> None:
    world.receiver.scripts["/"] = [silence, status(200)]
    job = await world.complete()
    sending = asyncio.create_task(world.hear_of(job))
    await asyncio.to_thread(eventually, lambda: len(world.receiver.seen), lambda seen: seen == 1)
    sending.cancel()
    await asyncio.wait([sending])
    assert await world.sweep() == 0
    await world.wait_for_retry(job)
    assert await world.sweep() == 1
    assert (await world.row(job)).delivered_at is not None


async def test_what_came_of_an_attempt_waits_for_the_ledger(world: World) -> None:
    job = await world.complete()

    def fail_the_ledger() -> Callable[..., None]:
        answer = status(200)

        def answered(handler: object) -> None:
            world.ledger.down = True
            answer(handler)  # pyright: ignore[reportArgumentType]

        return answered

    world.receiver.scripts["/"] = [fail_the_ledger()]
    telling = asyncio.create_task(world.hear_of(job))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(telling), 0.5)
    world.ledger.down = False
    await telling
    assert (await world.row(job)).delivered_at is not None
    assert len(world.receiver.seen) == 1


async def test_a_host_with_enough_under_way_is_asked_later_and_nothing_is_counted(world: World) -> None:
    world.receiver.scripts["/slow"] = [silence]
    slow, other = await world.complete("/slow"), await world.complete()
    sending = asyncio.create_task(world.hear_of(slow))
    await asyncio.to_thread(eventually, lambda: len(world.receiver.seen), lambda seen: seen == 1)
    await world.hear_of(other)
    assert (await world.row(other)).attempts == 0
    sending.cancel()
    await asyncio.wait([sending])
    await world.wait_for_retry(other)
    await world.sweep()
    row = await world.row(other)
    assert (row.attempts, row.outcome) == (1, "delivered")


async def test_a_receiver_on_a_forbidden_address_is_not_reached(world: World) -> None:
    job = await world.complete(url=world.receiver.url(host="127.0.0.2"))
    strict = Notifier(world.ledger.deliveries, Courier(world.settings), world.settings)
    await strict.handle(NotifyReceiver(job=job))
    row = await world.row(job)
    assert (row.outcome, row.status, world.receiver.seen) == ("forbidden-address", None, [])
    assert row.next_attempt_at is not None


async def test_the_oldest_that_is_due_and_what_is_given_up_are_measured(world: World) -> None:
    world.receiver.scripts["/"] = [status(500)]
    job = await world.complete()
    await world.hear_of(job)
    world.now += timedelta(minutes=7)
    await world.sweep()
    assert REGISTRY.get_sample_value("ebbmark_delivery_age_seconds") == 420
    before = REGISTRY.get_sample_value("ebbmark_deliveries_given_up_total") or 0
    world.now += TTL
    await world.sweep()
    assert REGISTRY.get_sample_value("ebbmark_delivery_age_seconds") == 0
    assert REGISTRY.get_sample_value("ebbmark_deliveries_given_up_total") == before + 1


async def test_attempts_are_counted_by_outcome(world: World) -> None:
    def counted(outcome: str) -> float:
        return REGISTRY.get_sample_value("ebbmark_deliveries_total", {"outcome": outcome}) or 0

    world.receiver.scripts["/"] = [status(500), status(200)]
    before = counted("refused"), counted("delivered")
    job = await world.complete()
    await world.hear_of(job)
    await world.wait_for_retry(job)
    await world.sweep()
    assert (counted("refused"), counted("delivered")) == (before[0] + 1, before[1] + 1)


async def test_what_is_told_of_a_completion_does_not_change_with_its_job(world: World) -> None:
    job = await world.complete()
    await world.ledger.deliveries.enter(job)
    (attempt,) = await world.ledger.deliveries.claim(job, lease=SECOND, farewell=SECOND)
    later = msgspec.structs.replace(attempt, completed_at=None, number=2, failures=1)
    assert message(later) == message(attempt)


async def test_an_order_reveals_nothing_but_the_job(world: World) -> None:
    job = await world.complete()
    await order_deliveries(world.ledger, world.log, farewell=Settings().webhook.farewell)
    assert world.log.events(NOTIFICATIONS) == [NotifyReceiver(job=job)]
