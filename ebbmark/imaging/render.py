"""Rendering is one pure function, made to run in a child process: bytes and a recipe in, bytes out."""

import functools
import io
import math
from collections.abc import Mapping

import msgspec
from PIL import Image

from ebbmark.errors import LimitExceeded
from ebbmark.imaging import codec
from ebbmark.imaging.codec import Encoding, Limits
from ebbmark.imaging.operation import Context
from ebbmark.imaging.recipe import Recipe, parse_recipe

__all__ = ["Limits", "Rendered", "render", "thumbnail", "warm"]

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


def render(
    original: bytes,
    recipe: bytes,
    logo: bytes | None = None,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    facts: Mapping[str, str] | None = None,
) -> Rendered:
    """Render one photo. Equal input gives equal output; nothing is kept but drawn marks.

    `facts` is what a mark may say of the photo and its file does not know: `filename` and `n`.

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
    frame, origin = codec.decode(original, limits, recipe.enough)
    encoding = Encoding(format=origin.format)
    context = Context(limits=limits, logo=logo, facts=lambda: {**codec.facts(origin.exif), **facts})
    for operation in recipe.operations:
        frame = operation.edit(frame, context)
        encoding = operation.encoding(encoding)
    return Rendered(
        data=codec.encode(frame, encoding, origin),
        media_type=encoding.media_type,
        extension=encoding.extension,
        width=frame.width,
        height=frame.height,
        thumbnail=thumbnail(frame, origin.icc),
    )


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
