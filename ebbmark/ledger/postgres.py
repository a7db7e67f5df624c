"""The ledger on Postgres: `queries.sql` executed over a small pool, every fault translated once."""

import asyncio
import random
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import timedelta
from importlib.resources import files
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID

import msgspec
import psycopg
import psycopg_pool
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row

from ebbmark.errors import Unavailable
from ebbmark.ledger import (
    CANCELLED,
    CANCELLED_DETAIL,
    Abandoned,
    Candidacy,
    Claim,
    Completion,
    Ended,
    Hearing,
    JobRow,
    Ledger,
    NewJob,
    NewPhoto,
    Outcome,
    PhotoRow,
    Place,
    Snapshot,
    Times,
    Waiting,
    Wanted,
)
from ebbmark.ledger.deliveries import Deliveries
from ebbmark.ledger.letters import Letters
from ebbmark.ledger.postgres_deliveries import PostgresDeliveries
from ebbmark.ledger.postgres_letters import PostgresLetters
from ebbmark.ledger.postgres_proofs import PostgresProofs
from ebbmark.ledger.proofs import Proofs
from ebbmark.ledger.roles import grant
from ebbmark.settings import Ledger as LedgerSettings
from ebbmark.states import JobState, PhotoState
from observability import metrics

S = TypeVar("S", bound=msgspec.Struct)
Row = dict[str, Any]

_FAULTS = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg_pool.PoolTimeout,
    psycopg_pool.TooManyRequests,
)
_WAITED = (psycopg.errors.QueryCanceled, psycopg_pool.PoolTimeout, psycopg_pool.TooManyRequests)
"""Faults that have taken their time already; trying again at once would only double the wait."""
_PATIENCE = 12
"""Seconds for one statement: a server that is frozen does not keep its own limit of ten."""
_MIGRATION_LOCK = 0x45626D61726B  # "Ebmark"
_LEADER_LOCK = 0x4A616E69746F72  # "Janitor"


def _load_queries() -> dict[str, bytes]:
    text = files("ebbmark.ledger").joinpath("queries.sql").read_text("utf-8")
    columns = (field for field in JobRow.__struct_fields__ if field != "now")
    text = text.replace("{job}", ", ".join([*(f"jobs.{column}" for column in columns), "now() as now"]))
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)[1:]
    return {name: query.encode() for name, query in zip(parts[::2], parts[1::2], strict=True)}


QUERIES = _load_queries()


def conninfo(settings: LedgerSettings) -> str:
    """Return the connection string, with the guards that keep one bad query from hanging a service."""
    # The last four make the server notice a client that vanished without a word: the leader's lock is
    # its connection's, and by default would be held for two hours.
    options = (
        "-c statement_timeout=10s -c lock_timeout=5s -c idle_in_transaction_session_timeout=15s"
        " -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
        " -c tcp_user_timeout=15000"
    )
    defaults = {
        "password": settings.password or None,
        "application_name": "ebbmark",
        "connect_timeout": 5,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 15_000,  # keepalives do not notice a wire cut under a question
    }
    given = conninfo_to_dict(settings.url)
    search = f"-c search_path={settings.schema} {options} {given.pop('options', '')}"
    return make_conninfo("", **(defaults | given), options=search.rstrip())


def migrate(settings: LedgerSettings) -> list[str]:
    """Apply the migrations that are missing, in order, under a lock; then the roles. Return their names.

    Raises:
        Unavailable: the database does not answer.
    """
    applied: list[str] = []
    try:
        with psycopg.connect(conninfo(settings)) as connection:
            connection.execute("select pg_advisory_xact_lock(%s)", [_MIGRATION_LOCK])
            connection.execute(
                sql.SQL("create schema if not exists {}").format(sql.Identifier(settings.schema))
            )
            connection.execute(
                "create table if not exists migrations"
                " (name text primary key, applied_at timestamptz default now())"
            )
            done = {row[0] for row in connection.execute("select name from migrations")}
            folder = files("ebbmark.ledger").joinpath("migrations")
            for script in sorted(folder.iterdir(), key=lambda each: each.name):
                if script.name.endswith(".sql") and script.name not in done:
                    connection.execute(script.read_text("utf-8").encode())
                    connection.execute("insert into migrations (name) values (%s)", [script.name])
                    applied.append(script.name)
            grant(connection, settings)
    except psycopg.OperationalError as exc:
        raise Unavailable("ledger-unavailable", "The database does not answer.") from exc
    return applied


