"""A file becomes frames here, and nowhere else; how they become a file again stands in `encoding`.

A file is judged by its header before any pixel is decoded: format by an allow-list, size and number of
frames against the limits. What comes out is upright and of mode RGB, RGBA or L.
"""

import contextlib
import io
import warnings
from collections.abc import Callable, Generator
from typing import cast

from PIL import Image, ImageChops, JpegImagePlugin

from ebbmark.errors import LimitExceeded, Rejected
from ebbmark.imaging import exif, privacy
from ebbmark.imaging.encoding import DEFAULT_QUALITY, WHITE, Encoding, encode, flatten
from ebbmark.imaging.exif import DAMAGE, facts
from ebbmark.imaging.header import Format, Header, inspect, scans, sniff
from ebbmark.imaging.origin import MEGA, Limits, Origin, Table
from ebbmark.imaging.plain import alike, plain, profile_fits, srgb
from ebbmark.imaging.readers import load_plugin

__all__ = [
    "DEFAULT_QUALITY",
    "MEGA",
    "WHITE",
    "Encoding",
    "Format",
    "Header",
    "Limits",
    "Origin",
    "decode",
    "decode_all",
    "encode",
    "facts",
    "flatten",
    "inspect",
    "most_pixels",
    "profile_fits",
    "sniff",
]

Size = tuple[int, int]
Enough = Callable[[Size], Size | None]

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = frozenset({_TURNS[5], _TURNS[6], _TURNS[7], _TURNS[8]})
_UPRIGHT_ALREADY = frozenset({"tiff", "heic"})
"""Formats whose readers turn the picture themselves."""
_LARGEST_PROFILE, _LARGEST_CARRIED = 8 << 20, 1 << 20
"""Bytes of a colour profile that is used, and of one that goes with the result."""


def decode(
    original: bytes,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    enough: Enough | None = None,
    *,
    luma: bool = False,
) -> tuple[Image.Image, Origin]:
    """Decode one photo, of an animation the first frame; return it and what else is kept of the file.

    `enough` gets the upright size and returns the least size that suffices, if less than all does: a JPEG
    is then decoded at 1/2, 1/4 or 1/8, never below that size.
    With `luma` a JPEG gives its luma alone, of mode L: its colours are not even decoded.

    Raises `LimitExceeded` with `too-many-bytes` or `too-many-pixels`, `Rejected` with `empty-file`,
    `unsupported-format`, `heic-not-installed`, `corrupt`, `animated` or `too-many-scans`, and `MemoryError`.
    """
    header = _judged(original, limits)
    with most_pixels(limits.pixels):
        frames, origin = _decoded(original, header._replace(frames=1), limits, enough, luma=luma)
    return frames[0], origin


def decode_all(
    original: bytes,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    enough: Enough | None = None,
    *,
    luma: bool = False,
) -> tuple[list[Image.Image], Origin]:
    """Decode one photo, or every frame of an animation, all of one size and mode.

    Raises what `decode` raises, and `LimitExceeded` with `too-many-frames`.
    """
    header = _judged(original, limits)
    if header.frames > limits.frames:
        detail = f"The animation has {header.frames} frames; the limit is {limits.frames}."
        raise LimitExceeded("too-many-frames", detail)
    if header.pixels > limits.pixels:
        held = f"{header.frames} frames have {header.pixels / MEGA:.0f} megapixels together"
        raise LimitExceeded("too-many-pixels", f"The {held}; the limit is {limits.pixels / MEGA:.0f}.")
    with most_pixels(limits.pixels):
        return _decoded(original, header, limits, enough, luma=luma)


@contextlib.contextmanager
def most_pixels(count: int) -> Generator[None]:
    """Have Pillow refuse larger pictures for as long as this lasts, and then as before.

    It has no limit per call, only a variable of its module, which counts for what is cut out, too.
    """
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = count
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _judged(original: bytes, limits: Limits) -> Header:
    if len(original) > limits.bytes:
        sizes = f"{len(original) / MEGA:.1f} MB; the limit is {limits.bytes / MEGA:.1f}"
        raise LimitExceeded("too-many-bytes", f"The file has {sizes}.")
    header = inspect(original)
    _check_pixels(header.size, limits)
    return header


