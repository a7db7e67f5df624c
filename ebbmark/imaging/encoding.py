"""Frames become bytes here, and nowhere else: in what format, how well kept, and with what besides."""

import io
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, cast

import msgspec
from PIL import Image

from ebbmark.errors import Rejected
from ebbmark.imaging import privacy
from ebbmark.imaging.header import Format
from ebbmark.imaging.origin import MEGA, Origin, Table
from ebbmark.imaging.plain import profile_fits, srgb
from ebbmark.imaging.privacy import Privacy
from ebbmark.imaging.readers import load_plugin

__all__ = [
    "ANIMATED",
    "DEFAULT_QUALITY",
    "LOSSLESS",
    "WRITTEN_AS",
    "Chroma",
    "Encoding",
    "Written",
    "encode",
    "flatten",
    "laid",
    "require_written",
]

Chroma = Literal["auto", "4:4:4", "4:2:2", "4:2:0"]
Colour = tuple[int, int, int]
Options = Mapping[str, object]

WRITTEN_AS: Final[Mapping[Format, Format]] = {
    "jpeg": "jpeg",
    "png": "png",
    "webp": "webp",
    "avif": "avif",
    "heic": "jpeg",
    "gif": "png",
    "tiff": "png",
    "bmp": "png",
}
"""What a result is that keeps the format of its still original, as far as that can be written."""
ANIMATED: Final = frozenset({"gif", "png", "webp"})
LOSSLESS: Final = frozenset({"png", "webp"})

DEFAULT_QUALITY: Final[Mapping[Format, int]] = {"jpeg": 88, "webp": 80, "avif": 68}
LONGEST_EDGE: Final[Mapping[Format, int]] = {
    "jpeg": 65_500,
    "png": 1_000_000,
    "webp": 16_383,
    "avif": 65_535,
    "gif": 65_535,
}
LONGEST_MOMENT: Final[Mapping[str, int]] = {"GIF": 655_350, "PNG": 65_535, "WEBP": 2**24 - 1}
"""Milliseconds that each animation can surely show one picture; a PNG can show it longer in whole seconds."""
MOST_PLAYS: Final[Mapping[str, int]] = {"GIF": 65_536, "PNG": 2**31 - 1, "WEBP": 65_535}
"""How often each can say that it is played, if not for ever."""
COARSEST_TABLE = 2_600
AVIF_SPEED = 9
LARGE_GIF = 4 * MEGA
WHITE: Colour = (255, 255, 255)

_WEBP_MOVES, _WEBP_ALPHA = 0x02, 0x10
_HALVED: Final[Mapping[Chroma, int]] = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}
_TRANSPARENT: Final = frozenset({"png", "webp", "avif", "gif"})


class Encoding(msgspec.Struct, frozen=True, kw_only=True):
    """How a result is to be written; what its format does not have is left out of account."""

    format: Format
    quality: int | None = None
    """1–100, or None for what suits the format."""
    progressive: bool = False
    chroma: Chroma = "auto"
    """How much of the colour is kept; auto as the original had it."""
    lossless: bool = False
    background: Colour | None = None
    """What is laid under transparent parts; None for white where the format has no transparency."""
    profile: Literal["keep", "srgb"] = "keep"
    privacy: Privacy = "private"

    @property
    def carries_profile(self) -> bool:
        """Whether a colour profile may go with the result; without one its colours are sRGB."""
        return self.profile == "keep" and self.privacy != "strip" and self.format != "gif"

    @property
    def media_type(self) -> str:
        """The media type of the result."""
        return f"image/{self.format}"

    @property
    def extension(self) -> str:
        """The usual ending of a file name, without the dot."""
        return "jpg" if self.format == "jpeg" else self.format


class Written(msgspec.Struct, frozen=True):
    """A file, and in words what its original told and it does not."""

    data: bytes
    removed: tuple[str, ...]


