"""The vignette does what its parameters say, through Ebbmark's own renderer."""

import io
import json

import pytest
from PIL import Image

from ebbmark.errors import Rejected
from ebbmark.imaging.render import render


def photo(size: tuple[int, int] = (320, 240), mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, {"RGBA": (120, 160, 200, 90), "L": 160}.get(mode, (120, 160, 200))).save(out, "PNG")
    return out.getvalue()


def rendered(original: bytes, **parameters: object) -> Image.Image:
    recipe = {"operations": [{"operation": "vignette", **parameters}]}
    return Image.open(io.BytesIO(render(original, json.dumps(recipe).encode()).data))


def test_the_middle_stays_and_the_corners_fade() -> None:
    faded = rendered(photo(), strength=1)
    assert faded.getpixel((160, 120)) == (120, 160, 200)
    for corner in ((0, 0), (319, 0), (0, 239), (319, 239)):
        assert max(faded.getpixel(corner)) < 12


def test_no_strength_changes_nothing_and_white_is_white() -> None:
    assert rendered(photo(), strength=0).tobytes() == Image.open(io.BytesIO(photo())).tobytes()
    assert min(rendered(photo(), strength=1, fade_to="white").getpixel((0, 0))) > 243


def test_it_is_alike_at_any_size() -> None:
    large = rendered(photo((1280, 960))).reduce(4)
    pairs = zip(large.tobytes(), rendered(photo()).tobytes(), strict=True)
    assert max(abs(one - other) for one, other in pairs) <= 2


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_every_kind_of_frame_keeps_its_kind(mode: str) -> None:
    faded = rendered(photo(mode=mode))
    assert faded.mode == mode
    if mode == "RGBA":
        assert set(faded.getchannel("A").tobytes()) == {90}


def test_a_photo_that_is_too_small_is_refused_with_a_sentence() -> None:
    assert rendered(photo(), least_edge=240).size == (320, 240)
    with pytest.raises(Rejected, match="photo-too-small: The photo has an edge of less than 300 pixels"):
        rendered(photo(), least_edge=300)


def test_a_wrong_parameter_is_named_with_what_it_must_be() -> None:
    with pytest.raises(Rejected, match="vignette: strength must be a number from 0 to 1"):
        rendered(photo(), strength=2)
