"""Where a file may be cut: what parts it is made of, by its kind, and places before and in each."""

import struct
from collections.abc import Callable, Iterator

from tests.zoo.makers import chunks, riff_chunks, segments

Part = tuple[str, int, int]
"""A name, where it begins, and where it ends."""

_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1}
_STRIPS, _STRIP_BYTES = 273, 279
_CONTAINERS = {b"meta": 12, b"iprp": 8, b"ipco": 8}
"""Boxes that hold others, and how many bytes of theirs come before."""


def gif_blocks(gif: bytes) -> Iterator[Part]:
    """Yield the header, palettes, extensions, and of each frame its place and its pixels."""

    def palette(at: int, flags: int) -> Iterator[Part]:
        if flags & 0x80:
            yield "palette", at, at + (3 << (flags & 7) + 1)

    def behind_blocks(at: int) -> int:
        while gif[at]:
            at += gif[at] + 1
        return at + 1

    yield "header", 0, 13
    at = 13
    for each in palette(at, gif[10]):
        yield each
        at = each[2]
    while gif[at] != 0x3B:
        begin = at
        if gif[at] == 0x21:
            at = behind_blocks(at + 2)
            yield f"extension {gif[begin + 1]:02X}", begin, at
        else:
            at += 10
            yield "frame", begin, at
            for each in palette(at, gif[begin + 9]):
                yield each
                at = each[2]
            begin, at = at, behind_blocks(at + 1)
            yield "pixels", begin, at
    yield "end", at, at + 1


def tiff_parts(tiff: bytes) -> Iterator[Part]:
    """Yield the header, the directory, the values outside of it, and strips, as they come in the file."""
    order = "<" if tiff[:2] == b"II" else ">"
    (at,) = struct.unpack_from(order + "I", tiff, 4)
    (count,) = struct.unpack_from(order + "H", tiff, at)
    parts = [("header", 0, 8), ("directory", at, at + 2 + 12 * count + 4)]
    numbers: dict[int, tuple[int, ...]] = {}
    for tag, kind, many, value in struct.iter_unpack(order + "HHII", tiff[at + 2 : at + 2 + 12 * count]):
        size, place = many * _TYPE_BYTES[kind], at + 10 + 12 * len(numbers)
        if size > 4:
            place = value
            parts.append((f"value {tag}", value, value + size))
        letter = {3: "H", 4: "I"}.get(kind)
        numbers[tag] = struct.unpack_from(f"{order}{many}{letter}", tiff, place) if letter else ()
    strips = zip(numbers[_STRIPS], numbers[_STRIP_BYTES], strict=True)
    parts += [("strip", begin, begin + size) for begin, size in strips]
    yield from sorted(parts, key=lambda part: part[1])


def bmp_parts(bmp: bytes) -> Iterator[Part]:
    """Yield the two headers, the palette and the pixels."""
    (pixels,), (length,) = struct.unpack_from("<I", bmp, 10), struct.unpack_from("<I", bmp, 14)
    yield "file header", 0, 14
    yield "picture header", 14, 14 + length
    if pixels > 14 + length:
        yield "palette", 14 + length, pixels
    yield "pixels", pixels, len(bmp)


def boxes(data: bytes, at: int = 0, end: int | None = None) -> Iterator[Part]:
    """Yield every box of an AVIF or a HEIC, of those that hold others first what comes before these."""
    end = len(data) if end is None else end
    while at < end:
        length, kind = struct.unpack_from(">I4s", data, at)
        finish, own = at + (length or end - at), _CONTAINERS.get(kind)
        yield kind.decode(), at, at + own if own else finish
        if own:
            yield from boxes(data, at + own, finish)
        at = finish


WHERES = ("before", "within", "a byte into", "a byte before the end of")
PARTS: dict[str, Callable[[bytes], Iterator[Part]]] = {
    "jpeg": segments,
    "png": chunks,
    "webp": riff_chunks,
    "gif": gif_blocks,
    "tiff": tiff_parts,
    "bmp": bmp_parts,
    "avif": boxes,
    "heic": boxes,
}


def parts_of(data: bytes, kind: str) -> Iterator[Part]:
    """Yield the parts of a file of this kind, such as a `moving gif`."""
    return next(walk for name, walk in PARTS.items() if name in kind)(data)


def cuts(data: bytes, kind: str) -> Iterator[tuple[str, int]]:
    """Yield places at which a file may end too early, each once and with a name."""
    seen = {0, len(data)}
    for n, (part, begin, end) in enumerate(parts_of(data, kind)):
        places = begin, (begin + end) // 2, begin + 1, end - 1
        for where, at in zip(WHERES, places, strict=True):
            if at not in seen:
                seen.add(at)
                yield f"{where} part {n}, {part}", at
