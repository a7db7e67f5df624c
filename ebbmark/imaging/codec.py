"""Bytes become a frame and a frame becomes bytes here, and nowhere else.

A file is judged by its header before any pixel is decoded: format by an allow-list, size against the
limit, one frame only. What comes out is upright, of mode RGB, RGBA or L, and carries no metadata but the
colour profile and the names of artist and copyright holder.
"""

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from typing import Final, NamedTuple, cast

import msgspec
from PIL import Image, JpegImagePlugin, PngImagePlugin, UnidentifiedImageError, WebPImagePlugin

from ebbmark.errors import LimitExceeded, Rejected
from ebbmark.imaging.header import Format, Header, inspect, scans, sniff

__all__ = ["Decoded", "Encoding", "Format", "Header", "Limits", "decode", "encode", "inspect", "sniff"]

MEGA = 1_000_000
DEFAULT_QUALITY: Final[dict[Format, int]] = {"jpeg": 88, "png": 100, "webp": 80}
LONGEST_EDGE: Final[dict[Format, int]] = {"jpeg": 65_500, "png": 1_000_000, "webp": 16_383}
WHITE = (255, 255, 255)

# What Pillow's readers raise on hostile bytes; anything else is a defect of ours and must not be hidden.
_DAMAGE = (
    ArithmeticError, AttributeError, EOFError, LookupError, OSError, RuntimeError, SyntaxError, TypeError,
    ValueError, struct.error, zlib.error,
)  # fmt: skip

_ORIENTATION, _ARTIST, _COPYRIGHT = 0x0112, 0x013B, 0x8298
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FIRST_SIDEWAYS_TURN = 5
_LARGEST_PROFILE = 1 << 20
_LONGEST_NAME = 1_000

