"""Tones and filters give each pixel the colour that their formula says, and leave transparency alone."""

import math

import pytest
from PIL import Image, ImageChops, ImageDraw

from ebbmark.imaging.filters import Sepia, Sharpen
from ebbmark.imaging.operation import Context, Operation
from ebbmark.imaging.tones import Autocontrast, Brightness, Contrast, Saturation
from tests.unit.imaging.photos import flat, likeness, varied

Colour = tuple[int, int, int]

COLOURS: list[Colour] = [
    (0, 0, 0), (255, 255, 255), (128, 128, 128), (255, 0, 0), (0, 255, 0), (0, 0, 255),
    (200, 100, 50), (10, 20, 30), (250, 240, 230), (77, 150, 29),
]  # fmt: skip
ALL: list[Operation] = [
    Sepia(), Sharpen(), Brightness(), Contrast(), Saturation(), Autocontrast(), Autocontrast(each_colour=True)
]  # fmt: skip
NOTHING: list[Operation] = [
    Sepia(sepia=0), Sharpen(sharpness=0),
    Brightness(brightness=1), Contrast(contrast=1), Saturation(saturation=1),
]  # fmt: skip


def palette() -> Image.Image:
    image = Image.new("RGB", (len(COLOURS), 1))
    image.putdata(COLOURS)
    return image


def clipped(values: tuple[float, ...]) -> tuple[int, ...]:
    return tuple(max(0, min(255, round(value))) for value in values)


def brighter(colour: Colour, factor: float) -> tuple[float, ...]:
    return tuple(value * factor for value in colour)


def harder(colour: Colour, factor: float) -> tuple[float, ...]:
    return tuple(255 * ((value / 255 - 0.5) * factor + 0.5) for value in colour)


def stronger(colour: Colour, factor: float) -> tuple[float, ...]:
    luma = 0.213 * colour[0] + 0.715 * colour[1] + 0.072 * colour[2]
    return tuple(luma + (value - luma) * factor for value in colour)


def browner(colour: Colour, share: float) -> tuple[float, ...]:
    """By the words of the W3C's Filter Effects."""
    red, green, blue = colour
    less = 1 - share
    return (
        (0.393 + 0.607 * less) * red + (0.769 - 0.769 * less) * green + (0.189 - 0.189 * less) * blue,
        (0.349 - 0.349 * less) * red + (0.686 + 0.314 * less) * green + (0.168 - 0.168 * less) * blue,
        (0.272 - 0.272 * less) * red + (0.534 - 0.534 * less) * green + (0.131 + 0.869 * less) * blue,
    )


FORMULAS = {
    Brightness: ("brightness", brighter, (0, 0.5, 1, 1.15, 4)),
    Contrast: ("contrast", harder, (0, 0.5, 1, 1.2, 4)),
    Saturation: ("saturation", stronger, (0, 0.5, 1, 1.2, 4)),
    Sepia: ("sepia", browner, (0, 0.3, 1)),
}


@pytest.mark.parametrize(
    ("kind", "amount"), [(kind, amount) for kind, (_, _, amounts) in FORMULAS.items() for amount in amounts]
)
def test_each_colour_becomes_what_the_formula_says(kind: type[Operation], amount: float) -> None:
    name, formula, _ = FORMULAS[kind]
    made = kind(**{name: amount}).edit(palette(), Context())
    for place, colour in enumerate(COLOURS):
        expected = clipped(formula(colour, amount))
        assert made.getpixel((place, 0)) == pytest.approx(expected, abs=1), colour


@pytest.mark.parametrize("operation", [*ALL, *NOTHING], ids=str)
def test_transparency_stays_and_opaque_pixels_are_edited_as_in_a_photo_without(operation: Operation) -> None:
    photo = varied((64, 48))
    whole = photo.convert("RGBA")
    assert (
        operation.edit(whole, Context()).convert("RGB").tobytes()
        == operation.edit(photo, Context()).tobytes()
    )
    alpha = Image.linear_gradient("L").resize(photo.size).point([max(1, value) for value in range(256)])
    faint = photo.copy()
    faint.putalpha(alpha)
    made = operation.edit(faint, Context())
    assert made.mode == "RGBA"
    assert made.getchannel("A").tobytes() == alpha.tobytes()
    assert made.convert("RGB").tobytes() == operation.edit(photo, Context()).tobytes()


@pytest.mark.parametrize("operation", NOTHING, ids=str)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_what_asks_for_nothing_changes_nothing(operation: Operation, mode: str) -> None:
    photo = varied((64, 48)).convert(mode)
    made = operation.edit(photo.copy(), Context()).convert(mode)
    assert not ImageChops.difference(made, photo).getbbox(alpha_only=False)


@pytest.mark.parametrize("operation", ALL, ids=str)
def test_a_photo_without_colour_is_edited_like_one_in_colour(operation: Operation) -> None:
    grey = varied((64, 48)).convert("L")
    one, other = operation.edit(grey, Context()), operation.edit(grey.convert("RGB"), Context())
    assert one.mode == ("RGB" if isinstance(operation, Sepia) else "L")
    assert likeness(one, other) > 50


# Autocontrast


