"""Request bodies are read here: piece by piece, into capped spools, within limits of size and time."""

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

import multipart
from litestar import Request
from litestar.datastructures import State
from litestar.exceptions import InternalServerException
from msgspec import Struct

from ebbmark.errors import EbbmarkError, LimitExceeded, Rejected, Unavailable
from ebbmark.imaging.drawing import LOGO_LIMITS
from ebbmark.imaging.header import HEAD_BYTES
from ebbmark.settings import Settings

_IN_MEMORY = 256 * 1024
_FIELD_BYTES = 64 * 1024
_TEXT_BYTES = 128 * 1024
_FIELDS = 64
_SMALL_BODY = 4096
_DRAIN_BYTES = 256 * 1024**2


class Aborted(EbbmarkError):
    """The client went away in the middle of its upload, so nobody hears the answer."""


class Spool:
    """An upload on its way: hashed while it comes, in memory while small, then in a file without a name."""

    def __init__(self, folder: str, limit: int) -> None:
        """Hold at most `limit` bytes; what comes beyond is counted and dropped."""
        self._folder = folder or None
        self._limit = limit
        self._memory = bytearray()
        self._file: FileIO | None = None
        self._hash = hashlib.sha256()
        self.size = 0
        self.head = b""
        """The first bytes, enough to tell what it is."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, chunk: bytes) -> None:
        """Add a piece.

        Raises:
            Unavailable: the disk is full, code `storage-full`; what is there goes with the spool.
        """
        self.size += len(chunk)
        if self.size > self._limit:
            return
        self._hash.update(chunk)
        self.head += chunk[: HEAD_BYTES - len(self.head)]
        if self._file is None and self.size <= _IN_MEMORY:
            self._memory += chunk
            return
        try:
            self._spill(chunk)
        except OSError as exc:
            raise Unavailable(
                "storage-full", "There is no room for uploads just now; try again later."
            ) from exc

    def _spill(self, chunk: bytes) -> None:
        if self._file is None:
            # Without a buffer, so that closing a file on a full disk has nothing left to write.
            self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115 - closed with the spool
            _write(self._file, self._memory)
            self._memory.clear()
        _write(self._file, chunk)

    @property
    def too_large(self) -> bool:
        """Whether more came than may."""
        return self.size > self._limit

    @property
    def sha256(self) -> bytes:
        """The digest of all that came."""
        return self._hash.digest()

    def content(self) -> bytes | Path:
        """Return the bytes, or the path under which this process can read them."""
        if self._file is None:
            return bytes(self._memory)
        return Path(f"/proc/self/fd/{self._file.fileno()}")


def _write(file: FileIO, content: bytes | bytearray) -> None:
    left = memoryview(content)
    while left:
        left = left[file.write(left) :]


class Upload(Struct, frozen=True):
    """One file part of a form: the field it came in and the name its sender gave it."""

    field: str
    name: str


class Fields(Struct):
    """The text fields of a form, by name, in order."""

    values: dict[str, list[str]]
    size: int = 0

    def first(self, name: str) -> str | None:
        """Return the first value of the field."""
        return next(iter(self.values.get(name, ())), None)


class Patience(Struct, frozen=True):
    """How long a body may take."""

    silence: timedelta
    """Between two pieces."""
    whole: timedelta
    """In all, counted from the moment it is asked for."""
    rate: int
    """Bytes for each second that was spent waiting, once that is longer than a silence may be."""


async def pieces(request: Request[object, object, State], patience: Patience) -> AsyncGenerator[bytes]:
    """Yield the body as it comes.

    Raises:
        Rejected: the client was silent for too long.
        LimitExceeded: it did not end in time; no bytes of it come after that.
        Aborted: it went away.
    """
    clock = asyncio.get_running_loop().time
    silence, end = patience.silence.total_seconds(), clock() + patience.whole.total_seconds()
    stream = aiter(request.stream())
    size, waited = 0, 0.0
    try:
        while True:
            before = clock()
            async with asyncio.timeout_at(min(end, before + silence)):
                chunk = await anext(stream, None)
            if chunk is None:
                return
            if clock() >= end:
                raise _out_of_time()
            size += len(chunk)
            waited += clock() - before  # and not the time that the store took
            if waited > silence and size < waited * patience.rate:
                raise _too_slow()
            yield chunk
    except TimeoutError as exc:
        raise (_out_of_time() if clock() >= end else _too_slow()) from exc
    except InternalServerException as exc:  # what Litestar raises at a disconnect
        raise Aborted("upload-aborted", "The client went away.") from exc


async def small_body(
    request: Request[object, object, State], patience: Patience, *, most: int = _SMALL_BODY
) -> bytes:
    """Return a body that is not expected to be large.

    Raises:
        LimitExceeded: it is.
    """
    async with aclosing(pieces(request, patience)) as coming:
        return await gathered(coming, most)


async def gathered(coming: AsyncIterator[bytes], most: int) -> bytes:
    """Return a body in one piece.

    Raises:
        LimitExceeded: it is longer than that.
    """
    body = b""
    async for chunk in coming:
        body += chunk
        if len(body) > most:
            raise LimitExceeded("body-too-large", "The body is too long for what it should say.")
    return body


def _too_slow() -> Rejected:
    return Rejected("upload-too-slow", "Too little came for too long; please send it again.")


def _out_of_time() -> LimitExceeded:
    return LimitExceeded("upload-deadline", "The upload took too long; send fewer photos at once.")


async def read_form(
    request: Request[object, object, State],
    body: AsyncIterator[bytes],
    settings: Settings,
    on_file: Callable[[Upload, Spool], Awaitable[None]],
) -> Fields:
    """Read a multipart form; `on_file` gets each file as it ends, while the rest is still coming.

    Raises:
        Rejected: it is not a multipart form, or breaks off, or is too much.
    """
    name, options = multipart.parse_options_header(request.headers.get("content-type", ""))
    if name != "multipart/form-data" or not options.get("boundary"):
        raise Rejected("not-multipart", "Send a multipart/form-data form with a boundary.")
    try:
        return await _parse(body, options["boundary"], settings, on_file)
    except multipart.ParserLimitReached as exc:
        raise LimitExceeded("form-too-large", "The form has too many or too large parts.") from exc
    except multipart.MultipartError as exc:
        raise Rejected("malformed-form", "The form is broken or breaks off before its end.") from exc


async def _parse(
    body: AsyncIterator[bytes],
    boundary: str,
    settings: Settings,
    on_file: Callable[[Upload, Spool], Awaitable[None]],
) -> Fields:
    form = _Form(settings)
    try:
        with multipart.PushMultipartParser(
            boundary,
            max_header_size=4096,
            max_header_count=8,
            max_segment_count=settings.job.files + _FIELDS + 1,
        ) as parser:
            async for chunk in body:
                form.count(chunk)
                for event in parser.parse(chunk):
                    if isinstance(event, multipart.MultipartSegment):
                        form.begin(event)
                    elif event is not None:
                        form.spool.write(event)
                    else:
                        with form.spool:
                            await _end_part(form.segment, form.spool, form.fields, on_file)
    finally:
        form.spool.__exit__(None, None, None)
    return form.fields


class _Form:
    """What came of a form so far, and the part that is coming."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._bytes = self._files = self._texts = 0
        self.fields = Fields(values={})
        self.spool = Spool(settings.http.spool, 0)
        self.segment = multipart.MultipartSegment([])

    def count(self, chunk: bytes) -> None:
        self._bytes += len(chunk)
        if self._bytes > self._settings.job.bytes + _FIELDS * _FIELD_BYTES:
            limit = self._settings.job.bytes // 1024**2
            raise LimitExceeded("job-too-large", f"A job may hold {limit} MiB in all.")

    def begin(self, segment: multipart.MultipartSegment) -> None:
        is_file = segment.filename is not None
        self._files += bool(segment.filename) and segment.name != "logo"
        self._texts += not is_file
        if self._files > self._settings.job.files:
            limit = self._settings.job.files
            raise LimitExceeded("too-many-files", f"A job may hold {limit} photos; send the rest as another.")
        if self._texts > _FIELDS:
            raise LimitExceeded("form-too-large", "The form has too many fields.")
        self.segment = segment
        most = LOGO_LIMITS.bytes if segment.name == "logo" else self._settings.photo.bytes
        self.spool = Spool(self._settings.http.spool, most if is_file else _FIELD_BYTES)


