"""What a mark may name of its photo: names in braces stand for facts, and no fact is read as a template."""

import re
from collections.abc import Mapping
from datetime import date
from pathlib import PurePath
from typing import Final

from ebbmark.imaging.bidi import FSI, PDI
from ebbmark.imaging.fonts import legible

__all__ = ["NAMES", "expand", "facts_of", "waits_for_total"]

NAMES: Final[Mapping[str, str]] = {
    "filename": "the name of the file, without its ending",
    "n": "the number of the photo in its job, from 1",
    "total": "how many photos the job has",
    "date": "the day the job was sent (UTC)",
    "exif.date": "the day the photo was taken",
    "exif.camera": "what it was taken with",
    "exif.artist": "who took it",
    "copyright": "whose it is",
}
LONGEST_FACT, LONGEST_TEXT = 80, 400

_SIGN = re.compile(r"\{\{|\}\}|\{(" + "|".join(map(re.escape, NAMES)) + r")\}")
_TOTAL = b"{total}"


def expand(template: str, facts: Mapping[str, str]) -> str:
    """Return the template with facts in place of their names, and nothing where a fact is not known.

    `{{` stands for `{` and `}}` for `}`; any other brace stands for itself. A fact is one line of at most
    80 characters that can be drawn, ordered by itself: it turns no words around it. The whole has at most
    400 characters.
    """

    def fact(found: re.Match[str]) -> str:
        name = found[1]
        if name is None:
            return found[0][0]
        words = " ".join(legible(facts.get(name, "")).split())[:LONGEST_FACT].strip()
        return f"{FSI}{words}{PDI}" if words else ""

    text = _SIGN.sub(fact, template)
    lines = "\n".join(line.strip() for line in text.split("\n")).strip()
    return lines if len(lines) <= LONGEST_TEXT else _cut(lines)


def facts_of(name: str, n: int, total: int | None, sent_on: date | None) -> dict[str, str]:
    """Return what is known of a photo that its file does not say; `n` counts from 0, and in marks from 1."""
    known = {"filename": PurePath(name).stem, "n": str(n + 1)}
    if total is not None:
        known["total"] = str(total)
    if sent_on is not None:
        known["date"] = sent_on.isoformat()
    return known


def waits_for_total(recipe: bytes) -> bool:
    """Tell whether a recipe, as JSON, may name the number of photos: known once its job is sealed."""
    return _TOTAL in recipe


def _cut(text: str) -> str:
    """Shorten a text, and close what is then left open."""
    short = text[:LONGEST_TEXT]
    return short + PDI if short.rfind(FSI) > short.rfind(PDI) else short
