"""A mark is drawn once and remembered: each photo after the first only pays for pasting it."""

import itertools
import math
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

from PIL import Image, ImageChops

from ebbmark.imaging import codec, drawing
from ebbmark.imaging.drawing import Design
from ebbmark.imaging.layout import Arrangement, Rectangle

__all__ = ["Mark", "Memory", "draw", "extent", "paste", "paste_small"]

T = TypeVar("T")

LEAST_EM, LARGEST_EM = 96, 3072
"""A mark is drawn at 96 pixels an em, or a doubling of it, and scaled down from there: no rounding of
glyphs to pixels then changes its proportions from one photo to the next."""

MEMORY_BYTES = 48 * codec.MEGA
SLICES, SLICE_WIDTH = 12, 64
"""A turned mark is cut into as many slices as are this wide: to paste one more costs as much as some
thousand empty pixels."""


class Piece(NamedTuple):
    """A part of a mark that is not all transparent, and its place within the mark."""

    left: int
    top: int
    ink: Image.Image
    alpha: Image.Image


class Mark(NamedTuple):
    """A mark of a given size and strength, ready to be pasted."""

    pieces: tuple[Piece, ...]
    coloured: bool


class Memory(Generic[T]):
    """Remembers what was made last, up to a sum of weights."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._kept: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()

    @property
    def used(self) -> int:
        """The sum of the weights of all that is remembered; never above the limit."""
        return self._used

    def recall(self, key: Hashable, make: Callable[[], T], weigh: Callable[[T], int]) -> T:
        """Return what `make` returned for this key, calling it only when that was forgotten."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key][0]
        made = make()
        weight = weigh(made)
        if weight <= self._limit:
            self._kept[key] = made, weight
            self._used += weight
        while self._used > self._limit:
            _, (_, freed) = self._kept.popitem(last=False)
            self._used -= freed
        return made


