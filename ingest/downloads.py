"""Results go out as streams, cut off at the job's end, whole or visibly broken."""

import time
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct
from zipstream import ZIP_STORED, ZipStream

from ebbmark.errors import LimitExceeded, Rejected
from ebbmark.ledger import PhotoRow
from ebbmark.states import JobState, PhotoState
from ebbmark.store import ObjectStore, result_key
from ingest.names import content_disposition, result_names
from ingest.stream import Sight

_LONGEST = 30 * 60.0


class CutOff(Exception):
    """The job's end came in the middle of a download; the connection breaks so that it shows."""


class NoSuchPhoto(Rejected):
    """The job has no result of this number."""

    def __init__(self, *_: str) -> None:
        """Also while it is not done yet."""
        super().__init__("unknown-photo", "There is no result of this number, or not yet.")


class Download(Struct, frozen=True):
    """A body with all that must be said before it."""

    body: AsyncIterator[bytes]
    status: int
    media_type: str
    headers: dict[str, str]


def photo(sight: Sight, n: int, store: ObjectStore, *, grace: float, byte_range: str | None) -> Download:
    """Return one result, or the part of it that a Range asks for.

    Raises:
        NoSuchPhoto: it is not done, or there is none.
        LimitExceeded: the range lies outside, code `range-not-satisfiable`.
    """
    row = _done(sight, n)
    size = row.result_size or 0
    start, end = parse_range(byte_range, size) or (0, size)
    headers = {
        "content-disposition": content_disposition(names(sight)[n]),
        "content-length": str(end - start),
        "accept-ranges": "bytes",
        "etag": f'"{row.epoch}-{n}"',
    }
    if byte_range and (start, end) != (0, size):
        headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
    key = result_key(sight.snapshot.job.id, row.epoch, n)
    body = _until(sight, grace, store.stream(key, start, end - start))
    return Download(body, 206 if "content-range" in headers else 200, row.result_type or "", headers)


def thumbnail(sight: Sight, n: int, store: ObjectStore, *, grace: float) -> Download:
    """Return the thumbnail, which lies right behind the result. Raises `NoSuchPhoto`."""
    row = _done(sight, n)
    length = row.thumbnail_size or 0
    key = result_key(sight.snapshot.job.id, row.epoch, n)
    return Download(
        _until(sight, grace, store.stream(key, row.result_size or 0, length)),
        200,
        "image/jpeg",
        {"content-length": str(length), "etag": f'"{row.epoch}-{n}-thumbnail"'},
    )


def archive(sight: Sight, store: ObjectStore, *, grace: float) -> Download:
    """Return every result and `manifest.json` as a ZIP of known length, never assembled anywhere.

    Raises:
        Rejected: the job is not complete, code `job-not-complete`.
    """
    job = sight.snapshot.job
    if job.state is not JobState.COMPLETE:
        raise Rejected("job-not-complete", "The archive is there when every photo is done or failed.")
    saved = names(sight)
    done = [row for row in sight.snapshot.photos if row.n in saved]
    manifest = _manifest(sight, saved)
    archived = ZipStream(compress_type=ZIP_STORED, sized=True)
    content: dict[int, bytes] = {}
    for row in done:
        archived.add(_take(content, row.n), saved[row.n], size=row.result_size)
    archived.add(manifest, "manifest.json")
    length = len(archived)

    async def body() -> AsyncGenerator[bytes]:
        for row in done:
            key = result_key(job.id, row.epoch, row.n)
            parts = [part async for part in store.stream(key, 0, row.result_size or 0)]
            content[row.n] = b"".join(parts)
            for chunk in archived.file():
                yield chunk
        for chunk in archived.finalize():
            yield chunk

    return Download(
        _until(sight, grace, body()),
        200,
        "application/zip",
        {"content-length": str(length), "content-disposition": content_disposition("ebbmark.zip")},
    )


def names(sight: Sight) -> dict[int, str]:
    """Return the file names of the results that are done."""
    return result_names(
        (row.n, row.name or "photo", row.result_type or "")
        for row in sight.snapshot.photos
        if row.state is PhotoState.DONE
    )


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return (start, end) of a single byte range, or None for what asks for the whole.

    Raises:
        LimitExceeded: it lies outside, code `range-not-satisfiable`.
    """
    unit, _, spec = (header or "").partition("=")
    first, dash, last = spec.strip().partition("-")
    if unit.strip() != "bytes" or not dash or "," in spec or not (first + last).isdecimal():
        return None
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
    if start >= end:
        raise LimitExceeded("range-not-satisfiable", f"The result has {size} bytes.")
    return start, end


def _done(sight: Sight, n: int) -> PhotoRow:
    for row in sight.snapshot.photos:
        if row.n == n and row.state is PhotoState.DONE:
            return row
    raise NoSuchPhoto


def _take(content: dict[int, bytes], n: int) -> Any:  # noqa: ANN401 - any iterable of bytes
    yield content.pop(n)


async def _until(sight: Sight, grace: float, stream: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    deadline = time.monotonic() + min(_LONGEST, sight.left + grace)
    async for chunk in stream:
        if time.monotonic() > deadline:
            raise CutOff
        yield chunk


def _manifest(sight: Sight, saved: dict[int, str]) -> bytes:
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
