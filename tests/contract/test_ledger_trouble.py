"""When the database is gone, frozen or back again."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
import psycopg
import pytest

from devstack.supervisor import Stack
from ebbmark.errors import Unavailable
from ebbmark.ledger import Claim, Completion, Ledger, Outcome, Wanted, postgres
from ebbmark.ledger.deliveries import Attempt, Deliveries, Webhook
from ebbmark.ledger.letters import Letters, Selection
from ebbmark.ledger.postgres import PostgresLedger, conninfo, migrate
from ebbmark.ledger.proofs import Audited, Contents, Proofs
from ebbmark.settings import Ledger as LedgerSettings
from ebbmark.settings import Settings
from ebbmark.testing import MemoryLedger
from tests.chaos.proxy import CLEAR, Proxy, Weather
from tests.contract.ledgers import RECIPE, new_job, new_photo, open_with
from tests.contract.test_ledger_letters import message
from tests.system import free_port

JOB = UUID(int=1)
MINUTE = timedelta(minutes=1)
CLAIM = Claim(job=JOB, n=0, epoch=0, fence=1, strikes=1, name="", sha256=b"", recipe=RECIPE, logo_sha256=None)
HOOK = Webhook(url="https://example.org/", secret=b"s" * 32)
ATTEMPT = Attempt(
    job=JOB,
    event="evt_0",
    kind="job.completed",
    epoch=0,
    number=1,
    failures=0,
    total=1,
    done=1,
    failed=0,
    occurred_at=datetime(2026, 3, 1, tzinfo=UTC),
    created_at=datetime(2026, 3, 1, tzinfo=UTC),
    completed_at=None,
    expires_at=None,
    webhook=HOOK,
)
CALLS: dict[str, Callable[[Ledger], Awaitable[object]]] = {
    "ready": lambda ledger: ledger.ready(),
    "open_job": lambda ledger: ledger.open_job(new_job()),
    "find_job": lambda ledger: ledger.find_job(b"t"),
    "read_job": lambda ledger: ledger.read_job(JOB),
    "look": lambda ledger: ledger.look(JOB, 0),
    "add_photos": lambda ledger: ledger.add_photos(JOB, [new_photo(0)], stale=MINUTE),
    "backlog": lambda ledger: ledger.backlog(),
    "submit": lambda ledger: ledger.submit(
        JOB,
        [new_photo(0)],
        recipe=RECIPE,
        logo_sha256=None,
        fingerprint=b"f",
        stale=MINUTE,
        deadline=MINUTE,
        ttl=MINUTE,
    ),
    "seal": lambda ledger: ledger.seal(JOB, 1, deadline=MINUTE, ttl=MINUTE),
    "accepted": lambda ledger: ledger.accepted(JOB),
    "snapshot": lambda ledger: ledger.snapshot(JOB),
    "snapshot_by_token": lambda ledger: ledger.snapshot_by_token(b"t"),
    "times": lambda ledger: ledger.times(JOB),
    "expire_now": lambda ledger: ledger.expire_now(JOB),
    "abandon": lambda ledger: ledger.abandon(JOB, JOB),
    "redrive": lambda ledger: ledger.redrive([Wanted(job=JOB, n=0, epoch=0)], stale=MINUTE, deadline=MINUTE),
    "cancel": lambda ledger: ledger.cancel(JOB, ttl=MINUTE),
    "claim": lambda ledger: ledger.claim(
        [Wanted(job=JOB, n=0, epoch=0)], claimant=JOB, lease=MINUTE, strikes=5
    ),
    "renew": lambda ledger: ledger.renew([CLAIM], lease=MINUTE),
    "reported": lambda ledger: ledger.reported(CLAIM, lease=MINUTE),
    "release": lambda ledger: ledger.release(CLAIM, strikes=0, retry_after=MINUTE),
    "finish": lambda ledger: ledger.finish([Outcome(job=JOB, n=0, epoch=0, fence=1)], ttl=MINUTE),
    "announced": lambda ledger: ledger.announced([Completion(job=JOB, epoch=0, done=1, failed=0)]),
    "overdue": lambda ledger: ledger.overdue(limit=1),
    "dispatched": lambda ledger: ledger.dispatched([Wanted(job=JOB, n=0, epoch=0)], stale=MINUTE),
    "end_leases": lambda ledger: ledger.end_leases(strikes=5),
    "given_up": lambda ledger: ledger.given_up(strikes=5),
    "unannounced": lambda ledger: ledger.unannounced(),
    "expire_due": lambda ledger: ledger.expire_due(grace=MINUTE),
    "expiry_overdue": lambda ledger: ledger.expiry_overdue(),
    "mark_expired": lambda ledger: ledger.mark_expired(JOB, quiet=MINUTE),
    "expiry_announced": lambda ledger: ledger.expiry_announced(JOB),
    "forget": lambda ledger: ledger.forget(tombstone=MINUTE),
    "proofs.clock": lambda ledger: ledger.proofs.clock(),
    "proofs.listings": lambda ledger: ledger.proofs.listings(JOB),
    "proofs.note": lambda ledger: ledger.proofs.note(JOB, 0, Contents()),
    "proofs.receipt": lambda ledger: ledger.proofs.receipt(b"r"),
    "proofs.fates": lambda ledger: ledger.proofs.fates(
        [JOB], ttl=MINUTE, grace=MINUTE, quiet=MINUTE, margin=MINUTE
    ),
    "proofs.expected": lambda ledger: ledger.proofs.expected(after=(JOB, 0), until=JOB, limit=1),
    "proofs.recheck": lambda ledger: ledger.proofs.recheck([JOB]),
    "proofs.audited": lambda ledger: ledger.proofs.audited(
        Audited(started_at=datetime(2026, 3, 1, tzinfo=UTC), objects=0, bytes=0, findings=0)
    ),
    "letters.enter": lambda ledger: ledger.letters.enter(message()),
    "letters.find": lambda ledger: ledger.letters.find(Selection(), limit=1),
    "letters.original": lambda ledger: ledger.letters.original("a"),
    "letters.redriven": lambda ledger: ledger.letters.redriven("a"),
    "letters.resolve": lambda ledger: ledger.letters.resolve("a"),
    "letters.settle": lambda ledger: ledger.letters.settle(),
    "letters.forget": lambda ledger: ledger.letters.forget(retention=timedelta(days=7)),
    "letters.stats": lambda ledger: ledger.letters.stats(),
    "deliveries.subscribe": lambda ledger: ledger.deliveries.subscribe(JOB, HOOK),
    "deliveries.enter": lambda ledger: ledger.deliveries.enter(),
    "deliveries.claim": lambda ledger: ledger.deliveries.claim(JOB, lease=MINUTE, farewell=MINUTE),
    "deliveries.record": lambda ledger: ledger.deliveries.record(
        ATTEMPT, outcome="refused", status=500, retry_after=MINUTE
    ),
    "deliveries.record_success": lambda ledger: ledger.deliveries.record_success(
        ATTEMPT, outcome="delivered", status=200
    ),
    "deliveries.postpone": lambda ledger: ledger.deliveries.postpone(ATTEMPT, wait=MINUTE),
    "deliveries.due": lambda ledger: ledger.deliveries.due(limit=1),
    "deliveries.end": lambda ledger: ledger.deliveries.end(farewell=MINUTE),
    "deliveries.oldest": lambda ledger: ledger.deliveries.oldest(),
    "deliveries.log": lambda ledger: ledger.deliveries.log(JOB),
    "deliveries.replay": lambda ledger: ledger.deliveries.replay(JOB, "evt_0"),
}


async def not_unavailable(ledger: Ledger) -> list[str]:
    """Return the calls, all made at once, that do not raise `Unavailable`."""
    answers = await asyncio.gather(*(call(ledger) for call in CALLS.values()), return_exceptions=True)
    return [name for name, answer in zip(CALLS, answers, strict=True) if not isinstance(answer, Unavailable)]


def test_no_call_is_forgotten_here() -> None:
    asked_otherwise = {"changes", "candidacy", "deliveries", "letters", "proofs"}
    of_webhooks = {f"deliveries.{name}" for name in Deliveries.__abstractmethods__}
    of_proofs = {f"proofs.{name}" for name in Proofs.__abstractmethods__}
    of_letters = {f"letters.{name}" for name in Letters.__abstractmethods__}
    parts = of_webhooks | of_proofs | of_letters
    assert set(CALLS) == (Ledger.__abstractmethods__ - asked_otherwise) | parts


async def test_a_ledger_that_is_down_is_unavailable_and_nobody_leads() -> None:
    ledger = MemoryLedger()
    async with ledger.candidacy() as candidacy:
        assert await candidacy.leads()
        ledger.down = True
        assert await not_unavailable(ledger) == []
        assert not await candidacy.leads()


async def test_a_database_that_is_gone_is_unavailable_and_nobody_leads() -> None:
    nowhere = LedgerSettings(url=f"postgresql://postgres@127.0.0.1:{free_port()}/ebbmark", connections=20)
    async with PostgresLedger(nowhere) as ledger, ledger.candidacy() as candidacy:
        assert await not_unavailable(ledger) == []
        assert not await candidacy.leads()


@pytest.mark.servers
async def test_every_statement_goes_on_when_a_migration_adds_columns(ledger_settings: LedgerSettings) -> None:
    one = msgspec.structs.replace(ledger_settings, connections=1)
    tables = ("jobs", "photos", "deliveries", "webhooks", "dead_letters", "deletions", "audits")
    async with (
        PostgresLedger(one) as ledger,
        await psycopg.AsyncConnection.connect(conninfo(ledger_settings), autocommit=True) as connection,
    ):
        calls = [*CALLS.values(), *(lambda ledger: ledger.open_job(new_job(idempotency_hash=b"again")),) * 2]
        for _ in range(8):  # so often that all are prepared
            for call in calls:
                await call(ledger)
        try:
            for table in tables:
                await connection.execute(f"alter table {table} add column of_tomorrow int")
            for call in calls:
                await call(ledger)
        finally:
            for table in tables:
                await connection.execute(f"alter table {table} drop column if exists of_tomorrow")


@pytest.mark.servers
async def test_a_database_killed_and_started_again_is_used_again(
    stack: Stack, ledger_settings: LedgerSettings
) -> None:
    server = stack.server("postgres")
    async with PostgresLedger(ledger_settings) as ledger, ledger.candidacy() as candidacy:
        job = await open_with(ledger, 1)
        assert await candidacy.leads()
        server.kill()
        try:
            assert await not_unavailable(ledger) == []
            assert not await candidacy.leads()
        finally:
            server.start()
        snapshot = await in_the_end(lambda: ledger.snapshot(job))
        assert snapshot is not None
        assert len(snapshot.photos) == 1
        assert await candidacy.leads()


@pytest.mark.servers
async def test_a_frozen_database_is_unavailable_and_used_again_when_it_thaws(
    stack: Stack, ledger_settings: LedgerSettings
) -> None:
    server = stack.server("postgres")
    async with PostgresLedger(ledger_settings) as ledger:
        job = await open_with(ledger, 1)
        server.pause()
        try:
            with pytest.raises(Unavailable):
                await ledger.snapshot(job)
        finally:
            server.resume()
        assert await in_the_end(lambda: ledger.snapshot(job)) is not None


async def in_the_end(ask: Callable[[], Awaitable[object]]) -> object:
    """Ask as the services do: again and again until there is an answer."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await ask()
            except Unavailable:
                continue