_drawings: Memory[Image.Image] = Memory(MEMORY_BYTES // 2)
_marks: Memory[Mark] = Memory(MEMORY_BYTES // 2)
_extents: Memory[tuple[float, float]] = Memory(256)


def extent(design: Design, logo: bytes) -> tuple[float, float]:
    """Return the width and height of a mark in ems."""

    def measure() -> tuple[float, float]:
        drawing = _drawing(design, logo, LEAST_EM)
        return drawing.width / LEAST_EM, drawing.height / LEAST_EM

    return _extents.recall(design, measure, lambda _: 1)


def draw(design: Design, logo: bytes, plan: Arrangement, opacity: float) -> Mark:
    """Return the mark as large as planned, turned as planned, and as strong as `opacity` says."""

    def make() -> Mark:
        wanted = plan.size[0] / extent(design, logo)[0]
        em = LEAST_EM
        while em < wanted and em < LARGEST_EM:
            em *= 2
        # The sharper one leaves a rim of another shade around letters on a plate.
        by = Image.Resampling.HAMMING if design.plate else Image.Resampling.LANCZOS
        canvas = _drawing(design, logo, em).resize(plan.size, by)
        if plan.angle:
            canvas = canvas.rotate(plan.angle, Image.Resampling.BICUBIC, expand=True)
        width, height = plan.outer
        if canvas.size != plan.outer:
            left, top = (canvas.width - width) // 2, (canvas.height - height) // 2
            canvas = canvas.crop((left, top, left + width, top + height))
        if design.plain:
            # Of one colour, which scaling would have rounded off.
            plain = Image.new("RGB", canvas.size, design.ink)
            plain.putalpha(canvas.getchannel("A"))
            canvas = plain
        slices = max(1, min(SLICES, canvas.width // SLICE_WIDTH)) if plan.angle else 1
        return _mark(canvas, opacity, slices)

    return _marks.recall((design, plan.size, plan.outer, plan.angle, opacity), make, _weight)


def paste(mark: Mark, frame: Image.Image, left: int, top: int) -> None:
    """Lay a mark on a frame of mode RGB, RGBA or L, touching only the pixels under its pieces."""
    mode = frame.mode
    for x, y, ink, alpha in mark.pieces:
        at = left + x, top + y
        if mode == "RGB":
            frame.paste(ink, at, alpha)
        elif mode == "RGBA":
            _paste_on_transparent(ink, alpha, frame, at)
        else:
            frame.paste(ink.convert(mode), at, alpha)


def paste_small(mark: Mark, frame: Image.Image, place: Rectangle, scale: float) -> None:
    """Lay a mark that has a place on a large frame on a small copy of it, to a fraction of a pixel."""
    for piece in mark.pieces:
        paste(Mark((_reduced(piece, place, scale),), mark.coloured), frame, 0, 0)


def _reduced(piece: Piece, place: Rectangle, scale: float) -> Piece:
    """Return a piece as it is seen from afar; whole pixels of the small frame are more than it covers."""
    left, top = place.left + piece.left, place.top + piece.top
    right, bottom = left + piece.ink.width, top + piece.ink.height
    box = (
        math.floor(left * scale),
        math.floor(top * scale),
        math.ceil(right * scale),
        math.ceil(bottom * scale),
    )
    room = math.ceil(1 / scale)
    whole = piece.ink.convert("RGBA")
    whole.putalpha(piece.alpha)
    whole = whole.crop((-room, -room, whole.width + room, whole.height + room))
    seen = whole.resize(
        (box[2] - box[0], box[3] - box[1]),
        Image.Resampling.BICUBIC,
        box=(
            max(0.0, box[0] / scale - left + room),
            max(0.0, box[1] / scale - top + room),
            min(float(whole.width), box[2] / scale - left + room),
            min(float(whole.height), box[3] / scale - top + room),
        ),
    )
    return Piece(box[0], box[1], seen.convert("RGB"), seen.getchannel("A"))


def _paste_on_transparent(
    ink: Image.Image, alpha: Image.Image, frame: Image.Image, at: tuple[int, int]
) -> None:
    box = max(0, at[0]), max(0, at[1]), min(frame.width, at[0] + ink.width), min(
        frame.height, at[1] + ink.height
    )  # fmt: skip
    if box[0] >= box[2] or box[1] >= box[3]:
        return
    over = ink.convert("RGBA")
    over.putalpha(alpha)
    under = frame.crop(box)
    under.alpha_composite(over.crop((box[0] - at[0], box[1] - at[1], box[2] - at[0], box[3] - at[1])))
    frame.paste(under, box)


def _mark(canvas: Image.Image, opacity: float, slices: int) -> Mark:
    """Cut a canvas into upright slices and each of them to what is drawn on it.

    Most of the rectangle around a turned line of text is empty; what is cut off need not be blended.
    """
    strength = [round(value * opacity) for value in range(256)]
    alpha = canvas.getchannel("A").point(strength)
    ink = canvas.convert("RGB")
    edges = [canvas.width * cut // slices for cut in range(slices + 1)]
    pieces: list[Piece] = []
    for left, right in itertools.pairwise(edges):
        box = alpha.crop((left, 0, right, canvas.height)).getbbox() if left < right else None
        if box:
            cut = left + box[0], box[1], left + box[2], box[3]
            pieces.append(Piece(cut[0], cut[1], ink.crop(cut), alpha.crop(cut)))
    return Mark(tuple(pieces), coloured=any(_coloured(piece) for piece in pieces))


def _coloured(piece: Piece) -> bool:
    red, green, blue = piece.ink.split()
    spread = ImageChops.lighter(ImageChops.difference(red, green), ImageChops.difference(red, blue))
    return ImageChops.multiply(spread, piece.alpha).getextrema() != (0, 0)


def _weight(mark: Mark) -> int:
    return sum(5 * piece.alpha.width * piece.alpha.height for piece in mark.pieces)


def _drawing(design: Design, logo: bytes, em: int) -> Image.Image:
    return _drawings.recall(
        (design, em), lambda: drawing.draw(design, logo, em), lambda image: 4 * image.width * image.height
    )