def encode(frames: Sequence[Image.Image], encoding: Encoding, origin: Origin) -> Written:
    """Write the one frame of a photo, or those of an animation.

    When no quality is asked for, a frame that was a JPEG of this size is quantised as it was: what no
    operation touched then stays as it was to within rounding (46–75 dB, against 36–46 dB at a fixed
    quality), and the result is as large as the original.

    Raises `Rejected` with `too-large-for-format`, `too-long-for-format`, `animated` or `invalid-parameter`,
    and `MemoryError`.
    """
    form, first = encoding.format, frames[0]
    require_written(encoding, first.size, len(frames))
    frames = [laid(frame, encoding) for frame in frames]
    frames, icc = _coloured(frames, encoding, origin.icc)
    kept = privacy.kept(encoding.privacy, origin, first.size) if form != "gif" else {}
    if icc:
        kept["icc_profile"] = icc
    data = _WRITERS[form](frames, encoding, origin, kept)
    return Written(data, privacy.removed(origin, kept))


def require_written(encoding: Encoding, size: tuple[int, int], frames: int) -> None:
    """Return when so many frames of this size can be written as it is asked for.

    Raises `Rejected` with `too-large-for-format`, `animated` or `invalid-parameter`.
    """
    form = encoding.format
    if encoding.lossless and form not in LOSSLESS:
        # Of a photo that keeps its format this is known only here. To lose a little all the same would break
        # the one thing that was asked for, and nobody would see it.
        detail = f"convert: lossless is for WebP and PNG, and this result would be a {form.upper()}."
        raise Rejected("invalid-parameter", detail)
    if max(size) > LONGEST_EDGE[form]:
        detail = f"A {form.upper()} can be at most {LONGEST_EDGE[form]} pixels long."
        raise Rejected("too-large-for-format", detail)
    if frames > 1 and form not in ANIMATED:
        raise Rejected("animated", f"The image is animated, and a {form.upper()} shows one picture only.")


def laid(frame: Image.Image, encoding: Encoding) -> Image.Image:
    """Return a frame as a result shows it: on a ground, where that is asked for or the format needs it."""
    if encoding.background or encoding.format not in _TRANSPARENT:
        return flatten(frame, encoding.background or WHITE)
    return frame


def flatten(frame: Image.Image, ground: Colour = WHITE) -> Image.Image:
    """Lay a frame with transparency on a ground; others are returned as they are."""
    if frame.mode != "RGBA":
        return frame
    laid = Image.new("RGB", frame.size, ground)
    laid.paste(frame, mask=frame.getchannel("A"))
    return laid


def _coloured(
    frames: Sequence[Image.Image], encoding: Encoding, icc: bytes | None
) -> tuple[Sequence[Image.Image], bytes | None]:
    """Return the frames in the colours asked for, and the profile that the result needs to show them."""
    if icc is None:
        return frames, None
    if not (encoding.carries_profile and profile_fits(icc, frames[0].mode)):
        return [srgb(frame, icc) for frame in frames], None
    return frames, icc


def _jpeg(frames: Sequence[Image.Image], encoding: Encoding, origin: Origin, kept: Options) -> bytes:
    frame, out = frames[0], io.BytesIO()
    if encoding.chroma != "auto":
        subsampling = _HALVED[encoding.chroma]
    else:
        subsampling = origin.subsampling if origin.subsampling >= 0 else 2
    options: dict[str, object] = {"subsampling": subsampling, **kept}
    if encoding.progressive:
        options["progressive"] = True
    if encoding.quality is None and (tables := _tables(frame, origin)):
        options["qtables"] = tables
    else:
        options["quality"] = encoding.quality or DEFAULT_QUALITY["jpeg"]
    frame.save(out, "JPEG", **options)
    return out.getvalue()


def _png(frames: Sequence[Image.Image], encoding: Encoding, origin: Origin, kept: Options) -> bytes:
    del encoding
    # The grain of a camera has runs but no repeats to search for: a quarter faster, a tenth smaller.
    strategy = zlib.Z_RLE if origin.format in {"jpeg", "heic"} else zlib.Z_DEFAULT_STRATEGY
    options: dict[str, object] = {"compress_level": 2, "compress_type": strategy}
    if "xmp" in kept:
        from PIL.PngImagePlugin import PngInfo  # noqa: PLC0415 - for few photos only

        texts = PngInfo()
        texts.add_itxt("XML:com.adobe.xmp", cast("bytes", kept["xmp"]).decode("utf-8", "replace"))
        options["pnginfo"] = texts
    options |= {name: value for name, value in kept.items() if name != "xmp"}
    return _saved("PNG", frames, origin, options)


