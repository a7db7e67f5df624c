"""Names that people gave their files, made safe for headers, paths, pages and archives."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from urllib.parse import quote

_LONGEST = 255  # bytes, what every file system of today takes
_ROOM_FOR_A_NUMBER = 8
_DROPPED = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
_FORBIDDEN = re.compile(r'[/\\:*?"<>|]')
_RESERVED = re.compile(r"^(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)", re.IGNORECASE)
EXTENSIONS: Mapping[str, str] = {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp"}
_SAME_TYPE = {
    ".jpeg": "image/jpeg",
    ".jpe": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
}


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


def result_names(photos: Iterable[tuple[int, str, str]]) -> dict[int, str]:
    """Return a file name for each result, given (n, name, media type); no two are alike.

    The extension says what the result is; one that says so already is kept as it was written.
    """
    taken: set[str] = set()
    names: dict[int, str] = {}
    for n, name, media_type in photos:
        stem, extension = _split(name, media_type)
        candidate, count = stem + extension, 1
        while candidate.casefold() in taken:
            count += 1
            candidate = f"{stem} ({count}){extension}"
        taken.add(candidate.casefold())
        names[n] = candidate
    return names


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
    known = extension.lower() in {*_SAME_TYPE, ".heic", ".tif", ".tiff", ".gif", ".bmp"}
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
