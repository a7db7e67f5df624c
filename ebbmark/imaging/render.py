"""Rendering is one pure function, made to run in a child process: bytes and a recipe in, bytes out."""

import functools
import io
import math
import time
from collections.abc import Callable, Mapping

import msgspec
from PIL import Image

from ebbmark.errors import LimitExceeded, Rejected
from ebbmark.imaging import codec
from ebbmark.imaging.codec import Encoding, Limits
from ebbmark.imaging.encoding import WRITTEN_AS
from ebbmark.imaging.operation import Context, Operation, blamed, name_of
from ebbmark.imaging.plain import srgb
from ebbmark.imaging.recipe import Recipe, parse_recipe

__all__ = ["Limits", "Rendered", "perform", "render", "thumbnail", "warm"]

THUMBNAIL_EDGE, THUMBNAIL_QUALITY = 320, 75
_SMALL_PROFILE = 4096
_MODES = frozenset({"RGB", "RGBA", "L"})


class Rendered(msgspec.Struct, frozen=True, kw_only=True):
    """A result and its thumbnail."""

    data: bytes
    media_type: str
    extension: str
    """Without the dot."""
    width: int
    height: int
    thumbnail: bytes
    """A JPEG of at most 320 pixels on its long edge."""
    removed: tuple[str, ...] = ()
    """What the original told beside its picture and the result does not, in the words of `privacy.WORDS`."""
    pixels: int
    """Of the original."""
    began: float
    """When, in seconds since 1970."""
    steps: tuple[tuple[str, float], ...]
    """The seconds each step took, one after the other: `decode`, each operation, `encode` and `thumbnail`."""


def render(
    original: bytes,
    recipe: bytes,
    logo: bytes | None = None,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    facts: Mapping[str, str] | None = None,
) -> Rendered:
    """Render one photo. Equal input gives an equal result but for its times; nothing is kept but drawn marks.

    `facts` is what a mark may say of the photo and its file does not know: `filename`, `n`, `total`, `date`.

    Raises `Rejected` when this photo cannot be rendered by this recipe and `LimitExceeded` when it outran
    a limit; repeating the call cannot help in either case.
    """
    try:
        with codec.most_pixels(limits.pixels):
            return _render(original, _parsed(recipe), logo, limits, facts or {})
    except MemoryError as exc:
        detail = "The photo needs more memory than one photo may take."
        raise LimitExceeded("out-of-memory", detail) from exc


def _render(
    original: bytes, recipe: Recipe, logo: bytes | None, limits: Limits, facts: Mapping[str, str]
) -> Rendered:
    clock = _Clock()
    frames, origin = codec.decode_all(original, limits, recipe.enough, luma=recipe.luma_only())
    clock.note("decode")
    encoding = Encoding(format=origin.format if len(frames) > 1 else WRITTEN_AS[origin.format])
    context = Context(
        limits=msgspec.structs.replace(limits, pixels=limits.pixels // len(frames)),
        logo=logo,
        facts=lambda: {**codec.facts(origin.exif), **facts},
    )
    encoding = perform(frames, recipe, encoding, context, clock.note)
    written = codec.encode(frames, encoding, origin)
    clock.note("encode")
    small = thumbnail(frames[0], origin.icc, encoding)
    clock.note("thumbnail")
    return Rendered(
        data=written.data,
        media_type=encoding.media_type,
        extension=encoding.extension,
        width=frames[0].width,
        height=frames[0].height,
        thumbnail=small,
        removed=written.removed,
        pixels=origin.pixels,
        began=clock.began,
        steps=tuple(clock.steps),
    )


def perform(
    frames: list[Image.Image],
    recipe: Recipe,
    encoding: Encoding,
    context: Context,
    note: Callable[[str], None] = lambda _: None,
) -> Encoding:
    """Do what a recipe says to frames, in place; return how they are to be written.

    `note` hears of the end of each operation.
    """
    for operation in recipe.operations:
        own = msgspec.structs.replace(context, decided={})
        with blamed(operation):
            for at, frame in enumerate(frames):
                frames[at] = _checked(operation.edit(frame, own), operation, own.limits)
            encoding = operation.encoding(encoding)
        note(name_of(operation))
    return encoding


def _checked(frame: object, operation: Operation, limits: Limits) -> Image.Image:
    """Return what an operation returned if that is a frame as promised; the next step relies on it."""
    if not isinstance(frame, Image.Image) or frame.mode not in _MODES:
        what = f"a frame of mode {frame.mode}" if isinstance(frame, Image.Image) else type(frame).__name__
        detail = f"The operation {name_of(operation)} is at fault: it returned {what}."
        raise Rejected("operation-failed", detail)
    if frame.width * frame.height > limits.pixels:
        detail = f"With {name_of(operation)} the image has too many pixels."
        raise LimitExceeded("too-many-pixels", detail)
    return frame


class _Clock:
    """Times the steps of one photo."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, float]] = []
        self.began = time.time()
        self._last = time.perf_counter()

    def note(self, step: str) -> None:
        """The time since the last note was this step's."""
        now = time.perf_counter()
        self.steps.append((step, now - self._last))
        self._last = now


def warm() -> None:
    """Load the operations, the fonts and the encoders by rendering a photo of one pixel in every format."""
    image = Image.new("RGB", (1, 1))
    for file_format in ("jpeg", "png", "webp"):
        original = io.BytesIO()
        image.save(original, file_format)
        render(original.getvalue(), b'{"operations": [{"operation": "watermark", "text": "x"}]}')


def thumbnail(frame: Image.Image, icc: bytes | None, encoding: Encoding) -> bytes:
    """Return a small JPEG of a frame, averaged over whole blocks.

    A small colour profile goes with it where one may go with the result, whose `encoding` this is.
    """
    factor = math.ceil(max(frame.size) / THUMBNAIL_EDGE)
    small = codec.flatten(frame.reduce(factor) if factor > 1 else frame, encoding.background or codec.WHITE)
    fits = icc and len(icc) <= _SMALL_PROFILE and codec.profile_fits(icc, small.mode)
    carried = fits and encoding.carries_profile
    if icc and not carried:
        small = srgb(small, icc)
    kept = {"icc_profile": icc} if carried else {}
    out = io.BytesIO()
    small.save(out, "JPEG", quality=THUMBNAIL_QUALITY, **kept)
    return out.getvalue()


_parsed = functools.lru_cache(maxsize=64)(parse_recipe)
