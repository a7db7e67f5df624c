"""A ZIP of stored files: its length is known before its first byte, and it is never whole anywhere.

A file's CRC is known only behind it, so it stands in a data descriptor there and in the directory at
the end, which every program reads that can seek.
"""

import struct
import zlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import datetime

from msgspec import Struct

_FLAGS = 0x0808  # a data descriptor follows; names are UTF-8
_MADE_BY = 3 << 8 | 45  # on Unix, by a program that knows ZIP64
_PLAIN, _ZIP64 = 20, 45
_MODE = 0o100644 << 16
_MORE = 0xFFFFFFFF  # stands for a number that is too large for its field and is told by the ZIP64 one


class WrongLengthError(Exception):
    """A file has another length than was said of it; the archive would be broken, so it breaks off."""


class Entry(Struct, frozen=True):
    """One file to be; `content` begins to yield its `size` bytes when its turn has come."""

    name: str
    size: int
    content: Callable[[], AsyncGenerator[bytes]]


class _Written(Struct, frozen=True):
    entry: Entry
    offset: int
    crc: int


def length(entries: Sequence[Entry]) -> int:
    """Return how many bytes `archive` will yield."""
    moment, total = datetime(1980, 1, 1), 0  # noqa: DTZ001 - any will do
    written: list[_Written] = []
    for entry in entries:
        written.append(_Written(entry, total, 0))
        total += len(_header(entry, moment)) + entry.size + len(_descriptor(entry, 0))
    return total + len(_directory(written, total, moment))


async def archive(entries: Sequence[Entry], moment: datetime) -> AsyncGenerator[bytes]:
    """Yield the archive, as its files come; all of them are dated `moment`.

    Raises:
        WrongLengthError: in the middle of it.
    """
    written: list[_Written] = []
    offset = 0
    for entry in entries:
        header = _header(entry, moment)
        yield header
        crc = size = 0
        async with aclosing(entry.content()) as content:
            async for chunk in content:
                crc, size = zlib.crc32(chunk, crc), size + len(chunk)
                yield chunk
        if size != entry.size:
            raise WrongLengthError
        descriptor = _descriptor(entry, crc)
        yield descriptor
        written.append(_Written(entry, offset, crc))
        offset += len(header) + size + len(descriptor)
    yield _directory(written, offset, moment)


def whole(content: bytes) -> Callable[[], AsyncGenerator[bytes]]:
    """Return the content of an entry that is small enough to be at hand."""

    async def yielding() -> AsyncGenerator[bytes]:
        yield content

    return yielding


def _is_large(size: int) -> bool:
    return size >= _MORE


def _moment(moment: datetime) -> tuple[int, int]:
    """Return time and date as MS-DOS writes them, in steps of two seconds."""
    time = moment.hour << 11 | moment.minute << 5 | moment.second // 2
    return time, (max(moment.year, 1980) - 1980) << 9 | moment.month << 5 | moment.day


def _header(entry: Entry, moment: datetime) -> bytes:
    name, extra = entry.name.encode(), b""
    size, needed = entry.size, _PLAIN
    if _is_large(entry.size):
        extra = struct.pack("<HHQQ", 1, 16, entry.size, entry.size)
        size, needed = _MORE, _ZIP64
    fields = (0x04034B50, needed, _FLAGS, 0, *_moment(moment), 0, size, size, len(name), len(extra))
    return struct.pack("<IHHHHHIIIHH", *fields) + name + extra


def _descriptor(entry: Entry, crc: int) -> bytes:
    layout = "<IIQQ" if _is_large(entry.size) else "<IIII"
    return struct.pack(layout, 0x08074B50, crc, entry.size, entry.size)


def _listed(written: _Written, moment: datetime) -> bytes:
    name, size, offset = written.entry.name.encode(), written.entry.size, written.offset
    large = [size, size] if _is_large(size) else []
    large += [offset] if offset >= _MORE else []
    extra = struct.pack(f"<HH{len(large)}Q", 1, 8 * len(large), *large) if large else b""
    return (
        struct.pack(
            "<IHHHHHHIIIHHHHHII",
            0x02014B50,
            _MADE_BY,
            _ZIP64 if large else _PLAIN,
            _FLAGS,
            0,
            *_moment(moment),
            written.crc,
            min(size, _MORE),
            min(size, _MORE),
            len(name),
            len(extra),
            0,
            0,
            0,
            _MODE,
            min(offset, _MORE),
        )
        + name
        + extra
    )


def _directory(written: Sequence[_Written], offset: int, moment: datetime) -> bytes:
    listed = b"".join(_listed(each, moment) for each in written)
    count, size, end = len(written), len(listed), b""
    if offset + size >= _MORE or count >= 0xFFFF:
        end = struct.pack(
            "<IQHHIIQQQQ", 0x06064B50, 44, _MADE_BY, _ZIP64, 0, 0, count, count, size, offset
        ) + struct.pack("<IIQI", 0x07064B50, 0, offset + size, 1)
    few = min(count, 0xFFFF)
    fields = (0x06054B50, 0, 0, few, few, min(size, _MORE), min(offset, _MORE), 0)
    return listed + end + struct.pack("<IHHHHIIH", *fields)
