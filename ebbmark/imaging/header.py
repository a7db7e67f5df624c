"""What a file is and how large its frame will be is read from its first bytes, without a decoder."""

import re
import struct
from typing import Literal, NamedTuple

from ebbmark.errors import Rejected

__all__ = ["Format", "Header", "inspect", "scans", "sniff"]

Format = Literal["jpeg", "png", "webp"]

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_STRANGERS = (
    (0, b"GIF8", "a GIF"),
    (0, b"BM", "a BMP"),
    (0, b"II*\0", "a TIFF or a camera's raw file"),
    (0, b"MM\0*", "a TIFF or a camera's raw file"),
    (0, b"%PDF", "a PDF"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"PK\x03\x04", "an archive or office document"),
    (4, b"ftypheic", "a HEIC photo"),
    (4, b"ftypheix", "a HEIC photo"),
    (4, b"ftypmif1", "a HEIF photo"),
    (4, b"ftypavif", "an AVIF photo"),
    (4, b"ftyp", "a video"),
)

# The frame headers (SOF0–SOF15) without the tables (DHT, JPG, DAC) that share their range.
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL_FRAME_MARKERS = frozenset({0xC0, 0xC1, 0xC9})
_STANDALONE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
# Within a scan FF is followed by 00 (stuffing), by a restart marker or by padding.
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


class Header(NamedTuple):
    """What the first bytes of a file say of it."""

    format: Format
    width: int
    height: int
    animated: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as stored, before the orientation is applied."""
        return self.width, self.height


def sniff(head: bytes) -> str | None:
    """Return the media type of a file by its first 12 bytes, or None when it is no JPEG, PNG or WebP."""
    found = _format_of(head)
    return found and f"image/{found}"


def inspect(data: bytes) -> Header:
    """Read format and size from the header of a whole file, in time independent of the number of pixels.

    Raises `Rejected` with `empty-file`, `unsupported-format` or `corrupt`.
    """
    if not data:
        raise Rejected("empty-file", "The file is empty.")
    found = _format_of(data)
    if found is None:
        raise Rejected("unsupported-format", _strangers_sentence(data))
    read = {"jpeg": _jpeg, "png": _png, "webp": _webp}[found]
    try:
        header = read(data)
    except (struct.error, IndexError) as exc:
        raise Rejected("corrupt", "The file is damaged: it ends within its header.") from exc
    if header is None or not header.width or not header.height:
        raise Rejected("corrupt", "The file is damaged: its header gives no size.")
    return header


def scans(data: bytes, at_most: int) -> int:
    """Count the scans of a JPEG, stopping one above `at_most`.

    Every scan costs a pass over the whole frame, so that a small file with hundreds of them takes
    seconds to decode. A file whose first scan is its only one is not searched to its end.
    """
    count, at, components = 0, 2, 0
    while count <= at_most and (match := _NEXT_MARKER.search(data, at)):
        at = match.start() + 2
        marker = data[at - 1]
        if marker == _END_OF_IMAGE:
            break
        if marker in _SEQUENTIAL_FRAME_MARKERS:
            components = data[at + 7]
        if marker == _START_OF_SCAN:
            count += 1
            if components and data[at + 2] == components:
                break
        if marker not in _STANDALONE_MARKERS:
            at += int.from_bytes(data[at : at + 2], "big")
    return count


def _format_of(head: bytes) -> Format | None:
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(_PNG_SIGNATURE):
        return "png"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "webp"
    return None


def _strangers_sentence(data: bytes) -> str:
    for offset, magic, name in _STRANGERS:
        if data.startswith(magic, offset):
            return f"This is {name}; photos must be JPEG, PNG or WebP."
    return "This is not a photo; photos must be JPEG, PNG or WebP."


def _jpeg(data: bytes) -> Header | None:
    at = 2
    while match := _NEXT_MARKER.search(data, at):
        at = match.start() + 2
        marker = data[at - 1]
        if marker in _FRAME_MARKERS:
            height, width = struct.unpack_from(">HH", data, at + 3)
            return Header("jpeg", width, height)
        if marker in {_START_OF_SCAN, _END_OF_IMAGE}:
            return None
        if marker not in _STANDALONE_MARKERS:
            (length,) = struct.unpack_from(">H", data, at)
            at += length
    return None


def _png(data: bytes) -> Header | None:
    if data[12:16] != b"IHDR":
        return None
    width, height = struct.unpack_from(">II", data, 16)
    at, animated = 33, False
    while data[at + 4 : at + 8] not in {b"IDAT", b"IEND", b""}:
        if data[at + 4 : at + 8] == b"acTL":
            animated = struct.unpack_from(">I", data, at + 8)[0] > 1
        at += 12 + struct.unpack_from(">I", data, at)[0]
    return Header("png", width, height, animated)


def _webp(data: bytes) -> Header | None:
    chunk = data[12:16]
    if chunk == b"VP8X":
        flags = data[20]
        width = 1 + int.from_bytes(data[24:27], "little")
        height = 1 + int.from_bytes(data[27:30], "little")
        return Header("webp", width, height, bool(flags & 0x02))
    if chunk == b"VP8L" and data[20] == 0x2F:
        bits = int.from_bytes(data[21:25], "little")
        return Header("webp", 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    if chunk == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return Header("webp", width & 0x3FFF, height & 0x3FFF)
    return None
