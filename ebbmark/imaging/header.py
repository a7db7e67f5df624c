"""What a file is and how large its frames will be is read from its first bytes, without a decoder."""

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from ebbmark.errors import Rejected
from ebbmark.imaging import boxes
from ebbmark.imaging.directories import directories, is_tiff
from ebbmark.imaging.parts import (
    GIF_FRAME,
    START_OF_SCAN,
    gif_parts,
    jpeg_segments,
    png_chunks,
    webp_chunks,
)

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
_LEAST_HEADER = 8
"""Bytes that the header of a frame or of a scan has at least: behind it a file that ends sooner has none."""

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
    count = components = 0
    for marker, at in jpeg_segments(data):
        if count > at_most or at + _LEAST_HEADER > len(data):
            break
        if marker in _SEQUENTIAL_FRAME_MARKERS:
            components = data[at + 7]
        if marker == START_OF_SCAN:
            count += 1
            if components and data[at + 2] == components:
                break
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
    header = None
    for marker, at in jpeg_segments(data):
        if marker in _FRAME_MARKERS and header is None:
            height, width = struct.unpack_from(">HH", data, at + 3)
            header = Header("jpeg", width, height)
        if marker == START_OF_SCAN:
            break
    return header


def _png(data: bytes) -> Header | None:
    if data[12:16] != b"IHDR":
        return None
    width, height = struct.unpack_from(">II", data, 16)
    frames, headers, pixels = 1, 0, False
    for kind, at in png_chunks(data):
        headers += kind == b"IHDR"
        pixels = pixels or kind == b"IDAT"
        if kind == b"acTL" and not pixels:
            frames = max(1, struct.unpack_from(">I", data, at)[0])
    if headers > 1:  # decoders believe the last one, and of frames one behind the pixels, too
        raise Rejected("corrupt", "The file is damaged: it has two headers.")
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
    return max(1, sum(kind == b"ANMF" for kind, _ in webp_chunks(data)))


def _gif(data: bytes) -> Header | None:
    width, height = struct.unpack_from("<HH", data, 6)
    frames = 0
    for kind, at in gif_parts(data):
        if kind == GIF_FRAME:
            left, top, across, down = struct.unpack_from("<HHHH", data, at)
            # A frame that reaches beyond the canvas makes the decoder enlarge it.
            width, height = max(width, left + across), max(height, top + down)
            frames += 1
    return Header("gif", width, height, frames) if frames else None


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
