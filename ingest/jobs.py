"""Taking a job in: open, add photos, seal. Both ways of uploading are these same three steps.

A 202 is said only after the ledger has committed and the broker has acknowledged. What got none is deleted at
its upload deadline: a job that is still open, and a form that is sealed and that `accept` has not spoken for.
Nobody has the link of such a form; who fills a job photo by photo has its link from the first on.
"""

import asyncio
import hashlib
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from uuid import UUID, uuid4

from msgspec import Struct

from ebbmark.errors import Conflict, LimitExceeded, Rejected, Unavailable
from ebbmark.eventlog import EventLog
from ebbmark.events import PhotoUploaded
from ebbmark.imaging.codec import sniff
from ebbmark.imaging.drawing import LOGO_LIMITS
from ebbmark.imaging.facts import waits_for_total
from ebbmark.imaging.header import PHOTOS
from ebbmark.ledger import CANCELLED, JobRow, Ledger, NewJob, NewPhoto, PhotoRow, Wanted
from ebbmark.ledger.deliveries import Webhook
from ebbmark.settings import Settings
from ebbmark.states import JobState, PhotoState
from ebbmark.store import ObjectStore, logo_key, original_key
from ebbmark.topics import UPLOADS
from ingest import tokens
from ingest.names import safe_name
from ingest.rounds import Again, require_retried, to_retry
from ingest.uploads import Spool
from observability import metrics, tracing

_LARGE_AT_ONCE = 4
_AGAIN = 2.0
"""Seconds after which a ledger that did not answer is asked again."""
_SHORTEST_KEY, _LONGEST_KEY = 16, 255


class Opened(Struct, frozen=True):
    """A job and the public id that leads to it; `repeated` when its Idempotency-Key was known.

    `attempt` holds the job until it is abandoned: what one request fails to do takes nothing from another.
    """

    job: JobRow
    public_id: str
    attempt: UUID
    repeated: bool
    webhook: Webhook | None = None
    """Whom it tells, when the request said so."""


