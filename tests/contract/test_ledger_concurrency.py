"""On Postgres, callers who come at the same moment neither break a counter nor lose a completion."""

import asyncio
import random
from collections.abc import AsyncGenerator, Sequence
from uuid import UUID, uuid4

import pytest

from ebbmark.ledger import Claim, Completion, Ledger, Snapshot, Wanted
from ebbmark.settings import Ledger as LedgerSettings
from ebbmark.states import JobState
from tests.contract.benches import on_postgres
from tests.contract.histories import check
from tests.contract.ledgers import (
    DEADLINE,
    LEASE,
    QUIET,
    STALE,
    STRIKES,
    TTL,
    done,
    failed,
    new_photo,
    open_with,
    redispatch,
    seal,
    sealed_with,
    see,
    take_back,
)

pytestmark = pytest.mark.servers

TASKS = 8


@pytest.fixture
async def ledger(ledger_settings: LedgerSettings) -> AsyncGenerator[Ledger]:
    async with on_postgres(ledger_settings) as bench:
        yield bench.ledger


@pytest.fixture(params=range(10))
def chance(request: pytest.FixtureRequest) -> random.Random:
    return random.Random(request.param)


async def claim_all(ledger: Ledger, job: UUID, photos: int) -> Sequence[Claim]:
    wanted = [Wanted(job=job, n=n, epoch=0) for n in range(photos)]
    return await ledger.claim(wanted, claimant=uuid4(), lease=LEASE, strikes=STRIKES)


async def test_overlapping_deliveries_of_many_jobs_count_every_photo_once(
    ledger: Ledger, chance: random.Random
) -> None:
    jobs = [await sealed_with(ledger, 20) for _ in range(3)]
    claims = [each for job in jobs for each in await claim_all(ledger, job, 20)]
    bad = set(chance.sample(range(len(claims)), 10))

    async def deliver() -> list[Completion]:
        order = list(range(len(claims)))
        dice = random.Random(chance.random())
        dice.shuffle(order)
        completions: list[Completion] = []
        while order:
            part, order = order[: (size := dice.randint(1, 15))], order[size:]
            outcomes = [failed(claims[n]) if n in bad else done(claims[n]) for n in part]
            completions += await ledger.finish(outcomes, ttl=TTL)
        return completions

    told = [each for answer in await asyncio.gather(*(deliver() for _ in range(TASKS))) for each in answer]
    assert sorted(each.job for each in told) == sorted(jobs)
    for job in jobs:
        seen = await see(ledger, job)
        check(seen, None)
        assert seen.job.state is JobState.COMPLETE


async def test_uploading_rendering_and_sealing_at_once_end_in_one_completion(
    ledger: Ledger, chance: random.Random
) -> None:
    job, photos = await open_with(ledger, 0), 30
    waiting = list(range(photos))
    chance.shuffle(waiting)

    async def upload() -> None:
        while waiting:
            part = [new_photo(waiting.pop()) for _ in range(min(len(waiting), chance.randint(1, 3)))]
            await ledger.add_photos(job, part, stale=STALE)

    async def render() -> int:
        completions = 0
        while (await see(ledger, job)).job.state in {JobState.OPEN, JobState.RENDERING}:
            claims = await claim_all(ledger, job, photos)
            completions += len(await ledger.finish([done(each) for each in claims], ttl=TTL))
        return completions

    async def close() -> int:
        while True:
            row = await seal(ledger, job, photos)
            if row is not None and row.state is not JobState.OPEN:
                return row.state is JobState.COMPLETE

    async def watch() -> None:
        last: Snapshot | None = None
        while last is None or last.job.state is not JobState.COMPLETE:
            now = await see(ledger, job)
            check(now, last)
            last = now

    *told, at_the_seal, _, _, _ = await asyncio.gather(
        render(), render(), close(), watch(), upload(), upload()
    )
    assert sum(told) + bool(at_the_seal) >= 1
    assert sum(told) <= 1
    row = (await see(ledger, job)).job
    assert (row.state, row.done) == (JobState.COMPLETE, photos)


async def test_claims_of_the_same_photos_share_them_out(ledger: Ledger, chance: random.Random) -> None:
    jobs = [await open_with(ledger, 20) for _ in range(2)]
    wanted = [Wanted(job=job, n=n, epoch=0) for job in jobs for n in range(20)]

    async def take() -> Sequence[Claim]:
        order = chance.sample(wanted, len(wanted))
        return await ledger.claim(order, claimant=uuid4(), lease=LEASE, strikes=STRIKES)

    claims = [each for answer in await asyncio.gather(*(take() for _ in range(TASKS))) for each in answer]
    assert len(claims) == len({(each.job, each.n) for each in claims}) == len(wanted)
    assert {each.fence for each in claims} == {1}


async def test_claims_deliveries_and_the_janitor_do_not_stand_in_each_others_way(
    ledger: Ledger, chance: random.Random
) -> None:
    jobs = [await sealed_with(ledger, 20) for _ in range(4)]

    async def render() -> None:
        worker = uuid4()
        for _ in range(10):
            some = [Wanted(job=chance.choice(jobs), n=chance.randrange(20), epoch=0) for _ in range(8)]
            claims = await ledger.claim(
                some, claimant=worker, lease=chance.choice([0, 1]) * LEASE, strikes=STRIKES
            )
            await ledger.renew(claims[::2], lease=LEASE)
            for each in claims[::3]:
                await ledger.release(each, strikes=0, retry_after=0 * LEASE)
            await ledger.finish([done(each) for each in claims[1:]], ttl=TTL)

    async def sweep() -> None:
        for _ in range(10):
            await redispatch(ledger, stale=0 * STALE)
            await take_back(ledger)
            await ledger.announced(await ledger.unannounced())
            await ledger.expire_due(grace=QUIET)

    async def delete() -> None:
        for job in jobs[:2]:
            await asyncio.sleep(0.02)
            await ledger.expire_now(job)
            await ledger.mark_expired(job, quiet=QUIET)

    await asyncio.gather(*(render() for _ in range(TASKS)), sweep(), sweep(), delete())
    for job in jobs:
        check(await see(ledger, job), None)


async def test_of_many_seals_and_deletions_one_of_each_counts(ledger: Ledger) -> None:
    job = await open_with(ledger, 3)
    rows = await asyncio.gather(*(ledger.seal(job, 3, deadline=DEADLINE, ttl=TTL) for _ in range(TASKS)))
    assert len({row.version for row in rows if row}) == 1
    assert sum(await asyncio.gather(*(ledger.expire_now(job) for _ in range(TASKS)))) == 1
