"""A mark drawn upright at full strength: a plate, a shadow, an outline, the ink; each layer over the last."""

import functools
import math
from typing import TYPE_CHECKING

import msgspec
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from ebbmark.errors import Rejected
from ebbmark.imaging import codec
from ebbmark.imaging.codec import Limits
from ebbmark.imaging.colours import Ink
from ebbmark.imaging.typesetting import Align, typeset

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DARK", "LIGHT", "LOGO_LIMITS", "Design", "Ink", "contrast", "draw"]

LIGHT: Ink = (255, 255, 255)
DARK: Ink = (16, 16, 16)

# All in ems.
OUTLINE_WIDTH, OUTLINE_STRENGTH = 1 / 20, 0.5
SHADOW_BLUR, SHADOW_OFFSET, SHADOW_STRENGTH = 0.07, 0.05, 0.7
PLATE_ACROSS, PLATE_ALONG, PLATE_CORNER, PLATE_STRENGTH = 0.35, 0.55, 0.3, 0.72
LOGO_EDGE, LOGO_GAP = 4.0, 0.4
"""The long edge of a logo, and its distance from the text below it."""

LOGO_LIMITS = Limits(bytes=2 * 1024 * 1024, pixels=25 * codec.MEGA)

_DIRECTIONS = 16
_SMOOTHED = 4


class Design(msgspec.Struct, frozen=True, kw_only=True):
    """All that decides the look of a mark, but not its size."""

    text: str
    logo: str
    """SHA-256 of the logo's file, or nothing."""
    ink: Ink
    outline: bool
    shadow: bool
    plate: Ink | None
    align: Align

    @property
    def plain(self) -> bool:
        """Whether the mark is of one colour."""
        return not (self.logo or self.outline or self.shadow or self.plate)


def contrast(ink: Ink) -> Ink:
    """Return light for a dark ink, and dark for a light one."""
    red, green, blue = ink
    return LIGHT if 299 * red + 587 * green + 114 * blue < 128_000 else DARK


def draw(design: Design, logo: bytes, em: int) -> Image.Image:
    """Return the mark with an em of so many pixels, in mode RGBA, cut to what is drawn.

    Raises `Rejected` with `bad-logo` or `missing-glyph`.
    """
    content = _content(design, logo, em)
    if not (design.shadow or design.plate):
        return content
    room = round(max(PLATE_ALONG, PLATE_ACROSS) * em) if design.plate else 0
    spread = math.ceil((3 * SHADOW_BLUR + SHADOW_OFFSET) * em) if design.shadow else 0
    edge = max(room, spread)
    canvas = Image.new("RGBA", (content.width + 2 * edge, content.height + 2 * edge))
    if design.plate:
        canvas.alpha_composite(_plate(content.size, design.plate, em, edge))
    if design.shadow:
        canvas.alpha_composite(_shadow(content, canvas.size, contrast(design.ink), em, edge))
    canvas.alpha_composite(content, (edge, edge))
    return canvas.crop(canvas.getchannel("A").getbbox())


def _content(design: Design, logo: bytes, em: int) -> Image.Image:
    """Return logo above text."""
    drawn = [_logo(logo, em)] if design.logo else []
    if design.text:
        drawn.append(_writing(design, em))
    width = max(part.width for part in drawn)
    gap = round(LOGO_GAP * em)
    canvas = Image.new("RGBA", (width, sum(part.height for part in drawn) + gap * (len(drawn) - 1)))
    top = 0
    for part in drawn:
        left = {"left": 0, "center": (width - part.width) // 2, "right": width - part.width}[design.align]
        canvas.paste(part, (left, top))
        top += part.height + gap
    return canvas


def _writing(design: Design, em: int) -> Image.Image:
    """Return the text in its ink, with a faint edge of the contrary one around it."""
    letters = typeset(design.text, em, design.align)
    if not design.outline:
        return _inked(design.ink, letters)
    stroke = max(1, round(OUTLINE_WIDTH * em))
    letters = _padded(letters, stroke)
    around = letters.copy()
    for across, down in _circle(stroke):
        around = ImageChops.lighter(around, ImageChops.offset(letters, across, down))
    writing = Image.composite(
        Image.new("RGB", letters.size, design.ink),
        Image.new("RGB", letters.size, contrast(design.ink)),
        letters,
    )
    writing.putalpha(ImageChops.lighter(letters, _fainter(around, OUTLINE_STRENGTH)))
    return writing


def _circle(radius: int) -> "Iterator[tuple[int, int]]":
    """Yield the ways along which a shape is moved to be as much wider everywhere."""
    for step in range(_DIRECTIONS):
        turn = 2 * math.pi * step / _DIRECTIONS
        yield round(radius * math.cos(turn)), round(radius * math.sin(turn))


def _shadow(content: Image.Image, size: tuple[int, int], ink: Ink, em: int, edge: int) -> Image.Image:
    """Return a soft shadow of what is drawn, a little below it and to its right."""
    moved = edge + round(SHADOW_OFFSET * em)
    cast = Image.new("L", size)
    cast.paste(content.getchannel("A"), (moved, moved))
    cast = cast.filter(ImageFilter.GaussianBlur(SHADOW_BLUR * em))
    return _inked(ink, _fainter(cast, SHADOW_STRENGTH))


def _plate(content: tuple[int, int], ink: Ink, em: int, edge: int) -> Image.Image:
    """Return a translucent ground with round corners, wider and higher than what stands on it."""
    along, across = round(PLATE_ALONG * em), round(PLATE_ACROSS * em)
    inner = content[0] + 2 * along, content[1] + 2 * across
    corner = min(round(PLATE_CORNER * em), min(inner) // 2)
    mask = Image.new("L", inner, 255)
    quarter = Image.new("L", (2 * corner * _SMOOTHED, 2 * corner * _SMOOTHED))
    ImageDraw.Draw(quarter).ellipse((0, 0, quarter.width - 1, quarter.height - 1), fill=255)
    round_corner = quarter.reduce(_SMOOTHED)
    for left in (0, 1):
        for top in (0, 1):
            part = round_corner.crop((left * corner, top * corner, (left + 1) * corner, (top + 1) * corner))
            mask.paste(part, (left * (inner[0] - corner), top * (inner[1] - corner)))
    whole = Image.new("L", (content[0] + 2 * edge, content[1] + 2 * edge))
    whole.paste(mask, (edge - along, edge - across))
    return _inked(ink, _fainter(whole, PLATE_STRENGTH))


def _inked(ink: Ink, alpha: Image.Image) -> Image.Image:
    inked = Image.new("RGB", alpha.size, ink)
    inked.putalpha(alpha)
    return inked


def _padded(mask: Image.Image, edge: int) -> Image.Image:
    wider = Image.new("L", (mask.width + 2 * edge, mask.height + 2 * edge))
    wider.paste(mask, (edge, edge))
    return wider


def _fainter(mask: Image.Image, strength: float) -> Image.Image:
    return mask.point([round(value * strength) for value in range(256)])


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
