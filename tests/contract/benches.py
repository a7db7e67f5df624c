"""A ledger under test, in memory or on Postgres, with what no ledger lets its users do."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import psycopg
from msgspec import Struct
from psycopg import sql

from ebbmark.ledger import Ledger
from ebbmark.ledger.postgres import PostgresLedger, conninfo
from ebbmark.settings import Ledger as LedgerSettings
from ebbmark.testing import MemoryLedger


class Bench(Struct, frozen=True):
    """A ledger, its clock and its wire."""

    ledger: Ledger
    advance: Callable[[timedelta], Awaitable[None]]
    """Let this much time pass for the ledger."""
    interrupt: Callable[[], Awaitable[None]]
    """Cut the connection behind `changes`; it heals by itself."""


def in_memory() -> Bench:
    """Begin with an empty ledger."""
    clock = datetime(2026, 3, 1, 12, tzinfo=UTC)
    ledger = MemoryLedger(lambda: clock)

    async def advance(delta: timedelta) -> None:
        nonlocal clock
        clock += delta

    async def interrupt() -> None:
        ledger.interrupt()
        ledger.reconnect()

    return Bench(ledger, advance, interrupt)


async def _side_door(settings: LedgerSettings) -> psycopg.AsyncConnection:
    return await psycopg.AsyncConnection.connect(conninfo(settings), autocommit=True)


@asynccontextmanager
async def on_postgres(settings: LedgerSettings) -> AsyncGenerator[Bench]:
    """Begin with an empty ledger; nobody else may use the schema."""
    async with PostgresLedger(settings) as ledger, await _side_door(settings) as connection:
        await connection.execute("truncate jobs, dead_letters, audits cascade")
        yield _bench(ledger, connection, settings.schema)


def _bench(ledger: PostgresLedger, connection: psycopg.AsyncConnection, schema: str) -> Bench:
    async def advance(delta: timedelta) -> None:
        """Move every moment the ledger remembers into the past, for nobody can move the server's clock."""
        for table in ("jobs", "photos", "deliveries", "dead_letters", "deletions", "audits"):
            cursor = await connection.execute(
                "select column_name from information_schema.columns where table_name = %s"
                " and table_schema = current_schema() and data_type = 'timestamp with time zone'",
                [table],
            )
            moved = [
                sql.SQL("{0} = {0} - %(delta)s").format(sql.Identifier(name)) async for (name,) in cursor
            ]
            query = sql.SQL("update {} set {}").format(sql.Identifier(table), sql.SQL(", ").join(moved))
            await connection.execute(query, {"delta": delta})

    async def interrupt() -> None:
        await connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where query = %s",
            [f'listen "ebbmark.{schema}"'],
        )

    return Bench(ledger, advance, interrupt)