@pytest.mark.parametrize("each_colour", [True, False])
def test_a_dull_photo_reaches_from_black_to_white(each_colour: bool) -> None:  # noqa: FBT001
    dull = varied().point([80 + value // 4 for value in range(256)] * 3)
    made = Autocontrast(each_colour=each_colour).edit(dull, Context())
    lows, highs = zip(*made.getextrema(), strict=True)
    assert min(lows) == 0
    assert max(highs) == 255


def test_autocontrast_keeps_a_cast_unless_each_colour_is_stretched() -> None:
    warm = Image.merge("RGB", [Image.linear_gradient("L").point([base + value // 3 for value in range(256)])
                               for base in (120, 90, 60)])  # fmt: skip
    kept, gone = Autocontrast().edit(warm, Context()), Autocontrast(each_colour=True).edit(warm, Context())
    assert kept.getpixel((100, 128))[0] > kept.getpixel((100, 128))[2] + 60
    red, _, blue = gone.getpixel((100, 128))
    assert abs(red - blue) <= 2


@pytest.mark.parametrize(("cutoff", "light"), [(0.0, 150), (5.0, 255)])
def test_a_few_pixels_beyond_do_not_count(cutoff: float, light: int) -> None:
    photo = Image.linear_gradient("L").point([60 + value * 90 // 255 for value in range(256)])
    ImageDraw.Draw(photo).rectangle((0, 0, 40, 40), fill=255)
    ImageDraw.Draw(photo).rectangle((60, 0, 100, 40), fill=0)
    made = Autocontrast(cutoff=cutoff).edit(photo, Context())
    assert abs(made.getpixel((128, 255)) - light) <= 12


def test_what_is_wholly_transparent_does_not_count() -> None:
    photo = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    photo.paste((100, 100, 100, 255), (0, 0, 32, 64))
    photo.paste((150, 150, 150, 255), (32, 0, 64, 32))
    made = Autocontrast().edit(photo, Context())
    assert made.getpixel((0, 0)) == (0, 0, 0, 255)
    assert made.getpixel((40, 0)) == (255, 255, 255, 255)
    nothing = Image.new("RGBA", (8, 8), (9, 9, 9, 0))
    assert Autocontrast().edit(nothing.copy(), Context()).tobytes() == nothing.tobytes()


@pytest.mark.parametrize("each_colour", [True, False])
def test_a_small_copy_of_a_grainy_photo_is_stretched_as_the_photo_is(each_colour: bool) -> None:  # noqa: FBT001
    rows = bytes((60, 195)) * 640, bytes((195, 60)) * 640
    grain = Image.frombytes("L", (1280, 960), b"".join(rows) * 480).convert("RGB")
    photo = Image.blend(varied((1280, 960)), grain, 0.2).point([60 + value // 2 for value in range(256)] * 3)
    operation = Autocontrast(each_colour=each_colour)
    whole, small = (
        operation.edit(photo.copy(), Context()),
        operation.edit(photo.reduce(4), Context(scale=0.25)),
    )
    assert likeness(small, whole.reduce(4)) > 38


def test_the_frames_of_an_animation_are_stretched_as_the_first_is() -> None:
    ramp = Image.linear_gradient("L")
    dark, light = (ramp.point([base + value // 4 for value in range(256)]) for base in (20, 60))
    context = Context()
    first, second = (Autocontrast(cutoff=0).edit(frame, context) for frame in (dark, light))
    assert first.getextrema() == (0, 255)
    assert second.getextrema() == (162, 255), "or what moves would flicker"


def test_one_even_colour_stays_what_it_is() -> None:
    assert Autocontrast().edit(flat(colour="#405060"), Context()).getpixel((0, 0)) == (0x40, 0x50, 0x60)


# Sharpen


def step_edge(size: tuple[int, int] = (80, 40), dark: int = 80, light: int = 160) -> Image.Image:
    image = Image.new("L", size, dark)
    image.paste(light, (size[0] // 2, 0, *size))
    return image


def overshoot(image: Image.Image) -> int:
    low, high = image.getextrema()
    return max(80 - int(low), int(high) - 160)


def test_an_edge_gains_as_much_as_asked() -> None:
    gains = [overshoot(Sharpen(sharpness=each).edit(step_edge(), Context())) for each in (0, 0.5, 1, 2)]
    assert gains[0] == 0
    assert gains == sorted(set(gains))


def test_far_from_edges_nothing_is_sharpened() -> None:
    for reach in (0.5, 1.0, 3.0):
        difference = ImageChops.difference(Sharpen(reach=reach).edit(step_edge(), Context()), step_edge())
        box = difference.getbbox()
        assert box
        assert 40 - box[0] <= math.ceil(3 * reach) + 1
        assert box[2] - 40 <= math.ceil(3 * reach) + 1


def test_differences_up_to_the_threshold_stay() -> None:
    faint = step_edge(dark=100, light=104)
    assert Sharpen(threshold=10).edit(faint, Context()).tobytes() == faint.tobytes()
    assert Sharpen(threshold=0, sharpness=2).edit(faint, Context()).tobytes() != faint.tobytes()


def test_a_small_copy_is_sharpened_as_the_result_will_look() -> None:
    photo, operation = varied((960, 720)), Sharpen(sharpness=2, reach=4)
    whole = operation.edit(photo.copy(), Context()).reduce(4)
    scaled = operation.edit(photo.reduce(4), Context(scale=0.25))
    unscaled = operation.edit(photo.reduce(4), Context())
    assert likeness(scaled, whole) > 34
    assert likeness(scaled, whole) > likeness(unscaled, whole) + 6
