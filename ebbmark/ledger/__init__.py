"""The ledger is the truth: which jobs and photos exist, what became of them, when they must go.

Every write is one statement, so a caller that dies leaves either all of it or none of it, and every
write may be repeated. Every method raises `Unavailable` when the database does not answer in time.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import date, datetime, timedelta
from enum import Enum
from uuid import UUID

from msgspec import Struct

from ebbmark.ledger.deliveries import Deliveries
from ebbmark.ledger.letters import Letters
from ebbmark.ledger.proofs import Proofs
from ebbmark.states import JobState, PhotoState


class NewJob(Struct, frozen=True, kw_only=True):
    """A job as its sender opens it. `recipe` is canonical JSON, or None while it is not known yet."""

    id: UUID
    token_hash: bytes
    receipt_hash: bytes | None = None
    """Of the token that leads to the receipt, which outlives the job."""
    recipe: bytes | None = None
    logo_sha256: bytes | None = None
    idempotency_hash: bytes | None = None
    sealed_token: bytes | None = None
    """The token, readable only with the Idempotency-Key that opened the job."""
    fingerprint: bytes | None = None
    upload_deadline: timedelta = timedelta(minutes=30)
    attempt: UUID = UUID(int=0)
    """The request that holds the job until it is abandoned."""


class NewPhoto(Struct, frozen=True, kw_only=True):
    """An uploaded original, or (with a `code`) an upload that was refused and is told as failed.

    `size` is what the store keeps: never 0 for an original, always 0 for a refused upload.
    """

    n: int
    name: str
    size: int
    sha256: bytes
    code: str | None = None
    detail: str | None = None


class JobRow(Struct, frozen=True, kw_only=True):
    """What the ledger knows of a job; `now` is the database's clock when it was read."""

    id: UUID
    state: JobState
    epoch: int
    total: int | None
    done: int
    failed: int
    version: int
    recipe: bytes | None
    logo_sha256: bytes | None
    sealed_token: bytes | None
    fingerprint: bytes | None
    bytes: int
    created_at: datetime
    completed_at: datetime | None
    expires_at: datetime | None
    now: datetime

    @property
    def live(self) -> bool:
        """Whether its links work: decided by the database's clock alone."""
        return self.state in {JobState.OPEN, JobState.RENDERING, JobState.COMPLETE} and (
            self.expires_at is None or self.expires_at > self.now
        )


class PhotoRow(Struct, frozen=True, kw_only=True):
    """What the ledger knows of a photo; the result's fields are there when it is done."""

    n: int
    name: str | None
    state: PhotoState
    epoch: int
    sha256: bytes
    size: int
    code: str | None
    detail: str | None
    width: int | None
    height: int | None
    result_size: int | None
    thumbnail_size: int | None
    result_type: str | None
    removed: str | None = None
    """What its original told beside the picture and it does not, in words with commas between."""


class Place(Struct, frozen=True, kw_only=True):
    """A job and the SHA-256 of the photo that has one of its places, None while it is free."""

    job: JobRow
    taken: bytes | None


class Snapshot(Struct, frozen=True, kw_only=True):
    """A job and its photos in order of `n`, as of one moment."""

    job: JobRow
    photos: Sequence[PhotoRow]


class Times(Struct, frozen=True, kw_only=True):
    """When a photo was accepted, began its round, was last claimed, and ended; how often it was claimed."""

    n: int
    state: PhotoState
    code: str | None
    epoch: int
    claims: int
    """Of all rounds together."""
    accepted_at: datetime
    round_at: datetime
    claimed_at: datetime | None
    """None until it is claimed in this round."""
    ended_at: datetime | None


class Waiting(Struct, frozen=True, kw_only=True):
    """How many accepted photos have not ended yet."""

    photos: int
    jobs: int
    """The jobs among whose photos some wait and none is done yet."""


class Wanted(Struct, frozen=True, kw_only=True):
    """The photo an order speaks of."""

    job: UUID
    n: int
    epoch: int


