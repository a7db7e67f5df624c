"""What one photo may cost, and what is kept of its file besides its frames."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
from PIL import Image

from ebbmark.imaging.header import Format

__all__ = ["MEGA", "Limits", "Origin", "Table"]

Table = Sequence[int]

MEGA: Final = 1_000_000


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a single photo may cost."""

    bytes: int = 25 * 1024 * 1024
    pixels: int = 60 * MEGA
    """Of all frames together."""
    scans: int = 30
    """Scans of a progressive JPEG; encoders make ten to twelve."""
    frames: int = 500
    """Of an animation."""


class Origin(NamedTuple):
    """All that is kept of a file besides its frames."""

    format: Format
    size: tuple[int, int]
    """Of the frame as it was decoded: upright, and smaller than the photo if less was enough."""
    icc: bytes | None = None
    """The colour profile, if it fits the photo: a frame may have lost its colours since, or got some."""
    exif: Image.Exif | None = None
    """What the file said; how much of it is written to a result is a matter of privacy."""
    rights: bytes | None = None
    """An EXIF block with the names of artist and copyright holder only, if the file names them."""
    subsampling: int = -1
    """Chroma subsampling of a JPEG: 0 is 4:4:4, 1 is 4:2:2, 2 is 4:2:0, -1 is unknown."""
    tables: tuple[Table, ...] = ()
    """Quantisation tables of a JPEG decoded in full: of the luma, and of the chroma if it has colour."""
    pixels: int = 0
    """Of the file, however many of them were decoded."""
    xmp: bytes | None = None
    told: frozenset[str] = frozenset()
    """What the file told beside its picture, in the words of `privacy`."""
    durations: tuple[int, ...] = ()
    """Of each frame of an animation, in milliseconds; empty for a still photo."""
    plays: int = 0
    """How often an animation is played; 0 is for ever."""