def _decoded(
    original: bytes, header: Header, limits: Limits, enough: Enough | None, *, luma: bool
) -> tuple[list[Image.Image], Origin]:
    known = load_plugin(header.format)
    with _damage_refused():
        image = Image.open(io.BytesIO(original), formats=(known,))
        if header.format == "png":
            image.load()  # its EXIF block may stand behind the pixels
        said = exif.read(image)
    _check_pixels(image.size, limits)
    grey = image.mode in {"1", "L", "LA"} or image.mode.startswith("I")
    turn = None if header.format in _UPRIGHT_ALREADY else _TURNS.get(exif.orientation(said))
    subsampling, tables = -1, ()
    jpeg = image if isinstance(image, JpegImagePlugin.JpegImageFile) else None
    if jpeg is not None and scans(original, limits.scans) > limits.scans:
        detail = f"The JPEG is made of more than {limits.scans} scans; no camera does that."
        raise Rejected("too-many-scans", detail)
    # Asked out here, where what an operation raises is no damage of the file.
    least = _least(image.size, enough, sideways=turn in _SIDEWAYS) if jpeg is not None else None
    icc = _profile(image)
    told, xmp = _told(original, header, image), image.info.get("xmp")
    with _damage_refused():
        if jpeg is not None:
            subsampling, full = JpegImagePlugin.get_sampling(jpeg), jpeg.size
            if least or luma:
                jpeg.draft("L" if luma else None, least)
            tables = _quantisation(jpeg) if jpeg.size == full else ()
        names = exif.rights(said)
        if header.frames == 1:
            frames, durations, plays = [_still(image, icc)], (), 0
        else:
            plays = _plays(header.format, image)
            frames, durations = _moving(image, header, icc)
    carried = _carried(frames, icc, "L" if grey else "RGB")
    if turn is not None:
        frames = [frame.transpose(turn) for frame in frames]
    for frame in frames:
        frame.info = {}
    return frames, Origin(
        format=header.format,
        size=frames[0].size,
        icc=carried,
        exif=said,
        rights=names,
        subsampling=subsampling,
        tables=tables,
        pixels=header.pixels,
        xmp=xmp if isinstance(xmp, bytes) else None,
        told=told | {privacy.RIGHTS} if names else told,
        durations=durations,
        plays=plays,
    )


def _profile(image: Image.Image) -> bytes | None:
    icc = cast("bytes | None", image.info.get("icc_profile"))
    return icc if icc and len(icc) <= _LARGEST_PROFILE else None


def _carried(frames: list[Image.Image], icc: bytes | None, mode: str) -> bytes | None:
    """Return the profile that goes with such frames; by one too large for that they become sRGB."""
    if not icc or not profile_fits(icc, mode):
        return None
    if len(icc) <= _LARGEST_CARRIED:
        return icc
    for at, frame in enumerate(frames):
        frames[at] = srgb(frame, icc)
    return None


def _still(image: Image.Image, icc: bytes | None) -> Image.Image:
    image.load()
    if image.format in {"JPEG", "MPO"} and image.mode == "CMYK" and "adobe" not in image.info:
        image = ImageChops.invert(image)  # Pillow reads all of them as Adobe writes them
    # The decoder of a WebP holds two more canvases, 480 MB at 60 MP, for as long as the frame lives.
    vars(image).pop("_decoder", None)
    return plain(image, icc)


def _moving(
    image: Image.Image, header: Header, icc: bytes | None
) -> tuple[list[Image.Image], tuple[int, ...]]:
    """Return whole frames, each as it is seen, and how long it is."""
    # The picture that a PNG shows where nothing moves may be none of its frames.
    first = 1 if image.info.get("default_image") else 0
    frames: list[Image.Image] = []
    durations: list[int] = []
    for number in range(first, first + header.frames):
        image.seek(number)
        image.load()
        durations.append(round(image.info.get("duration", 0)))
        frame = plain(image, icc)
        frame = image.copy() if frame is image else frame  # the next frame is decoded over this one
        # A GIF grows with the first frame that reaches beyond its canvas.
        frames.append(frame if frame.size == header.size else frame.crop((0, 0, *header.size)))
    alike(frames)
    return frames, tuple(durations)


def _plays(form: Format, image: Image.Image) -> int:
    """Return how often an animation is played, 0 for ever."""
    loop = image.info.get("loop")
    if form != "gif":
        return loop or 0
    # A GIF counts repeats, and is played once when it says nothing.
    return 1 if loop is None else 0 if loop == 0 else loop + 1


def _told(original: bytes, header: Header, image: Image.Image) -> frozenset[str]:
    pictures = getattr(image, "n_frames", 1) if header.format == "heic" else 1
    told = privacy.found(original, image.info, pictures=pictures)
    return told | privacy.found_in_texts(getattr(image, "text", {})) if header.format == "png" else told


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
    except DAMAGE as exc:
        if "out of memory" in str(exc):
            raise MemoryError from exc
        raise Rejected("corrupt", f"The file is damaged: {_reason(exc)}.") from exc


def _least(size: tuple[int, int], enough: Enough | None, *, sideways: bool) -> tuple[int, int] | None:
    """Return the least size, as it is stored, at which a frame need be decoded; None for all of it."""
    width, height = size
    least = enough((height, width) if sideways else (width, height)) if enough else None
    return (least[1], least[0]) if least and sideways else least


def _quantisation(image: JpegImagePlugin.JpegImageFile) -> tuple[Table, ...]:
    """Return the tables of the first two components: luma, and chroma if there is any."""
    if image.mode not in {"RGB", "L"}:
        return ()
    tables = tuple(image.quantization.get(component[3], ()) for component in image.layer[:2])
    return tables if all(tables) else ()


def _reason(exc: BaseException) -> str:
    """Return a cause a person understands; the words of a decoder may quote the file."""
    words = str(exc)
    if "truncated" in words or "Truncated" in words or isinstance(exc, EOFError):
        return "its end is missing"
    return "its data cannot be decoded"
