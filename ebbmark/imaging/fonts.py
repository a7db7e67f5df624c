"""The fonts a mark is written in, and which characters they have.

Text is laid out by Pillow's basic engine: the better one (Raqm) needs a library of the host, and the
same text must look the same on every host. Scripts that cannot be set without it count as missing.
"""

import functools
import importlib.metadata
import struct
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ebbmark.errors import Rejected

if TYPE_CHECKING:
    from types import ModuleType

    from PIL.ImageFont import FreeTypeFont

__all__ = ["Face", "check_text", "face_for", "legible"]

FONT_ENTRY_POINT_GROUP = "fontpkg.family"
FIRST_FAMILY = "noto_sans"
WEIGHT, WIDTH = 600, 100

# Devanagari, which Noto Sans has, becomes wrong words without shaping.
_NEEDS_SHAPING = range(0x0900, 0x0980)
_UNICODE_TABLES = {(3, 10): 1, (0, 4): 2, (0, 6): 3}
_GROUPED_FORMAT = 12


class Face:
    """One font file: the characters it has, and the font at any size."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"Face({self.path.name})"

    @functools.cached_property
    def characters(self) -> frozenset[int]:
        """Every code point the font has a glyph for."""
        return _characters(self.path.read_bytes()).difference(_NEEDS_SHAPING)

    def missing(self, text: str) -> str:
        """Return the first character of the text the font has no glyph for, or an empty string."""
        return next((letter for letter in text if letter != "\n" and ord(letter) not in self.characters), "")

    @functools.lru_cache(maxsize=16)  # noqa: B019 - faces live as long as the process
    def at(self, size: int) -> "FreeTypeFont":
        """Return the font with an em of `size` pixels."""
        from PIL import ImageFont  # noqa: PLC0415 - the door checks texts and draws none

        font = ImageFont.truetype(self.path, size, layout_engine=ImageFont.Layout.BASIC)
        axes = [axis.get("name") for axis in font.get_variation_axes()]
        if axes:
            font.set_variation_by_axes([WEIGHT if name == b"Weight" else WIDTH for name in axes])
        return font


@functools.cache
def faces() -> tuple[Face, ...]:
    """Return the upright face of every installed font package, Noto Sans first, then by name."""
    found = importlib.metadata.entry_points(group=FONT_ENTRY_POINT_GROUP)
    ordered = sorted(found, key=lambda entry_point: (entry_point.name != FIRST_FAMILY, entry_point.name))
    packages = [cast("ModuleType", entry_point.load()) for entry_point in ordered]
    return tuple(Face(path) for package in packages if (path := _upright(cast("Path", package.ROOT))))


def face_for(text: str) -> Face:
    """Return the first face that has every character of the text.

    Raises `Rejected` with `missing-glyph`.
    """
    for face in faces():
        if not face.missing(text):
            return face
    letter = faces()[0].missing(text)
    shown = f"'{letter}'" if letter.isprintable() else f"U+{ord(letter):04X}"
    raise Rejected("missing-glyph", f"The font has no character for {shown}.")


def check_text(text: str) -> str:
    """Return the text as it will be drawn: composed, with plain line ends, without blank edges.

    Raises `Rejected` with `missing-glyph`.
    """
    plain = unicodedata.normalize("NFC", "\n".join(text.splitlines()).expandtabs(4)).strip()
    face_for(plain)
    return plain


def legible(text: str) -> str:
    """Return the text with `_` for every character no font has; for words nobody can be asked about."""
    plain = unicodedata.normalize("NFC", text)
    return "".join("_" if all(face.missing(letter) for face in faces()) else letter for letter in plain)


def _upright(root: Path) -> Path | None:
    files = sorted(
        path for path in root.rglob("*") if path.suffix in {".otf", ".ttf"} and "Italic" not in path.name
    )
    regular = [path for path in files if "[" in path.name or "Regular" in path.name]
    return next(iter(regular or files), None)


def _characters(font: bytes) -> frozenset[int]:
    """Read the character map of a TrueType or OpenType font, without drawing anything."""
    (tables,) = struct.unpack_from(">H", font, 4)
    directory = {
        font[at : at + 4]: struct.unpack_from(">I", font, at + 8)[0] for at in range(12, 12 + 16 * tables, 16)
    }
    start = directory[b"cmap"]
    (subtables,) = struct.unpack_from(">H", font, start + 2)
    for at in range(start + 4, start + 4 + 8 * subtables, 8):
        platform, encoding, offset = struct.unpack_from(">HHI", font, at)
        map_at = start + offset
        (table_format,) = struct.unpack_from(">H", font, map_at)
        if (platform, encoding) in _UNICODE_TABLES and table_format == _GROUPED_FORMAT:
            (groups,) = struct.unpack_from(">I", font, map_at + 12)
            spans = struct.iter_unpack(">III", font[map_at + 16 : map_at + 16 + 12 * groups])
            return frozenset(code for first, last, _ in spans for code in range(first, last + 1))
    return _characters_of_basic_plane(font, start)


def _characters_of_basic_plane(font: bytes, start: int) -> frozenset[int]:
    (subtables,) = struct.unpack_from(">H", font, start + 2)
    found: set[int] = set()
    for at in range(start + 4, start + 4 + 8 * subtables, 8):
        platform, encoding, offset = struct.unpack_from(">HHI", font, at)
        map_at = start + offset
        if (platform, encoding) == (3, 1) and struct.unpack_from(">H", font, map_at)[0] == 4:
            (doubled,) = struct.unpack_from(">H", font, map_at + 6)
            ends = struct.unpack_from(f">{doubled // 2}H", font, map_at + 14)
            starts = struct.unpack_from(f">{doubled // 2}H", font, map_at + 16 + doubled)
            for first, last in zip(starts, ends, strict=True):
                found.update(range(first, last + 1))
    return frozenset(found - {0xFFFF})
