"""`make demo` against a running system: a person who has just typed it sees six photos come back."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path, PurePath

import pytest
from PIL import Image, ImageChops, ImageOps, ImageStat

from loadtest.corpus import holiday
from tests.people import opened
from tests.system import System

pytestmark = pytest.mark.servers

ROOT = Path(__file__).parents[2]


def demo(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "loadtest.demo", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


def test_the_demo_sends_photos_saves_their_archive_and_says_how_it_went(
    running_system: System, tmp_path: Path
) -> None:
    said = demo("--url", running_system.base_url, "--count", 6, "--out", tmp_path / "out")
    assert said.returncode == 0, said.stdout + said.stderr
    sent = {PurePath(name).stem: opened(content) for name, content in holiday(6)}
    with zipfile.ZipFile(tmp_path / "out" / "ebbmark.zip") as archive:
        results = {PurePath(name).stem: archive.read(name) for name in archive.namelist()}
    assert results.pop("manifest")
    assert results.keys() == sent.keys()
    for name, content in results.items():
        _resized_and_marked(sent[name], content)
    assert re.search(r"photos +6 done, 0 failed \(\d+\.\d MB\)", said.stdout)
    first, complete = (_seconds(words, said.stdout) for words in (r"first result +{}", r"complete after {}"))
    assert 0 < first <= complete
    assert f"archive        {tmp_path}/out/ebbmark.zip" in said.stdout
    assert "WRONG" not in said.stdout


def _resized_and_marked(original: Image.Image, content: bytes) -> None:
    """Upright, as wide as was asked for at most, and changed at the bottom right alone."""
    result, upright = opened(content), ImageOps.exif_transpose(original)
    width = min(1200, upright.width)
    assert result.size == (width, round(upright.height * width / upright.width))
    change = ImageChops.difference(upright.convert("RGB").resize(result.size), result.convert("RGB"))
    right, bottom = result.width // 2, result.height // 2
    elsewhere, mark = (
        ImageStat.Stat(change.crop(box)).extrema
        for box in ((0, 0, right, bottom), (right, bottom, *result.size))
    )
    assert max(most for _, most in mark) > 2 * max(most for _, most in elsewhere)


def _seconds(words: str, text: str) -> float:
    found = re.search(words.format(r"(\d+\.\d+) s"), text)
    assert found, text
    return float(found[1])


def test_without_a_system_the_demo_says_how_to_start_one() -> None:
    said = demo("--url", "http://127.0.0.1:1")
    assert (said.returncode, said.stdout) == (3, "")
    assert said.stderr == "Nobody is ready at http://127.0.0.1:1. Start it first: make up\n"
