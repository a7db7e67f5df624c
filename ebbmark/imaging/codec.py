"""Bytes become a frame and a frame becomes bytes here, and nowhere else.

A file is judged by its header before any pixel is decoded: format by an allow-list, size against the
limit, one frame only. What comes out is upright, of mode RGB, RGBA or L, and carries no metadata but the
colour profile and the names of artist and copyright holder.
"""

import contextlib
import io
import math
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Final, NamedTuple, cast

import msgspec
from PIL import ExifTags, Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from ebbmark.errors import LimitExceeded, Rejected
from ebbmark.imaging.header import Format, Header, inspect, scans, sniff

__all__ = [
    "Encoding",
    "Format",
    "Header",
    "Limits",
    "Origin",
    "decode",
    "encode",
    "facts",
    "inspect",
    "require_fits",
    "sniff",
]

Size = tuple[int, int]
Table = Sequence[int]

MEGA = 1_000_000
DEFAULT_QUALITY: Final[dict[Format, int]] = {"jpeg": 88, "png": 100, "webp": 80}
LONGEST_EDGE: Final[dict[Format, int]] = {"jpeg": 65_500, "png": 1_000_000, "webp": 16_383}
COARSEST_TABLE = 2_600
WHITE = (255, 255, 255)

# What Pillow's readers raise on hostile bytes; anything else is a defect of ours and must not be hidden.
_DAMAGE = (
    ArithmeticError, AttributeError, EOFError, LookupError, OSError, RuntimeError, SyntaxError, TypeError,
    ValueError, struct.error, zlib.error,
)  # fmt: skip

_DATE = re.compile(r"(\d{4}):(\d\d):(\d\d)")
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = frozenset({_TURNS[5], _TURNS[6], _TURNS[7], _TURNS[8]})
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


class Origin(NamedTuple):
    """All that is kept of a file besides its frame."""

    format: Format
    size: tuple[int, int]
    """Of the frame as it was decoded: upright, and smaller than the photo if less was enough."""
    icc: bytes | None = None
    exif: Image.Exif | None = None
    """What the file said; never written to a result."""
    subsampling: int = -1
    """Chroma subsampling of a JPEG: 0 is 4:4:4, 1 is 4:2:2, 2 is 4:2:0, -1 is unknown."""
    tables: tuple[Table, ...] = ()
    """Quantisation tables of a JPEG decoded in full: of the luma, and of the chroma if it has colour."""
    pixels: int = 0
    """Of the file, however many of them were decoded."""


def decode(
    original: bytes,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    enough: Callable[[Size], Size | None] | None = None,
) -> tuple[Image.Image, Origin]:
    """Decode one still photo; return its frame and what else is kept of the file.

    `enough` gets the upright size and returns the least size that suffices, if less than all does: a JPEG
    is then decoded at 1/2, 1/4 or 1/8, never below that size.

    Raises `LimitExceeded` with `too-many-bytes` or `too-many-pixels`, `Rejected` with `empty-file`,
    `unsupported-format`, `corrupt`, `animated` or `too-many-scans`, and `MemoryError`.
    """
    if len(original) > limits.bytes:
        sizes = f"{len(original) / MEGA:.1f} MB; the limit is {limits.bytes / MEGA:.1f}"
        raise LimitExceeded("too-many-bytes", f"The file has {sizes}.")
    header = inspect(original)
    _check_pixels(header.size, limits)
    if header.animated:
        raise Rejected("animated", "The image is animated; only still photos are taken.")
    # Pillow has no limit per call, only this module variable.
    Image.MAX_IMAGE_PIXELS = limits.pixels
    with _damage_refused():
        image = Image.open(io.BytesIO(original), formats=(header.format.upper(),))
        if header.format == "png":
            image.load()  # its EXIF block may stand behind the pixels
        exif = _exif(image)
    _check_pixels(image.size, limits)
    turn = _TURNS.get(_orientation(exif))
    subsampling, tables = -1, ()
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        if scans(original, limits.scans) > limits.scans:
            detail = f"The JPEG is made of more than {limits.scans} scans; no camera does that."
            raise Rejected("too-many-scans", detail)
        subsampling, full = JpegImagePlugin.get_sampling(image), image.size
        if enough is not None:
            _draft(image, enough, sideways=turn in _SIDEWAYS)
        if image.size == full:
            tables = _quantisation(image)
    with _damage_refused():
        image.load()
    # The decoder of a WebP holds two more canvases, 480 MB at 60 MP, for as long as the frame lives.
    vars(image).pop("_decoder", None)
    icc = cast("bytes | None", image.info.get("icc_profile"))
    if icc and len(icc) > _LARGEST_PROFILE:
        icc = None
    frame = _plain(image, icc)
    if turn is not None:
        frame = frame.transpose(turn)
    frame.info = {}
    return frame, Origin(header.format, frame.size, icc, exif, subsampling, tables, math.prod(header.size))


