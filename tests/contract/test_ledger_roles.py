"""Each service's role can do all that the service does, and not what is not its part."""

from collections.abc import Iterator
from typing import LiteralString

import msgspec
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from ebbmark.ledger.postgres import PostgresLedger, conninfo, migrate
from ebbmark.ledger.roles import MONITOR, RIGHTS, role
from ebbmark.settings import Ledger as LedgerSettings
from tests.contract.test_ledger_trouble import CALLS

pytestmark = pytest.mark.servers

CALLED = {
    "ingest": {
        *("redrive", "cancel"),
        *(f"letters.{name}" for name in ("find", "original", "redriven", "resolve", "stats")),
        *("ready", "open_job", "find_job", "read_job", "look", "add_photos", "backlog", "submit", "seal"),
        *("snapshot", "snapshot_by_token", "times", "expire_now", "abandon", "accepted", "proofs.receipt"),
        *("deliveries.subscribe", "deliveries.log", "deliveries.replay"),
    },
    "worker": {
        *("ready", "claim", "renew", "reported", "release", "finish", "announced"),
        *("deliveries.enter", "deliveries.claim", "deliveries.postpone"),
        *("deliveries.record", "deliveries.record_success"),
    },
    "janitor": {
        *("ready", "overdue", "dispatched", "end_leases", "given_up", "finish", "unannounced", "announced"),
        *("expire_due", "expiry_overdue", "mark_expired", "expiry_announced", "forget"),
        *("deliveries.enter", "deliveries.end", "deliveries.oldest", "deliveries.due"),
        *(name for name in CALLS if name.startswith("proofs.")),
        *(f"letters.{name}" for name in ("enter", "settle", "forget", "stats")),
    },
}
FORBIDDEN: list[tuple[str, LiteralString]] = [
    ("worker", "delete from jobs"),
    ("worker", "insert into jobs (id, upload_deadline) values (gen_random_uuid(), now())"),
    ("worker", "delete from photos"),
    ("worker", "select * from audits"),
    ("worker", "select * from dead_letters"),
    ("ingest", "delete from jobs"),
    ("ingest", "delete from photos"),
    ("ingest", "update deletions set bytes = 0"),
    ("ingest", "update audits set findings = 0"),
    ("janitor", "select secret from webhooks"),
    ("janitor", "insert into jobs (id, upload_deadline) values (gen_random_uuid(), now())"),
    *((service, "drop table photos") for service in RIGHTS),
    *((service, "create table mine (n int)") for service in RIGHTS),
    *((service, "truncate jobs cascade") for service in RIGHTS),
    *((service, "select * from migrations") for service in RIGHTS),
]


@pytest.fixture(scope="module")
def roles(room: object, ledger_settings: LedgerSettings) -> Iterator[dict[str, LedgerSettings]]:
    """The settings of each service."""
    del room
    passwords = {f"{service}_password": f"of the {service}" for service in (*RIGHTS, MONITOR)}
    owner = msgspec.structs.replace(ledger_settings, **passwords)
    for _ in range(2):
        migrate(owner)
    names = {service: role(owner, service) for service in (*RIGHTS, MONITOR)}
    yield {
        service: msgspec.structs.replace(
            ledger_settings,
            url=make_conninfo(ledger_settings.url, user=name),
            password=passwords[f"{service}_password"],
        )
        for service, name in names.items()
    }
    with psycopg.connect(conninfo(owner), autocommit=True) as connection:
        for name in names.values():
            for command in ("drop owned by {}", "drop role {}"):
                connection.execute(sql.SQL(command).format(sql.Identifier(name)))


def test_every_call_is_somebody_s() -> None:
    assert set.union(*CALLED.values()) == set(CALLS)


@pytest.mark.parametrize("service", RIGHTS)
async def test_a_service_can_do_its_part(roles: dict[str, LedgerSettings], service: str) -> None:
    async with PostgresLedger(roles[service]) as ledger:
        for name in sorted(CALLED[service]):
            await CALLS[name](ledger)


@pytest.mark.parametrize("service", RIGHTS)
async def test_a_janitor_can_lead_and_everybody_hear_changes(
    roles: dict[str, LedgerSettings], service: str
) -> None:
    async with PostgresLedger(roles[service]) as ledger, ledger.changes() as changes:
        await anext(changes)
        async with ledger.candidacy() as candidacy:
            assert await candidacy.leads()


@pytest.mark.parametrize(("service", "statement"), FORBIDDEN)
def test_a_service_cannot_do_what_is_not_its_part(
    roles: dict[str, LedgerSettings], service: str, statement: LiteralString
) -> None:
    with (
        psycopg.connect(conninfo(roles[service])) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement)


def test_the_monitor_sees_what_others_do_and_no_table(roles: dict[str, LedgerSettings]) -> None:
    with psycopg.connect(conninfo(roles["worker"])) as other:
        other.execute("select 4711")
        with psycopg.connect(conninfo(roles[MONITOR]), autocommit=True) as connection:
            (seen,) = connection.execute(
                "select query from pg_stat_activity where pid = %s", [other.info.backend_pid]
            ).fetchone() or ("",)
            assert seen == "select 4711"
            for table in ("jobs", "photos", "webhooks"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(
                        sql.SQL("select 1 from {}").format(sql.Identifier(roles[MONITOR].schema, table))
                    )


def test_every_table_is_spoken_of(ledger_settings: LedgerSettings) -> None:
    with psycopg.connect(conninfo(ledger_settings)) as connection:
        tables = {
            name
            for (name,) in connection.execute(
                "select table_name from information_schema.tables where table_schema = current_schema()"
            )
        }
    assert {name for rights in RIGHTS.values() for name in rights} == tables - {"migrations"}


def test_a_password_is_kept_as_a_digest(
    roles: dict[str, LedgerSettings], ledger_settings: LedgerSettings
) -> None:
    with psycopg.connect(conninfo(ledger_settings)) as connection:
        kept = connection.execute(
            "select rolpassword from pg_authid where rolname = any(%s)",
            [[role(ledger_settings, service) for service in roles]],
        ).fetchall()
    assert len(kept) == len(RIGHTS) + 1
    assert all(digest.startswith("SCRAM-SHA-256$") for (digest,) in kept)
