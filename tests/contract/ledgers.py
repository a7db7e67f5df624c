"""What the tests of the ledger say again and again."""

import secrets
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID, uuid4

from ebbmark.ledger import (
    Abandoned,
    Claim,
    JobRow,
    Ledger,
    NewJob,
    NewPhoto,
    Outcome,
    PhotoRow,
    Snapshot,
    Wanted,
)
from tests.contract.benches import Bench

RECIPE = b'[{"op":"grayscale"}]'
OTHER_RECIPE = b'[{"op":"sepia"}]'
TTL = timedelta(hours=1)
LEASE = timedelta(minutes=1)
STALE = timedelta(seconds=90)
DEADLINE = timedelta(minutes=30)
GRACE = timedelta(minutes=2)
QUIET = timedelta(minutes=2)
STRIKES = 5
MOMENT = timedelta(seconds=1)


def new_job(**changes: object) -> NewJob:
    values = {"id": uuid4(), "token_hash": secrets.token_bytes(32), "recipe": RECIPE}
    return NewJob(**(values | changes))  # pyright: ignore[reportArgumentType]


def new_photo(n: int, **changes: object) -> NewPhoto:
    values = {"n": n, "name": f"photo {n}.jpg", "size": 1000 + n, "sha256": bytes([n % 256]) * 32}
    return NewPhoto(**(values | changes))  # pyright: ignore[reportArgumentType]


def refused_photo(n: int) -> NewPhoto:
    return new_photo(n, size=0, code="not-an-image", detail="This is not a photo.")


async def open_with(ledger: Ledger, photos: int | Sequence[NewPhoto], **changes: object) -> UUID:
    """Open a job that holds these photos, or so many."""
    job = (await ledger.open_job(new_job(**changes))).id
    given = [new_photo(n) for n in range(photos)] if isinstance(photos, int) else photos
    if given:
        await ledger.add_photos(job, given, stale=STALE)
    return job


async def sealed_with(ledger: Ledger, photos: int | Sequence[NewPhoto], **changes: object) -> UUID:
    """Open a job that holds these photos, or so many, and seal it."""
    job = await open_with(ledger, photos, **changes)
    await seal(ledger, job, photos if isinstance(photos, int) else len(photos))
    return job


async def completed_with(ledger: Ledger, photos: int) -> UUID:
    """Take a job all the way to complete."""
    job = await sealed_with(ledger, photos)
    claims = await claim(ledger, job, *range(photos))
    await finish(ledger, *map(done, claims))
    return job


async def seal(ledger: Ledger, job: UUID, total: int) -> JobRow | None:
    return await ledger.seal(job, total, deadline=DEADLINE, ttl=TTL)


async def submit(
    ledger: Ledger, job: UUID, photos: Sequence[NewPhoto], *, fingerprint: bytes = b"print"
) -> JobRow | None:
    return await ledger.submit(
        job,
        photos,
        recipe=RECIPE,
        logo_sha256=b"logo",
        fingerprint=fingerprint,
        stale=STALE,
        deadline=DEADLINE,
        ttl=TTL,
    )


async def claim(
    ledger: Ledger, job: UUID, *photos: int, epoch: int = 0, claimant: UUID | None = None
) -> Sequence[Claim]:
    """Claim as a worker nobody has seen before, or as a certain one."""
    wanted = [Wanted(job=job, n=n, epoch=epoch) for n in photos]
    return await ledger.claim(wanted, claimant=claimant or uuid4(), lease=LEASE, strikes=STRIKES)


async def redrive(
    ledger: Ledger, job: UUID, *photos: int, epoch: int = 0, recipe: bytes | None = None
) -> Sequence[int]:
    """Begin a new round for these photos; return those it was begun for."""
    again = await ledger.redrive(
        [Wanted(job=job, n=n, epoch=epoch) for n in photos], recipe=recipe, stale=STALE, deadline=DEADLINE
    )
    assert all((each.job, each.epoch) == (job, epoch + 1) for each in again)
    return [each.n for each in again]


async def failed_with(ledger: Ledger, photos: int, *bad: int) -> UUID:
    """Take a job all the way to complete, with these photos failed."""
    job = await sealed_with(ledger, photos)
    claims = await claim(ledger, job, *range(photos))
    await finish(ledger, *(failed(each) if each.n in bad else done(each) for each in claims))
    return job


async def redispatch(ledger: Ledger, *, stale: timedelta = STALE, limit: int = 100) -> Sequence[Wanted]:
    """Take what is overdue and note it as dispatched."""
    due = await ledger.overdue(limit=limit)
    await ledger.dispatched(due, stale=stale)
    return due


async def take_back(ledger: Ledger, *, strikes: int = STRIKES, ttl: timedelta = TTL) -> Sequence[Abandoned]:
    """End the leases of nobody, and fail what is to be given up; return that."""
    await ledger.end_leases(strikes=strikes)
    lost = await ledger.given_up(strikes=strikes)
    await ledger.finish(
        [
            Outcome(
                job=each.job, n=each.n, epoch=each.epoch, fence=each.fence, code=each.code, detail="Lost."
            )
            for each in lost
        ],
        ttl=ttl,
    )
    return lost


async def finish(ledger: Ledger, *outcomes: Outcome) -> int:
    """Return how many jobs were completed."""
    return len(await ledger.finish(outcomes, ttl=TTL))


def done(of: Claim | Wanted, *, fence: int | None = None) -> Outcome:
    return Outcome(
        job=of.job,
        n=of.n,
        epoch=of.epoch,
        fence=_fence(of, fence),
        width=640,
        height=480,
        size=2000,
        thumbnail_size=200,
        media_type="image/jpeg",
        removed="location, maker notes",
    )


def failed(of: Claim | Wanted, *, fence: int | None = None, code: str = "corrupt") -> Outcome:
    return Outcome(
        job=of.job, n=of.n, epoch=of.epoch, fence=_fence(of, fence), code=code, detail="It is broken."
    )


def _fence(of: Claim | Wanted, fence: int | None) -> int:
    return fence if fence is not None else of.fence if isinstance(of, Claim) else 0


async def see(ledger: Ledger, job: UUID) -> Snapshot:
    """Return the snapshot of a job that must be there."""
    snapshot = await ledger.snapshot(job)
    assert snapshot is not None
    return snapshot


async def see_photo(ledger: Ledger, job: UUID, n: int = 0) -> PhotoRow:
    return next(photo for photo in (await see(ledger, job)).photos if photo.n == n)


async def delete_fully(bench: Bench, job: UUID) -> None:
    """Take a living job to expired and verified."""
    await bench.ledger.expire_now(job)
    await bench.ledger.mark_expired(job, quiet=QUIET)
    await bench.advance(QUIET + MOMENT)
    await bench.ledger.mark_expired(job, quiet=QUIET)