class Claim(Struct, frozen=True, kw_only=True):
    """The right to render a photo until the lease ends; `fence` tells this claim from all others."""

    job: UUID
    n: int
    epoch: int
    fence: int
    strikes: int
    name: str
    sha256: bytes
    recipe: bytes
    logo_sha256: bytes | None
    waited: timedelta = timedelta(0)
    """From the photo's acceptance to this claim, by the ledger's clock."""
    total: int | None = None
    """How many photos the job has, once it is sealed."""
    sent_on: date | None = None
    """The day the job was opened, in UTC."""


class Outcome(Struct, frozen=True, kw_only=True):
    """How the rendering of a photo ended: done, or with a `code` failed."""

    job: UUID
    n: int
    epoch: int
    fence: int
    code: str | None = None
    detail: str | None = None
    width: int | None = None
    height: int | None = None
    size: int | None = None
    thumbnail_size: int | None = None
    media_type: str | None = None
    removed: str | None = None


class Completion(Struct, frozen=True, kw_only=True):
    """A job whose last photo is done or failed; `awaited` when there is a receiver to be told."""

    job: UUID
    epoch: int
    done: int
    failed: int
    awaited: bool = False


class Ended(Struct, frozen=True):
    """A job whose prefix was seen empty."""

    after: timedelta
    """For how long its links had been dead then, the first time."""


class Abandoned(Struct, frozen=True, kw_only=True):
    """A photo to be given up without any worker saying so; `code` is one of `GIVEN_UP`."""

    job: UUID
    n: int
    epoch: int
    fence: int
    code: str
    strikes: int
    created_at: datetime


GIVEN_UP = {
    "poison": "Rendering this photo failed again and again; it was set aside so that it harms no other.",
    "deadline": "The photo could not be rendered in time.",
}
"""What a photo's owner reads when the ledger gave it up."""

CANCELLED = "cancelled"
"""The code of a photo that failed because its owner did not want it any more."""
CANCELLED_DETAIL = "This photo was cancelled before it was done."


class Hearing(Enum):
    """Whether changes are heard."""

    CONNECTED = "connected"
    LOST = "lost"


class Candidacy(ABC):
    """A standing wish to be the one janitor that acts."""

    @abstractmethod
    async def leads(self) -> bool:
        """Return whether this process is the only leader now, becoming it if there is none."""


