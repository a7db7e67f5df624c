"""A mark is drawn once and remembered: each photo after the first only pays for pasting it."""

import functools
import itertools
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, Literal, NamedTuple, TypeVar

import msgspec
from PIL import Image, ImageChops, ImageDraw

from ebbmark.errors import Rejected
from ebbmark.imaging import codec, fonts
from ebbmark.imaging.layout import Arrangement

__all__ = ["DARK", "LIGHT", "Align", "Design", "Ink", "Mark", "Memory", "draw", "extent", "paste"]

Align = Literal["left", "center", "right"]
Ink = tuple[int, int, int]
T = TypeVar("T")

LIGHT: Ink = (255, 255, 255)
DARK: Ink = (16, 16, 16)

LINE_HEIGHT = 1.25
OUTLINE_WIDTH, OUTLINE_STRENGTH = 1 / 20, 0.5
LOGO_EDGE, LOGO_GAP = 4.0, 0.4
"""The long edge of a logo, and its distance from the text below it, in ems."""

LEAST_EM, LARGEST_EM = 96, 3072
"""A mark is drawn at 96 pixels an em, or a doubling of it, and scaled down from there: no rounding of
glyphs to pixels then changes its proportions from one photo to the next."""

MEMORY_BYTES = 48 * codec.MEGA
LOGO_LIMITS = codec.Limits(bytes=5 * codec.MEGA, pixels=25 * codec.MEGA)
SLICES = 12


class Design(msgspec.Struct, frozen=True, kw_only=True):
    """All that decides the look of a mark, but not its size."""

    text: str
    logo: str
    """SHA-256 of the logo's file, or nothing."""
    ink: Ink
    outline: bool
    align: Align


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
        canvas = _drawing(design, logo, em).resize(plan.size, Image.Resampling.LANCZOS)
        if plan.angle:
            canvas = canvas.rotate(plan.angle, Image.Resampling.BICUBIC, expand=True)
        width, height = plan.outer
        if canvas.size != plan.outer:
            left, top = (canvas.width - width) // 2, (canvas.height - height) // 2
            canvas = canvas.crop((left, top, left + width, top + height))
        if not (design.logo or design.outline):
            # Of one colour, which scaling would have rounded off.
            plain = Image.new("RGB", canvas.size, design.ink)
            plain.putalpha(canvas.getchannel("A"))
            canvas = plain
        return _mark(canvas, opacity, slices=SLICES if plan.angle else 1)

    return _marks.recall((design, plan.size, plan.outer, plan.angle, opacity), make, _weight)


def paste(mark: Mark, frame: Image.Image, left: int, top: int) -> None:
    """Lay a mark on a frame of mode RGB, RGBA or L, touching only the pixels under its pieces."""
    for piece in mark.pieces:
        at = left + piece.left, top + piece.top
        if frame.mode == "RGBA":
            _paste_on_transparent(piece, frame, at)
        else:
            ink = piece.ink if frame.mode == "RGB" else piece.ink.convert(frame.mode)
            frame.paste(ink, at, piece.alpha)


def _paste_on_transparent(piece: Piece, frame: Image.Image, at: tuple[int, int]) -> None:
    box = max(0, at[0]), max(0, at[1]), min(frame.width, at[0] + piece.ink.width), min(
        frame.height, at[1] + piece.ink.height
    )  # fmt: skip
    if box[0] >= box[2] or box[1] >= box[3]:
        return
    over = piece.ink.convert("RGBA")
    over.putalpha(piece.alpha)
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
    """Return the mark drawn upright at full strength, in mode RGBA."""

    def make() -> Image.Image:
        parts = [_logo(logo, em)] if design.logo else []
        if design.text:
            parts.append(_writing(design, em))
        width = max(part.width for part in parts)
        height = sum(part.height for part in parts) + round(LOGO_GAP * em) * (len(parts) - 1)
        canvas = Image.new("RGBA", (width, height))
        top = 0
        for part in parts:
            left = {"left": 0, "center": (width - part.width) // 2, "right": width - part.width}[design.align]
            canvas.paste(part, (left, top))
            top += part.height + round(LOGO_GAP * em)
        return canvas

    return _drawings.recall((design, em), make, lambda image: 4 * image.width * image.height)


def _writing(design: Design, em: int) -> Image.Image:
    """Write the lines of the text, cut to their ink."""
    font = fonts.face_for(design.text).at(em)
    stroke = max(1, round(OUTLINE_WIDTH * em)) if design.outline else 0
    lines = design.text.split("\n")
    boxes = [font.getbbox(line, stroke_width=stroke, anchor="ls") for line in lines]
    width = max(1, round(max(right - left for left, _, right, _ in boxes)))
    step = LINE_HEIGHT * em
    top = min(round(box[1] + step * row) for row, box in enumerate(boxes))
    bottom = max(round(box[3] + step * row) for row, box in enumerate(boxes))
    size = width, max(1, bottom - top)
    letters, around = Image.new("L", size), Image.new("L", size)
    for row, (line, box) in enumerate(zip(lines, boxes, strict=True)):
        free = width - (box[2] - box[0])
        left = {"left": 0.0, "center": free / 2, "right": free}[design.align] - box[0]
        at = left, step * row - top
        ImageDraw.Draw(letters).text(at, line, fill=255, font=font, anchor="ls")
        if stroke:
            ImageDraw.Draw(around).text(at, line, fill=255, font=font, anchor="ls", stroke_width=stroke)
    ink, other = design.ink, LIGHT if _is_dark(design.ink) else DARK
    writing = Image.composite(Image.new("RGB", size, ink), Image.new("RGB", size, other), letters)
    faint = around.point([round(value * OUTLINE_STRENGTH) for value in range(256)])
    writing.putalpha(ImageChops.lighter(letters, faint))
    return writing


def _logo(logo: bytes, em: int) -> Image.Image:
    image = _logo_frame(logo)
    scale = LOGO_EDGE * em / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


@functools.lru_cache(maxsize=2)
def _logo_frame(logo: bytes) -> Image.Image:
    """Decode a logo. Raises `Rejected` with `bad-logo`."""
    try:
        return codec.decode(logo, LOGO_LIMITS)[0].convert("RGBA")
    except Rejected as exc:
        raise Rejected("bad-logo", f"The logo cannot be used. {exc.detail}") from exc


def _is_dark(ink: Ink) -> bool:
    red, green, blue = ink
    return 299 * red + 587 * green + 114 * blue < 128_000
