"""What a file is and how large its frames will be is read from its first bytes, without a decoder."""

import re
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from ebbmark.errors import Rejected
from ebbmark.imaging import boxes
from ebbmark.imaging.directories import directories, is_tiff

__all__ = ["HEAD_BYTES", "PHOTOS", "Format", "Header", "inspect", "scans", "sniff"]

Format = Literal["jpeg", "png", "webp", "avif", "heic", "gif", "tiff", "bmp"]

PHOTOS = "JPEG, PNG, WebP, AVIF, HEIC, GIF, TIFF or BMP"
HEAD_BYTES = 32
"""So much of a file says what it is."""

_MAGIC: Final[Sequence[tuple[bytes, Format]]] = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
)
_RAW = "a camera's raw file"
_STRANGERS = (
    (0, b"%PDF", "a PDF"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"PK\x03\x04", "an archive or office document"),
    (0, b"\xff\x0a", "a JPEG XL photo"),
    (4, b"JXL ", "a JPEG XL photo"),
    (4, b"jP  ", "a JPEG 2000 photo"),
    (0, b"<svg", "a drawing"),
    (0, b"FUJIFILMCCD-RAW", _RAW),
    (0, b"IIU\0", _RAW),
    (0, b"IIRO", _RAW),
    (4, b"ftypcrx", _RAW),
    (4, b"ftypmif1", "a HEIF photo of a kind that is not read here"),
    (4, b"ftyp", "a video"),
)

# The frame headers (SOF0–SOF15) without the tables (DHT, JPG, DAC) that share their range.
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL_FRAME_MARKERS = frozenset({0xC0, 0xC1, 0xC9})
_STANDALONE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_LEAST_HEADER = 8
"""Bytes that the header of a frame or of a scan has at least: behind it a file that ends sooner has none."""
# Within a scan FF is followed by 00 (stuffing), by a restart marker or by padding.
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")

_GIF_EXTENSION, _GIF_FRAME, _GIF_END = 0x21, 0x2C, 0x3B
_WIDTH, _HEIGHT, _SUBFILE, _DNG_VERSION = 0x0100, 0x0101, 0x00FE, 0xC612
_REDUCED = 1


class Header(NamedTuple):
    """What the first bytes of a file say of it."""

    format: Format
    width: int
    height: int
    frames: int = 1
    """More than one when it moves; further pictures that are no animation do not count."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as stored, before the orientation is applied; each frame lies within."""
        return self.width, self.height

    @property
    def pixels(self) -> int:
        """Of all frames together."""
        return self.width * self.height * self.frames


def sniff(head: bytes) -> str | None:
    """Return the media type of a file by its first 32 bytes, or None when it is none of those we read."""
    found = _format_of(head)
    return found and f"image/{found}"


def inspect(data: bytes) -> Header:
    """Read format, size and number of frames of a whole file, in time independent of the number of pixels.

    Raises `Rejected` with `empty-file`, `unsupported-format` or `corrupt`.
    """
    if not data:
        raise Rejected("empty-file", "The file is empty.")
    found = _format_of(data)
    if found is None:
        raise Rejected("unsupported-format", _strangers_sentence(data))
    try:
        header = _READERS[found](data)
    except (struct.error, IndexError) as exc:
        raise Rejected("corrupt", "The file is damaged: it ends within its header.") from exc
    if header is None or header.width < 1 or header.height < 1:
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
        if marker == _END_OF_IMAGE or at + _LEAST_HEADER > len(data):
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
    for magic, form in _MAGIC:
        if head.startswith(magic):
            return form
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "webp"
    # Two letters are little to go by; of two numbers behind them a half is always zero.
    if head.startswith(b"BM") and head[6:10] == bytes(4) and head[16:18] == bytes(2):
        return "bmp"
    return "tiff" if is_tiff(head) else boxes.brand_of(head)


def _strangers_sentence(data: bytes) -> str:
    for offset, magic, name in _STRANGERS:
        if data.startswith(magic, offset):
            return f"This is {name}; photos must be {PHOTOS}."
    return f"This is not a photo; photos must be {PHOTOS}."


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
    at, frames = 33, 1
    while data[at + 4 : at + 8] not in {b"IDAT", b"IEND", b""}:
        if data[at + 4 : at + 8] == b"acTL":
            frames = max(1, struct.unpack_from(">I", data, at + 8)[0])
        at += 12 + struct.unpack_from(">I", data, at)[0]
    return Header("png", width, height, frames)


def _webp(data: bytes) -> Header | None:
    chunk = data[12:16]
    if chunk == b"VP8X":
        flags = data[20]
        width = 1 + int.from_bytes(data[24:27], "little")
        height = 1 + int.from_bytes(data[27:30], "little")
        return Header("webp", width, height, _webp_frames(data) if flags & 0x02 else 1)
    if chunk == b"VP8L" and data[20] == 0x2F:
        bits = int.from_bytes(data[21:25], "little")
        return Header("webp", 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    if chunk == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return Header("webp", width & 0x3FFF, height & 0x3FFF)
    return None


def _webp_frames(data: bytes) -> int:
    at, frames = 12, 0
    while at + 8 <= len(data):
        frames += data[at : at + 4] == b"ANMF"
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + length + length % 2
    return max(1, frames)


def _gif(data: bytes) -> Header | None:
    width, height = struct.unpack_from("<HH", data, 6)
    at, frames = 13 + _colours(data[10]), 0
    while at < len(data) and data[at] != _GIF_END:
        if data[at] == _GIF_EXTENSION:
            at = _behind_blocks(data, at + 2)
        elif data[at] == _GIF_FRAME:
            left, top, across, down, flags = struct.unpack_from("<HHHHB", data, at + 1)
            # A frame that reaches beyond the canvas makes the decoder enlarge it.
            width, height = max(width, left + across), max(height, top + down)
            frames += 1
            at = _behind_blocks(data, at + 11 + _colours(flags))
        else:
            at += 1  # as decoders do
    return Header("gif", width, height, frames) if frames else None


def _colours(flags: int) -> int:
    """Return how many bytes of palette follow."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _behind_blocks(data: bytes, at: int) -> int:
    while data[at]:
        at += data[at] + 1
    return at + 1


def _tiff(data: bytes) -> Header:
    tags = next(directories(data)).tags
    # Raw files begin with the small picture that a camera shows on its back.
    if tags.get(_SUBFILE, 0) & _REDUCED or _DNG_VERSION in tags or data[8:10] == b"CR":
        raise Rejected("unsupported-format", f"This is {_RAW}; photos must be {PHOTOS}.")
    return Header("tiff", tags.get(_WIDTH, 0), tags.get(_HEIGHT, 0))


def _bmp(data: bytes) -> Header:
    (length,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if length == 12 else "<ii", data, 18)
    return Header("bmp", width, abs(height))


def _avif(data: bytes) -> Header | None:
    if boxes.is_sequence(data):
        raise Rejected("animated", "An animated AVIF is not taken; send it as GIF, WebP or PNG.")
    size = boxes.largest_picture(data)
    return size and Header("avif", *size)


def _heic(data: bytes) -> Header | None:
    size = boxes.largest_picture(data)
    return size and Header("heic", *size)


_READERS: Mapping[Format, Callable[[bytes], Header | None]] = {
    "jpeg": _jpeg,
    "png": _png,
    "webp": _webp,
    "avif": _avif,
    "heic": _heic,
    "gif": _gif,
    "tiff": _tiff,
    "bmp": _bmp,
}
