"""The rows behind a `MemoryLedger`, and what is asked of one of them."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from msgspec import Struct, field

from ebbmark.imaging.facts import waits_for_total
from ebbmark.ledger import Claim, Completion, Outcome, Wanted
from ebbmark.ledger.deliveries import Webhook
from ebbmark.ledger.proofs import Contents
from ebbmark.states import TERMINAL_PHOTO_STATES, JobState, PhotoState
from ebbmark.testing.memory_deliveries import Delivery

S = TypeVar("S", bound=Struct)

FILLING = frozenset({JobState.OPEN, JobState.RENDERING})
SEALED = frozenset({JobState.RENDERING, JobState.COMPLETE})
ENDED = frozenset({JobState.COMPLETE, JobState.EXPIRING})
DYING = frozenset({JobState.EXPIRING, JobState.EXPIRED})
WAITING = frozenset({PhotoState.QUEUED, PhotoState.RETRYING})


class Photo(Struct, kw_only=True):
    """A row of the table `photos`."""

    job: UUID
    n: int
    state: PhotoState
    name: str | None
    size: int
    sha256: bytes
    created_at: datetime
    dispatch_at: datetime | None
    epoch: int = 0
    fence: int = 0
    strikes: int = 0
    lease_until: datetime | None = None
    claimant: UUID | None = None
    dispatches: int = 0
    code: str | None = None
    detail: str | None = None
    width: int | None = None
    height: int | None = None
    result_size: int | None = None
    thumbnail_size: int | None = None
    result_type: str | None = None
    removed: str | None = None
    round_at: datetime | None = None
    claimed_at: datetime | None = None
    ended_at: datetime | None = None


class Job(Struct, kw_only=True):
    """A row of the table `jobs`."""

    id: UUID
    token_hash: bytes | None
    receipt_hash: bytes | None
    recipe: bytes | None
    logo_sha256: bytes | None
    idempotency_hash: bytes | None
    sealed_token: bytes | None
    fingerprint: bytes | None
    created_at: datetime
    upload_deadline: datetime
    attempts: set[UUID]
    state: JobState = JobState.OPEN
    epoch: int = 0
    total: int | None = None
    done: int = 0
    failed: int = 0
    bytes: int = 0
    version: int = 1
    deadline: datetime | None = None
    unaccepted_until: datetime | None = None
    completed_at: datetime | None = None
    expires_at: datetime | None = None
    announced_epoch: int | None = None
    expiry_announced: bool = False
    delete_at: datetime | None = None
    expired_at: datetime | None = None
    verified_at: datetime | None = None
    listings: int = 0
    deletions: dict[int, Contents] = field(default_factory=dict[int, Contents])
    photos: dict[int, Photo] = field(default_factory=dict[int, Photo])
    webhook: Webhook | None = None
    deliveries: dict[str, Delivery] = field(default_factory=dict[str, Delivery])

    @property
    def waits_for_seal(self) -> bool:
        """Whether nothing of it can be rendered before its number of photos is known."""
        return self.total is None and self.recipe is not None and waits_for_total(self.recipe)

    def close(self, now: datetime, deadline: timedelta, ttl: timedelta) -> None:
        self.total = len(self.photos)
        self.deadline = now + deadline
        self.state = JobState.RENDERING
        if self.done + self.failed == self.total:
            self.complete(now, ttl)

    def complete(self, now: datetime, ttl: timedelta) -> None:
        self.state = JobState.COMPLETE
        self.completed_at = now
        self.expires_at = now + ttl


def may_begin_anew(photo: Photo, wanted: Collection[Wanted]) -> bool:
    """Whether the photo failed in a wanted round, and has an original."""
    return photo.state is PhotoState.FAILED and photo.size > 0 and as_(Wanted, photo) in wanted


def may_render_again(job: Job, now: datetime, recipe: bytes | None) -> bool:
    """Whether photos of the job may begin anew, with another recipe if one is given."""
    alive = job.state is JobState.COMPLETE and not past(job.expires_at, now)
    return alive or (job.state is JobState.RENDERING and recipe is None)


def past(moment: datetime | None, now: datetime) -> bool:
    """Whether there is such a moment, and it has come."""
    return moment is not None and moment <= now


def unleased(photo: Photo, now: datetime) -> bool:
    """Whether it is leased to nobody alive."""
    return photo.state is PhotoState.RENDERING and photo.lease_until is not None and photo.lease_until < now


def is_held(photo: Photo, claim: Claim) -> bool:
    """Whether the claim is the current one, and not reported."""
    current = (photo.epoch, photo.fence) == (claim.epoch, claim.fence)
    return photo.state is PhotoState.RENDERING and photo.claimant is not None and current


def ends(photo: Photo, outcome: Outcome) -> bool:
    """Whether the outcome counts: it is of this round, and a failure of the current claim."""
    current = outcome.code is None or outcome.fence == photo.fence
    return photo.epoch == outcome.epoch and photo.state not in TERMINAL_PHOTO_STATES and current


def completion(job: Job) -> Completion:
    """Return what is told of a complete job."""
    return Completion(
        job=job.id, epoch=job.epoch, done=job.done, failed=job.failed, awaited=job.webhook is not None
    )


def as_(kind: type[S], row: Struct, **others: object) -> S:
    """Return a value of `kind` from the fields of the same names, `others` first."""
    rest = (name for name in kind.__struct_fields__ if name not in others)
    return kind(**others, **{name: getattr(row, name) for name in rest})
