"""Hearing of changes: what ingest's pages live on."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from ebbmark.ledger import Ledger
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
)

PATIENCE = 20


@pytest.fixture
def ledger(bench: Bench) -> Ledger:
    return bench.ledger


async def heard(changes: AsyncIterator[UUID | None], wanted: UUID | None) -> None:
    async with asyncio.timeout(PATIENCE):
        while await anext(changes) != wanted:
            pass


async def test_watching_begins_with_a_word_to_read_everything(ledger: Ledger) -> None:
    async with ledger.changes() as changes:
        assert await anext(changes) is None


async def test_every_step_of_a_job_is_heard(ledger: Ledger) -> None:
    job = await open_with(ledger, 0)
    async with ledger.changes() as changes:
        await heard(changes, None)
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


async def test_a_recipe_that_comes_alone_is_heard(ledger: Ledger) -> None:
    job = await open_with(ledger, 1, recipe=None)
    async with ledger.changes() as changes:
        await heard(changes, None)
        await ledger.add_photos(job, [], recipe=RECIPE, stale=STALE)
        await heard(changes, job)


async def test_a_job_that_runs_out_is_heard(bench: Bench) -> None:
    job = await open_with(bench.ledger, 1)
    await bench.advance(QUIET * 100)
    async with bench.ledger.changes() as changes:
        await heard(changes, None)
        await bench.ledger.expire_due(grace=QUIET)
        await heard(changes, job)


async def test_every_watcher_hears(ledger: Ledger) -> None:
    job = await open_with(ledger, 0)
    async with ledger.changes() as one, ledger.changes() as two:
        await heard(one, None)
        await heard(two, None)
        await seal(ledger, job, 0)
        await heard(one, job)
        await heard(two, job)


async def test_after_a_cut_comes_a_word_to_read_everything_and_then_changes_again(bench: Bench) -> None:
    job = await open_with(bench.ledger, 0)

    async def keep_changing() -> None:
        while True:
            await bench.ledger.add_photos(job, [], stale=STALE)
            await asyncio.sleep(0.05)

    async with bench.ledger.changes() as changes:
        await heard(changes, None)
        await bench.interrupt()
        await heard(changes, None)
        changing = asyncio.create_task(keep_changing())
        await heard(changes, job)
        changing.cancel()
