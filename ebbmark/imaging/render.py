"""Rendering is one pure function, made to run in a child process: bytes and a recipe in, bytes out."""

import functools
import io
import math
import time
from collections.abc import Callable, Mapping

import msgspec
from PIL import Image

from ebbmark.errors import LimitExceeded
from ebbmark.imaging import codec
from ebbmark.imaging.codec import Encoding, Limits
from ebbmark.imaging.operation import Context, name_of
from ebbmark.imaging.recipe import Recipe, parse_recipe

__all__ = ["Limits", "Rendered", "perform", "render", "thumbnail", "warm"]

THUMBNAIL_EDGE, THUMBNAIL_QUALITY = 320, 75
_SMALL_PROFILE = 4096


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
        return _render(original, _parsed(recipe), logo, limits, facts or {})
    except MemoryError as exc:
        detail = "The photo needs more memory than one photo may take."
        raise LimitExceeded("out-of-memory", detail) from exc


def _render(
    original: bytes, recipe: Recipe, logo: bytes | None, limits: Limits, facts: Mapping[str, str]
) -> Rendered:
    clock = _Clock()
    frame, origin = codec.decode(original, limits, recipe.enough)
    clock.note("decode")
    encoding = Encoding(format=origin.format)
    context = Context(limits=limits, logo=logo, facts=lambda: {**codec.facts(origin.exif), **facts})
    frame, encoding = perform(frame, recipe, encoding, context, clock.note)
    data = codec.encode(frame, encoding, origin)
    clock.note("encode")
    small = thumbnail(frame, origin.icc)
    clock.note("thumbnail")
    return Rendered(
        data=data,
        media_type=encoding.media_type,
        extension=encoding.extension,
        width=frame.width,
        height=frame.height,
        thumbnail=small,
        pixels=origin.pixels,
        began=clock.began,
        steps=tuple(clock.steps),
    )


def perform(
    frame: Image.Image,
    recipe: Recipe,
    encoding: Encoding,
    context: Context,
    note: Callable[[str], None] = lambda _: None,
) -> tuple[Image.Image, Encoding]:
    """Do what a recipe says to a frame; return it, and how it is to be written. `note` hears of each end."""
    for operation in recipe.operations:
        frame = operation.edit(frame, context)
        encoding = operation.encoding(encoding)
        note(name_of(operation))
    return frame, encoding


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


def thumbnail(frame: Image.Image, icc: bytes | None) -> bytes:
    """Return a small JPEG of a frame, averaged over whole blocks; a small colour profile goes with it."""
    factor = math.ceil(max(frame.size) / THUMBNAIL_EDGE)
    small = codec.flatten(frame.reduce(factor) if factor > 1 else frame)
    fits = icc and len(icc) <= _SMALL_PROFILE and codec.profile_fits(icc, small.mode)
    kept = {"icc_profile": icc} if fits else {}
    out = io.BytesIO()
    small.save(out, "JPEG", quality=THUMBNAIL_QUALITY, **kept)
    return out.getvalue()


_parsed = functools.lru_cache(maxsize=64)(parse_recipe)
