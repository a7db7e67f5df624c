"""JPEG, PNG, WebP and GIF files are rows of parts, walked here without a decoder and in bounded time.

Each walk yields what a part is and where it begins, behind its marker or name and its length. It ends where
the data ends, and raises `struct.error` or `IndexError` where they end within what says how to go on. A file
of more parts than any photo has is `corrupt`: it is made to keep its reader busy.
"""

import re
import struct
from collections.abc import Iterator
from typing import Final

from ebbmark.errors import Rejected

__all__ = [
    "GIF_FRAME",
    "START_OF_SCAN",
    "gif_parts",
    "has_profile",
    "jpeg_segments",
    "png_chunks",
    "webp_chunks",
]

_MOST_PARTS: Final = 400_000
"""Most are the blocks of a GIF: of 255 bytes each, so that a hundred megabytes are as many."""
_MOST_PADDING: Final = 1 << 20

START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_STANDALONE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})
# Within a scan FF is followed by 00 (stuffing), by a restart marker or by padding.
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")

_GIF_EXTENSION, GIF_FRAME, _GIF_END = 0x21, 0x2C, 0x3B
_NEXT_GIF_PART = re.compile(rb"[\x21\x2c\x3b]")  # decoders skip what is between them


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield every marker but those of restarts, up to the end of the image, and where its length stands."""
    at, padding, scanned = 2, 0, False
    for _ in range(_MOST_PARTS):
        match = _NEXT_MARKER.search(data, at)
        if match is None:
            return
        # Pillow looks for the first scan byte by byte.
        padding += 0 if scanned else match.start() - at
        if padding > _MOST_PADDING:
            break
        at = match.start() + 2
        marker = data[at - 1]
        yield marker, at
        if marker == _END_OF_IMAGE:
            return
        scanned = scanned or marker == START_OF_SCAN
        if marker not in _STANDALONE_MARKERS:
            at += struct.unpack_from(">H", data, at)[0]
    raise _too_many()


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield every chunk, up to the end of the image."""
    at = 8
    for _ in range(_MOST_PARTS):
        kind = data[at + 4 : at + 8]
        if not kind:
            return
        yield kind, at + 8
        if kind == b"IEND":
            return
        at += 12 + struct.unpack_from(">I", data, at)[0]
    raise _too_many()


def webp_chunks(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield every chunk."""
    at = 12
    for _ in range(_MOST_PARTS):
        if at + 8 > len(data):
            return
        yield data[at : at + 4], at + 8
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + length + length % 2
    raise _too_many()


def gif_parts(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield every extension and frame, up to the end of the image."""
    at, left = 13 + _colours(data[10]), _MOST_PARTS
    while (match := _NEXT_GIF_PART.search(data, at)) and data[match.start()] != _GIF_END:
        at = match.start() + 1
        kind = data[at - 1]
        yield kind, at
        at += 1 if kind == _GIF_EXTENSION else 10 + _colours(data[at + 8])
        blocks = 1
        while data[at] and blocks < left:
            at += data[at] + 1
            blocks += 1
        at, left = at + 1, left - blocks
        if not left:
            raise _too_many()


def has_profile(gif: bytes) -> bool:
    """Tell whether a GIF has a colour profile, which hardly any reader looks at."""
    return any(gif.startswith(b"\xff\x0bICCRGBG1012", at) for _, at in gif_parts(gif))


def _colours(flags: int) -> int:
    """Return how many bytes of palette follow."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _too_many() -> Rejected:
    return Rejected("corrupt", "The file is damaged: it has more parts than any photo.")
