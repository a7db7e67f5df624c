"""The ledger's photos in memory: they are claimed, end, are cancelled and begin anew."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from ebbmark.ledger import CANCELLED, CANCELLED_DETAIL, Claim, Completion, Outcome, Wanted
from ebbmark.states import TERMINAL_PHOTO_STATES, JobState, PhotoState
from ebbmark.testing.memory_rows import (
    FILLING,
    Job,
    Photo,
    as_,
    completion,
    ends,
    is_held,
    may_begin_anew,
    may_render_again,
    unleased,
)
from ebbmark.testing.memory_tables import Tables


class MemoryRendering(Tables):
    """The same answers as `PostgresLedger`."""

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
        now = self._answer()
        wanted, again = set(photos), list[Photo]()
        for job in self._jobs.values():
            failed = [photo for photo in job.photos.values() if may_begin_anew(photo, wanted)]
            young = within is None or job.created_at > now - within
            if failed and young and may_render_again(job, now, recipe):
                job.state = JobState.RENDERING
                job.completed_at = job.expires_at = None
                job.deadline = now + deadline
                job.recipe = recipe or job.recipe
                job.logo_sha256 = logo_sha256 or job.logo_sha256
                job.failed -= len(failed)
                job.epoch += 1
                self._changed(job)
                again += failed
        for photo in again:
            photo.state = PhotoState.QUEUED
            photo.epoch += 1
            photo.strikes = photo.dispatches = 0
            photo.lease_until = photo.claimant = photo.code = photo.detail = None
            photo.dispatch_at = now + stale
            photo.round_at, photo.claimed_at, photo.ended_at = now, None, None
        return sorted((as_(Wanted, photo) for photo in again), key=lambda each: (each.job, each.n))

    async def cancel(
        self, job: UUID, photos: Sequence[int] | None = None, *, ttl: timedelta
    ) -> Sequence[int]:
        now = self._answer()
        row = self._jobs.get(job)
        if row is None or row.state not in FILLING:
            return []
        ended = [
            photo
            for n, photo in sorted(row.photos.items())
            if photo.state not in TERMINAL_PHOTO_STATES and (photos is None or n in photos)
        ]
        for photo in ended:
            photo.state, photo.code, photo.detail = PhotoState.FAILED, CANCELLED, CANCELLED_DETAIL
            photo.lease_until = photo.claimant = photo.dispatch_at = None
            photo.ended_at = now
        row.failed += len(ended)
        if ended:
            if row.state is JobState.RENDERING and row.done + row.failed == row.total:
                row.complete(now, ttl)
            self._changed(row)
        return [photo.n for photo in ended]

    async def claim(
        self, wanted: Sequence[Wanted], *, claimant: UUID, lease: timedelta, strikes: int
    ) -> Sequence[Claim]:
        now = self._answer()
        claims: dict[tuple[UUID, int], Claim] = {}
        for each in wanted:
            job = self._jobs.get(each.job)
            photo = job.photos.get(each.n) if job else None
            if job is None or photo is None or photo.epoch != each.epoch:
                continue
            if job.state not in FILLING or job.recipe is None:
                continue
            if job.waits_for_seal:
                continue
            held = photo.state is PhotoState.RENDERING and photo.claimant == claimant
            free = photo.state is PhotoState.QUEUED or unleased(photo, now)
            if not held and (photo.strikes >= strikes or not free):
                continue
            photo.state = PhotoState.RENDERING
            photo.claimant = claimant
            photo.fence += not held
            photo.strikes += not held
            photo.claimed_at = photo.claimed_at if held else now
            photo.lease_until = now + lease
            claims[each.job, each.n] = as_(
                Claim,
                photo,
                recipe=job.recipe,
                logo_sha256=job.logo_sha256,
                waited=now - photo.created_at,
                total=job.total,
                sent_on=job.created_at.date(),
            )
        return list(claims.values())

    async def renew(self, claims: Sequence[Claim], *, lease: timedelta) -> None:
        now = self._answer()
        for claim in claims:
            job = self._jobs.get(claim.job)
            photo = job.photos.get(claim.n) if job else None
            if photo is not None and is_held(photo, claim):
                photo.lease_until = now + lease

    async def reported(self, claim: Claim, *, lease: timedelta) -> None:
        now = self._answer()
        job = self._jobs.get(claim.job)
        photo = job.photos.get(claim.n) if job else None
        if photo is not None and is_held(photo, claim):
            photo.claimant = None
            photo.strikes = max(0, photo.strikes - 1)
            photo.lease_until = now + lease * 2 ** min(photo.dispatches, 3)

    async def release(self, claim: Claim, *, strikes: int, retry_after: timedelta) -> None:
        now = self._answer()
        job = self._jobs.get(claim.job)
        photo = job.photos.get(claim.n) if job else None
        if job is not None and photo is not None and is_held(photo, claim):
            photo.state = PhotoState.RETRYING
            photo.lease_until = photo.claimant = None
            photo.strikes = max(0, photo.strikes + strikes)
            photo.dispatch_at = now + retry_after
            self._changed(job)

    async def finish(self, outcomes: Sequence[Outcome], *, ttl: timedelta) -> Sequence[Completion]:
        now = self._answer()
        moved: dict[UUID, Job] = {}
        for outcome in sorted(outcomes, key=lambda each: each.code is not None):
            job = self._jobs.get(outcome.job)
            photo = job.photos.get(outcome.n) if job else None
            if job is None or photo is None or job.state not in FILLING or not ends(photo, outcome):
                continue
            photo.state = PhotoState.DONE if outcome.code is None else PhotoState.FAILED
            photo.lease_until = photo.dispatch_at = None
            photo.ended_at = now
            photo.code, photo.detail = outcome.code, outcome.detail
            photo.width, photo.height = outcome.width, outcome.height
            photo.result_size, photo.thumbnail_size = outcome.size, outcome.thumbnail_size
            photo.result_type, photo.removed = outcome.media_type, outcome.removed
            job.done += outcome.code is None
            job.failed += outcome.code is not None
            moved[job.id] = job
        completed: list[Completion] = []
        for job in moved.values():
            if job.state is JobState.RENDERING and job.done + job.failed == job.total:
                job.complete(now, ttl)
                completed.append(completion(job))
            self._changed(job)
        return completed

    async def announced(self, completions: Sequence[Completion]) -> None:
        self._answer()
        for each in completions:
            if job := self._jobs.get(each.job):
                job.announced_epoch = max(each.epoch, job.announced_epoch or 0)
