"""What may be downloaded: each knows its length, and asks the store for nothing before it is opened."""

from collections.abc import AsyncGenerator, Callable, Mapping
from datetime import UTC, datetime
from functools import partial

import msgspec
from msgspec import Struct

from ebbmark.errors import Rejected
from ebbmark.ledger import PhotoRow
from ebbmark.states import JobState, PhotoState
from ebbmark.store import ObjectStore, result_key
from ingest.archive import Entry, archive, length, whole
from ingest.names import content_disposition
from ingest.schemas import words_of
from ingest.stream import Sight

_LONGEST = 30 * 60.0


class NoSuchPhoto(Rejected):
    """The job has no result of this number."""

    def __init__(self, *_: str) -> None:
        """Also while it is not done yet."""
        super().__init__("unknown-photo", "There is no result of this number, or not yet.")


class Download(Struct, frozen=True, kw_only=True):
    """Bytes with all that must be said before them."""

    size: int
    open: Callable[[int, int], AsyncGenerator[bytes]]
    """Begins to yield the bytes from `start` to `end`."""
    media_type: str
    headers: dict[str, str]
    large: bool = True
    """Whether it needs one of the places for downloads under way."""
    seconds: float
    """Longest time it may take: the job's end comes then, and its grace."""


def photo(sight: Sight, n: int, store: ObjectStore, *, grace: float) -> Download:
    """Return one result. Raises `NoSuchPhoto` when it is not done, or there is none."""
    row = _done(sight, n)
    return Download(
        size=row.result_size or 0,
        open=partial(_part, store, result_key(sight.snapshot.job.id, row.epoch, n)),
        media_type=row.result_type or "",
        headers={
            "accept-ranges": "bytes",
            "content-disposition": content_disposition(sight.file_names[n], f"photo-{n}"),
            "etag": f'"{row.epoch}-{n}"',
        },
        seconds=_seconds(sight, grace),
    )


def thumbnail(sight: Sight, n: int, store: ObjectStore, *, grace: float) -> Download:
    """Return the thumbnail, which lies right behind the result. Raises `NoSuchPhoto`."""
    row = _done(sight, n)
    behind = row.result_size or 0
    key = result_key(sight.snapshot.job.id, row.epoch, n)
    return Download(
        size=row.thumbnail_size or 0,
        open=lambda start, end: _part(store, key, behind + start, behind + end),
        media_type="image/jpeg",
        headers={"etag": f'"{row.epoch}-{n}-thumbnail"'},
        large=False,
        seconds=_seconds(sight, grace),
    )


def everything(sight: Sight, store: ObjectStore, *, grace: float) -> Download:
    """Return every result and `manifest.json` as a ZIP of known length, never assembled anywhere.

    Raises:
        Rejected: the job is not complete, code `job-not-complete`.
    """
    job = sight.snapshot.job
    if job.state is not JobState.COMPLETE:
        raise Rejected("job-not-complete", "The archive is there when every photo is done or failed.")
    saved = sight.file_names
    entries: list[Entry] = []
    for row in sight.snapshot.photos:
        if row.n in saved:
            size, key = row.result_size or 0, result_key(job.id, row.epoch, row.n)
            entries.append(Entry(saved[row.n], size, partial(_part, store, key, 0, size)))
    manifest = _manifest(sight, saved)
    entries.append(Entry("manifest.json", len(manifest), whole(manifest)))
    moment = job.completed_at or job.now
    return Download(
        size=length(entries),
        open=lambda _start, _end: archive(entries, moment),
        media_type="application/zip",
        headers={"content-disposition": content_disposition("ebbmark.zip")},
        seconds=_seconds(sight, grace),
    )


async def _part(store: ObjectStore, key: str, start: int, end: int) -> AsyncGenerator[bytes]:
    async for chunk in store.stream(key, start, end - start):
        yield chunk


def _seconds(sight: Sight, grace: float) -> float:
    return min(_LONGEST, sight.left + grace)


def _done(sight: Sight, n: int) -> PhotoRow:
    for row in sight.snapshot.photos:
        if row.n == n and row.state is PhotoState.DONE:
            return row
    raise NoSuchPhoto


def _manifest(sight: Sight, saved: Mapping[int, str]) -> bytes:
    photos = [
        {
            "n": row.n,
            "name": row.name,
            "file": saved.get(row.n),
            "state": row.state,
            "code": row.code,
            "detail": row.detail,
            "width": row.width,
            "height": row.height,
            "bytes": row.result_size,
            "removed": words_of(row.removed),
            "original_bytes": row.size,
            "original_sha256": row.sha256.hex(),
        }
        for row in sight.snapshot.photos
    ]
    job = sight.snapshot.job
    document = {
        "service": "Ebbmark",
        "written_at": datetime.now(UTC),
        "created_at": job.created_at,
        "completed_at": job.completed_at,
        "expires_at": job.expires_at,
        "done": job.done,
        "failed": job.failed,
        "recipe": msgspec.Raw(job.recipe or b"null"),
        "photos": photos,
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2)