@pytest.mark.servers
async def test_a_leader_whose_connection_was_cut_makes_room(ledger_settings: LedgerSettings) -> None:
    async with (
        PostgresLedger(ledger_settings) as ledger,
        ledger.candidacy() as first,
        ledger.candidacy() as second,
        await psycopg.AsyncConnection.connect(conninfo(ledger_settings), autocommit=True) as side_door,
    ):
        assert await first.leads()
        assert not await second.leads()
        await side_door.execute(
            "select pg_terminate_backend(pid, 10000) from pg_locks where locktype = 'advisory' and granted"
        )
        assert await second.leads()
        assert not await first.leads()
        assert not await first.leads()


# Migrations


@pytest.mark.servers
def test_migrations_are_applied_in_order_and_once_however_many_start_at_once(room: Settings) -> None:
    schema = msgspec.structs.replace(room.ledger, schema=f"{room.ledger.schema}_twice")
    applied: list[list[str]] = []
    starts = [threading.Thread(target=lambda: applied.append(migrate(schema))) for _ in range(4)]
    for start in starts:
        start.start()
    for start in starts:
        start.join()
    (names,) = [each for each in applied if each]
    assert len(applied) == len(starts)
    assert names == sorted(names)
    assert migrate(schema) == []
    with psycopg.connect(conninfo(schema), autocommit=True) as connection:
        connection.execute(
            psycopg.sql.SQL("drop schema {} cascade").format(psycopg.sql.Identifier(schema.schema))
        )


