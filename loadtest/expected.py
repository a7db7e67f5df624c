"""What a right result is: one photo of each kind is looked at with Pillow, all others must be its equals.

The same original with the same recipe gives the same bytes, so once a result was decoded and found right its
hash stands for it, and verifying costs the generator a hash.
"""

import hashlib
import io
from collections.abc import Mapping

from PIL import Image, ImageChops, ImageOps, ImageStat

from loadtest.published import Entry

FIELDS: Mapping[str, str] = {"operations": "watermark", "text": "© Studio 2026"}
"""The recipe of all load tests: one mark in a corner."""
_SMALL = (64, 64)
_STRAYS = 6.0
"""Mean difference of grey levels, seen from afar, between an original and what is the same photo, marked."""


def sha256(content: bytes) -> str:
    """Return the hash."""
    return hashlib.sha256(content).hexdigest()


class Verifier:
    """Remembers the right result of each original; a result is right or wrong for a reason."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._right: dict[str, str] = {}

    def learn(self, entry: Entry, original: bytes, result: bytes) -> str | None:
        """Look at an original's first result; return what is wrong with it, and remember it if nothing is."""
        wrong = fault(entry, original, result)
        if wrong is None:
            self._right[sha256(original)] = sha256(result)
        return wrong

    def check(self, entry: Entry, sent: str, original: bytes, result: bytes) -> str | None:
        """Return what is wrong with the result of what was sent, known by its hash; None when it is right."""
        if sha256(result) == self._right.get(sent):
            return None
        return fault(entry, original, result) or "bytes"


def fault(entry: Entry, original: bytes, result: bytes) -> str | None:
    """Return why it cannot be the marked photo: `unreadable`, `format`, `size`, `bytes`; None if it can."""
    try:
        with Image.open(io.BytesIO(result)) as image:
            image.load()
            form, frame = image.format, ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, SyntaxError, ValueError):
        return "unreadable"
    if form != entry.form:
        return "format"
    if frame.size != entry.shown:
        return "size"
    with Image.open(io.BytesIO(original)) as image:
        before = ImageOps.exif_transpose(image).convert("RGB")
    apart = ImageChops.difference(before, frame)
    unmarked = apart.getbbox() is None
    strays = max(ImageStat.Stat(apart.resize(_SMALL, Image.Resampling.BOX)).mean)
    return "bytes" if unmarked or strays > _STRAYS else None
