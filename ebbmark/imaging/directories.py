"""TIFF files and EXIF blocks are directories of tags: what they list is read here, without a decoder."""

import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

__all__ = ["Directory", "directories", "directory_at", "is_tiff"]

_ORDERS = {b"II": "<", b"MM": ">"}
_MOST_TAGS = 1_000
_INLINE = {3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
"""The types whose value stands in its entry, when it is one number: what sizes and offsets have."""


class Directory(NamedTuple):
    """The tags of one directory, each with its value if that is one whole number, and with 0 otherwise."""

    tags: Mapping[int, int]
    next: int
    """Where the next one begins; 0 when this is the last."""


class _Layout(NamedTuple):
    order: str
    entry: str
    length: str
    offset: str


def is_tiff(head: bytes) -> bool:
    """Tell whether this begins like a TIFF file or an EXIF block, whatever it holds."""
    return head[:4] in {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}


def directories(data: bytes) -> Iterator[Directory]:
    """Yield the first directory and then, when they are asked for, those it leads to by `next`: four at most.

    Raises `struct.error` where the data ends too early or is none of this.
    """
    layout, at = _begin(data)
    seen = 0
    while at and seen < 4:
        directory = _read(data, layout, at)
        yield directory
        at, seen = directory.next, seen + 1


def directory_at(data: bytes, at: int) -> Directory:
    """Return the directory that begins there, as a tag of another one says. Raises `struct.error`."""
    return _read(data, _begin(data)[0], at)


def _begin(data: bytes) -> tuple[_Layout, int]:
    order = _ORDERS.get(data[:2])
    if order is None or not is_tiff(data):
        raise struct.error
    if b"+" in data[2:4]:
        layout, (at,) = _Layout(order, "HHQ8s", "Q", "Q"), struct.unpack_from(order + "Q", data, 8)
    else:
        layout, (at,) = _Layout(order, "HHI4s", "H", "I"), struct.unpack_from(order + "I", data, 4)
    if not at:
        raise struct.error
    return layout, at


def _read(data: bytes, layout: _Layout, at: int) -> Directory:
    if at > len(data):
        raise struct.error  # which `unpack_from` does not where the offset is one of 64 bits
    order = layout.order
    entry, (count,) = struct.Struct(order + layout.entry), struct.unpack_from(order + layout.length, data, at)
    if count > _MOST_TAGS:
        raise struct.error
    at += struct.calcsize(order + layout.length)
    end = at + count * entry.size
    tags: dict[int, int] = {}
    for tag, kind, length, value in entry.iter_unpack(memoryview(data)[at:end]):
        code = _INLINE.get(kind) if length == 1 else None
        tags[tag] = struct.unpack_from(order + code, value)[0] if code else 0
    (following,) = struct.unpack_from(order + layout.offset, data, end)
    return Directory(tags, following)
