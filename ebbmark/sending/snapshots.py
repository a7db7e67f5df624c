"""A job as the server tells of it, at once or change by change in an event stream."""

import re
from collections.abc import AsyncGenerator, AsyncIterable
from typing import Literal, TypeVar

import msgspec

from ebbmark.sending.trouble import UNAVAILABLE, SendError

_T = TypeVar("_T")

# A return at the very end may be the first half of a line's end. Nothing else ends a line: file names
# may hold what `str.splitlines` takes for an end.
_LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")


class Photo(msgspec.Struct, frozen=True):
    """A photo as the server tells of it."""

    n: int
    state: Literal["queued", "rendering", "retrying", "done", "failed", "cancelled"]
    code: str | None
    detail: str | None
    url: str | None


class Status(msgspec.Struct, frozen=True):
    """The job as the server tells of it; a lower version is an older one."""

    state: str
    version: int
    done: int
    failed: int
    total: int | None
    photos: list[Photo]


class Opened(msgspec.Struct, frozen=True):
    """Where a job is, and its changes."""

    status_url: str
    events_url: str


def decoded(content: bytes, kind: type[_T]) -> _T:
    """Return what the server's JSON says.

    Raises:
        SendError: it says nothing of the kind.
    """
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.MsgspecError as exc:
        raise SendError(UNAVAILABLE, "whoever answers there is not Ebbmark") from exc


async def snapshots(stream: AsyncIterable[bytes]) -> AsyncGenerator[tuple[str, Status]]:
    """Yield each snapshot in an event stream with its id."""
    event: dict[bytes, bytes] = {}
    rest = b""
    async for piece in stream:
        *lines, rest = _LINE_END.split(rest + piece)
        for line in lines:
            if line:
                name, _, value = line.partition(b":")
                event[name] = value.removeprefix(b" ")
                continue
            if event.get(b"event") == b"snapshot":
                yield event.get(b"id", b"0").decode(), decoded(event.get(b"data", b""), Status)
            event = {}