def encode(frame: Image.Image, encoding: Encoding, origin: Origin) -> bytes:
    """Write a frame; transparency is laid on white where the format has none.

    When no quality is asked for, a frame that was a JPEG of this size is quantised as it was: what no
    operation touched then stays as it was to within rounding (46–75 dB, against 36–46 dB at a fixed
    quality), and the result is as large as the original.

    Raises `Rejected` with `too-large-for-format`, and `MemoryError`.
    """
    require_fits(frame.size, encoding.format)
    quality = encoding.quality or DEFAULT_QUALITY[encoding.format]
    kept: dict[str, bytes] = {}
    if origin.icc and profile_fits(origin.icc, frame.mode):
        kept["icc_profile"] = origin.icc
    if rights := _rights(origin.exif):
        kept["exif"] = rights
    out = io.BytesIO()
    match encoding.format:
        case "jpeg":
            frame = flatten(frame)
            subsampling = origin.subsampling if origin.subsampling >= 0 else 2
            tables = _tables(frame, origin) if encoding.quality is None else None
            if tables:
                frame.save(out, "JPEG", qtables=tables, subsampling=subsampling, **kept)
            else:
                frame.save(out, "JPEG", quality=quality, subsampling=subsampling, **kept)
        case "png":
            # The grain of a camera has runs but no repeats to search for: a quarter faster, a tenth smaller.
            strategy = zlib.Z_RLE if origin.format == "jpeg" else zlib.Z_DEFAULT_STRATEGY
            frame.save(out, "PNG", compress_level=2, compress_type=strategy, **kept)
        case "webp":
            try:
                frame.save(out, "WEBP", quality=quality, method=1, **kept)
            except ValueError as exc:  # Pillow says no more than libwebp's number
                raise MemoryError from exc
    return out.getvalue()


def require_fits(size: Size, file_format: Format) -> None:
    """Return when a format can hold a frame of this size. Raises `Rejected` with `too-large-for-format`."""
    longest = LONGEST_EDGE[file_format]
    if max(size) > longest:
        detail = f"A {file_format.upper()} can be at most {longest} pixels long."
        raise Rejected("too-large-for-format", detail)


def _tables(frame: Image.Image, origin: Origin) -> list[Table] | None:
    """Return the tables the frame was quantised with, unless they do not fit it or are too coarse."""
    needed = 1 if frame.mode == "L" else 2
    if frame.size != origin.size or len(origin.tables) < needed:
        return None
    # A mark quantised like a photo of quality 65 or less has dirty edges.
    return list(origin.tables[:needed]) if sum(origin.tables[0]) <= COARSEST_TABLE else None


