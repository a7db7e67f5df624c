"""AVIF and HEIC files are boxes within boxes; the sizes of their pictures are read without a decoder."""

import struct
from collections.abc import Iterator
from typing import Literal, NamedTuple

__all__ = ["brand_of", "is_sequence", "largest_picture"]

_AVIF = frozenset({b"avif", b"avis"})
_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis"})
_MOST_BOXES = 10_000
"""Of all that are looked at in a file."""


class _Box(NamedTuple):
    kind: bytes
    start: int
    """Of what it holds."""
    end: int


def brand_of(head: bytes) -> Literal["avif", "heic"] | None:
    """Return which of the two a file is by its first 32 bytes, or None when it is neither."""
    if head[4:8] != b"ftyp":
        return None
    length = min(int.from_bytes(head[:4], "big"), len(head))
    # A file may call itself any picture of this family, and say only then of which codec it is.
    brands = [head[8:12]]
    if brands == [b"mif1"]:
        brands += [head[at : at + 4] for at in range(16, length - 3, 4)]
    for brand in brands:
        if brand in _AVIF:
            return "avif"
        if brand in _HEIC:
            return "heic"
    return None


def is_sequence(head: bytes) -> bool:
    """Tell whether an AVIF is a film of pictures."""
    return head[8:12] == b"avis"


def largest_picture(data: bytes) -> tuple[int, int] | None:
    """Return the size of the largest picture in a file, lone or made of tiles; None when it has none.

    Raises `struct.error` where the data ends too early.
    """
    left = iter(range(_MOST_BOXES))
    sizes = [
        struct.unpack_from(">II", data, size.start + 4)
        for meta in _boxes(data, 0, len(data), left)
        if meta.kind == b"meta"
        for properties in _boxes(data, meta.start + 4, meta.end, left)
        if properties.kind == b"iprp"
        for container in _boxes(data, properties.start, properties.end, left)
        if container.kind == b"ipco"
        for size in _boxes(data, container.start, container.end, left)
        if size.kind == b"ispe"
    ]
    return max(sizes, key=lambda size: size[0] * size[1], default=None)


def _boxes(data: bytes, at: int, end: int, left: Iterator[int]) -> Iterator[_Box]:
    for _ in left:
        if at + 8 > end:
            return
        length, kind = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, start)
            start += 8
        finish = at + length if length else end
        if finish < start or finish > end:
            return  # what follows is not there, or lies
        yield _Box(kind, start, finish)
        at = finish