class Door:
    """Everything that may be done to a job from outside, whatever the protocol."""

    def __init__(self, ledger: Ledger, store: ObjectStore, log: EventLog, settings: Settings) -> None:
        """Hold no state of a job: any number of doors may serve one system."""
        self._ledger = ledger
        self._store = store
        self._log = log
        self._settings = settings
        self._large = asyncio.Semaphore(_LARGE_AT_ONCE)
        self._abandoning: set[asyncio.Task[None]] = set()

    @property
    def look_again(self) -> float:
        """After how many seconds it is to be asked again whether a job that is written into lives."""
        return self._settings.job.quiet.total_seconds() / 4

    async def require_live(self, job: UUID) -> None:
        """Return when the job lives.

        Raises:
            Conflict: it was deleted, so nothing may be written into it.
        """
        row = await self._ledger.read_job(job)
        if row is None or not row.live:
            raise Conflict("job-gone", "The job was deleted in the meantime.")

    async def open(self, *, idempotency_key: str | None, recipe: bytes | None = None) -> Opened:
        """Open a job, or find the one that this Idempotency-Key opened before.

        Raises:
            Rejected: the key is shorter than 16 characters, too long, or not printable.
        """
        token, job, attempt = tokens.new_token(), uuid4(), uuid4()
        if idempotency_key is not None and not (
            _SHORTEST_KEY <= len(idempotency_key) <= _LONGEST_KEY
            and idempotency_key.isascii()
            and idempotency_key.isprintable()
        ):
            raise Rejected(
                "invalid-idempotency-key",
                f"An Idempotency-Key is {_SHORTEST_KEY} to {_LONGEST_KEY} printable characters, "
                "such as a UUID.",
            )
        public_id = tokens.encode(token)
        row = await self._ledger.open_job(
            NewJob(
                id=job,
                token_hash=tokens.token_hash(public_id),
                receipt_hash=tokens.token_hash(tokens.receipt_id(public_id)),
                recipe=recipe,
                idempotency_hash=tokens.idempotency_hash(idempotency_key) if idempotency_key else None,
                sealed_token=tokens.seal_token(token, idempotency_key, job) if idempotency_key else None,
                upload_deadline=self._settings.job.upload_deadline,
                attempt=attempt,
            )
        )
        if row.id == job or idempotency_key is None or row.sealed_token is None:
            return Opened(row, public_id, attempt, repeated=False)
        public_id = tokens.encode(tokens.seal_token(row.sealed_token, idempotency_key, row.id))
        return Opened(row, public_id, attempt, repeated=True)

    async def keep_original(self, job: UUID, n: int, given_name: str, spool: Spool) -> NewPhoto:
        """Store one upload, or say why it cannot be a photo. Nothing is entered in the ledger yet."""
        photo = self._described(n, given_name, spool)
        if photo.code is not None:
            metrics.UPLOADS_REFUSED.labels(photo.code).inc()
        else:
            with tracing.span("keep", job, n):
                await self._put(original_key(job, n, spool.sha256), spool.content())
            metrics.UPLOADED_BYTES.inc(spool.size)
        return photo

    def _described(self, n: int, given_name: str, spool: Spool) -> NewPhoto:
        name, refusal = safe_name(given_name), self._refusal(spool, self._settings.photo.bytes)
        if refusal is None:
            return NewPhoto(n=n, name=name, size=spool.size, sha256=spool.sha256)
        return NewPhoto(n=n, name=name, size=0, sha256=spool.sha256, code=refusal.code, detail=refusal.detail)

    async def keep_logo(self, job: UUID, spool: Spool) -> bytes:
        """Store the image that the watermark carries; return its SHA-256.

        Raises:
            Rejected: it is no image that we read, or larger than a logo may be.
        """
        refusal = self._refusal(spool, min(LOGO_LIMITS.bytes, self._settings.photo.bytes))
        if refusal is not None:
            raise Rejected("invalid-logo", f"The logo cannot be used. {refusal.detail}")
        await self._put(logo_key(job, spool.sha256), spool.content())
        return spool.sha256

    async def _put(self, key: str, content: bytes | Path) -> None:
        # A file is read whole into memory on its way to the store, so few may be on it at once.
        async with self._large if isinstance(content, Path) else nullcontext():
            await self._store.put(key, content)

    def _refusal(self, spool: Spool, most: int) -> Rejected | None:
        if spool.size == 0:
            return Rejected("empty-file", "The file is empty.")
        if spool.too_large or spool.size > most:
            return LimitExceeded("file-too-large", f"The file is larger than {most / 1024**2:g} MiB.")
        if sniff(spool.head) is None:
            return Rejected("unsupported-format", f"This is no photo of a kind that is read: {PHOTOS}.")
        return None

    async def describe(
        self, opened: Opened, recipe: bytes, *, logo_sha256: bytes | None, fingerprint: bytes
    ) -> JobRow:
        """Enter what is to be done with photos that follow, and return the job as it is now.

        Raises:
            Conflict: another request with the same Idempotency-Key said something else, or it is gone.
        """
        await self._ledger.add_photos(
            opened.job.id,
            [],
            recipe=recipe,
            logo_sha256=logo_sha256,
            fingerprint=fingerprint,
            stale=self._settings.janitor.stale,
        )
        return _ours(await self._ledger.read_job(opened.job.id), fingerprint)

    async def submit(
        self,
        opened: Opened,
        photos: Sequence[NewPhoto],
        recipe: bytes,
        *,
        logo_sha256: bytes | None,
        fingerprint: bytes,
        began: Sequence[int] = (),
    ) -> JobRow:
        """Enter and seal a whole form in one statement, then order its rendering; return when both are done.

        A repeat orders what still waits, whoever sealed it; an order may come any number of times. The form
        is to be accepted before its 202. `began` says when each photo had come, by `tracing.now`.

        Raises:
            Conflict: another request with the same Idempotency-Key said something else, or it is gone.
            Unavailable: the job may be sealed all the same; it is to be abandoned.
        """
        job = _ours(
            await self._ledger.submit(
                opened.job.id,
                photos,
                recipe=recipe,
                logo_sha256=logo_sha256,
                fingerprint=fingerprint,
                stale=self._settings.janitor.stale,
                deadline=self._settings.job.deadline,
                ttl=self._settings.job.ttl,
            ),
            fingerprint,
        )
        if job.state is JobState.OPEN:
            raise Conflict("job-gone", "The job is past its upload deadline.")
        orders = [(photo.n, job.epoch) for photo in photos if photo.code is None]
        if opened.job.state is JobState.OPEN:
            await self._order(job.id, orders)
        elif job.state is JobState.RENDERING:
            # The request that sealed it may still wait for Kafka, or have died before it asked.
            await self._order_waiting(job.id)
        if not opened.repeated:
            metrics.PHOTOS_ACCEPTED.inc(len(orders))
        for photo, came in zip(photos, began, strict=False):
            if photo.code is None:
                tracing.accepted(job.id, photo.n, came, again=opened.repeated)
        return job

    async def accept(self, job: UUID) -> None:
        """Have a submitted form live its hour; the last step before its 202.

        Raises:
            Conflict: it was deleted, or its upload deadline came first.
            Unavailable: it may count as accepted all the same; it is to be abandoned.
        """
        if not await self._ledger.accepted(job):
            raise Conflict("job-gone", "The job was deleted before it was accepted.")

    async def _order(self, job: UUID, photos: Sequence[tuple[int, int]]) -> None:
        await self._log.publish(UPLOADS, [PhotoUploaded(job=job, n=n, epoch=epoch) for n, epoch in photos])

    async def put(self, job: UUID, n: int, given_name: str, spool: Spool) -> PhotoRow:
        """Store and enter one photo of an open job, unless it is there; what is refused stores nothing.

        Raises:
            Conflict: the place holds another photo, or the job takes no more.
            LimitExceeded: the job would hold too many bytes.
        """
        came, began = time.perf_counter(), tracing.now()
        place = await self._ledger.look(job, n)
        if place is None or not place.job.live:
            raise Conflict("job-gone", "The job was deleted in the meantime.")
        if place.taken is None:
            self._require_room(place.job, spool)
            photo = await self.keep_original(job, n, given_name, spool)
        elif place.taken == spool.sha256:
            photo = self._described(n, given_name, spool)
        else:
            raise _taken(n)
        try:
            (row,) = await self.add(place.job, [photo], again=place.taken is not None)
        except Rejected:
            # Another request was quicker. What is under this key is this one's alone: other bytes have
            # another key, and the same bytes would not be refused.
            with suppress(Unavailable):
                await self._store.delete_prefix(original_key(job, n, spool.sha256))
            raise
        require_one_good([photo])
        metrics.ACCEPT_SECONDS.observe(time.perf_counter() - came, tracing.exemplar_of(job, n))
        tracing.accepted(job, n, began, again=place.taken is not None)
        return row

    def _require_room(self, job: JobRow, spool: Spool) -> None:
        if job.state is not JobState.OPEN:
            raise Conflict("job-sealed", "This job takes no more photos.")
        if not spool.too_large and job.bytes + spool.size > self._settings.job.bytes:
            raise _too_large(self._settings.job.bytes)

    async def add(
        self, job: JobRow, photos: Sequence[NewPhoto], *, again: bool = False
    ) -> Sequence[PhotoRow]:
        """Enter the photos and order their rendering; return when ledger and log both have them.

        What was there before comes `again`, and is not counted a second time.

        Raises:
            Conflict: one of the places holds another photo, or the job takes no more.
            LimitExceeded: the job would hold too many bytes.
            Unavailable: they may be entered all the same; adding them again is harmless.
        """
        most = self._settings.job.bytes
        rows = await self._ledger.add_photos(job.id, photos, most=most, stale=self._settings.janitor.stale)
        kept = {row.n: row for row in rows}
        for photo in photos:
            row = kept.get(photo.n)
            if row is None:
                now = await self._ledger.read_job(job.id)
                if now is not None and now.state is JobState.OPEN and now.bytes + photo.size > most:
                    raise _too_large(most)
                raise Conflict("job-sealed", "This job takes no more photos.")
            if row.sha256 != photo.sha256:
                raise _taken(photo.n)
        if job.recipe is None or not waits_for_total(job.recipe):
            orders = _queued(rows)
            await self._order(job.id, orders)
            metrics.PHOTOS_ACCEPTED.inc(0 if again else len(orders))
        return rows

    async def tell(self, job: UUID, webhook: Webhook) -> Webhook | None:
        """Note whom the job tells of its end, and return whom it tells: the first that was noted."""
        return await self._ledger.deliveries.subscribe(job, webhook)

    async def seal(self, job: JobRow, total: int) -> JobRow:
        """Close the job: from now on it renders to its end and then lives its hour.

        Raises:
            Conflict: it holds another number of photos, or was sealed with one, or is gone.
            Unavailable: it may be sealed all the same; sealing it again is harmless.
        """
        if job.recipe is None:
            raise Conflict("recipe-missing", "The job does not say yet what to do with its photos.")
        sealed = await self._ledger.seal(
            job.id, total, deadline=self._settings.job.deadline, ttl=self._settings.job.ttl
        )
        if sealed is None or not sealed.live:
            raise Conflict("job-gone", "The job was deleted in the meantime.")
        if sealed.state is JobState.OPEN or sealed.total != total:
            raise Conflict("wrong-total", f"The job does not hold exactly {total} photos.")
        if waits_for_total(job.recipe):
            ordered = await self._order_waiting(job.id)
            metrics.PHOTOS_ACCEPTED.inc(ordered if job.state is JobState.OPEN else 0)
        return sealed

    async def _order_waiting(self, job: UUID) -> int:
        """Order what nobody has claimed yet, for a claim shows that an order had come; return how many."""
        snapshot = await self._ledger.snapshot(job)
        orders = _queued(snapshot.photos if snapshot else ())
        await self._order(job, orders)
        return len(orders)

    async def abandon(self, opened: Opened) -> None:
        """Have what was not accepted deleted once the ledger answers, unless another request holds it."""
        try:
            await self._ledger.abandon(opened.job.id, opened.attempt)
        except Unavailable:
            # At its upload deadline it goes by itself, but for one that was noted as accepted in an answer
            # that was lost: its sender will be told that it is not.
            task = asyncio.create_task(self._abandon_later(opened))
            self._abandoning.add(task)
            task.add_done_callback(self._abandoning.discard)

    async def _abandon_later(self, opened: Opened) -> None:
        while True:
            await asyncio.sleep(_AGAIN)
            with suppress(Unavailable):
                return await self._ledger.abandon(opened.job.id, opened.attempt)

    async def retry(self, job: UUID, again: Again) -> None:
        """Begin a new round for failed photos, and order their rendering.

        Without a choice those begin it that may fare better and were not cancelled. To repeat the call is
        harmless. What cannot be ordered now, the janitor orders.

        Raises:
            Conflict: nothing of it can be retried, or not any more, or not by another recipe just now.
            Rejected: there is no photo of one of the numbers.
        """
        before = await self._ledger.snapshot(job)
        if before is None or not before.job.live:
            raise Conflict("job-gone", "The job was deleted in the meantime.")
        if again.recipe == before.job.recipe and again.logo_sha256 in {None, before.job.logo_sha256}:
            again = Again(again.photos)
        wanted = to_retry(before.photos, again.photos)
        orders = await self._ledger.redrive(
            [Wanted(job=job, n=row.n, epoch=row.epoch) for row in wanted],
            recipe=again.recipe,
            logo_sha256=again.logo_sha256,
            within=self._settings.job.retry_within,
            stale=self._settings.janitor.stale,
            deadline=self._settings.job.deadline,
        )
        if not orders:
            require_retried(
                await self._ledger.snapshot(job) or before, again, self._settings.job.retry_within
            )
            return
        metrics.PHOTOS_RETRIED.inc(len(orders))
        for order in orders:
            tracing.mark("redrive", job, order.n, epoch=order.epoch)
        with suppress(Unavailable):
            await self._order(job, [(order.n, order.epoch) for order in orders])

    async def cancel(self, job: UUID, n: int | None = None) -> None:
        """Cancel photo `n`, or all that have not ended. To repeat the call is harmless.

        Raises:
            Conflict: the photo has ended otherwise.
            Rejected: there is no such photo.
        """
        cancelled = await self._ledger.cancel(job, None if n is None else [n], ttl=self._settings.job.ttl)
        metrics.PHOTOS_CANCELLED.inc(len(cancelled))
        if n is None or cancelled:
            return
        snapshot = await self._ledger.snapshot(job)
        row = next((row for row in snapshot.photos if row.n == n), None) if snapshot else None
        if row is None:
            raise Rejected("unknown-photo", "There is no photo of this number.")
        if row.code != CANCELLED:
            raise Conflict("photo-ended", "This photo is done or failed already.")

    async def delete(self, job: UUID) -> None:
        """Kill the links at once, and have everything deleted."""
        await self._ledger.expire_now(job)


