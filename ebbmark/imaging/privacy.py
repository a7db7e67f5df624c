"""What a file tells beside its picture is named here in words, and what of it a result does not tell."""

import re
import struct
from collections.abc import Mapping
from typing import Final, Literal, cast

from ebbmark.imaging import exif
from ebbmark.imaging.directories import Directory, directories, directory_at, is_tiff
from ebbmark.imaging.origin import Origin
from ebbmark.imaging.parts import has_profile

__all__ = ["RIGHTS", "WORDS", "Privacy", "found", "found_in_texts", "kept", "removed"]

Privacy = Literal["private", "keep", "strip"]

LOCATION, SERIALS, OWNER, NOTES = "location", "serial numbers", "owner's name", "maker notes"
THUMBNAIL, PICTURES, CAMERA = "embedded thumbnail", "further pictures", "dates and camera settings"
CAPTIONS, COMMENTS, IPTC, XMP = "captions", "comments", "IPTC", "XMP"
RIGHTS, PROFILE = "artist and copyright", "colour profile"
"""Rights that EXIF names are kept; of those in XMP, IPTC or the texts of a PNG it is told that they went."""

WORDS: Final = (
    LOCATION, SERIALS, OWNER, NOTES, THUMBNAIL, PICTURES, CAMERA, CAPTIONS, COMMENTS, IPTC, XMP, RIGHTS,
    PROFILE,
)  # fmt: skip
"""All there are, the most personal first; each status names some of them, in this order."""

_EXIF, _THUMBNAIL_AT, _STRIPS = 0x8769, 0x0201, 0x0111
_TAGS: Final[Mapping[int, str]] = {
    0x8825: LOCATION,
    **dict.fromkeys((0xA431, 0xA435, 0xA420, 0xC62F), SERIALS),
    **dict.fromkeys((0xA430, 0x9C9D), OWNER),
    **dict.fromkeys((0x927C, 0xC634), NOTES),
    **dict.fromkeys((0x010E, 0x9286, 0x9C9B, 0x9C9C, 0x9C9E, 0x9C9F), CAPTIONS),
    **dict.fromkeys((0x83BB, 0x8649), IPTC),
    0x02BC: XMP,
}
"""What a tag tells. Of the others most tell of dates and of the camera."""
_PLAIN: Final = frozenset(
    {
        *range(0x00FE, 0x0104), 0x0106, 0x0111, *range(0x0112, 0x0120), 0x0128, 0x0129, 0x013B, 0x013D,
        0x013E, 0x013F, *range(0x0140, 0x0146), 0x014A, 0x0152, 0x0153, *range(0x0200, 0x0215), 0x8298,
        0x8769, 0x8773, 0x9000, 0x9101, 0xA000, 0xA001, 0xA002, 0xA003, 0xA005,
    }
)  # fmt: skip
"""Tags that tell of nothing but the picture, and the two of the rights, which may be there and empty."""

_IPTC = 0x0404
_RESOURCES: Final[Mapping[int, str]] = {_IPTC: IPTC, 0x0409: THUMBNAIL, 0x040C: THUMBNAIL}
"""What Photoshop puts beside a picture."""
_XMP_SIGNS: Final = (
    (b"GPSLatitude", LOCATION),
    (b"SerialNumber", SERIALS),
    (b"OwnerName", OWNER),
    (b":Thumbnails", THUMBNAIL),
    (b"xmpGImg:image", THUMBNAIL),
    (b"GImage:Data", PICTURES),
    (b"GDepth:Data", PICTURES),
    *((sign, RIGHTS) for sign in (b"dc:creator", b"dc:rights", b"tiff:Artist", b"tiff:Copyright")),
)
_IPTC_RIGHTS: Final = (b"\x1c\x02\x50", b"\x1c\x02\x74")
"""How a by-line and a notice of copyright begin in IPTC."""
_TEXT_RIGHTS: Final = frozenset({"artist", "author", "copyright", "creator"})
_LARGEST_XMP = 65_000
_XMP_TURN = re.compile(rb"(tiff:Orientation\s*(?:=\s*[\"']|>)\s*)\d+")
_XMP_PICTURE = rb"\w{1,40}:Thumbnails|G(?:Image|Depth):Data|xmpGImg:image"
_XMP_BEGIN = re.compile(rb"<(%b)\b[^<>]*>" % _XMP_PICTURE)
_XMP_ATTRIBUTE = re.compile(rb"\s(?:%b)\s*=\s*(?:\"[^\"]*\"|'[^']*')" % _XMP_PICTURE)
_HEX_EXIF = "Raw profile type exif"
"""How ImageMagick wrote EXIF before PNG had a place for it."""