def test_a_database_that_is_gone_cannot_be_migrated() -> None:
    with pytest.raises(Unavailable):
        migrate(LedgerSettings(url=f"postgresql://postgres@127.0.0.1:{free_port()}/ebbmark"))


def test_what_the_url_says_of_the_connection_wins() -> None:
    url = "postgresql://me@db/ebbmark?application_name=mine&connect_timeout=2&options=-c%20work_mem%3D1MB"
    parameters = psycopg.conninfo.conninfo_to_dict(conninfo(LedgerSettings(url=url, password="secret")))  # noqa: S106
    assert (parameters["application_name"], parameters["password"]) == ("mine", "secret")
    assert str(parameters["connect_timeout"]) == "2"
    assert str(parameters["options"]).startswith("-c search_path=ebbmark ")
    assert str(parameters["options"]).endswith("-c work_mem=1MB")


@pytest.mark.servers
async def test_who_gets_no_answer_leads_no_more(
    ledger_settings: LedgerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands between takes the question and is silent: no keepalive sees that."""
    monkeypatch.setattr(postgres, "_PATIENCE", 1)
    database = urlsplit(ledger_settings.url)
    with Proxy(port := free_port(), database.port or 5432) as proxy:
        through = database._replace(netloc=f"{database.username}@127.0.0.1:{port}").geturl()
        settings = msgspec.structs.replace(ledger_settings, url=through)
        async with PostgresLedger(settings) as ledger, ledger.candidacy() as candidacy:
            assert await in_the_end(candidacy.leads)
            proxy.set(Weather(holed=True))
            assert not await asyncio.wait_for(candidacy.leads(), 30)
            proxy.set(CLEAR)
            assert await in_the_end(candidacy.leads)
