"""Random histories of a ledger: steps to take, what is seen on the way, and what must hold after each.

All durations are odd multiples of half a minute and time moves by whole minutes, so that no answer
depends on how long the test itself takes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import msgspec
from hypothesis import strategies as st

from ebbmark.ledger import Claim, Outcome, PhotoRow, Snapshot, Wanted
from ebbmark.states import TERMINAL_PHOTO_STATES, JobState, PhotoState
from tests.contract.benches import Bench
from tests.contract.ledgers import (
    OTHER_RECIPE,
    RECIPE,
    done,
    failed,
    new_job,
    new_photo,
    redispatch,
    refused_photo,
    take_back,
)

HALF = timedelta(seconds=30)
JOBS = [UUID(int=n) for n in range(1, 3)]
WORKERS = [UUID(int=n) for n in range(11, 13)]
PHOTOS = 3
STRIKES = 3

Seen = list[object]


@dataclass
class World:
    """A ledger and what the test remembers of it."""

    bench: Bench
    claims: list[Claim] = field(default_factory=list[Claim])
    fences: dict[tuple[UUID, int], tuple[int, UUID]] = field(
        default_factory=dict[tuple[UUID, int], tuple[int, UUID]]
    )
    recipes: dict[tuple[UUID, int, int], bytes] = field(default_factory=dict[tuple[UUID, int, int], bytes])
    completed: set[tuple[UUID, int]] = field(default_factory=set[tuple[UUID, int]])
    last: dict[UUID, Snapshot] = field(default_factory=dict[UUID, Snapshot])


@dataclass(frozen=True)
class Add:
    job: UUID
    photos: frozenset[int]
    refused: bool

    async def take(self, world: World) -> Seen:
        make = refused_photo if self.refused else new_photo
        rows = await world.bench.ledger.add_photos(
            self.job, [make(n) for n in sorted(self.photos)], recipe=RECIPE, stale=3 * HALF
        )
        return [*rows]


@dataclass(frozen=True)
class Seal:
    """Seal with the number of photos that are there, or with some more."""

    job: UUID
    more: int

    async def take(self, world: World) -> Seen:
        snapshot = await world.bench.ledger.snapshot(self.job)
        total = self.more + (len(snapshot.photos) if snapshot else 0)
        row = await world.bench.ledger.seal(self.job, total, deadline=41 * HALF, ttl=121 * HALF)
        return [row and (row.state, row.total)]


@dataclass(frozen=True)
class Submit:
    """Enter and seal a form of some photos."""

    job: UUID
    photos: frozenset[int]

    async def take(self, world: World) -> Seen:
        row = await world.bench.ledger.submit(
            self.job,
            [new_photo(n) for n in sorted(self.photos)],
            recipe=RECIPE,
            logo_sha256=None,
            fingerprint=b"f",
            stale=3 * HALF,
            deadline=41 * HALF,
            ttl=121 * HALF,
        )
        return [row and (row.state, row.total)]


@dataclass(frozen=True)
class Accept:
    job: UUID

    async def take(self, world: World) -> Seen:
        return [await world.bench.ledger.accepted(self.job)]


@dataclass(frozen=True)
class Take:
    job: UUID
    photos: frozenset[int]
    epoch: int
    worker: UUID

    async def take(self, world: World) -> Seen:
        wanted = [Wanted(job=self.job, n=n, epoch=self.epoch) for n in sorted(self.photos)]
        claims = await world.bench.ledger.claim(wanted, claimant=self.worker, lease=3 * HALF, strikes=STRIKES)
        for claim in claims:
            fence, holder = world.fences.get((claim.job, claim.n), (0, None))
            again = (claim.fence, self.worker) == (fence, holder)
            assert claim.fence > fence or again, "a fence was used twice"
            assert claim.strikes <= STRIKES
            world.fences[claim.job, claim.n] = (claim.fence, self.worker)
            recipe = world.recipes.setdefault((claim.job, claim.n, claim.epoch), claim.recipe)
            assert claim.recipe == recipe, "one round was rendered by two recipes"
        world.claims += sorted(claims, key=lambda each: each.n)
        # Two ledgers have two clocks.
        return [
            msgspec.structs.replace(each, waited=timedelta(0), sent_on=None)
            for each in sorted(claims, key=lambda each: each.n)
        ]


@dataclass(frozen=True)
class Renew:
    """Say that some of the latest claims are alive, current or not."""

    which: tuple[int, ...]

    async def take(self, world: World) -> Seen:
        if world.claims:
            held = [world.claims[-1 - index % len(world.claims)] for index in self.which]
            await world.bench.ledger.renew(held, lease=3 * HALF)
        return []


@dataclass(frozen=True)
class Release:
    """Give back one of the latest claims, current or not."""

    which: int
    strikes: int
    wait: int

    async def take(self, world: World) -> Seen:
        if world.claims:
            claim = world.claims[-1 - self.which % len(world.claims)]
            await world.bench.ledger.release(claim, strikes=self.strikes, retry_after=self.wait * HALF)
        return []


@dataclass(frozen=True)
class Report:
    """Say that one of the latest claims failed and the log has it, current or not."""

    which: int

    async def take(self, world: World) -> Seen:
        if world.claims:
            claim = world.claims[-1 - self.which % len(world.claims)]
            await world.bench.ledger.reported(claim, lease=3 * HALF / 8)  # doubled at most three times
        return []


@dataclass(frozen=True)
class Finish:
    """Tell the outcome of some of the latest claims, current or not."""

    which: tuple[tuple[int, bool], ...]

    async def take(self, world: World) -> Seen:
        if not world.claims:
            return []
        outcomes: list[Outcome] = []
        for index, well in self.which:
            claim = world.claims[-1 - index % len(world.claims)]
            outcomes.append(done(claim) if well else failed(claim))
        completions = await world.bench.ledger.finish(outcomes, ttl=121 * HALF)
        for each in completions:
            assert (each.job, each.epoch) not in world.completed, "a round was completed twice"
            world.completed.add((each.job, each.epoch))
        return [*sorted(completions, key=lambda each: each.job)]


@dataclass(frozen=True)
class Redrive:
    """Begin a new round for what failed in a certain one."""

    job: UUID
    photos: frozenset[int]
    epoch: int
    recipe: bytes | None

    async def take(self, world: World) -> Seen:
        wanted = [Wanted(job=self.job, n=n, epoch=self.epoch) for n in sorted(self.photos)]
        again = await world.bench.ledger.redrive(
            wanted, recipe=self.recipe, stale=3 * HALF, deadline=41 * HALF
        )
        before = world.last.get(self.job)
        assert not again or (before is not None and before.job.live)
        for each in again:
            assert each.epoch == self.epoch + 1
            was = before.photos[[photo.n for photo in before.photos].index(each.n)] if before else None
            assert was is not None
            assert (was.state, was.epoch) == (PhotoState.FAILED, self.epoch)
            assert was.size, "what was refused at the door came back"
        return [*again]


@dataclass(frozen=True)
class Cancel:
    """Cancel some photos, or all that have not ended."""

    job: UUID
    photos: frozenset[int] | None

    async def take(self, world: World) -> Seen:
        photos = None if self.photos is None else sorted(self.photos)
        return [*await world.bench.ledger.cancel(self.job, photos, ttl=121 * HALF)]


@dataclass(frozen=True)
class Delete:
    job: UUID

    async def take(self, world: World) -> Seen:
        return [await world.bench.ledger.expire_now(self.job)]


@dataclass(frozen=True)
class Mark:
    job: UUID

    async def take(self, world: World) -> Seen:
        return [await world.bench.ledger.mark_expired(self.job, quiet=5 * HALF) is not None]


@dataclass(frozen=True)
class Sweep:
    """One round of the janitor, and a minute of rest."""

    async def take(self, world: World) -> Seen:
        ledger = world.bench.ledger
        wanted = await redispatch(ledger, stale=3 * HALF)
        lost = await take_back(ledger, strikes=STRIKES, ttl=121 * HALF)
        told = await ledger.unannounced()
        await ledger.announced(told[:1])
        due = await ledger.expire_due(grace=5 * HALF)
        await world.bench.advance(2 * HALF)
        return [
            *sorted((each.job, each.n) for each in wanted),
            *sorted((each.job, each.n, each.code, each.strikes) for each in lost),
            len(told),
            *sorted(due),
        ]


@dataclass(frozen=True)
class Wait:
    minutes: int

    async def take(self, world: World) -> Seen:
        await world.bench.advance(timedelta(minutes=self.minutes))
        return []


Step = (
    Add
    | Seal
    | Submit
    | Accept
    | Take
    | Renew
    | Release
    | Report
    | Finish
    | Redrive
    | Cancel
    | Delete
    | Mark
    | Sweep
    | Wait
)

_jobs = st.sampled_from(JOBS)
_photos = st.frozensets(st.integers(0, PHOTOS - 1), min_size=1)
_epochs = st.sampled_from([0, 0, 0, 0, 1, 1, 2])
_index = st.integers(0, 6)
_few = st.lists(st.tuples(_index, st.sampled_from([True, True, False])), min_size=1, max_size=6).map(tuple)
_LIKELY: list[tuple[int, st.SearchStrategy[Step]]] = [
    (6, st.builds(Add, _jobs, _photos, st.sampled_from([False, False, False, True]))),
    (3, st.builds(Seal, _jobs, st.sampled_from([0, 0, 0, 1]))),
    (3, st.builds(Submit, _jobs, _photos)),
    (2, st.builds(Accept, _jobs)),
    (9, st.builds(Take, _jobs, _photos, _epochs, st.sampled_from(WORKERS))),
    (2, st.builds(Renew, st.lists(_index, min_size=1, max_size=3).map(tuple))),
    (3, st.builds(Release, _index, st.sampled_from([-1, 0, 1, 1]), st.sampled_from([1, 7]))),
    (3, st.builds(Report, _index)),
    (6, st.builds(Finish, _few)),
    (4, st.builds(Redrive, _jobs, _photos, _epochs, st.sampled_from([None, None, OTHER_RECIPE]))),
    (2, st.builds(Cancel, _jobs, st.none() | _photos)),
    (1, st.builds(Delete, _jobs)),
    (2, st.builds(Mark, _jobs)),
    (5, st.just(Sweep())),
    (5, st.builds(Wait, st.sampled_from([1, 1, 1, 2, 2, 2, 3, 9, 61]))),
]
_step: st.SearchStrategy[Step] = st.sampled_from(
    [kind for weight, kind in _LIKELY for _ in range(weight)]
).flatmap(lambda kind: kind)
steps = st.integers(0, 80).flatmap(lambda length: st.lists(_step, min_size=length, max_size=length))


async def play(bench: Bench, history: Sequence[Step]) -> Seen:
    """Take the steps, check the invariants after each, and return all that was seen."""
    world = World(bench)
    for n, job in enumerate(JOBS):
        await bench.ledger.open_job(
            new_job(id=job, token_hash=bytes([n]), recipe=RECIPE if n else None, upload_deadline=61 * HALF)
        )
    seen: Seen = []
    for step in history:
        seen.append((step, await step.take(world)))
        for job in JOBS:
            snapshot = await bench.ledger.snapshot(job)
            assert snapshot is not None
            check(snapshot, world.last.get(job))
            world.last[job] = snapshot
            seen.append(timeless(snapshot))
    return seen


def check(now: Snapshot, before: Snapshot | None) -> None:
    """Assert what must hold at every moment."""
    states = [photo.state for photo in now.photos]
    assert now.job.done == states.count(PhotoState.DONE)
    assert now.job.failed == states.count(PhotoState.FAILED)
    if now.job.total is not None:
        assert len(states) == now.job.total
    if now.job.state in {JobState.OPEN, JobState.RENDERING, JobState.COMPLETE}:
        ended = now.job.done + now.job.failed == now.job.total
        assert ended == (now.job.state is JobState.COMPLETE)
        assert ended == (now.job.expires_at is not None)
    if before is None:
        return
    assert now.job.version >= before.job.version
    assert now.job.epoch >= before.job.epoch
    if now.job.version == before.job.version:
        assert (now.job.state, now.job.epoch) == (before.job.state, before.job.epoch)
    if now.job.state is JobState.RENDERING and before.job.state is JobState.COMPLETE:
        assert now.job.epoch == before.job.epoch + 1
    later = {photo.n: photo for photo in now.photos}
    for photo in before.photos:
        assert photo.n in later
        check_photo(later[photo.n], photo)


def check_photo(now: PhotoRow, before: PhotoRow) -> None:
    """Assert that what has ended stays as it is, but for a new round of what failed."""
    assert now.epoch in {before.epoch, before.epoch + 1}
    if now.epoch > before.epoch:
        assert before.state is PhotoState.FAILED
        assert (now.state, now.code) == (PhotoState.QUEUED, None)
    elif before.state in TERMINAL_PHOTO_STATES:
        assert (now.state, now.code, now.result_size) == (before.state, before.code, before.result_size)


def timeless(snapshot: Snapshot) -> object:
    """Return what two ledgers must agree on, whatever their clocks say."""
    job = snapshot.job
    return (
        (job.id, job.state, job.epoch, job.total, job.done, job.failed, job.version, job.recipe, job.bytes),
        (job.completed_at is None, job.expires_at is None, job.live),
        tuple(snapshot.photos),
    )
