"""The fonts a mark is written in, which characters they have, and which font writes which part of a text.

Every font comes from an installed package, and HarfBuzz from a wheel, so the same text looks the same on
every host.
"""

import functools
import importlib.metadata
import importlib.resources
import itertools
import unicodedata
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import uharfbuzz

from ebbmark.errors import Rejected
from ebbmark.imaging.bidi import FSI, PDI

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["Face", "Part", "check_text", "drawn", "faces", "hb", "legible", "parts"]

hb: Any = uharfbuzz
"""HarfBuzz, whose wheel has no types."""

FONT_ENTRY_POINT_GROUP = "fontpkg.family"
FIRST_FAMILY = "noto_sans"
FALLBACKS = ("manimgx_fonts", "manimgx_fonts_cjk")
"""Packages of fonts that have no entry point: nineteen more scripts, then Chinese, Japanese, Korean."""
WEIGHT, WIDTH = 600, 100

_JOINING = frozenset({"\u200c", "\u200d", *map(chr, range(0xFE00, 0xFE10))})
"""What shapes its neighbours, or chooses among their forms, and needs no glyph of its own."""
_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_ISOLATING = frozenset({FSI, PDI})
_UNDRAWN = _JOINING | _ISOLATING
_JOINER = "\u200d"


class Face:
    """One font: the characters it has, and itself at any size."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"Face({self.path.name})"

    @functools.cached_property
    def _face(self) -> Any:  # noqa: ANN401 - as above
        return hb.Face(hb.Blob.from_file_path(str(self.path)))

    @functools.cached_property
    def characters(self) -> Collection[int]:
        """Every code point the font has a glyph for."""
        return cast("Collection[int]", self._face.unicodes)

    def has(self, text: str) -> bool:
        """Tell whether the font can draw every character of the text."""
        return all(letter in _UNDRAWN or ord(letter) in self.characters for letter in text)

    @functools.lru_cache(maxsize=16)  # noqa: B019 - faces live as long as the process
    def at(self, size: int) -> Any:  # noqa: ANN401 - as above
        """Return the font with an em of `size` of its own units."""
        font = hb.Font(self._face)
        font.scale = (size, size)
        if self._face.has_var_data:
            font.set_variations({"wght": WEIGHT, "wdth": WIDTH})
        return font


class Part(NamedTuple):
    """A piece of a line that one font draws in one script."""

    text: str
    face: Face
    script: str | None


@functools.cache
def faces() -> tuple[Face, ...]:
    """Return every installed upright face: Noto Sans, other font packages by name, then the fallbacks."""
    found = importlib.metadata.entry_points(group=FONT_ENTRY_POINT_GROUP)
    ordered = sorted(found, key=lambda entry_point: (entry_point.name != FIRST_FAMILY, entry_point.name))
    packages = [cast("ModuleType", entry_point.load()) for entry_point in ordered]
    chosen = [_upright(_fonts_in(cast("Path", package.ROOT)))[:1] for package in packages]
    for name in FALLBACKS:
        with suppress(ModuleNotFoundError):
            chosen.append(_upright(_fonts_in(Path(str(importlib.resources.files(name))))))
    return tuple(Face(path) for path in itertools.chain.from_iterable(chosen))


def parts(line: str) -> Iterator[Part]:
    """Split a line, without the signs that isolate, where its font or its script changes.

    A letter and the marks on it are of one font, the first that has them all. What is of every script,
    such as a blank or a digit, goes with the script before it.

    Raises `Rejected` with `missing-glyph`.
    """
    known = [
        (cluster, _face_for(cluster), _script_of(cluster[0]))
        for cluster in _clusters(line)
        if cluster not in _ISOLATING
    ]
    script = next((each for _, _, each in known if each), None)
    joined: list[Part] = []
    for cluster, face, own in known:
        script = own or script
        if joined and (joined[-1].face, joined[-1].script) == (face, script):
            joined[-1] = Part(joined[-1].text + cluster, face, script)
        else:
            joined.append(Part(cluster, face, script))
    return iter(joined)


def check_text(text: str) -> str:
    """Return the text as it will be drawn: composed, with plain line ends, without blank edges.

    Signs that turn the direction of writing are left out: a text is ordered by its letters. Raises
    `Rejected` with `missing-glyph`.
    """
    turned = "".join(letter for letter in text if letter not in _TURNING)
    plain = unicodedata.normalize("NFC", "\n".join(turned.splitlines()).expandtabs(4)).strip()
    for line in plain.split("\n"):
        list(parts(line))
    return plain


def legible(text: str) -> str:
    """Return words nobody can be asked about as something that can be drawn, in one line.

    What turns the direction of writing is left out, what controls anything else is a blank, and `_` stands
    for every letter that no font has, as in `drawn`.
    """
    plain = "".join(letter for letter in unicodedata.normalize("NFC", text) if letter not in _TURNING)
    return drawn(
        "".join(
            " "
            if letter not in _UNDRAWN and unicodedata.category(letter) in {"Cc", "Cf", "Zl", "Zp", "Zs"}
            else letter
            for letter in plain
        )
    )


def drawn(line: str) -> str:
    """Return a line with `_` in place of every letter that no font has with all that is joined to it."""
    return "".join(cluster if _drawable(cluster) else "_" for cluster in _clusters(line))


def _clusters(line: str) -> Iterator[str]:
    """Split a line into letters, each with the marks on it and what is joined to it.

    A sign that isolates stands alone: what it encloses is joined to nothing around it.
    """
    cluster = ""
    for letter in line:
        joins = letter in _JOINING or unicodedata.category(letter).startswith("M")
        joined = cluster[-1:] == _JOINER and not letter.isspace()
        apart = letter in _ISOLATING or cluster in _ISOLATING
        if cluster and (apart or not (joins or joined)):
            yield cluster
            cluster = ""
        cluster += letter
    if cluster:
        yield cluster


@functools.lru_cache(maxsize=4096)
def _face_for(cluster: str) -> Face:
    for face in faces():
        if face.has(cluster):
            return face
    absent = [letter for letter in cluster if not _drawable(letter)]
    letter = (absent or [cluster])[0]
    shown = f"'{letter}'" if letter.isprintable() else f"U+{ord(letter[0]):04X}"
    raise Rejected("missing-glyph", f"No font has a character for {shown}.")


@functools.lru_cache(maxsize=4096)
def _drawable(cluster: str) -> bool:
    return any(face.has(cluster) for face in faces())


@functools.lru_cache(maxsize=4096)
def _script_of(letter: str) -> str | None:
    """Return the ISO 15924 tag of a letter's script, None for what is used in several."""
    buffer = hb.Buffer()
    buffer.add_str(letter)
    buffer.guess_segment_properties()
    return cast("str | None", buffer.script)


def _fonts_in(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.suffix in {".otf", ".ttf", ".ttc"})


def _upright(files: list[Path]) -> list[Path]:
    """Leave out italics, and other weights where there is a regular one or one of every weight."""
    upright = [path for path in files if "Italic" not in path.name]
    every = [path for path in upright if "[" in path.name or "VF" in path.name or "Regular" in path.name]
    return every or upright
