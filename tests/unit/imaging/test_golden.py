"""Every operation and option looks as it did when a person last looked at it, and gives the same bytes."""

import hashlib
import itertools
import subprocess
import sys

import pytest
from PIL import ImageChops, ImageFilter

from ebbmark.imaging.operation import catalogue
from tests.unit.imaging import golden
from tests.unit.imaging.golden import CASES, MARKS, OPTIONS, SCENES, Golden, goldens, picture, scene
from tests.unit.imaging.photos import result

GOLDENS = goldens()
GREY = {"grayscale RGB", "grayscale L", "saturation L"}
"""The same photo without its colours."""


def test_every_picture_has_its_golden_one() -> None:
    assert GOLDENS.keys() == {*CASES, *MARKS}, "python -m tests.unit.imaging.golden draws them anew"


def test_every_operation_and_option_has_a_golden_picture() -> None:
    assert {*OPTIONS, "watermark"} == golden.operations_that_edit()
    for name, shown in golden.options_shown().items():
        assert shown == set(catalogue()[name].__struct_fields__), name


@pytest.mark.parametrize("name", [*CASES, *MARKS])
def test_a_picture_is_its_golden_one(name: str) -> None:
    assert GOLDENS[name].differences(picture(name)) == []


def test_no_picture_would_pass_for_another() -> None:
    alike = [
        (one, other)
        for one, other in itertools.permutations(GOLDENS, 2)
        if not GOLDENS[one].differences(GOLDENS[other]) and not {one, other} <= GREY
    ]
    assert alike == []


@pytest.mark.parametrize("mode", golden.MODES)
def test_a_picture_with_one_part_a_little_off_is_not_the_golden_one(mode: str) -> None:
    whole = scene(mode)
    seen = Golden.of(whole)
    assert seen.differences(Golden.of(whole.copy())) == []
    lighter = whole.copy()
    lighter.paste(ImageChops.add(whole, whole, scale=1.9).crop((0, 0, 40, 40)), (0, 0))
    assert seen.differences(Golden.of(lighter))
    softer = whole.copy()
    softer.paste(whole.filter(ImageFilter.GaussianBlur(1)).crop((150, 95, 230, 145)), (150, 95))
    assert any("detail" in each for each in seen.differences(Golden.of(softer)))


# The same bytes


def digest() -> str:
    """Return one digest of all results, rendered in an order of their own."""
    total = hashlib.sha256()
    for name in sorted(CASES, key=lambda name: hashlib.sha256(name.encode()).digest()):
        mode, by = CASES[name]
        total.update(result(SCENES[mode], by).data)
    return total.hexdigest()


def test_the_same_recipe_gives_the_same_bytes_twice() -> None:
    for mode, by in CASES.values():
        assert result(SCENES[mode], by).data == result(SCENES[mode], by).data


PROGRAM = "from tests.unit.imaging.test_golden import digest; print(digest())"


@pytest.mark.parametrize("seed", ["1", "2"])
def test_the_same_recipes_give_the_same_bytes_in_a_fresh_process(seed: str) -> None:
    other = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"PYTHONHASHSEED": seed, "LANG": "ja_JP.UTF-8", "PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == digest()