class PostgresLedger(Ledger):
    """Use as an async context manager; it opens without a database and heals by itself."""

    def __init__(self, settings: LedgerSettings) -> None:
        """Connect lazily."""
        self._settings = settings
        self._channel = f"ebbmark.{settings.schema}"
        self._conninfo = conninfo(settings)
        self._pool = psycopg_pool.AsyncConnectionPool[psycopg.AsyncConnection[Row]](
            self._conninfo,
            kwargs={"autocommit": True, "row_factory": dict_row, "prepare_threshold": 2},
            min_size=1,
            max_size=settings.connections,
            timeout=5,
            max_lifetime=1800,
            max_idle=300,
            max_waiting=200,
            reconnect_timeout=2,
            open=False,
        )

    async def __aenter__(self) -> Self:
        await self._pool.open(wait=False)
        for state, kind in (("busy", 0), ("idle", 1)):
            metrics.LEDGER_CONNECTIONS.labels(state).set_function(lambda kind=kind: self._connections()[kind])
        metrics.LEDGER_WAITING.set_function(lambda: self._pool.get_stats().get("requests_waiting", 0))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._pool.close()

    def _connections(self) -> tuple[int, int]:
        """Return how many are in use, and how many are not."""
        now = self._pool.get_stats()
        idle = now.get("pool_available", 0)
        return now.get("pool_size", 0) - idle, idle

    async def _run(self, name: str, /, **parameters: object) -> list[Row]:
        try:
            with metrics.LEDGER_SECONDS.labels(name).time():
                return await self._answer(QUERIES[name], parameters)
        except Unavailable:
            metrics.LEDGER_FAULTS.inc()
            raise

    async def _answer(self, query: bytes, parameters: Mapping[str, object]) -> list[Row]:
        for attempt in (1, 2, 3):
            try:
                async with asyncio.timeout(_PATIENCE), self._pool.connection() as connection:
                    cursor = await connection.execute(query, parameters)
                    return await cursor.fetchall() if cursor.description else [{"rows": cursor.rowcount}]
            except psycopg.errors.DeadlockDetected:
                await asyncio.sleep(random.uniform(0, 0.05))  # noqa: S311 - whoever it was must not meet it again
            except TimeoutError as exc:
                raise Unavailable("ledger-unavailable", "The database does not answer.") from exc
            except _FAULTS as exc:
                # A connection that died while it lay in the pool says so only now; statements may be
                # repeated, so a second one is tried before anybody hears of it.
                if attempt == 1 and not isinstance(exc, _WAITED):
                    continue
                raise Unavailable("ledger-unavailable", "The database does not answer.") from exc
        raise Unavailable("ledger-unavailable", "The database is overloaded.")

    async def ready(self) -> None:
        await self._run("ready")

    async def open_job(self, job: NewJob) -> JobRow:
        rows = await self._run("open_job", **msgspec.structs.asdict(job))
        if not rows:  # written by a statement whose answer was lost, or by an earlier request
            rows = await self._run("job_by_id", id=job.id) or await self._run(
                "join_job", idempotency_hash=job.idempotency_hash, attempt=job.attempt
            )
        if not rows:  # it expired between the two
            raise Unavailable("ledger-unavailable", "The job of this Idempotency-Key is just being deleted.")
        return _as(JobRow, rows[0])

    async def find_job(self, token_hash: bytes) -> JobRow | None:
        rows = await self._run("job_by_token", token_hash=token_hash)
        return _as(JobRow, rows[0]) if rows else None

    async def read_job(self, job: UUID) -> JobRow | None:
        rows = await self._run("job_by_id", id=job)
        return _as(JobRow, rows[0]) if rows else None

    async def look(self, job: UUID, n: int) -> Place | None:
        rows = await self._run("look", id=job, n=n)
        return Place(job=_as(JobRow, rows[0]), taken=rows[0]["taken"]) if rows else None

    async def add_photos(
        self,
        job: UUID,
        photos: Sequence[NewPhoto],
        *,
        recipe: bytes | None = None,
        logo_sha256: bytes | None = None,
        fingerprint: bytes | None = None,
        most: int | None = None,
        stale: timedelta,
    ) -> Sequence[PhotoRow]:
        rows = await self._run(
            "add_photos",
            **_columns(photos, NewPhoto),
            job=job,
            recipe=recipe,
            logo_sha256=logo_sha256,
            fingerprint=fingerprint,
            most=most,
            stale=stale,
            channel=self._channel,
        )
        rows = [row for row in rows if row["n"] is not None]
        if len(rows) < len(photos):
            rows = await self._run("photos_by_n", job=job, n=[photo.n for photo in photos])
        return [_as(PhotoRow, row) for row in rows]

    async def submit(
        self,
        job: UUID,
        photos: Sequence[NewPhoto],
        *,
        recipe: bytes,
        logo_sha256: bytes | None,
        fingerprint: bytes,
        stale: timedelta,
        deadline: timedelta,
        ttl: timedelta,
    ) -> JobRow | None:
        rows = await self._run(
            "submit",
            **_columns(photos, NewPhoto),
            job=job,
            recipe=recipe,
            logo_sha256=logo_sha256,
            fingerprint=fingerprint,
            stale=stale,
            deadline=deadline,
            ttl=ttl,
            channel=self._channel,
        ) or await self._run("job_by_id", id=job)
        return _as(JobRow, rows[0]) if rows else None

    async def seal(self, job: UUID, total: int, *, deadline: timedelta, ttl: timedelta) -> JobRow | None:
        rows = await self._run(
            "seal", id=job, total=total, deadline=deadline, ttl=ttl, channel=self._channel
        ) or await self._run("job_by_id", id=job)
        return _as(JobRow, rows[0]) if rows else None

    async def accepted(self, job: UUID) -> bool:
        return bool(await self._run("accepted", id=job))

    async def backlog(self) -> Waiting:
        return _as(Waiting, (await self._run("backlog"))[0])

    async def snapshot(self, job: UUID) -> Snapshot | None:
        return await self._snapshot(id=job, token_hash=None)

    async def snapshot_by_token(self, token_hash: bytes) -> Snapshot | None:
        return await self._snapshot(id=None, token_hash=token_hash)

    async def _snapshot(self, **which: object) -> Snapshot | None:
        rows = await self._run("snapshot", **which)
        if not rows:
            return None
        return Snapshot(job=_as(JobRow, rows[0]), photos=_PHOTOS.decode(rows[0]["photo_rows"]))

    async def times(self, job: UUID) -> Sequence[Times]:
        return [_as(Times, row) for row in await self._run("times", job=job)]

    async def expire_now(self, job: UUID) -> bool:
        return bool(await self._run("expire_now", id=job, channel=self._channel))

    async def abandon(self, job: UUID, attempt: UUID) -> None:
        await self._run("abandon", id=job, attempt=attempt, channel=self._channel)

    def changes(self) -> AbstractAsyncContextManager[AsyncIterator[UUID | Hearing]]:
        return self._changes()

    @asynccontextmanager
    async def _changes(self) -> AsyncGenerator[AsyncIterator[UUID | Hearing]]:
        stream = self._notifications()
        try:
            yield stream
        finally:
            await stream.aclose()

    async def _notifications(self) -> AsyncGenerator[UUID | Hearing]:
        while True:
            with suppress(*_FAULTS):
                async with await psycopg.AsyncConnection.connect(
                    self._conninfo, autocommit=True
                ) as connection:
                    await connection.execute(sql.SQL("listen {}").format(sql.Identifier(self._channel)))
                    yield Hearing.CONNECTED
                    async for note in connection.notifies():
                        yield UUID(note.payload)
            yield Hearing.LOST
            await asyncio.sleep(1)

    async def redrive(
        self,
        photos: Sequence[Wanted],
        *,
        recipe: bytes | None = None,
        logo_sha256: bytes | None = None,
        within: timedelta | None = None,
        stale: timedelta,
        deadline: timedelta,
    ) -> Sequence[Wanted]:
        rows = await self._run(
            "redrive",
            **_columns(photos, Wanted),
            recipe=recipe,
            logo_sha256=logo_sha256,
            within=within,
            stale=stale,
            deadline=deadline,
            channel=self._channel,
        )
        return [_as(Wanted, row) for row in rows]

    async def cancel(
        self, job: UUID, photos: Sequence[int] | None = None, *, ttl: timedelta
    ) -> Sequence[int]:
        rows = await self._run(
            "cancel",
            job=job,
            photos=None if photos is None else list(photos),
            code=CANCELLED,
            detail=CANCELLED_DETAIL,
            ttl=ttl,
            channel=self._channel,
        )
        return [row["n"] for row in rows]

    async def claim(
        self, wanted: Sequence[Wanted], *, claimant: UUID, lease: timedelta, strikes: int
    ) -> Sequence[Claim]:
        rows = await self._run(
            "claim", **_columns(wanted, Wanted), claimant=claimant, lease=lease, strikes=strikes
        )
        return [_as(Claim, row) for row in rows]

    async def renew(self, claims: Sequence[Claim], *, lease: timedelta) -> None:
        columns = _columns(claims, Claim)
        held = {name: columns[name] for name in ("job", "n", "fence")}
        await self._run("renew", **held, lease=lease)

    async def reported(self, claim: Claim, *, lease: timedelta) -> None:
        await self._run(
            "reported", job=claim.job, n=claim.n, epoch=claim.epoch, fence=claim.fence, lease=lease
        )

    async def release(self, claim: Claim, *, strikes: int, retry_after: timedelta) -> None:
        await self._run(
            "release",
            job=claim.job,
            n=claim.n,
            epoch=claim.epoch,
            fence=claim.fence,
            strikes=strikes,
            retry_after=retry_after,
            channel=self._channel,
        )

    async def finish(self, outcomes: Sequence[Outcome], *, ttl: timedelta) -> Sequence[Completion]:
        rows = await self._run("finish", **_columns(outcomes, Outcome), ttl=ttl, channel=self._channel)
        return [_as(Completion, row) for row in rows if row["completed"]]

    async def announced(self, completions: Sequence[Completion]) -> None:
        await self._run(
            "announced", job=[each.job for each in completions], epoch=[each.epoch for each in completions]
        )

    @asynccontextmanager
    async def candidacy(self) -> AsyncGenerator[Candidacy]:
        standing = _PostgresCandidacy(self._conninfo, self._settings.schema)
        try:
            yield standing
        finally:
            await standing.leave()

    async def overdue(self, *, limit: int) -> Sequence[Wanted]:
        return [_as(Wanted, row) for row in await self._run("overdue", limit=limit)]

    async def dispatched(self, orders: Sequence[Wanted], *, stale: timedelta) -> None:
        await self._run("dispatched", **_columns(orders, Wanted), stale=stale)

    async def end_leases(self, *, strikes: int) -> int:
        return (await self._run("end_leases", strikes=strikes))[0]["rows"]

    async def given_up(self, *, strikes: int) -> Sequence[Abandoned]:
        return [_as(Abandoned, row) for row in await self._run("given_up", strikes=strikes)]

    async def unannounced(self) -> Sequence[Completion]:
        return [_as(Completion, row) for row in await self._run("unannounced")]

    async def expire_due(self, *, grace: timedelta) -> Sequence[UUID]:
        return [
            row["id"]
            for row in await self._run("expire_due", grace=grace, channel=self._channel)
            if row["due"]
        ]

    async def expiry_overdue(self) -> timedelta:
        return (await self._run("expiry_overdue"))[0]["overdue"]

    async def mark_expired(self, job: UUID, *, quiet: timedelta) -> Ended | None:
        rows = await self._run("mark_expired", id=job, quiet=quiet, channel=self._channel)
        return Ended(rows[0]["after"]) if rows and rows[0]["unannounced"] else None

    async def expiry_announced(self, job: UUID) -> None:
        await self._run("expiry_announced", id=job)

    async def forget(self, *, tombstone: timedelta) -> int:
        return (await self._run("forget", tombstone=tombstone))[0]["rows"]

    @property
    def deliveries(self) -> Deliveries:
        return PostgresDeliveries(self._run)

    @property
    def letters(self) -> Letters:
        return PostgresLetters(self._run)

    @property
    def proofs(self) -> Proofs:
        return PostgresProofs(self._run)


