"""The archive: read by programs that others wrote, and never ahead of its reader."""

import shutil
import subprocess
import zipfile
import zlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ingest.archive import Entry, WrongLengthError, archive, length, whole
from tests.conftest import missing

MOMENT = datetime(2026, 3, 1, 12, 34, 56, tzinfo=UTC)
FILES = {
    "a.jpg": bytes(range(256)) * 999,
    "Закат 🌊.JPG": b"PK\x03\x04 and PK\x07\x08 mean nothing here",
    "empty.png": b"",
    "manifest.json": b"{}",
}
ZEROS = bytes(2**22)
FOUR_GIGABYTES = 2**32


def entries() -> list[Entry]:
    return [Entry(name, len(content), whole(content)) for name, content in FILES.items()]


async def written(path: Path, files: list[Entry]) -> Path:
    """Write the archive, leaving holes where zeros are."""
    with path.open("wb") as file:
        async for chunk in archive(files, MOMENT):
            if chunk is ZEROS:
                file.seek(len(chunk), 1)
            else:
                file.write(chunk)
    return path


async def test_the_length_is_known_and_every_file_comes_out_as_it_went_in(tmp_path: Path) -> None:
    path = await written(tmp_path / "a.zip", entries())
    assert path.stat().st_size == length(entries())
    with zipfile.ZipFile(path) as opened:
        assert opened.testzip() is None
        assert {name: opened.read(name) for name in opened.namelist()} == FILES
        assert {each.date_time for each in opened.infolist()} == {(2026, 3, 1, 12, 34, 56)}
        assert {each.external_attr >> 16 for each in opened.infolist()} == {0o100644}


@pytest.mark.parametrize(
    "command", [["unzip", "-t"], ["7z", "t"], ["bsdtar", "-tf"], ["zipinfo"]], ids=lambda each: each[0]
)
async def test_other_programs_find_nothing_wrong_with_it(tmp_path: Path, command: list[str]) -> None:
    if shutil.which(command[0]) is None:
        missing(f"There is no {command[0]} here.")
    path = await written(tmp_path / "a.zip", entries())
    read = subprocess.run([*command, path], capture_output=True, check=False, text=True)  # noqa: ASYNC221 - it is short
    assert (read.returncode, read.stderr) == (0, "")


async def test_a_reader_that_takes_its_time_has_nothing_pile_up_behind_it() -> None:
    asked = 0

    async def content() -> AsyncGenerator[bytes]:
        nonlocal asked
        for _ in range(100):
            asked += 1
            yield b"x"

    taken = 0
    async with aclosing(archive([Entry("a", 100, content), Entry("b", 100, content)], MOMENT)) as reading:
        async for chunk in reading:
            taken += chunk == b"x"
            assert asked == taken
    assert taken == 200


@pytest.mark.parametrize("content", [b"short", b"much too long"])
async def test_a_file_of_another_length_than_said_breaks_it_off(content: bytes) -> None:
    with pytest.raises(WrongLengthError):
        async for _ in archive([Entry("a", 8, whole(content))], MOMENT):
            pass


def zeros(size: int) -> Callable[[], AsyncGenerator[bytes]]:
    async def yielding() -> AsyncGenerator[bytes]:
        for _ in range(size // len(ZEROS)):
            yield ZEROS

    return yielding


@pytest.mark.parametrize("size", [FOUR_GIGABYTES, FOUR_GIGABYTES - len(ZEROS)])
async def test_beyond_four_gigabytes_it_is_a_zip64(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(
        zlib, "crc32", lambda chunk, crc=0, sum_=zlib.crc32: crc if chunk is ZEROS else sum_(chunk)
    )
    files = [
        Entry("large.png", size, zeros(size)),
        Entry("more.png", len(ZEROS), zeros(len(ZEROS))),
        *entries(),
    ]
    path = await written(tmp_path / "a.zip", files)
    assert path.stat().st_size == length(files)
    monkeypatch.undo()
    with zipfile.ZipFile(path) as opened:
        assert [each.file_size for each in opened.infolist()[:2]] == [size, len(ZEROS)]
        assert {name: opened.read(name) for name in FILES} == FILES
        assert opened.open("large.png").read(1000) == bytes(1000)
