"""What a file says of itself beside its picture is read here, and what of it a result may say is written.

A damaged block says nothing, or less, and fails no photo.
"""

import re
import struct
import warnings
import zlib
from collections.abc import Mapping
from typing import Final

from PIL import ExifTags, Image

__all__ = ["DAMAGE", "block", "facts", "orientation", "read", "rights", "words"]

# What Pillow's readers raise on hostile bytes; anything else is a defect of ours and must not be hidden.
DAMAGE: Final = (
    ArithmeticError, AttributeError, EOFError, LookupError, OSError, RuntimeError, SyntaxError, TypeError,
    ValueError, struct.error, zlib.error,
)  # fmt: skip

_DATE = re.compile(r"(\d{4}):(\d\d):(\d\d)")
_LONGEST_NAME = 1_000
_LARGEST_BLOCK = 0xFFFF - 2
"""What fits into one segment of a JPEG."""

_POINTERS: Final = frozenset({ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo})
_INTEROP = 0xA005
_STRUCTURE: Final = frozenset(
    {
        *range(0x00FE, 0x0104), 0x0106, 0x010A, 0x0111, ExifTags.Base.Orientation, *range(0x0115, 0x011A),
        0x011C, 0x0120, 0x0121, 0x013D, *range(0x0140, 0x0146), 0x014A, 0x0152, 0x0153, 0x015B,
        *range(0x0200, 0x020A), 0x0211, 0x0212, 0x0213, 0x0214, 0x02BC, 0x83BB, 0x8649, 0x8773, 0x935C,
    }
)  # fmt: skip
"""Tags of a TIFF that say how its picture is stored, or hold another copy of it or other blocks: of a result
they would not be true."""
_SIZES: Final = (0xA002, 0xA003)
_A_JPEG = b"\xff\xd8\xff"


def read(image: Image.Image) -> Image.Exif:
    """Return what the file says of itself."""
    try:
        return image.getexif()
    except DAMAGE:
        return Image.Exif()


def orientation(exif: Image.Exif) -> int:
    """Return how the picture is to be turned, 1 for not at all."""
    try:
        value: object = exif.get(ExifTags.Base.Orientation)
    except DAMAGE:
        return 1
    return value if isinstance(value, int) else 1


def facts(exif: Image.Exif | None) -> dict[str, str]:
    """Return what a file says of itself: `exif.date` (ISO 8601), `exif.camera`, `exif.artist`, `copyright`.

    Each is there only if the file names it.
    """
    if exif is None:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        named = _facts(exif)
    return {name: _unicode(value) for name, value in named.items() if value}


def _facts(exif: Image.Exif) -> dict[str, str]:
    try:
        taken = words(exif.get_ifd(ExifTags.IFD.Exif), ExifTags.Base.DateTimeOriginal)
    except DAMAGE:
        taken = ""
    found = _DATE.match(taken or words(exif, ExifTags.Base.DateTime))
    maker, model = words(exif, ExifTags.Base.Make), words(exif, ExifTags.Base.Model)
    camera = model if model.startswith(maker) else f"{maker} {model}"
    return {
        "exif.date": "-".join(found.groups()) if found else "",
        "exif.camera": camera.strip(),
        "exif.artist": words(exif, ExifTags.Base.Artist),
        "copyright": words(exif, ExifTags.Base.Copyright),
    }


def rights(exif: Image.Exif | None) -> bytes | None:
    """Return a block with the names of artist and copyright holder only, None when the file names neither."""
    names = {tag: words(exif or {}, tag) for tag in (ExifTags.Base.Artist, ExifTags.Base.Copyright)}
    if not any(names.values()):
        return None
    kept = Image.Exif()
    for tag, name in names.items():
        if name:
            # Pillow reads these bytes as Latin-1 and would write them as ASCII with question marks.
            kept[tag] = name.encode("latin-1", "replace")
    return kept.tobytes()


def block(exif: Image.Exif | None, size: tuple[int, int]) -> bytes | None:
    """Return a block that says what the file said, of a picture of this size that is upright.

    Left out are pictures, in the thumbnail or in notes of the maker, and how a TIFF is stored. None when
    nothing is left, when it is damaged, or when it is too long for a JPEG.
    """
    if exif is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kept = _copied(exif, size)
            whole = kept.tobytes() if kept else None
    except DAMAGE:
        return None
    return whole if whole and len(whole) <= _LARGEST_BLOCK else None


def _copied(exif: Image.Exif, size: tuple[int, int]) -> Image.Exif:
    kept = Image.Exif()
    kept.endian = exif.endian
    for tag in sorted(set(exif) - _STRUCTURE - _POINTERS):
        if not _holds_picture(exif[tag]):
            kept[tag] = _spelt(exif[tag])
    for pointer in sorted(_POINTERS):
        told = exif.get_ifd(pointer).items()
        inner = {tag: _spelt(value) for tag, value in told if tag != _INTEROP and not _holds_picture(value)}
        inner |= {tag: length for tag, length in zip(_SIZES, size, strict=True) if tag in inner}
        if inner:
            kept[pointer] = inner
    return kept


def _holds_picture(value: object) -> bool:
    """Tell whether notes of the maker, or whatever it is, hide an unmarked copy."""
    return isinstance(value, bytes) and _A_JPEG in value


def _spelt(value: object) -> object:
    """Return a value as Pillow writes it unchanged: it reads Latin-1 and would write ASCII."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("latin-1", "replace")
    return value


def words(tags: Mapping[int, object], tag: int) -> str:
    """Return what a tag says, if it says it in words."""
    try:
        value = tags.get(tag)
    except DAMAGE:
        return ""
    return value.strip("\0 ")[:_LONGEST_NAME] if isinstance(value, str) else ""


def _unicode(text: str) -> str:
    """Return words as their writer meant them: Pillow reads Latin-1, and most programs write UTF-8."""
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text