class _PostgresCandidacy(Candidacy):
    """A session-level advisory lock on a connection of its own: it is lost when the connection is."""

    def __init__(self, conninfo_: str, schema: str) -> None:
        self._conninfo = conninfo_
        self._schema = schema
        self._connection: psycopg.AsyncConnection | None = None
        self._held = False

    async def leads(self) -> bool:
        try:
            # What stands between may take the question and never answer, which no keepalive sees.
            async with asyncio.timeout(_PATIENCE):
                self._held = await self._ask()
        except (TimeoutError, *_FAULTS):
            await self.close()
        return self._held

    async def _ask(self) -> bool:
        if self._connection is None:
            self._connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
            self._held = False
        if self._held:
            await self._connection.execute("select 1")
            return True
        cursor = await self._connection.execute(
            "select pg_try_advisory_lock(%s, hashtext(%s))", [_LEADER_LOCK & 0x7FFFFFFF, self._schema]
        )
        row = await cursor.fetchone()
        return bool(row and row[0])

    async def leave(self) -> None:
        """Let the next one lead at once; a server notices a closed connection only when it can."""
        if self._held and self._connection is not None:
            with suppress(*_FAULTS):
                await self._connection.execute("select pg_advisory_unlock_all()")
        await self.close()

    async def close(self) -> None:
        self._held = False
        if self._connection is not None:
            with suppress(*_FAULTS):
                await self._connection.close()
            self._connection = None


_PHOTOS = msgspec.json.Decoder(list[PhotoRow])
_STATES: dict[type[msgspec.Struct], type[JobState | PhotoState]] = {
    JobRow: JobState,
    PhotoRow: PhotoState,
    Times: PhotoState,
}


def _as(kind: type[S], row: Row) -> S:
    values = {name: row[name] for name in kind.__struct_fields__}
    if kind in _STATES:
        values["state"] = _STATES[kind](values["state"])
    return kind(**values)


def _columns(rows: Sequence[msgspec.Struct], kind: type[msgspec.Struct]) -> dict[str, list[object]]:
    return {name: [getattr(row, name) for row in rows] for name in kind.__struct_fields__}
