"""Photos that can be told from each other by their pixels and by a marker in their comment."""

import hashlib
import struct
import zlib
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Literal

from PIL import Image, ImageChops, ImageStat

from tests.people import opened, photo, saved_as

MARKER = b"ebbmarker"
"""Begins the comment of every photo: no byte of it may be anywhere once all has expired."""
NAME = "geheimnis"
"""Begins the name of every file: it may be in the ledger alone."""

Kind = Literal["good", "broken", "text", "empty"]
CODES: dict[Kind, str] = {"broken": "corrupt", "text": "unsupported-format", "empty": "empty-file"}
_SMALL = ((112, 84), (96, 128), (160, 120), (240, 240), (320, 240), (480, 270))
_LARGE = ((1024, 768), (1600, 1200))
_SHAPES = tuple((size, form) for size in _SMALL for form in ("JPEG", "PNG", "WEBP"))


@dataclass(frozen=True, kw_only=True)
class Photo:
    """One file as it is sent, and what must become of it."""

    name: str
    kind: Kind
    content: bytes
    frame: int
    """Which picture it is."""

    @property
    def sha256(self) -> str:
        """The digest of what is sent, in hex."""
        return hashlib.sha256(self.content).hexdigest()


def make(rng: Random, label: str, *, kind: Kind = "good", small: bool = False) -> Photo:
    """Return a photo that is like no other; `label` goes into its name and its comment."""
    frame = rng.randrange(len(_SHAPES))
    if not small and rng.random() < 0.03:
        frame = len(_SHAPES) + rng.randrange(len(_LARGE))
    content = _with_comment(_encoded(frame), MARKER + b"-" + label.encode())
    if kind == "broken":
        content = content[: len(content) * 2 // 3]
    elif kind == "text":
        content = MARKER + b" is not a picture: " + label.encode()
    elif kind == "empty":
        content = b""
    return Photo(name=f"{NAME}-{label}.jpg", kind=kind, content=content, frame=frame)


def faults_of(sent: Photo, result: bytes) -> str:
    """Say what is wrong with the result of a good photo; nothing when it is right."""
    frame, image = _frame(sent.frame), opened(result).convert("RGB")
    if image.size != frame.size:
        return f"its size is {image.size} instead of {frame.size}"
    if max(ImageStat.Stat(ImageChops.difference(_tiny(image), _tiny(frame))).mean) > 25:
        return "it shows another picture"
    if max(high for _, high in ImageChops.difference(image, frame).getextrema()) < 40:
        return "it has no mark"
    if MARKER in result:
        return "it still has the comment"
    return ""


def _tiny(image: Image.Image) -> Image.Image:
    return image.resize((16, 16), Image.Resampling.BOX)


@cache
def _encoded(frame: int) -> bytes:
    if frame >= len(_SHAPES):  # grain makes it large: it takes a file on its way in
        width, height = _LARGE[frame - len(_SHAPES)]
        grain = Image.effect_noise((width, height), 60).convert("RGB")
        smooth = opened(photo(width, height, seed=frame * 5 + 3)).convert("RGB")
        return saved_as(Image.blend(smooth, grain, 0.25), "JPEG")
    (width, height), form = _SHAPES[frame]
    return photo(width, height, form=form, seed=frame * 5 + 3)


@cache
def _frame(frame: int) -> Image.Image:
    return opened(_encoded(frame)).convert("RGB")


def _with_comment(content: bytes, comment: bytes) -> bytes:
    """Put the comment where the format has room for one."""
    if content.startswith(b"\xff\xd8"):
        return content[:2] + b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment + content[2:]
    if content.startswith(b"\x89PNG"):
        body = b"tEXtComment\0" + comment
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        return content[:33] + chunk + content[33:]
    chunk = b"EBBM" + struct.pack("<I", len(comment)) + comment + b"\0" * (len(comment) % 2)
    grown = content + chunk
    return grown[:4] + struct.pack("<I", len(grown) - 8) + grown[8:]
