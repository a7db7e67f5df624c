"""Where marks go is decided here and nowhere else, for the result and the preview alike.

Everything is relative to the frame, so that a mark looks the same on portrait and landscape, large and
small; only a floor and a ceiling of its size are in pixels, of the result in full size.
"""

import functools
import math
from typing import Literal, NamedTuple, get_args

from ebbmark.imaging.gravity import Gravity, shift

__all__ = ["EVERYWHERE", "POSITIONS", "Arrangement", "Measure", "Position", "Rectangle", "arrange", "em_of"]

_Everywhere = Literal["tiled", "chessboard"]
Position = Literal[Gravity, _Everywhere]
POSITIONS: tuple[Position, ...] = get_args(Position)
EVERYWHERE: frozenset[Position] = frozenset(get_args(_Everywhere))
"""The positions that cover the whole frame."""

Measure = Literal["short-edge", "diagonal"]
"""What a size is a share of."""

# Between repeated marks, in ems along and across the text; and as shares of the edges, against crowds of
# tiny marks on large frames and on frames of one pixel's height.
_GAP_ALONG, _GAP_ACROSS = 2.0, 3.0
_BOARD_GAP = 1.0
_LEAST_GAP_OF_SHORT_EDGE, _LEAST_GAP_OF_LONG_EDGE = 0.06, 1 / 120


class Rectangle(NamedTuple):
    """Pixels of a frame; a tiled one may reach over its edges."""

    left: int
    top: int
    width: int
    height: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom, the last two exclusive."""
        return self.left, self.top, self.left + self.width, self.top + self.height

    def seen(self, scale: float, within: tuple[int, int]) -> tuple[float, float, float, float]:
        """The same of a small copy of the frame, which has the size `within`."""
        left, top, right, bottom = (edge * scale for edge in self.box)
        return left, top, min(right, within[0]), min(bottom, within[1])


class Arrangement(NamedTuple):
    """The size of the mark before it is turned, and the rectangles the turned mark fills, all alike."""

    size: tuple[int, int]
    angle: float
    places: tuple[Rectangle, ...]

    @property
    def outer(self) -> tuple[int, int]:
        """Width and height of each rectangle."""
        return self.places[0].width, self.places[0].height


def em_of(
    frame: tuple[int, int],
    size: float,
    measure: Measure = "short-edge",
    least: float | None = None,
    most: float | None = None,
) -> float:
    """Return an em in pixels: a share of the frame, not below `least`, and above all not beyond `most`."""
    em = size * (math.hypot(*frame) if measure == "diagonal" else min(frame))
    return min(max(em, least or 0.0), most or math.inf)


@functools.lru_cache(maxsize=32)
def arrange(
    frame: tuple[int, int],
    extent: tuple[float, float],
    *,
    position: Position,
    em: float,
    margin: float,
    angle: float = 0.0,
) -> Arrangement:
    """Return where a mark goes on a frame.

    `extent` is the width and height of the mark in ems, `em` that many pixels, `margin` the distance from
    the edges as a share of the short one, `angle` in degrees counter-clockwise. A mark that would not fit
    within the margins is drawn smaller, in proportion. A single mark lies within the frame; of repeated
    ones each touches it.
    """
    short = min(frame)
    inset = min(round(margin * short), (short - 1) // 2)
    room = frame[0] - 2 * inset, frame[1] - 2 * inset
    turned = _turned(extent[0] * em, extent[1] * em, angle)
    scale = min(1.0, room[0] / turned[0], room[1] / turned[1])
    width, height = extent[0] * em * scale, extent[1] * em * scale
    spread = _turned(width, height, angle)
    outer = max(1, min(room[0], round(spread[0]))), max(1, min(room[1], round(spread[1])))
    if position == "tiled":
        places = _tiles(frame, (width, height), outer, em * scale, angle)
    elif position == "chessboard":
        places = _board(frame, outer, em * scale)
    else:
        places = (_corner(room, outer, inset, position),)
    return Arrangement((max(1, round(width)), max(1, round(height))), angle, places)


def _turned(width: float, height: float, angle: float) -> tuple[float, float]:
    cosine, sine = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
    return width * cosine + height * sine, width * sine + height * cosine


def _corner(room: tuple[int, int], outer: tuple[int, int], inset: int, position: Position) -> Rectangle:
    free = room[0] - outer[0], room[1] - outer[1]
    left, top = (int(each) for each in shift(free, position))
    return Rectangle(inset + left, inset + top, *outer)


def _tiles(
    frame: tuple[int, int],
    mark: tuple[float, float],
    outer: tuple[int, int],
    em: float,
    angle: float,
) -> tuple[Rectangle, ...]:
    """Lay a lattice, turned like the mark, from the middle over the frame; odd rows are shifted by half."""
    least = _least_gap(frame)
    along, across = mark[0] + max(_GAP_ALONG * em, least), mark[1] + max(_GAP_ACROSS * em, least)
    return _lattice(frame, outer, (along, across), angle)


def _board(frame: tuple[int, int], outer: tuple[int, int], em: float) -> tuple[Rectangle, ...]:
    """Lay a chessboard from the middle over the frame and mark the black fields; each has room for one."""
    gap = max(_BOARD_GAP * em, _least_gap(frame) / 2)
    return _lattice(frame, outer, (2 * (outer[0] + gap), outer[1] + gap), 0.0)


def _least_gap(frame: tuple[int, int]) -> float:
    return max(_LEAST_GAP_OF_SHORT_EDGE * min(frame), _LEAST_GAP_OF_LONG_EDGE * max(frame), 1.0)


def _lattice(
    frame: tuple[int, int], outer: tuple[int, int], step: tuple[float, float], angle: float
) -> tuple[Rectangle, ...]:
    along, across = step
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    reach = math.hypot(*frame) / 2 + math.hypot(*outer) / 2
    rows, columns = math.ceil(reach / across), math.ceil(reach / along) + 1
    places: list[Rectangle] = []
    for row in range(-rows, rows + 1):
        for column in range(-columns, columns + 1):
            forward, down = (column + row % 2 / 2) * along, row * across
            middle_x = frame[0] / 2 + forward * cosine + down * sine
            middle_y = frame[1] / 2 - forward * sine + down * cosine
            left, top = round(middle_x - outer[0] / 2), round(middle_y - outer[1] / 2)
            if -outer[0] < left < frame[0] and -outer[1] < top < frame[1]:
                places.append(Rectangle(left, top, *outer))
    return tuple(places)
