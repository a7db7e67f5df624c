"""A text becomes ink here: shaped by HarfBuzz, ordered by Unicode's rules, several fonts in one line."""

import itertools
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from PIL import Image

from ebbmark.imaging import bidi, fonts
from ebbmark.imaging.fonts import hb

__all__ = ["Align", "typeset"]

Align = Literal["left", "center", "right"]

LINE_HEIGHT = 1.25
_SUBPIXELS = 64
_PIECE = 2048
"""Pixels of a line that are drawn at once, or one letter: HarfBuzz cuts off what is beyond 4096."""
_HAN = frozenset({"Hani", "Hira", "Kana", "Bopo", "Hang"})
_LANGUAGES = (
    (range(0x3040, 0x3100), "ja"),
    (range(0xAC00, 0xD7B0), "ko"),
    (range(0x3100, 0x3130), "zh-Hant"),
)


class _Run(NamedTuple):
    """Letters of one font, script and direction."""

    part: fonts.Part
    level: int


class _Line(NamedTuple):
    """A line of ink and where it stands: pixels right of and below the start of its baseline."""

    ink: Image.Image | None
    left: int
    top: int


def typeset(text: str, em: int, align: Align) -> Image.Image:
    """Return the ink of a text as a mask, cut to it; lines are aligned by their ink.

    Raises `Rejected` with `missing-glyph`.
    """
    language = _language(text)
    lines = [_set_line(line, em, language) for line in text.split("\n")]
    step = LINE_HEIGHT * em
    boxes = [
        (round(step * row) + line.top, line.ink) for row, line in enumerate(lines) if line.ink is not None
    ]
    if not boxes:
        return Image.new("L", (1, 1))
    width = max(ink.width for _, ink in boxes)
    top = min(top for top, _ in boxes)
    canvas = Image.new("L", (width, max(at + ink.height for at, ink in boxes) - top))
    for at, ink in boxes:
        free = width - ink.width
        left = {"left": 0, "center": free // 2, "right": free}[align]
        # Lines whose letters reach into each other must not wipe each other out.
        canvas.paste(255, (left, at - top), ink)
    return canvas


def _set_line(line: str, em: int, language: str) -> _Line:
    scale = em * _SUBPIXELS
    pieces: list[_Line] = []
    raster, begin, pen = _raster(), 0, 0
    for run in _runs(line):
        font = run.part.face.at(scale)
        buffer = hb.Buffer()
        buffer.add_str(run.part.text)
        buffer.direction = "rtl" if run.level % 2 else "ltr"
        if run.part.script:
            buffer.script = run.part.script
        # Never guessed: HarfBuzz would take the language of the host.
        buffer.language = language if run.part.script in _HAN else "und"
        hb.shape(font, buffer)
        for glyph, place in zip(buffer.glyph_infos, buffer.glyph_positions, strict=True):
            if pen + place.x_advance - begin > _PIECE * _SUBPIXELS:
                pieces.append(_inked(raster))
                raster, begin = _raster(), pen
            raster.transform = (1, 0, 0, 1, pen + place.x_offset, place.y_offset)
            raster.draw_glyph(font, glyph.codepoint)
            pen += place.x_advance
    return _joined([*pieces, _inked(raster)])


def _raster() -> Any:  # noqa: ANN401 - HarfBuzz has no types
    raster = hb.RasterDraw()
    raster.scale_factor = (_SUBPIXELS, _SUBPIXELS)
    return raster


def _inked(raster: Any) -> _Line:  # noqa: ANN401 - as above
    image = raster.render()
    extents = image.extents
    if not (extents.width and extents.height):
        return _Line(None, 0, 0)
    # Its rows go upward.
    ink = Image.frombytes("L", (extents.width, extents.height), image.buffer, "raw", "L", extents.stride, -1)
    return _Line(ink, extents.x_origin, -extents.y_origin - extents.height)


def _joined(pieces: Sequence[_Line]) -> _Line:
    inked = [(each.ink, each.left, each.top) for each in pieces if each.ink is not None]
    if not inked:
        return _Line(None, 0, 0)
    if len(inked) == 1:
        return _Line(*inked[0])
    left, top = min(at for _, at, _ in inked), min(at for _, _, at in inked)
    right = max(at + ink.width for ink, at, _ in inked)
    bottom = max(at + ink.height for ink, _, at in inked)
    line = Image.new("L", (right - left, bottom - top))
    for ink, x, y in inked:
        line.paste(255, (x - left, y - top), ink)
    return _Line(line, left, top)


def _runs(line: str) -> list[_Run]:
    """Return the runs of a line from left to right."""
    level_of = iter(bidi.levels(line, bidi.base_level(line)))
    told = [(letter, level) for letter, level in zip(line, level_of, strict=True)]
    told = [(letter, level) for letter, level in told if letter not in {bidi.FSI, bidi.PDI}]
    found: list[_Run] = []
    at = 0
    for part in fonts.parts(line):
        letters = told[at : at + len(part.text)]
        at += len(part.text)
        for level, same in itertools.groupby(letters, lambda each: each[1]):
            text = "".join(letter for letter, _ in same)
            found.append(_Run(part._replace(text=text), level))
    return [found[place] for place in bidi.visual_order([run.level for run in found])]


def _language(text: str) -> str:
    """Return whose forms of Chinese characters a text wants: what else is in it says so."""
    return next(
        (language for codes, language in _LANGUAGES if any(ord(letter) in codes for letter in text)),
        "zh-Hans",
    )
