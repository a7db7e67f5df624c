"""Photos are found and read here, and results saved: whole, and never over another file."""

import os
import re
import unicodedata
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from errno import EMLINK, ENOTSUP, EPERM
from pathlib import Path
from uuid import uuid4

from ebbmark.sending.trouble import WRONG, RefusedError, SendError

_EXTENSIONS = {
    ".jpg", ".jpeg", ".png", ".apng", ".webp", ".avif", ".heic", ".heif", ".gif", ".tif", ".tiff", ".bmp",
}  # fmt: skip
_STEM = re.compile(r"\{\{|\{stem\}")  # two braces stand for one, and begin no sign
_PIECE = 256 * 1024
_LONGEST_SUFFIX = 16
_NO_LINKS = {EPERM, ENOTSUP, EMLINK}  # a memory stick, say


def find_photos(paths: Sequence[Path], out: Path) -> list[Path]:
    """Return the files named, and the photos in the folders named, in order.

    Results of an earlier command are no photos: `out` is left out of a folder that holds it.

    Raises:
        SendError: one is not there, or nothing is left.
    """
    found: list[Path] = []
    for path in paths:
        with as_wrong_usage(f"{path} cannot be read"):
            if path.is_dir():
                found += _inside(path, out)
            elif path.is_file():
                found.append(path)
            else:
                raise SendError(WRONG, f"there is no file {path}")
    if not found:
        raise SendError(WRONG, "there are no photos in what was named")
    return found


def _inside(folder: Path, out: Path) -> list[Path]:
    whole, results = folder.resolve(), out.resolve()
    left_out = folder / results.relative_to(whole) if whole in results.parents else None
    return [
        each
        for each in sorted(folder.rglob("*"))
        if each.suffix.lower() in _EXTENSIONS and each.is_file()
        if left_out is None or left_out not in each.parents
    ]


@contextmanager
def as_wrong_usage(trouble: str) -> Generator[None]:
    """Have whatever is wrong with a file be wrong usage."""
    try:
        yield
    except OSError as exc:
        raise SendError(WRONG, f"{trouble}: {exc.strerror}") from exc


def size_of(path: Path) -> int:
    """Return how many bytes the file has now.

    Raises:
        RefusedError: it cannot be read, code `unreadable-file`.
    """
    with _readable():
        return path.stat().st_size


def pieces(path: Path) -> Generator[bytes]:
    """Yield what the file holds, piece by piece.

    Raises:
        RefusedError: it cannot be read, code `unreadable-file`.
    """
    with _readable(), path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece


@contextmanager
def _readable() -> Generator[None]:
    try:
        yield
    except OSError as exc:
        raise RefusedError("unreadable-file", f"It cannot be read: {exc.strerror}.") from exc


def save(folder: Path, name: str, content: bytes) -> Path:
    """Write a file of this name into the folder, or of one with a number: whole or not at all.

    Raises:
        RefusedError: it cannot be written, code `unwritable-file`.
    """
    safe = Path(name.replace("\0", "")).name
    safe = "photo" if safe in {"", ".."} else safe
    hidden = folder / f".{uuid4().hex}.part"
    try:
        with hidden.open("xb") as file:
            file.write(content)
        return _named(hidden, folder, safe)
    except (OSError, UnicodeEncodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "the system cannot spell its name"
        raise RefusedError("unwritable-file", f"The result cannot be written: {why}.") from exc
    finally:
        with suppress(OSError):
            hidden.unlink()


def _named(hidden: Path, folder: Path, safe: str) -> Path:
    longest = os.pathconf(folder, "PC_NAME_MAX")
    stem, suffix = Path(safe).stem, Path(safe).suffix
    if len(os.fsencode(suffix)) > _LONGEST_SUFFIX:
        stem, suffix = safe, ""
    count = 1
    while True:
        ending = suffix if count == 1 else f" ({count}){suffix}"
        room = longest - len(os.fsencode(ending))
        path = folder / (os.fsencode(stem)[:room].decode("utf-8", "ignore") + ending)
        with suppress(FileExistsError):
            _give(hidden, path)
            return path
        count += 1


def _give(hidden: Path, path: Path) -> None:
    """Give the file its name, unless another has it."""
    try:
        path.hardlink_to(hidden)
    except OSError as exc:
        if exc.errno not in _NO_LINKS:
            raise
        path.touch(exist_ok=False)
        hidden.replace(path)


def earlier_namesakes(photos: Sequence[Path], template: str = "") -> list[list[int]]:
    """Return for each photo the earlier ones whose results might want its result's name.

    Only those decide whether it gets a number, and the server tells a name without waiting for them.
    Names look alike when they begin with the same letters: extensions change, and endings are cut. By a
    template without `{stem}` all results may be called alike.
    """
    if template and "{stem}" not in _STEM.findall(template):
        return [list(range(n)) for n in range(len(photos))]
    seen: dict[str, list[int]] = {}
    earlier: list[list[int]] = []
    for n, path in enumerate(photos):
        alike = seen.setdefault(_looks(path.name), [])
        earlier.append(list(alike))
        alike.append(n)
    return earlier


def _looks(name: str) -> str:
    shown = unicodedata.normalize("NFC", name.rsplit("\\", 1)[-1]).lstrip(". ").casefold()
    beginning = shown.partition(".")[0].partition("(")[0]
    return "".join(letter for letter in beginning[:40] if letter.isalnum())