def _queued(rows: Sequence[PhotoRow]) -> list[tuple[int, int]]:
    return [(row.n, row.epoch) for row in rows if row.state is PhotoState.QUEUED]


def _taken(n: int) -> Conflict:
    return Conflict("photo-exists", f"The job already holds another photo number {n}.")


def _too_large(most: int) -> LimitExceeded:
    return LimitExceeded("job-too-large", f"A job may hold {most // 1024**2} MiB in all.")


def _ours(job: JobRow | None, fingerprint: bytes) -> JobRow:
    if job is None or not job.live:
        raise Conflict("job-gone", "The job was deleted in the meantime.")
    if job.fingerprint not in {None, fingerprint}:
        raise Conflict("idempotency-key-reused", "This Idempotency-Key came with another request before.")
    return job


def fingerprint(recipe: bytes, logo_sha256: bytes | None, photos: Sequence[NewPhoto]) -> bytes:
    """Return the digest that tells a repeated request from another one with the same key."""
    digest = hashlib.sha256(recipe + b"\0" + (logo_sha256 or b""))
    for photo in photos:
        digest.update(f"\0{photo.name}\0".encode() + photo.sha256)
    return digest.digest()


def require_one_good(photos: Sequence[NewPhoto]) -> None:
    """Refuse a job in which no file can be a photo.

    Raises:
        Rejected: with the code of the first file, or `no-files`.
    """
    if not photos:
        raise Rejected("no-files", "Send at least one photo in the field `files`.")
    first = photos[0]
    if all(photo.code for photo in photos) and first.code and first.detail:
        kind = LimitExceeded if first.code == "file-too-large" else Rejected
        raise kind(first.code, first.detail)