class Ledger(ABC):
    """The guarantees; `PostgresLedger` keeps them on disk, `MemoryLedger` in a test's memory."""

    @abstractmethod
    async def ready(self) -> None:
        """Return when the database answers."""

    # The door

    @abstractmethod
    async def open_job(self, job: NewJob) -> JobRow:
        """Open the job and return it.

        When its idempotency hash is known, the job of that hash is returned, held by this attempt
        too; the caller tells them apart by the id.
        """

    @abstractmethod
    async def find_job(self, token_hash: bytes) -> JobRow | None:
        """Return the job with this token in any state but expired."""

    @abstractmethod
    async def read_job(self, job: UUID) -> JobRow | None:
        """Return the job in any state."""

    @abstractmethod
    async def look(self, job: UUID, n: int) -> Place | None:
        """Return the job and what has its place `n`, as of one moment."""

    @abstractmethod
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
        """Enter the photos of an open job, first come first kept, and return the rows of those `n`.

        A photo with a code is entered as failed and counted. When the job is not open any more, has
        another fingerprint, or would hold more than `most` bytes, nothing is written; rows that are
        there already are returned all the same. The recipe, the logo and the fingerprint are entered
        when given. A photo nobody claimed after `stale` is dispatched anew.
        """

    @abstractmethod
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
        """Enter a whole form into an open, empty job and seal it; complete it when every photo was refused.

        It counts as unaccepted until `accepted` says otherwise. Returns the job as it is now, None when it
        is gone: unchanged when it is not open, not empty or of another fingerprint.
        """

    @abstractmethod
    async def seal(self, job: UUID, total: int, *, deadline: timedelta, ttl: timedelta) -> JobRow | None:
        """Close the job to further photos; completes it when all are done or failed already.

        Returns the job as it is now: still open when it holds another number of photos than
        `total`, unchanged when it was sealed before, None when it is gone.
        """

    @abstractmethod
    async def accepted(self, job: UUID) -> bool:
        """Note that its sender may be answered that a form is there; return whether the job is alive.

        One that is not noted so by its upload deadline, or 30 s after it was submitted if that is later, is
        deleted then, whatever became of its photos, and told to nobody.
        """

    @abstractmethod
    async def backlog(self) -> Waiting:
        """Return how many accepted photos have not ended yet, those of deleted jobs left out."""

    @abstractmethod
    async def snapshot(self, job: UUID) -> Snapshot | None:
        """Return the job with all its photos."""

    @abstractmethod
    async def snapshot_by_token(self, token_hash: bytes) -> Snapshot | None:
        """Return the job with this token, in any state but expired, with all its photos."""

    @abstractmethod
    async def times(self, job: UUID) -> Sequence[Times]:
        """Return the times of all photos of the job, in order of `n`, by the database's clock."""

    @abstractmethod
    async def expire_now(self, job: UUID) -> bool:
        """Kill the links of a living job and have it deleted; return whether it was alive."""

    @abstractmethod
    async def abandon(self, job: UUID, attempt: UUID) -> None:
        """Take a failed attempt out of the job, and have it deleted when no other holds it.

        A job that is being deleted, or was, is listed at least once more from now on: all that the
        attempt wrote before is found.
        """

    @abstractmethod
    def changes(self) -> AbstractAsyncContextManager[AsyncIterator[UUID | Hearing]]:
        """Yield the id of every job whose version grew, while there is a connection to hear it by.

        `CONNECTED` comes first and after every loss: from here on every change is heard, and those
        before may have been missed. `LOST`, maybe again and again, says that none is heard until then.
        """

    # The user and the operator

    @abstractmethod
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
        """Begin a new round for failed photos; return them as they are now, for their orders.

        They are queued with `epoch + 1` and no strikes, and dispatched anew when nobody claimed them after
        `stale`. Each job they belong to renders again, with `epoch + 1` and a new deadline, until it is
        complete once more. A recipe, and a logo with it, replaces the job's for all that is rendered
        from here on. Refused, and not in the answer: what is not failed in the very epoch that is given,
        so repeating the call does nothing; what was refused at the door, for there is no original; what
        is not of a sealed job whose links are alive, or was opened longer ago than `within`; and, with a
        recipe, what is of a job that is not complete, for one round is rendered by one recipe.
        """

    @abstractmethod
    async def cancel(
        self, job: UUID, photos: Sequence[int] | None = None, *, ttl: timedelta
    ) -> Sequence[int]:
        """Fail the photos of a living job that have not ended, or those `n` of them; return which they were.

        They fail with the code `CANCELLED` and are counted as failed; with the last photo of a sealed job it
        is complete. A claimed photo is cancelled too: no claim, lease or outcome of this epoch counts
        any more.
        """

    # The renderer

    @abstractmethod
    async def claim(
        self, wanted: Sequence[Wanted], *, claimant: UUID, lease: timedelta, strikes: int
    ) -> Sequence[Claim]:
        """Claim what may be claimed, before any byte is decoded.

        Takes a lease, `fence + 1` (never reused) and `strikes + 1`. Refused, and not in the answer:
        what is terminal, of another epoch, of an expiring job, waiting for its retry, out of
        strikes, or leased to someone else alive. What `claimant` holds already it gets again,
        unchanged but for the lease: an answer that was lost costs nothing.
        """

    @abstractmethod
    async def renew(self, claims: Sequence[Claim], *, lease: timedelta) -> None:
        """Begin the leases anew of those claims that are still the current ones, and not reported."""

    @abstractmethod
    async def reported(self, claim: Claim, *, lease: timedelta) -> None:
        """Note that the log has how this claim failed: its worker survived, so the strike is given back.

        Nobody holds the photo any more, and nobody may claim it until the outcome had time to be projected:
        a lease, or up to eight, twice as long each time the photo was dispatched. Nothing happens when the
        claim is not the current one, or was reported before.
        """

    @abstractmethod
    async def release(self, claim: Claim, *, strikes: int, retry_after: timedelta) -> None:
        """Give the photo back unrendered, to be dispatched again after `retry_after`; the version grows.

        `strikes` is -1 when nothing spoke against the photo, +1 when its child died under it.
        Nothing happens when the claim is not the current one, or was reported.
        """

    # The projector

    @abstractmethod
    async def finish(self, outcomes: Sequence[Outcome], *, ttl: timedelta) -> Sequence[Completion]:
        """Move the photos, the counters, the version and, with the last photo, the job.

        Terminal photos stay as they are; a failure counts only with the current fence. Returns the
        jobs that this call completed.
        """

    @abstractmethod
    async def announced(self, completions: Sequence[Completion]) -> None:
        """Note that JobCompleted of these is in the log."""

    # The janitor

    @abstractmethod
    def candidacy(self) -> AbstractAsyncContextManager["Candidacy"]:
        """Stand for the leadership of the janitors; leaving gives it up."""

    @abstractmethod
    async def overdue(self, *, limit: int) -> Sequence[Wanted]:
        """Take the photos due for dispatch: accepted or dispatched and never claimed, or due for a retry.

        What is taken comes back in 10 s, unless it is noted as dispatched.
        """

    @abstractmethod
    async def dispatched(self, orders: Sequence[Wanted], *, stale: timedelta) -> None:
        """Note that orders for these are in the log: due again after `stale`, twice as long each time."""

    @abstractmethod
    async def end_leases(self, *, strikes: int) -> int:
        """Take back what is leased to nobody alive, to be due after a wait that grows with its strikes.

        Returns how many photos.
        """

    @abstractmethod
    async def given_up(self, *, strikes: int) -> Sequence[Abandoned]:
        """Return what is out of strikes and leased to nobody, or past its job's deadline. Moves nothing."""

    @abstractmethod
    async def unannounced(self) -> Sequence[Completion]:
        """Return completed jobs whose JobCompleted is not known to be in the log, 10 s after the fact."""

    @abstractmethod
    async def expire_due(self, *, grace: timedelta) -> Sequence[UUID]:
        """Kill the links of what ran out, was abandoned or never accepted; take the jobs due for deletion.

        Each call postpones what it returns by 30 s.
        """

    @abstractmethod
    async def expiry_overdue(self) -> timedelta:
        """Return for how long the longest ended job still has its bytes; zero when none has."""

    @abstractmethod
    async def mark_expired(self, job: UUID, *, quiet: timedelta) -> Ended | None:
        """Note that the job's prefix lists empty, and forget its names, token, recipe and codes' details.

        The second call, at least `quiet` after the first, marks it verified. Returns how the job ended
        while JobExpired is still to be published.
        """

    @abstractmethod
    async def expiry_announced(self, job: UUID) -> None:
        """Note that JobExpired of this job is in the log."""

    @abstractmethod
    async def forget(self, *, tombstone: timedelta) -> int:
        """Delete the rows of jobs expired that long ago; return how many."""

    # The notifier

    @property
    @abstractmethod
    def deliveries(self) -> Deliveries:
        """Whom jobs tell of their end, and what became of it."""

    # The operator

    @property
    @abstractmethod
    def letters(self) -> Letters:
        """What was given up, and what operators did about it."""

    # The audit, and the receipts

    @property
    @abstractmethod
    def proofs(self) -> Proofs:
        """What must be in the bucket, and what is known of what is gone."""
