"""The photos of the client: what is wrong with a result is found."""

from random import Random

import pytest

from ebbmark.imaging.recipe import parse_recipe
from ebbmark.imaging.render import Limits, render
from tests.chaos.photos import MARKER, Photo, faults_of, make

MARKED = b'{"operations": [{"operation": "watermark", "text": "\xc2\xa9 chaos"}]}'
SMALLER = b'{"operations": [{"operation": "resize", "width": 40}]}'
UNMARKED = b'{"operations": [{"operation": "resize", "width": 5000}]}'
LIMITS = Limits(bytes=25 * 1024**2, pixels=60_000_000)


def result(photo: Photo, recipe: bytes = MARKED) -> bytes:
    assert parse_recipe(recipe)
    return render(photo.content, recipe, None, LIMITS, {"filename": "x", "n": "1"}).data


def test_no_two_photos_are_the_same_and_each_carries_the_marker() -> None:
    rng = Random(4)
    made = [make(rng, str(n)) for n in range(80)]
    assert len({photo.sha256 for photo in made}) == 80
    assert all(MARKER in photo.content for photo in made)
    assert {photo.content[:2] for photo in made} == {b"\xff\xd8", b"\x89P", b"RI"}


@pytest.mark.parametrize("frame", range(20))
def test_a_right_result_is_right_whatever_the_picture(frame: int) -> None:
    rng = Random(frame)
    photo = next(photo for photo in iter(lambda: make(rng, "x"), None) if photo.frame == frame)
    assert not faults_of(photo, result(photo))


def test_what_is_wrong_with_a_result_is_said() -> None:
    rng = Random(1)
    one = make(rng, "1", small=True)
    other = next(photo for photo in iter(lambda: make(rng, "2"), None) if photo.frame // 3 != one.frame // 3)
    assert "size" in faults_of(one, result(one, SMALLER))
    assert "no mark" in faults_of(one, result(one, UNMARKED))
    assert "comment" in faults_of(one, result(one) + MARKER)
    assert faults_of(one, result(other))
