"""Names that people gave their files, made safe for headers, paths, pages and archives."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import PurePath
from urllib.parse import quote

from msgspec import Struct

from ebbmark.imaging.recipe import name_in
from ebbmark.ledger import PhotoRow, Snapshot
from ebbmark.states import PhotoState

_LONGEST = 255  # bytes, what every file system of today takes
_ROOM_FOR_A_NUMBER = 8
_DROPPED = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
_FORBIDDEN = re.compile(r'[/\\:*?"<>|]')
_RESERVED = re.compile(r"^(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)", re.IGNORECASE)
EXTENSIONS: Mapping[str, str] = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/webp": ".webp",
    "image/avif": ".avif",
    "image/gif": ".gif",
}
_SAME_TYPE = {
    ".jpeg": "image/jpeg",
    ".jpe": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".gif": "image/gif",
}
_READ_ONLY = {".heic", ".heif", ".tif", ".tiff", ".bmp", ".apng"}
_SIGN = re.compile(r"\{\{|\}\}|\{(?:(stem|width|height|ext|date)|n(?::([1-9]))?)\}")


def safe_name(given: str) -> str:
    """Return the last part of the path as a name no system stumbles over; never empty.

    Unicode letters and emoji stay; control, format and bidirectional characters and line
    separators go.
    """
    name = unicodedata.normalize("NFC", given.replace("\\", "/").rsplit("/", 1)[-1])
    name = "".join(c for c in name if unicodedata.category(c) not in _DROPPED or c == "\u200d")
    name = _FORBIDDEN.sub("_", name).lstrip(". \u200d").rstrip(". ")
    if _RESERVED.match(name):
        name = "_" + name
    return _cut(name or "photo", _LONGEST - _ROOM_FOR_A_NUMBER)


class Named(Struct, frozen=True, kw_only=True):
    """What a template may say of a result: `n` counts from 0 here, and from 1 in names."""

    n: int
    name: str
    """Of its original."""
    width: int
    height: int
    media_type: str
    sent_on: date


def expand(template: str, of: Named) -> str:
    """Return the name that a template gives a result; its extension is added if the template has none.

    Signs are `{stem}`, `{n}`, `{width}`, `{height}`, `{ext}` and `{date}`; `{n:3}` has at least three digits.
    `{{` and `}}` stand for braces, and any other brace for itself. Nothing that a sign stands for is read as
    one.
    """
    told = {
        "stem": PurePath(of.name).stem,
        "width": str(of.width),
        "height": str(of.height),
        "ext": EXTENSIONS.get(of.media_type, "").removeprefix("."),
        "date": of.sent_on.isoformat(),
    }

    def said(found: re.Match[str]) -> str:
        if found[0] in {"{{", "}}"}:
            return found[0][0]
        return told[found[1]] if found[1] else str(of.n + 1).rjust(int(found[2] or 1), "0")

    return safe_name(_SIGN.sub(said, template))


def file_names(snapshot: Snapshot) -> dict[int, str]:
    """Return the file names of the results that are done: their originals', or by the recipe's template."""
    done = [row for row in snapshot.photos if row.state is PhotoState.DONE]
    template = name_in(snapshot.job.recipe)
    if not template:
        return result_names((row.n, row.name or "photo", row.result_type or "") for row in done)
    sent_on = snapshot.job.created_at.date()
    return result_names(
        (row.n, expand(template, _named(row, sent_on)), row.result_type or "") for row in done
    )


def _named(row: PhotoRow, sent_on: date) -> Named:
    return Named(
        n=row.n,
        name=row.name or "photo",
        width=row.width or 0,
        height=row.height or 0,
        media_type=row.result_type or "",
        sent_on=sent_on,
    )


def result_names(photos: Iterable[tuple[int, str, str]]) -> dict[int, str]:
    """Return a file name for each result, given (n, name, media type); no two are alike.

    The extension says what the result is; one that says so already is kept as it was written.
    """
    taken: set[str] = set()
    last: dict[tuple[str, str], int] = {}  # all numbers up to it are taken: hundreds may be called alike
    names: dict[int, str] = {}
    for n, name, media_type in photos:
        stem, extension = _split(name, media_type)
        alike = stem.casefold(), extension.casefold()
        count = last.get(alike, 1)
        candidate = _numbered(stem, extension, count)
        while candidate.casefold() in taken:
            count += 1
            candidate = _numbered(stem, extension, count)
        last[alike] = count
        taken.add(candidate.casefold())
        names[n] = candidate
    return names


def _numbered(stem: str, extension: str, count: int) -> str:
    return stem + extension if count == 1 else f"{stem} ({count}){extension}"


def content_disposition(name: str, instead: str = "photo") -> str:
    """Return the header that saves a download under this name, in every browser.

    Old programs read ASCII only; where it leaves nothing of the name, they get `instead` and the extension.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9._ ()-]", "_", plain).strip()
    stem, dot, extension = plain.rpartition(".") if "." in plain else (plain, "", "")
    stem = stem.strip(" .")
    if not re.search("[A-Za-z0-9]", stem):
        stem = instead
    return f"attachment; filename=\"{stem}{dot}{extension}\"; filename*=UTF-8''{quote(name, safe='')}"


def _split(name: str, media_type: str) -> tuple[str, str]:
    stem, dot, extension = name.rpartition(".")
    extension = (dot + extension) if stem else ""
    if _SAME_TYPE.get(extension.lower()) == media_type:
        return name[: len(name) - len(extension)], extension
    known = extension.lower() in {*_SAME_TYPE, *_READ_ONLY}
    right = EXTENSIONS.get(media_type, "")
    return _cut(stem if known else name, _LONGEST - _ROOM_FOR_A_NUMBER - len(right)), right


def _cut(name: str, longest: int) -> str:
    if len(name.encode()) <= longest:
        return name
    stem, dot, extension = name.rpartition(".")
    if not stem or len(extension) > 8:
        stem, dot, extension = name, "", ""
    room = longest - len((dot + extension).encode())
    return stem.encode()[:room].decode("utf-8", "ignore").rstrip(". ") + dot + extension
