"""A mark is drawn once and remembered: each photo after the first only pays for pasting it."""

import functools
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Literal, NamedTuple

import msgspec
from PIL import Image, ImageChops, ImageDraw

from ebbmark.imaging import codec, fonts

__all__ = ["Design", "Mark", "draw", "extent", "luma"]

Align = Literal["left", "center", "right"]
Ink = tuple[int, int, int]

LIGHT: Ink = (255, 255, 255)
DARK: Ink = (16, 16, 16)
MIDDLE_LUMA = 150

LINE_HEIGHT = 1.25
OUTLINE = 1 / 18
OUTLINE_STRENGTH = 0.55
LOGO_EDGE = 4.0
"""The long edge of a logo, in ems."""
LOGO_GAP = 0.4

MEASURING_EM = 128
EMS = (24, 48, 96, 192, 384, 768)
"""The sizes a mark is drawn at, to be scaled down from; so that its proportions are always the same."""

MEMORY_BYTES = 48 * codec.MEGA
LOGO_LIMITS = codec.Limits(bytes=5 * codec.MEGA, pixels=25 * codec.MEGA)
_SLICES = 12


class Design(msgspec.Struct, frozen=True, kw_only=True):
    """All that decides the look of a mark, but not its size."""

    text: str
    logo: bytes
    """The logo's file, or nothing."""
    ink: Ink
    outline: bool
    align: Align


class Piece(NamedTuple):
    """A part of a mark that is worth pasting, and its place within the mark."""

    left: int
    top: int
    ink: Image.Image
    alpha: Image.Image


class Mark(NamedTuple):
    """A mark ready to be pasted."""

    pieces: tuple[Piece, ...]
    coloured: bool


class Memory:
    """Keeps what was drawn last, up to a number of bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._kept: OrderedDict[Hashable, tuple[object, int]] = OrderedDict()

    def recall[T](self, key: Hashable, make: Callable[[], tuple[T, int]]) -> T:
        raise NotImplementedError