def _webp(frames: Sequence[Image.Image], encoding: Encoding, origin: Origin, kept: Options) -> bytes:
    options: dict[str, object] = {"method": 1, **kept}
    options["quality"] = encoding.quality or DEFAULT_QUALITY["webp"]
    if encoding.lossless:
        # Here quality is how hard the encoder tries.
        options |= {"lossless": True, "quality": 50}
    if "exif" in kept:
        options["exif"] = cast("bytes", kept["exif"]).removeprefix(b"Exif\0\0")
    try:
        data = _saved("WEBP", frames, origin, options)
    except ValueError as exc:  # Pillow says no more than libwebp's number
        raise MemoryError from exc
    if frames[0].mode == "RGBA" and data[12:16] == b"VP8X" and data[20] & _WEBP_MOVES:
        # Frames that are opaque where they are not empty libwebp takes for opaque everywhere. Of frames that
        # are all alike it makes a still, which may have no such header.
        data = data[:20] + bytes([data[20] | _WEBP_ALPHA]) + data[21:]
    return data


def _avif(frames: Sequence[Image.Image], encoding: Encoding, origin: Origin, kept: Options) -> bytes:
    load_plugin("avif")
    frame, out = frames[0], io.BytesIO()
    if getattr(frame, "is_animated", False):
        # Of a file of several pictures Pillow writes a film, and reads a grey one anew, without its mark.
        frame = frame.copy()
    grey = frame.mode == "L"
    if encoding.chroma != "auto":
        subsampling = encoding.chroma
    else:
        subsampling = "4:4:4" if origin.subsampling == 0 else "4:2:0"
    frame.save(
        out,
        "AVIF",
        quality=encoding.quality or DEFAULT_QUALITY["avif"],
        subsampling="4:0:0" if grey else subsampling,
        speed=AVIF_SPEED,
        max_threads=1,  # as many children as cores are at work already
        **kept,
    )
    return out.getvalue()


def _gif(frames: Sequence[Image.Image], encoding: Encoding, origin: Origin, kept: Options) -> bytes:
    del encoding, kept
    if frames[0].mode == "RGBA":
        # What is transparent in one frame would show the one before.
        return _saved("GIF", frames, origin, {"disposal": 2})
    # The better choice of 256 colours takes up to two seconds a megapixel, the other a hundredth of it.
    pixels = len(frames) * frames[0].width * frames[0].height
    method = Image.Quantize.MEDIANCUT if pixels <= LARGE_GIF else Image.Quantize.FASTOCTREE
    reduced = [
        frame if frame.mode == "L" else frame.quantize(256, method, dither=Image.Dither.NONE)
        for frame in frames
    ]
    return _saved("GIF", reduced, origin, {})


def _saved(form: str, frames: Sequence[Image.Image], origin: Origin, options: Options) -> bytes:
    """Write a still photo, or an animation that moves as its original does."""
    out = io.BytesIO()
    if len(frames) == 1:
        frames[0].save(out, form, **options)
        return out.getvalue()
    plays = min(origin.plays, MOST_PLAYS[form])
    loop = {"loop": plays}
    if form == "GIF":  # which counts repeats, and says nothing when there are none
        loop = {} if plays == 1 else {"loop": max(0, plays - 1)}
    try:
        frames[0].save(
            out,
            form,
            save_all=True,
            append_images=frames[1:],
            duration=list(origin.durations),
            **loop,
            **options,
        )
    except (OverflowError, RuntimeError, ValueError) as exc:
        # Pictures that are alike become one, which is shown for as long as all of them.
        if sum(origin.durations) <= LONGEST_MOMENT[form]:
            raise
        detail = f"The animation rests at a picture for longer than a {form} can say."
        raise Rejected("too-long-for-format", detail) from exc
    return out.getvalue()


def _tables(frame: Image.Image, origin: Origin) -> list[Table] | None:
    """Return the tables the frame was quantised with, unless they do not fit it or are too coarse."""
    needed = 1 if frame.mode == "L" else 2
    if frame.size != origin.size or len(origin.tables) < needed:
        return None
    # A mark quantised like a photo of quality 65 or less has dirty edges.
    return list(origin.tables[:needed]) if sum(origin.tables[0]) <= COARSEST_TABLE else None


_WRITERS: Final[Mapping[Format, Callable[[Sequence[Image.Image], Encoding, Origin, Options], bytes]]] = {
    "jpeg": _jpeg,
    "png": _png,
    "webp": _webp,
    "avif": _avif,
    "gif": _gif,
}