# Registering the three readers by import spares each child the scan of all forty plugins.
_READERS = (JpegImagePlugin.JpegImageFile, PngImagePlugin.PngImageFile, WebPImagePlugin.WebPImageFile)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a single photo may cost."""

    bytes: int = 25 * 1024 * 1024
    pixels: int = 60 * MEGA
    scans: int = 30
    """Scans of a progressive JPEG; encoders make ten to twelve."""


class Encoding(msgspec.Struct, frozen=True, kw_only=True):
    """How a result is to be written; `quality` 1–100, or None for what suits the format."""

    format: Format
    quality: int | None = None

    @property
    def media_type(self) -> str:
        """The media type of the result."""
        return f"image/{self.format}"

    @property
    def extension(self) -> str:
        """The usual ending of a file name, without the dot."""
        return "jpg" if self.format == "jpeg" else self.format


class Decoded(NamedTuple):
    """An upright frame and all that is kept of its file."""

    frame: Image.Image
    format: Format
    icc: bytes | None
    rights: bytes | None
    """An EXIF block with nothing but artist and copyright holder."""
    subsampling: int
    """Chroma subsampling of a JPEG: 0 is 4:4:4, 1 is 4:2:2, 2 is 4:2:0, -1 is unknown."""


def decode(
    original: bytes,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    enough: Callable[[tuple[int, int]], tuple[int, int] | None] | None = None,
) -> Decoded:
    """Decode one still photo.

    `enough` gets the upright size and returns the least size that suffices, if less than all does: a JPEG
    is then decoded at 1/2, 1/4 or 1/8, never below that size.

    Raises `LimitExceeded` with `too-many-bytes` or `too-many-pixels`, and `Rejected` with `empty-file`,
    `unsupported-format`, `corrupt`, `animated` or `too-many-scans`.
    """
    if len(original) > limits.bytes:
        sizes = f"{len(original) / MEGA:.1f} MB; the limit is {limits.bytes / MEGA:.1f}"
        raise LimitExceeded("too-many-bytes", f"The file has {sizes}.")
    header = inspect(original)
    _check_pixels(header.size, limits)
    if header.animated:
        raise Rejected("animated", "The image is animated; only still photos are taken.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _read(original, header, limits, enough)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as exc:
        raise LimitExceeded("too-many-pixels", "The image has more pixels than allowed.") from exc
    except (*_DAMAGE, UnidentifiedImageError) as exc:
        raise Rejected("corrupt", f"The file is damaged: {_reason(exc)}.") from exc


def encode(frame: Image.Image, encoding: Encoding, decoded: Decoded) -> bytes:
    """Write a frame; transparency is laid on white where the format has none.

    Raises `Rejected` with `too-large-for-format`.
    """
    longest = LONGEST_EDGE[encoding.format]
    if max(frame.size) > longest:
        detail = f"A {encoding.format.upper()} can be at most {longest} pixels long."
        raise Rejected("too-large-for-format", detail)
    quality = encoding.quality or DEFAULT_QUALITY[encoding.format]
    kept: dict[str, bytes] = {}
    if decoded.icc and profile_fits(decoded.icc, frame.mode):
        kept["icc_profile"] = decoded.icc
    if decoded.rights:
        kept["exif"] = decoded.rights
    out = io.BytesIO()
    match encoding.format:
        case "jpeg":
            # The chroma grid of the original is kept, so that nothing is lost to a second, coarser one.
            subsampling = decoded.subsampling if decoded.subsampling >= 0 else 2
            flatten(frame).save(out, "JPEG", quality=quality, subsampling=subsampling, **kept)
        case "png":
            frame.save(out, "PNG", compress_level=2, **kept)
        case "webp":
            frame.save(out, "WEBP", quality=quality, method=1, **kept)
    return out.getvalue()


def flatten(frame: Image.Image) -> Image.Image:
    """Lay a frame with transparency on white; others are returned as they are."""
    if frame.mode != "RGBA":
        return frame
    ground = Image.new("RGB", frame.size, WHITE)
    ground.paste(frame, mask=frame.getchannel("A"))
    return ground


def profile_fits(icc: bytes, mode: str) -> bool:
    """Tell whether a colour profile describes the colours of a frame of this mode."""
    return icc[16:20] == (b"GRAY" if mode == "L" else b"RGB ")


def _check_pixels(size: tuple[int, int], limits: Limits) -> None:
    pixels = size[0] * size[1]
    if pixels > limits.pixels:
        detail = f"The image has {pixels / MEGA:.0f} megapixels; the limit is {limits.pixels / MEGA:.0f}."
        raise LimitExceeded("too-many-pixels", detail)


def _read(
    original: bytes,
    header: Header,
    limits: Limits,
    enough: Callable[[tuple[int, int]], tuple[int, int] | None] | None,
) -> Decoded:
    # Pillow has no limit per call, only this module variable.
    Image.MAX_IMAGE_PIXELS = limits.pixels
    image = Image.open(io.BytesIO(original), formats=(header.format.upper(),))
    _check_pixels(image.size, limits)
    subsampling = -1
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        if scans(original, limits.scans) > limits.scans:
            detail = f"The JPEG is made of more than {limits.scans} scans; no camera does that."
            raise Rejected("too-many-scans", detail)
        subsampling = JpegImagePlugin.get_sampling(image)
    # A PNG may carry its EXIF block behind the pixels.
    if header.format == "png":
        image.load()
    exif = image.getexif()
    turn = cast("int | None", exif.get(_ORIENTATION))
    if enough is not None and header.format == "jpeg":
        sideways = turn is not None and turn in _TURNS and turn >= _FIRST_SIDEWAYS_TURN
        least = enough(image.size[::-1] if sideways else image.size)
        if least:
            image.draft(None, least[::-1] if sideways else least)
    image.load()
    icc = cast("bytes | None", image.info.get("icc_profile"))
    if icc and len(icc) > _LARGEST_PROFILE:
        icc = None
    frame = _plain(image, icc)
    if turn in _TURNS:
        frame = frame.transpose(_TURNS[turn])
    frame.info = {}
    return Decoded(frame, header.format, icc, _rights(exif), subsampling)


def _plain(image: Image.Image, icc: bytes | None) -> Image.Image:
    """Return the frame in one of the modes RGB, RGBA and L."""
    match image.mode:
        case "RGB" | "L" if "transparency" not in image.info:
            return image
        case "RGBA":
            return image
        case "1":
            return image.convert("L")
        case "I;16":
            return image.point(lambda value: value / 256, "L")
        case "CMYK" if icc:
            return _from_print(image, icc)
        case "P" | "RGB" | "L" if "transparency" in image.info:
            return image.convert("RGBA")
        case "LA" | "PA":
            return image.convert("RGBA")
        case _:
            return image.convert("RGB")


def _from_print(image: Image.Image, icc: bytes) -> Image.Image:
    """Convert CMYK to sRGB by its profile, or plainly when the profile is of no use."""
    from PIL import ImageCms  # noqa: PLC0415 - 10 ms that only files for print are worth

    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        converted = ImageCms.profileToProfile(
            image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError):
        converted = None
    return converted or image.convert("RGB")


def _rights(exif: Image.Exif) -> bytes | None:
    """Return an EXIF block with the names of artist and copyright holder only."""
    kept = Image.Exif()
    for tag in (_ARTIST, _COPYRIGHT):
        name: object = exif.get(tag)
        if isinstance(name, str) and name.strip("\0 "):
            # Pillow reads these bytes as Latin-1 and would write them as ASCII with question marks.
            kept[tag] = name[:_LONGEST_NAME].encode("latin-1", "replace")
    return kept.tobytes() if kept else None


def _reason(exc: BaseException) -> str:
    """Return a cause a person understands; the words of a decoder may quote the file."""
    words = str(exc)
    if "truncated" in words or "Truncated" in words or isinstance(exc, EOFError):
        return "its end is missing"
    return "its data cannot be decoded"