def facts(exif: Image.Exif | None) -> dict[str, str]:
    """Return what a file says of itself: `exif.date` (ISO 8601), `exif.camera`, `exif.artist`, `copyright`.

    Each is there only if the file names it.
    """
    if exif is None:
        return {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a directory that breaks off says what it says
            taken = _words(exif.get_ifd(ExifTags.IFD.Exif), ExifTags.Base.DateTimeOriginal)
    except _DAMAGE:
        taken = ""
    found = _DATE.match(taken or _words(exif, ExifTags.Base.DateTime))
    maker, model = _words(exif, ExifTags.Base.Make), _words(exif, ExifTags.Base.Model)
    camera = model if model.startswith(maker) else f"{maker} {model}"
    named = {
        "exif.date": "-".join(found.groups()) if found else "",
        "exif.camera": camera.strip(),
        "exif.artist": _words(exif, ExifTags.Base.Artist),
        "copyright": _words(exif, ExifTags.Base.Copyright),
    }
    return {name: _unicode(value) for name, value in named.items() if value}


def _unicode(words: str) -> str:
    """Return words as their writer meant them: Pillow reads Latin-1, and most programs write UTF-8."""
    try:
        return words.encode("latin-1").decode()
    except UnicodeError:
        return words


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


@contextlib.contextmanager
def _damage_refused() -> Generator[None]:
    """Turn what Pillow raises while it reads a file into a refusal of that file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as exc:
        raise LimitExceeded("too-many-pixels", "The image has more pixels than allowed.") from exc
    except _DAMAGE as exc:
        if "out of memory" in str(exc):
            raise MemoryError from exc
        raise Rejected("corrupt", f"The file is damaged: {_reason(exc)}.") from exc


def _exif(image: Image.Image) -> Image.Exif:
    """Return what the file says of itself; a damaged block says nothing, and fails no photo."""
    try:
        return image.getexif()
    except _DAMAGE:
        return Image.Exif()


def _orientation(exif: Image.Exif) -> int:
    try:
        value: object = exif.get(ExifTags.Base.Orientation)
    except _DAMAGE:
        return 1
    return value if isinstance(value, int) else 1


def _draft(image: Image.Image, enough: Callable[[Size], Size | None], *, sideways: bool) -> None:
    """Have the decoder skip what is more than enough."""
    width, height = image.size
    least = enough((height, width) if sideways else (width, height))
    if least:
        image.draft(None, (least[1], least[0]) if sideways else least)


def _quantisation(image: JpegImagePlugin.JpegImageFile) -> tuple[Table, ...]:
    """Return the tables of the first two components: luma, and chroma if there is any."""
    if image.mode not in {"RGB", "L"}:
        return ()
    tables = tuple(image.quantization.get(component[3], ()) for component in image.layer[:2])
    return tables if all(tables) else ()


def _plain(image: Image.Image, icc: bytes | None) -> Image.Image:
    """Return the frame in one of the modes RGB, RGBA and L."""
    transparent = image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info
    if image.mode == "I;16":
        return image.point(lambda value: value / 256).convert("L")  # which clips, and does not scale
    if image.mode == "CMYK" and icc:
        return _from_print(image, icc)
    mode = "RGBA" if transparent else "L" if image.mode in {"L", "1"} else "RGB"
    # Converting to its own mode would copy the frame.
    return image if image.mode == mode else image.convert(mode)


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


def _rights(exif: Image.Exif | None) -> bytes | None:
    """Return an EXIF block with the names of artist and copyright holder only."""
    kept = Image.Exif()
    for tag in (ExifTags.Base.Artist, ExifTags.Base.Copyright):
        if name := _words(exif or {}, tag):
            # Pillow reads these bytes as Latin-1 and would write them as ASCII with question marks.
            kept[tag] = name.encode("latin-1", "replace")
    return kept.tobytes() if kept else None


def _words(tags: Mapping[int, object], tag: int) -> str:
    try:
        value = tags.get(tag)
    except _DAMAGE:
        return ""
    return value.strip("\0 ")[:_LONGEST_NAME] if isinstance(value, str) else ""


def _reason(exc: BaseException) -> str:
    """Return a cause a person understands; the words of a decoder may quote the file."""
    words = str(exc)
    if "truncated" in words or "Truncated" in words or isinstance(exc, EOFError):
        return "its end is missing"
    return "its data cannot be decoded"
