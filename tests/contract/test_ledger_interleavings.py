"""On Postgres, two callers in each other's way end as if one had come after the other.

A trigger makes every commit wait at a gate. So the first caller has written and not committed when
the second comes, meets its locks, and goes on with what it read before: the moment at which a
statement that reads more than the row it writes goes wrong.
"""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from uuid import UUID

import psycopg
import pytest
import pytest_asyncio
from msgspec import Struct

from ebbmark.ledger import Claim, Ledger, NewJob
from ebbmark.ledger.postgres import PostgresLedger, conninfo
from ebbmark.settings import Ledger as LedgerSettings
from tests.contract.benches import Bench, in_memory, on_postgres
from tests.contract.histories import check, timeless
from tests.contract.ledgers import (
    DEADLINE,
    GRACE,
    LEASE,
    MOMENT,
    OTHER_RECIPE,
    QUIET,
    STALE,
    TTL,
    claim,
    done,
    failed,
    new_job,
    new_photo,
    redrive,
    refused_photo,
    seal,
    see,
    submit,
    take_back,
)

pytestmark = [pytest.mark.servers, pytest.mark.asyncio(loop_scope="module")]

JOB = UUID(int=7)
GATE = 4711
PATIENCE = 20

TRIGGER = f"""
create or replace function wait_at_the_gate() returns trigger language plpgsql as $$
begin perform pg_advisory_xact_lock({GATE}); return null; end $$;
create constraint trigger gate after insert or update on jobs
  deferrable initially deferred for each row execute function wait_at_the_gate();
create constraint trigger gate after insert or update on photos
  deferrable initially deferred for each row execute function wait_at_the_gate();
"""

Act = Callable[[Ledger, Sequence[Claim]], Awaitable[object]]


async def _add(ledger: Ledger, _: Sequence[Claim]) -> object:
    return await ledger.add_photos(JOB, [new_photo(2), new_photo(3)], stale=STALE)


async def _refuse(ledger: Ledger, _: Sequence[Claim]) -> object:
    return await ledger.add_photos(JOB, [refused_photo(3)], stale=STALE)


async def _seal(ledger: Ledger, _: Sequence[Claim]) -> object:
    row = await seal(ledger, JOB, 3)
    return row and row.total


async def _finish_all(ledger: Ledger, claims: Sequence[Claim]) -> object:
    return await ledger.finish([done(each) for each in claims], ttl=TTL)


async def _finish_some(ledger: Ledger, claims: Sequence[Claim]) -> object:
    return await ledger.finish([failed(claims[0]), done(claims[1])], ttl=TTL)


async def _finish_rest(ledger: Ledger, claims: Sequence[Claim]) -> object:
    return await ledger.finish([done(claims[2]), done(claims[1])], ttl=TTL)


async def _release(ledger: Ledger, claims: Sequence[Claim]) -> object:
    return await ledger.release(claims[0], strikes=-1, retry_after=TTL)


async def _report(ledger: Ledger, claims: Sequence[Claim]) -> object:
    return await ledger.reported(claims[0], lease=LEASE)


async def _claim(ledger: Ledger, _: Sequence[Claim]) -> object:
    return sorted((each.n, each.fence, each.strikes) for each in await claim(ledger, JOB, 0, 1, 2))


async def _sweep(ledger: Ledger, _: Sequence[Claim]) -> object:
    return sorted(each.n for each in await take_back(ledger))


async def _redrive(ledger: Ledger, _: Sequence[Claim]) -> object:
    return await redrive(ledger, JOB, 0, 1, 2)


async def _redrive_otherwise(ledger: Ledger, _: Sequence[Claim]) -> object:
    return await redrive(ledger, JOB, 0, 1, 2, recipe=OTHER_RECIPE)


async def _cancel(ledger: Ledger, _: Sequence[Claim]) -> object:
    return await ledger.cancel(JOB, [0, 2], ttl=TTL)


async def _delete(ledger: Ledger, _: Sequence[Claim]) -> object:
    return await ledger.expire_now(JOB)


async def _abandon(ledger: Ledger, _: Sequence[Claim]) -> object:
    return await ledger.abandon(JOB, NewJob(id=JOB, token_hash=b"").attempt)


async def _mark(ledger: Ledger, _: Sequence[Claim]) -> object:
    return await ledger.mark_expired(JOB, quiet=QUIET) is not None


async def _accept(ledger: Ledger, _: Sequence[Claim]) -> object:
    return await ledger.accepted(JOB)


async def _expire(ledger: Ledger, _: Sequence[Claim]) -> object:
    await ledger.expire_due(grace=GRACE)  # what it misses of another's doing it returns the next time
    return None


ACTS: list[Act] = [
    _add,
    _refuse,
    _seal,
    _finish_all,
    _finish_some,
    _finish_rest,
    _release,
    _report,
    _claim,
    _sweep,
    _redrive,
    _redrive_otherwise,
    _cancel,
    _delete,
    _abandon,
    _mark,
]