async def _end_part(
    segment: multipart.MultipartSegment,
    spool: Spool,
    fields: Fields,
    on_file: Callable[[Upload, Spool], Awaitable[None]],
) -> None:
    if segment.filename is None:
        if spool.too_large:
            raise LimitExceeded("field-too-large", "A text field of the form is too long.")
        if spool.size + fields.size > _TEXT_BYTES:
            raise LimitExceeded("form-too-large", "The text fields of the form are too long together.")
        fields.size += spool.size
        content = spool.content()
        try:
            text = content.decode() if isinstance(content, bytes) else ""
        except UnicodeDecodeError as exc:
            raise Rejected("malformed-form", "A text field of the form is not UTF-8.") from exc
        fields.values.setdefault(segment.name or "", []).append(text)
    elif segment.filename or spool.size:  # a file input left empty comes as an unnamed part without bytes
        await on_file(Upload(segment.name or "", segment.filename or ""), spool)


@asynccontextmanager
async def heard(request: Request[object, object, State], body: AsyncIterator[bytes]) -> AsyncGenerator[None]:
    """Let a client that is refused finish, within reason: cut off while it writes, it never reads why."""
    try:
        yield
    except (Rejected, Unavailable):
        if "expect" not in request.headers:  # who asked before it sends also reads while it sends
            await _drain(body)
        raise


async def _drain(body: AsyncIterator[bytes]) -> None:
    left = _DRAIN_BYTES
    try:
        async for chunk in body:
            left -= len(chunk)
            if left < 0:
                return
    except EbbmarkError:
        return