def found(
    original: bytes, info: Mapping[str | tuple[int, int], object], *, pictures: int = 1
) -> frozenset[str]:
    """Return what a file tells, by what its reader found and by the number of still pictures in it.

    Looks at tags and not at their values, so it costs microseconds, and no block can do harm.
    """
    stored = original if is_tiff(original[:4]) else info.get("exif")
    told = _told_by_tags(stored, is_file=stored is original) if isinstance(stored, bytes) else set[str]()
    if info.get("icc_profile") or (original.startswith(b"GIF") and has_profile(original)):
        told.add(PROFILE)
    if info.get("comment"):
        told.add(COMMENTS)
    if pictures > 1 or "mp" in info:
        told.add(PICTURES)
    resources = info.get("photoshop")
    if isinstance(resources, Mapping):
        told |= {word for number, word in _RESOURCES.items() if number in resources}
        iptc = cast("Mapping[int, object]", resources).get(_IPTC)
        if isinstance(iptc, bytes) and any(sign in iptc for sign in _IPTC_RIGHTS):
            told.add(RIGHTS)
    return frozenset(told | _told_by_xmp(info.get("xmp")))


def found_in_texts(texts: Mapping[str, str]) -> frozenset[str]:
    """Return what the texts of a PNG tell."""
    told = {COMMENTS} if texts.keys() - {_HEX_EXIF, "XML:com.adobe.xmp"} else set[str]()
    if any(name.lower() in _TEXT_RIGHTS for name in texts):
        told.add(RIGHTS)
    if _HEX_EXIF in texts:
        try:
            block = bytes.fromhex("".join(texts[_HEX_EXIF].split("\n")[3:]))
        except ValueError:
            block = b""
        told |= _told_by_tags(block, is_file=False)
    return frozenset(told)


def kept(privacy: Privacy, origin: Origin, size: tuple[int, int]) -> dict[str, bytes]:
    """Return what a result of this size is to tell, as Pillow's writers take it."""
    told: dict[str, bytes] = {}
    if privacy == "private" and origin.rights:
        told["exif"] = origin.rights
    if privacy == "keep":
        if whole := exif.block(origin.exif, size):
            told["exif"] = whole
        if origin.xmp and len(origin.xmp) <= _LARGEST_XMP:
            told["xmp"] = _without_pictures(_XMP_TURN.sub(rb"\g<1>1", origin.xmp))
    return told


def removed(origin: Origin, written: Mapping[str, bytes]) -> tuple[str, ...]:
    """Return in words what a file told and its result does not, into which this was written."""
    still = _told_by_tags(written.get("exif", b""), is_file=False) | _told_by_xmp(written.get("xmp"))
    if "exif" in written and origin.rights:
        still.add(RIGHTS)
    if "icc_profile" in written:
        still.add(PROFILE)
    return tuple(word for word in WORDS if word in origin.told - still)


def _without_pictures(xmp: bytes) -> bytes:
    """Return XMP without the pictures that programs put there; what is not closed is cut to its end."""
    kept: list[bytes] = []
    at = 0
    while begin := _XMP_BEGIN.search(xmp, at):
        kept.append(xmp[at : begin.start()])
        at = begin.end()
        if not begin[0].endswith(b"/>"):
            end = xmp.find(b"</" + begin[1], at)
            behind = xmp.find(b">", end) + 1 if end >= 0 else 0
            at = behind or len(xmp)
    kept.append(xmp[at:])
    return _XMP_ATTRIBUTE.sub(b"", b"".join(kept))


def _told_by_xmp(xmp: object) -> set[str]:
    return {XMP, *(word for sign, word in _XMP_SIGNS if sign in xmp)} if isinstance(xmp, bytes) else set()


def _told_by_tags(block: bytes, *, is_file: bool) -> set[str]:
    """Return what a TIFF file or an EXIF block tells, as far as it can be read."""
    told: set[str] = set()
    if not block:
        return told
    block = block.removeprefix(b"Exif\0\0")
    try:
        chain = directories(block)
        first = next(chain)
        told |= _told_by(first)
        if at := first.tags.get(_EXIF):
            told |= _told_by(directory_at(block, at))
        if first.next and is_file:
            told.add(PICTURES)
        elif first.next and {_THUMBNAIL_AT, _STRIPS} & next(chain).tags.keys():
            told.add(THUMBNAIL)
    except struct.error:
        pass
    return told


def _told_by(directory: Directory) -> set[str]:
    return {_TAGS.get(tag, CAMERA) for tag in directory.tags if tag not in _PLAIN}
