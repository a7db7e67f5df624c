"""What the HTTP interface says, as JSON: the documented shapes, and how the ledger's rows become them."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from ebbmark.ledger import PhotoRow, Snapshot
from ebbmark.ledger.deliveries import DeliveryRow
from ebbmark.presets import Preset as NamedRecipe
from ebbmark.states import JobState, PhotoState
from ingest.remedies import remedy_of, retryable
from ingest.tokens import receipt_id


class Photo(Struct, frozen=True, kw_only=True):
    """One photo of a job.

    The result's fields are null until it is done, `code`, `detail` and `fix` unless it failed. What is
    `retryable` may fare better in a new round, maybe with other options; what is failed and not
    retryable has to be sent anew. `removed` says in words what the original told beside its picture, such
    as the location, and the result does not.
    """

    n: int
    name: str
    state: PhotoState
    code: str | None
    detail: str | None
    fix: str | None
    retryable: bool
    width: int | None
    height: int | None
    bytes: int | None
    removed: list[str]
    url: str | None
    thumbnail_url: str | None


class Job(Struct, frozen=True, kw_only=True):
    """A job and its photos. `total` is null while it is being filled; times are RFC 3339, UTC."""

    job_id: str
    state: JobState
    total: int | None
    done: int
    failed: int
    version: int
    created_at: datetime
    completed_at: datetime | None
    expires_at: datetime | None
    status_url: str
    events_url: str
    archive_url: str | None
    receipt_id: str
    receipt_url: str
    photos: list[Photo]
    server_time: datetime


class PhotoTimes(Struct, frozen=True, kw_only=True):
    """When a photo was accepted, began its round, was claimed by a worker for the last time, and ended.

    `attempts` counts its claims in all rounds. `trace_id` names its trace, where traces are collected.
    """

    n: int
    name: str
    state: PhotoState
    code: str | None
    round: int
    attempts: int
    accepted_at: datetime
    round_at: datetime
    claimed_at: datetime | None
    ended_at: datetime | None
    trace_id: str


class Timeline(Struct, frozen=True, kw_only=True):
    """The times of a job's photos, in the order of their numbers."""

    job_id: str
    state: JobState
    status_url: str
    photos: list[PhotoTimes]
    server_time: datetime


