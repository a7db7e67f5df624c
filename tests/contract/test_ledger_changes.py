"""Hearing of changes: what ingest's pages live on."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from ebbmark.ledger import Hearing, Ledger
from tests.contract.benches import Bench
from tests.contract.ledgers import (
    QUIET,
    RECIPE,
    STALE,
    claim,
    done,
    finish,
    new_photo,
    open_with,
    seal,
    see,
)

PATIENCE = 20


@pytest.fixture
def ledger(bench: Bench) -> Ledger:
    return bench.ledger


async def heard(changes: AsyncIterator[UUID | Hearing], wanted: UUID | Hearing) -> None:
    async with asyncio.timeout(PATIENCE):
        while await anext(changes) != wanted:
            pass


async def test_watching_begins_with_word_of_the_connection(ledger: Ledger) -> None:
    async with ledger.changes() as changes:
        assert await anext(changes) is Hearing.CONNECTED


async def test_every_step_of_a_job_is_heard(ledger: Ledger) -> None:
    job = await open_with(ledger, 0)
    async with ledger.changes() as changes:
        await heard(changes, Hearing.CONNECTED)
        await ledger.add_photos(job, [new_photo(0)], stale=STALE)
        await heard(changes, job)
        await seal(ledger, job, 1)
        await heard(changes, job)
        await finish(ledger, *map(done, await claim(ledger, job, 0)))
        await heard(changes, job)
        await ledger.expire_now(job)
        await heard(changes, job)
        await ledger.mark_expired(job, quiet=QUIET)
        await heard(changes, job)


async def test_a_photo_that_is_given_back_is_heard_and_a_claim_is_not(ledger: Ledger) -> None:
    job, other = await open_with(ledger, 1), await open_with(ledger, 0)
    async with ledger.changes() as changes:
        await heard(changes, Hearing.CONNECTED)
        before = (await see(ledger, job)).job.version
        (claimed,) = await claim(ledger, job, 0)
        await seal(ledger, other, 0)
        assert await anext(changes) == other
        assert (await see(ledger, job)).job.version == before
        await ledger.release(claimed, strikes=-1, retry_after=QUIET)
        assert await anext(changes) == job
        assert (await see(ledger, job)).job.version == before + 1
        await ledger.release(claimed, strikes=-1, retry_after=QUIET)
        await ledger.expire_now(other)
        assert await anext(changes) == other


async def test_a_recipe_that_comes_alone_is_heard(ledger: Ledger) -> None:
    job = await open_with(ledger, 1, recipe=None)
    async with ledger.changes() as changes:
        await heard(changes, Hearing.CONNECTED)
        await ledger.add_photos(job, [], recipe=RECIPE, stale=STALE)
        await heard(changes, job)


async def test_a_job_that_runs_out_is_heard(bench: Bench) -> None:
    job = await open_with(bench.ledger, 1)
    await bench.advance(QUIET * 100)
    async with bench.ledger.changes() as changes:
        await heard(changes, Hearing.CONNECTED)
        await bench.ledger.expire_due(grace=QUIET)
        await heard(changes, job)


async def test_every_watcher_hears(ledger: Ledger) -> None:
    job = await open_with(ledger, 0)
    async with ledger.changes() as one, ledger.changes() as two:
        await heard(one, Hearing.CONNECTED)
        await heard(two, Hearing.CONNECTED)
        await seal(ledger, job, 0)
        await heard(one, job)
        await heard(two, job)


async def test_a_cut_is_told_and_so_is_its_end_and_then_changes_are_heard_again(bench: Bench) -> None:
    job = await open_with(bench.ledger, 0)

    async def keep_changing() -> None:
        while True:
            await bench.ledger.add_photos(job, [], stale=STALE)
            await asyncio.sleep(0.05)

    async with bench.ledger.changes() as changes:
        await heard(changes, Hearing.CONNECTED)
        await bench.interrupt()
        await heard(changes, Hearing.LOST)
        await heard(changes, Hearing.CONNECTED)
        changing = asyncio.create_task(keep_changing())
        await heard(changes, job)
        changing.cancel()
