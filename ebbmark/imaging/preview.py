"""A preview is the result of one photo at the size of a screen, made by the same operations.

A result that fits the screen is its own preview, byte for byte. Of a larger one the frame is made small
first, so that the operations have little to do; they are told the scale. Only how well the result is kept
cannot be seen then: a preview that is smaller than its result is always written well. Of an animation the
first frame is seen.
"""

import itertools
from collections.abc import Mapping

import msgspec
from PIL import Image

from ebbmark.imaging import codec
from ebbmark.imaging.codec import Encoding, Limits, Origin
from ebbmark.imaging.encoding import WRITTEN_AS, laid, require_written
from ebbmark.imaging.operation import Context
from ebbmark.imaging.recipe import Recipe, parse_recipe
from ebbmark.imaging.render import perform
from ebbmark.imaging.stock import stock_photo

__all__ = ["EDGE", "Preview", "preview"]

Size = tuple[int, int]

EDGE = 1280
QUALITY = 95
_ROUNDING = 2
"""Pixels that a frame may differ from what was expected, after several operations on a small one."""


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """A picture of at most so many pixels on its long edge, and the size of the result that it shows."""

    data: bytes
    media_type: str
    width: int
    height: int
    result_width: int
    result_height: int


def preview(
    original: bytes | None,
    recipe: bytes,
    logo: bytes | None = None,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    facts: Mapping[str, str] | None = None,
    *,
    edge: int = EDGE,
) -> Preview:
    """Return what `render` would make of a photo, or of one that nobody took, at most `edge` pixels long.

    Raises `Rejected` and `LimitExceeded` as `render` does, by limits of its own, and `MemoryError`.
    """
    photo, admitted = (stock_photo(), Limits()) if original is None else (original, limits)
    with codec.most_pixels(admitted.pixels):
        return _seen(
            photo, admitted, parse_recipe(recipe), logo=logo, limits=limits, told=facts or {}, edge=edge
        )


def _seen(
    photo: bytes,
    admitted: Limits,
    wanted: Recipe,
    *,
    logo: bytes | None,
    limits: Limits,
    told: Mapping[str, str],
    edge: int,
) -> Preview:
    aim = _Aim(wanted, edge)
    frames, origin = codec.decode_all(photo, admitted, aim.enough, luma=wanted.luma_only())
    count = len(frames)
    encoding = Encoding(format=origin.format if count > 1 else WRITTEN_AS[origin.format])
    context = Context(
        limits=msgspec.structs.replace(limits, pixels=limits.pixels // count),
        logo=logo,
        facts=lambda: {**codec.facts(origin.exif), **told},
        scale=aim.scale(aim.photo or frames[0].size),
    )
    if context.scale < 1:
        full = aim.photo or frames[0].size
        expected = wanted.sizes(full)[-1]
        for before, after in itertools.pairwise(wanted.sizes(full)):
            if after != before:  # what an operation checks of a small frame is not the result's
                context.check(after)
        seen = [_scaled(frames[0], _times(full, context.scale))]
        small = perform(seen, wanted, encoding, context)
        if _alike(seen[0].size, _times(expected, context.scale)):
            require_written(small, expected, count)
            return _shown(_fitting(seen[0], edge), small, origin, expected)
        # An operation changed the size and had not said so: what it does at another scale is not known.
        frames, origin = codec.decode_all(photo, admitted, wanted.enough, luma=wanted.luma_only())
        context = msgspec.structs.replace(context, scale=1.0)
    frames = frames[:1]
    encoding = perform(frames, wanted, encoding, context)
    frame = frames[0]
    require_written(encoding, frame.size, count)
    if count > 1 or max(frame.size) > edge:
        return _shown(_fitting(frame, edge), encoding, origin, frame.size)
    return _preview(codec.encode(frames, encoding, origin).data, encoding, frame.size, frame.size)


class _Aim:
    """How much of a photo is enough, which is known when the decoder has read how large it is."""

    def __init__(self, recipe: Recipe, edge: int) -> None:
        self._recipe = recipe
        self._edge = edge
        self.photo: Size | None = None
        """The size of the photo in full, upright, if less of it was decoded."""

    def scale(self, photo: Size) -> float:
        """Return how small such a photo may be made without its result losing anything on the screen.

        What was small once and is enlarged later shows all the detail that it had.
        """
        lengths = [max(size) for size in self._recipe.sizes(photo)]
        # What is put around a photo ends between the pixels of a copy; of one twice as large nobody sees it.
        edge = 2 * self._edge if lengths[-1] > min(lengths) else self._edge
        return min(1.0, edge / min(lengths))

    def enough(self, photo: Size) -> Size | None:
        """Return what the decoder asks for."""
        self.photo = photo
        scale = self.scale(photo)
        return _times(photo, scale) if scale < 1 else self._recipe.enough(photo)


def _times(size: Size, scale: float) -> Size:
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _scaled(frame: Image.Image, size: Size) -> Image.Image:
    return frame if frame.size == size else frame.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)


def _fitting(frame: Image.Image, edge: int) -> Image.Image:
    return _scaled(frame, _times(frame.size, min(1.0, edge / max(frame.size))))


def _alike(one: Size, other: Size) -> bool:
    return all(abs(a - b) <= _ROUNDING for a, b in zip(one, other, strict=True))


def _shown(frame: Image.Image, encoding: Encoding, origin: Origin, result: Size) -> Preview:
    """Write a small frame well, transparent where the result is."""
    frame = laid(frame, encoding)
    shown = Encoding(
        format="webp" if frame.mode == "RGBA" else "jpeg",
        quality=QUALITY,
        chroma="4:4:4",
        profile=encoding.profile,
        privacy=encoding.privacy,
    )
    still = origin._replace(durations=(), plays=0)
    return _preview(codec.encode([frame], shown, still).data, shown, frame.size, result)


def _preview(data: bytes, encoding: Encoding, size: Size, result: Size) -> Preview:
    return Preview(
        data=data,
        media_type=encoding.media_type,
        width=size[0],
        height=size[1],
        result_width=result[0],
        result_height=result[1],
    )