class Accepted(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to an accepted job; the last two are there when a webhook was asked for.

    `webhook_job` is what its messages call the job, `webhook_secret` what they are signed with, unless
    the request named it.
    """

    job_id: str
    state: JobState
    total: int | None
    status_url: str
    events_url: str
    archive_url: str
    webhook_job: UUID | None = None
    webhook_secret: str | None = None


class StreamEvent(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an event stream says: `snapshot` with the job as JSON in `data`, `end` with the reason."""

    event: Literal["snapshot", "end"]
    data: str
    id: str | UnsetType = UNSET


class ReceiptState(StrEnum):
    """How far the end of a job has come.

    `living`: its links work; `ending`: they do not, and the deletion is under way; `deleted`: nothing was
    left in a listing; `verified`: nor in a later one.
    """

    LIVING = "living"
    ENDING = "ending"
    DELETED = "deleted"
    VERIFIED = "verified"


class Receipt(Struct, frozen=True, kw_only=True):
    """What became of a job. Times that are not there yet are null.

    `deleted_at` and `verified_at` are when its part of the bucket was listed and empty, for the first time
    and again; `audited_at` is when the last listing of the whole bucket began, if that was later still.
    The counts are of what was deleted so far: `objects` are all, `bytes` are theirs.
    """

    receipt_id: str
    state: ReceiptState
    created_at: datetime
    completed_at: datetime | None
    links_die_at: datetime | None
    deleted_at: datetime | None
    verified_at: datetime | None
    audited_at: datetime | None
    originals: int
    results: int
    objects: int
    bytes: int
    server_time: datetime


class Delivery(Struct, frozen=True, kw_only=True):
    """What became of telling the receiver one event; `status` and `outcome` are of the last attempt.

    It is delivered, given up, or has a `next_attempt_at`.
    """

    event: str
    type: str
    attempts: int
    occurred_at: datetime
    attempted_at: datetime | None
    next_attempt_at: datetime | None
    status: int | None
    outcome: str | None
    delivered_at: datetime | None
    given_up_at: datetime | None
    replay_url: str


class DeliveryLog(Struct, frozen=True, kw_only=True):
    """All that was to be told of a job, in the order in which it happened."""

    job: UUID
    deliveries: list[Delivery]


class Received(Struct, frozen=True, kw_only=True):
    """The answer to one uploaded photo."""

    n: int
    name: str
    state: PhotoState
    bytes: int


class Remedy(Struct, frozen=True, kw_only=True):
    """What a failed photo's code means, what to do about it, and whether a new round can help."""

    code: str
    meaning: str
    fix: str
    retryable: bool


class Preset(Struct, frozen=True, kw_only=True):
    """A recipe that has a name, and the link that opens the page with it."""

    name: str
    title: str
    summary: str
    recipe: dict[str, object]
    url: str


class Seal(Struct, frozen=True, kw_only=True):
    """Says that all photos are there, and how many that is."""

    total: Annotated[int, Meta(ge=1, le=2**31 - 1)]


class Problem(Struct, frozen=True, kw_only=True):
    """RFC 9457. `code` is stable; `title` and `detail` are for people."""

    type: str
    title: str
    status: int
    detail: str
    code: str


class Readiness(Struct, frozen=True, kw_only=True):
    """Which of the servers this process needs answer."""

    ready: bool
    ledger: str
    store: str
    log: str


def accepted(public_id: str, state: JobState, total: int | None) -> Accepted:
    """Return where to go on with the job."""
    url = f"/jobs/{public_id}"
    return Accepted(
        job_id=public_id,
        state=state,
        total=total,
        status_url=url,
        events_url=f"{url}/events",
        archive_url=f"{url}/archive",
    )


def delivery(public_id: str, row: DeliveryRow) -> Delivery:
    """Return what became of one event as the job's owner sees it."""
    return Delivery(
        event=row.event,
        type=row.kind,
        attempts=row.attempts,
        occurred_at=row.occurred_at,
        attempted_at=row.attempted_at,
        next_attempt_at=row.next_attempt_at,
        status=row.status,
        outcome=row.outcome,
        delivered_at=row.delivered_at,
        given_up_at=row.given_up_at,
        replay_url=f"/jobs/{public_id}/deliveries/{row.event}/replay",
    )


def job(public_id: str, snapshot: Snapshot) -> Job:
    """Return the job as its owner sees it."""
    row, url = snapshot.job, f"/jobs/{public_id}"
    return Job(
        job_id=public_id,
        state=row.state,
        total=row.total,
        done=row.done,
        failed=row.failed,
        version=row.version,
        created_at=row.created_at,
        completed_at=row.completed_at,
        expires_at=row.expires_at,
        status_url=url,
        events_url=f"{url}/events",
        archive_url=f"{url}/archive" if row.state is JobState.COMPLETE else None,
        receipt_id=receipt_id(public_id),
        receipt_url=f"/receipts/{receipt_id(public_id)}",
        photos=[_photo(url, photo) for photo in snapshot.photos],
        server_time=row.now,
    )


def words_of(removed: str | None) -> list[str]:
    """Return the words of a row one by one."""
    return removed.split(", ") if removed else []


def _photo(url: str, row: PhotoRow) -> Photo:
    done = row.state is PhotoState.DONE
    return Photo(
        n=row.n,
        name=row.name or "",
        state=row.state,
        code=row.code,
        detail=row.detail,
        fix=remedy_of(row.code).fix if row.state is PhotoState.FAILED else None,
        retryable=retryable(row),
        width=row.width,
        height=row.height,
        bytes=row.result_size,
        removed=words_of(row.removed),
        url=f"{url}/photos/{row.n}" if done else None,
        thumbnail_url=f"{url}/photos/{row.n}/thumbnail" if done else None,
    )


def preset(each: NamedRecipe) -> Preset:
    """Return what is told about a preset."""
    return Preset(
        name=each.name,
        title=each.title,
        summary=each.summary,
        recipe=msgspec.json.decode(each.recipe.to_json()),
        url=f"/?preset={each.name}",
    )