class Scene(Struct, frozen=True):
    """A job of three claimed photos, or of one done and two failed; or a form, late for being accepted."""

    sealed: bool
    leases_ended: bool
    complete: bool = False
    form: bool = False

    async def set(self, bench: Bench) -> Sequence[Claim]:
        await bench.ledger.open_job(new_job(id=JOB, upload_deadline=60 * MOMENT if self.form else DEADLINE))
        photos = [new_photo(n) for n in range(3)]
        if self.form:
            await submit(bench.ledger, JOB, photos)
            await bench.advance(60 * MOMENT)
        else:
            await bench.ledger.add_photos(JOB, photos, stale=STALE)
        claims = sorted(await claim(bench.ledger, JOB, 0, 1, 2), key=lambda each: each.n)
        if self.sealed:
            await seal(bench.ledger, JOB, 3)
        if self.leases_ended:
            await bench.advance(LEASE + MOMENT)
        if self.complete:
            await bench.ledger.finish([failed(claims[0]), failed(claims[1]), done(claims[2])], ttl=TTL)
        return claims


def _name(act: Act) -> str:
    return getattr(act, "__name__", "").strip("_").replace("_", " ")


OPEN, SEALED, LEASES_ENDED = Scene(False, False), Scene(True, False), Scene(True, True)
COMPLETE = Scene(True, False, complete=True)
FORM, FORM_RENDERED = Scene(False, False, form=True), Scene(False, False, complete=True, form=True)
OF_FORMS: set[Act] = {_accept, _expire}
OF_ROUNDS: set[Act] = {_redrive, _redrive_otherwise, _cancel}

CASES = (
    [
        pytest.param(scene, first, second, id=f"{_name(first)} and {_name(second)}, {name}")
        for name, scene in {"open": OPEN, "sealed": SEALED, "leases ended": LEASES_ENDED}.items()
        for first, second in itertools.product(ACTS, repeat=2)
        if scene is not LEASES_ENDED or {first, second} & {_claim, _sweep}
    ]
    + [
        pytest.param(COMPLETE, first, second, id=f"{_name(first)} and {_name(second)}, complete")
        for first, second in itertools.product(ACTS, repeat=2)
        if {first, second} & OF_ROUNDS
    ]
    + [
        pytest.param(scene, first, second, id=f"{_name(first)} and {_name(second)}, {name}")
        for name, scene in {"form": FORM, "form rendered": FORM_RENDERED}.items()
        for first, second in itertools.product([*ACTS, _accept, _expire], repeat=2)
        if {first, second} & OF_FORMS
    ]
)


class Stage(Struct, frozen=True):
    """One ledger over two pools, and a connection that sees and stops both."""

    bench: Bench
    other: Ledger
    gatekeeper: psycopg.AsyncConnection

    async def close_the_gate(self) -> None:
        await self.gatekeeper.execute("select pg_advisory_lock(%s)", [GATE])

    async def open_the_gate(self) -> None:
        await self.gatekeeper.execute("select pg_advisory_unlock(%s)", [GATE])

    async def waiting(self, count: int, *acts: asyncio.Task[object]) -> None:
        """Return when so many statements wait for a lock, or one of the acts is through."""
        async with asyncio.timeout(PATIENCE):
            while not any(act.done() for act in acts):
                cursor = await self.gatekeeper.execute(
                    "select count(*) from pg_locks where not granted and pid in"
                    " (select pid from pg_stat_activity where datname = current_database())"
                )
                row = await cursor.fetchone()
                if row and row[0] >= count:
                    return
                await asyncio.sleep(0.001)


@pytest.fixture(scope="module")
def gated(ledger_settings: LedgerSettings) -> LedgerSettings:
    with psycopg.connect(conninfo(ledger_settings), autocommit=True) as connection:
        connection.execute(TRIGGER)
    return ledger_settings


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(gated: LedgerSettings) -> AsyncGenerator[Stage]:
    async with (
        on_postgres(gated) as bench,
        PostgresLedger(gated) as other,
        await psycopg.AsyncConnection.connect(conninfo(gated), autocommit=True) as gatekeeper,
    ):
        yield Stage(bench, other, gatekeeper)


@pytest.mark.parametrize(("scene", "first", "second"), CASES)
async def test_two_at_once_end_as_two_in_a_row(stage: Stage, scene: Scene, first: Act, second: Act) -> None:
    await stage.gatekeeper.execute("truncate jobs cascade")
    claims = await scene.set(stage.bench)
    await stage.close_the_gate()
    earlier = asyncio.ensure_future(first(stage.bench.ledger, claims))
    await stage.waiting(1, earlier)
    later = asyncio.ensure_future(second(stage.other, claims))
    await stage.waiting(2, earlier, later)
    await stage.open_the_gate()
    answers = await earlier, await later
    snapshot = await see(stage.bench.ledger, JOB)
    check(snapshot, None)
    assert (*answers, timeless(snapshot)) in [
        await in_a_row(scene, first, second),
        await in_a_row(scene, first, second, backwards=True),
    ]


async def in_a_row(scene: Scene, *acts: Act, backwards: bool = False) -> tuple[object, ...]:
    """Return the answer of each act, and what is left, when they come one after the other."""
    bench = in_memory()
    claims = await scene.set(bench)
    order = reversed(acts) if backwards else acts
    answers = [await act(bench.ledger, claims) for act in order]
    return *(reversed(answers) if backwards else answers), timeless(await see(bench.ledger, JOB))
