"""Crop, rotate, flip, border and resize: which pixel comes from where, and how many there are."""

from collections.abc import Mapping

import pytest
from PIL import Image, ImageChops

from ebbmark.errors import LimitExceeded
from ebbmark.imaging import codec
from ebbmark.imaging.border import Border
from ebbmark.imaging.crop import Crop
from ebbmark.imaging.filters import Grayscale
from ebbmark.imaging.flip import Flip
from ebbmark.imaging.gravity import PLACES, Gravity, shift
from ebbmark.imaging.layout import EVERYWHERE, POSITIONS
from ebbmark.imaging.operation import Context, Operation
from ebbmark.imaging.recipe import Recipe
from ebbmark.imaging.resize import Resize
from ebbmark.imaging.rotate import Rotate
from ebbmark.imaging.watermark import Watermark
from tests.unit.imaging.golden import CASES
from tests.unit.imaging.photos import (
    flat,
    likeness,
    opened,
    quarters,
    recipe,
    rendered,
    result,
    saved,
    varied,
)

MODES = ("RGB", "RGBA", "L")
PLAIN = Context()


def edited(operation: Operation, image: Image.Image, context: Context = PLAIN) -> Image.Image:
    return operation.edit(image.copy(), context)


def same(one: Image.Image, other: Image.Image) -> bool:
    return (one.mode, one.size) == (other.mode, other.size) and one.tobytes() == other.tobytes()


def map_of_pixels(size: tuple[int, int]) -> Image.Image:
    """Each pixel says where it stands: its column is its red, its row its green."""
    image = Image.new("RGB", size)
    image.putdata([(x, y, 0) for y in range(size[1]) for x in range(size[0])])
    return image


# Gravity


def test_a_mark_stands_at_one_of_the_nine_places_or_everywhere() -> None:
    assert len({shift((2, 2), place) for place in PLACES}) == len(PLACES) == 9
    assert list(PLACES) == sorted(PLACES, key=lambda place: shift((2, 2), place)[::-1])
    assert POSITIONS[: len(PLACES)] == PLACES
    assert set(POSITIONS) - set(PLACES) == EVERYWHERE


@pytest.mark.parametrize("place", PLACES)
def test_a_place_takes_the_room_on_its_other_sides(place: Gravity) -> None:
    left, top = shift((10, 30), place)
    assert left == (0 if "left" in place else 10 if "right" in place else 5)
    assert top == (0 if "top" in place else 30 if "bottom" in place else 15)


@pytest.mark.parametrize("gravity", PLACES)
@pytest.mark.parametrize("size", [(40, 240), (320, 30)])
def test_cover_keeps_the_part_its_gravity_names(gravity: Gravity, size: tuple[int, int]) -> None:
    photo = map_of_pixels((240, 240) if size == (40, 240) else (120, 240))
    made = edited(Resize(width=size[0], height=size[1], fit="cover", gravity=gravity, enlarge=True), photo)
    first, last = made.getpixel((0, 0)), made.getpixel((made.width - 1, made.height - 1))
    cut = 0 if size == (40, 240) else 1
    near_start, near_end = first[cut] < 8, last[cut] > photo.size[cut] - 9
    words = ("left", "right") if cut == 0 else ("top", "bottom")
    assert near_start == (words[0] in gravity)
    assert near_end == (words[1] in gravity)


# Resize


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"percent": 50}, (160, 120)),
        ({"percent": 12.5}, (40, 30)),
        ({"percent": 100}, (320, 240)),
        ({"percent": 0.01}, (1, 1)),
        ({"percent": 250, "enlarge": True}, (800, 600)),
        ({"long_edge": 160}, (160, 120)),
        ({"long_edge": 640}, (320, 240)),
        ({"long_edge": 640, "enlarge": True}, (640, 480)),
    ],
)
@pytest.mark.parametrize("upright", [True, False])
def test_a_photo_is_sized_by_percent_or_by_its_long_edge(
    parameters: Mapping[str, object],
    expected: tuple[int, int],
    upright: bool,  # noqa: FBT001
) -> None:
    photo = quarters() if upright else quarters((240, 320))
    made = rendered(saved(photo, "PNG"), recipe({"operation": "resize", **parameters}))
    assert made.size == (expected if upright else expected[::-1])


@pytest.mark.parametrize("share", [50, 37, 25, 12.5, 5])
def test_a_share_is_one_of_the_whole_photo_however_much_of_it_is_decoded(share: float) -> None:
    photo = saved(quarters((1600, 1200)))  # a JPEG, of which less may be decoded
    made = rendered(photo, recipe({"operation": "resize", "percent": share}))
    assert made.size == (round(16 * share), round(12 * share))


@pytest.mark.parametrize(
    "operation",
    [
        Resize(width=320),
        Resize(long_edge=320),
        Resize(percent=40),
        Resize(width=200, height=200, fit="cover", gravity="top-left"),
        Resize(width=100, height=300, fit="exact"),
        Resize(width=1000),
        Resize(width=1600, enlarge=True),
        Border(edge_pixels=40),
        Border(edge=0.1),
    ],
)
def test_a_small_copy_has_the_proportions_of_the_result(operation: Operation) -> None:
    whole = edited(operation, varied((800, 600)))
    small = edited(operation, varied((800, 600)).reduce(2), Context(scale=0.5))
    assert small.size == (whole.width // 2, whole.height // 2)
    assert likeness(small, whole.resize(small.size, Image.Resampling.BOX)) > 30


# Crop


@pytest.mark.parametrize(
    ("aspect", "size", "expected"),
    [
        ("1:1", (320, 240), (240, 240)),
        ("4:5", (320, 240), (192, 240)),
        ("16:9", (320, 240), (320, 180)),
        ("1.91:1", (320, 240), (320, 168)),
        ("4:3", (320, 240), (320, 240)),
        ("9:16", (240, 320), (180, 320)),
        ("9999:1", (320, 240), (320, 1)),
        ("1:1", (1, 1), (1, 1)),
    ],
)
def test_a_crop_is_as_large_as_its_aspect_allows(
    aspect: str, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    made = edited(Crop(aspect=aspect), flat(size))
    assert made.size == expected == Crop(aspect=aspect).reshaped(size)


@pytest.mark.parametrize("focus", PLACES)
@pytest.mark.parametrize("aspect", ["1:4", "4:1"])
@pytest.mark.parametrize("mode", MODES)
def test_a_crop_keeps_the_pixels_its_focus_names_as_they_were(focus: Gravity, aspect: str, mode: str) -> None:
    photo = map_of_pixels((200, 200)).convert(mode)
    made = edited(Crop(aspect=aspect, focus=focus), photo)
    left = 0 if aspect == "4:1" or "left" in focus else 150 if "right" in focus else 75
    top = 0 if aspect == "1:4" or "top" in focus else 150 if "bottom" in focus else 75
    assert same(made, photo.crop((left, top, left + made.width, top + made.height)))


# Rotate and flip


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("degrees", "turn"),
    [
        (90, Image.Transpose.ROTATE_270),
        (180, Image.Transpose.ROTATE_180),
        (270, Image.Transpose.ROTATE_90),
        (-90, Image.Transpose.ROTATE_90),
        (-180, Image.Transpose.ROTATE_180),
    ],
)
@pytest.mark.parametrize("expand", [True, False])
def test_quarter_turns_move_every_pixel_and_change_none(
    mode: str,
    degrees: float,
    turn: Image.Transpose,
    expand: bool,  # noqa: FBT001
) -> None:
    photo = varied((40, 30)).convert(mode)
    assert same(edited(Rotate(degrees=degrees, expand=expand), photo), photo.transpose(turn))


@pytest.mark.parametrize("degrees", [0, 360, -360])
def test_whole_turns_change_nothing(degrees: float) -> None:
    assert same(edited(Rotate(degrees=degrees), varied()), varied())


def test_four_quarter_turns_through_a_file_are_no_turn() -> None:
    step = {"operation": "rotate", "degrees": 90}
    assert same(rendered(saved(varied(), "PNG"), recipe(*[step] * 4)), varied())


@pytest.mark.parametrize("degrees", [1, 30, 45, 100, 200, 359])
def test_a_slanting_photo_is_whole_in_an_expanded_frame(degrees: float) -> None:
    made = edited(Rotate(degrees=degrees, corners="#000000"), flat((120, 80), "#ffffff"))
    light = sum(made.convert("L").tobytes()) / 255
    assert light == pytest.approx(120 * 80, rel=0.002)
    box = made.convert("L").point([255 * (value > 100) for value in range(256)]).getbbox()
    assert box
    assert all(abs(one - other) <= 2 for one, other in zip(box, (0, 0, *made.size), strict=True))


@pytest.mark.parametrize("degrees", [1, 33, 100])
def test_a_frame_that_is_not_expanded_keeps_its_size_and_its_middle(degrees: float) -> None:
    photo = varied((121, 81))
    whole, cut = (edited(Rotate(degrees=degrees, expand=each), photo) for each in (True, False))
    assert cut.size == photo.size
    assert cut.getpixel((60, 40)) == pytest.approx(photo.getpixel((60, 40)), abs=16)
    if (whole.width - cut.width) % 2 == (whole.height - cut.height) % 2 == 0:
        left, top = (whole.width - cut.width) // 2, (whole.height - cut.height) // 2
        assert likeness(whole.crop((left, top, left + cut.width, top + cut.height)), cut) > 40


def test_degrees_go_clockwise() -> None:
    made = edited(Rotate(degrees=10, expand=False), quarters())
    straight = quarters()
    # The boundary between red and green leans to the right above the middle.
    assert straight.getpixel((168, 20)) == (0, 255, 0)
    assert made.getpixel((168, 20)) == (255, 0, 0)


def test_there_and_back_again_is_the_photo_but_for_its_edges() -> None:
    photo = varied((300, 200))
    there = edited(Rotate(degrees=20), photo)
    back = edited(Rotate(degrees=-20), there)
    left, top = (back.width - photo.width) // 2, (back.height - photo.height) // 2
    middle = (40, 40, 260, 160)
    assert likeness(back.crop((left, top, left + 300, top + 200)).crop(middle), photo.crop(middle)) > 30


@pytest.mark.parametrize(
    ("mode", "corners", "expected", "pixel"),
    [
        ("RGB", "#ff0000", "RGB", (255, 0, 0)),
        ("RGB", "transparent", "RGBA", (0, 0, 0, 0)),
        ("L", "#808080", "L", 128),
        ("L", "#ff0000", "RGB", (255, 0, 0)),
        ("L", "transparent", "RGBA", (0, 0, 0, 0)),
        ("RGBA", "#00ff00", "RGBA", (0, 255, 0, 255)),
        ("RGBA", "transparent", "RGBA", (0, 0, 0, 0)),
    ],
)
def test_what_is_left_free_has_the_colour_asked_for(
    mode: str, corners: str, expected: str, pixel: object
) -> None:
    made = edited(Rotate(degrees=30, corners=corners), varied((100, 60)).convert(mode))
    assert made.mode == expected
    assert made.getpixel((1, 1)) == pixel
    framed = edited(Border(edge=0.1, edge_color=corners), varied((100, 60)).convert(mode))
    assert framed.mode == expected
    assert framed.getpixel((1, 1)) == pixel


def test_edges_of_a_slanting_photo_have_no_steps_and_no_dark_rim() -> None:
    made = edited(Rotate(degrees=5, corners="#ffffff"), flat((200, 200), "#ffffff"))
    assert made.convert("L").getextrema() == (255, 255)
    clear = edited(Rotate(degrees=5, corners="transparent"), flat((200, 200), "#ffffff"))
    between = sum(clear.getchannel("A").histogram()[32:224])
    assert between > 400, "each side fades over about a pixel"


def test_colours_hidden_below_transparent_pixels_do_not_leak_into_a_slanting_photo() -> None:
    photo = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    photo.paste((0, 0, 255, 255), (0, 0, 32, 64))
    made = edited(Rotate(degrees=30, corners="transparent"), photo)
    assert all(colour[0] <= 2 for _, colour in made.getcolors(1 << 16) or [] if colour[3] > 8)


@pytest.mark.parametrize("mode", MODES)
def test_a_mirror_shows_each_pixel_on_the_other_side(mode: str) -> None:
    photo = varied((31, 20)).convert(mode)
    assert same(edited(Flip(), photo), photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    assert same(edited(Flip(direction="vertical"), photo), photo.transpose(Image.Transpose.FLIP_TOP_BOTTOM))


# Border


@pytest.mark.parametrize(
    ("parameters", "edge"),
    [({}, 12), ({"edge": 0.25}, 60), ({"edge": 0}, 0), ({"edge_pixels": 7}, 7), ({"edge_pixels": 0}, 0)],
)
@pytest.mark.parametrize("mode", MODES)
def test_a_border_is_equally_wide_on_all_sides_and_leaves_the_photo_as_it_was(
    parameters: dict[str, float], edge: int, mode: str
) -> None:
    photo = varied().convert(mode)
    made = edited(Border(**parameters), photo)  # pyright: ignore[reportArgumentType]
    assert made.size == (320 + 2 * edge, 240 + 2 * edge)
    assert same(made.crop((edge, edge, 320 + edge, 240 + edge)), photo)
    ground = made.copy()
    ground.paste("white", (edge, edge, 320 + edge, 240 + edge))
    assert ground.convert("RGB").getextrema() == ((255, 255),) * 3


@pytest.mark.parametrize(
    "step",
    [
        {"operation": "border", "edge": 0.5},
        {"operation": "border", "edge_pixels": 100},
        {"operation": "rotate", "degrees": 45},
        {"operation": "resize", "percent": 200, "enlarge": True},
        {"operation": "resize", "long_edge": 400, "enlarge": True},
    ],
)
def test_no_photo_becomes_larger_than_the_limit(step: Mapping[str, object]) -> None:
    photo = saved(flat(), "PNG")
    with pytest.raises(LimitExceeded) as refused:
        result(photo, recipe(step), limits=codec.Limits(pixels=320 * 240 + 1000))
    assert refused.value.code == "too-many-pixels"


# What the decoder may skip


def least_of(*operations: Operation, size: tuple[int, int] = (4000, 3000)) -> tuple[int, int] | None:
    return Recipe(operations).enough(size)


@pytest.mark.parametrize(
    ("operations", "least"),
    [
        ((Crop(aspect="1:1"), Resize(width=600)), (800, 600)),
        ((Rotate(degrees=90), Resize(width=300)), (400, 300)),
        ((Flip(), Grayscale(), Crop(aspect="4:5"), Resize(long_edge=750)), (1000, 750)),
        ((Resize(width=8000), Resize(width=400)), (400, 300)),
        ((Crop(aspect="1:1"),), None),
        ((Resize(percent=25),), None),
        ((Crop(aspect="1:1"), Resize(percent=25)), None),
        ((Resize(percent=50), Resize(width=400)), (800, 600)),
        ((Watermark(text="x"), Resize(width=600)), None),
        ((Rotate(degrees=10), Resize(width=600)), None),
        ((Border(), Resize(width=600)), None),
        ((Crop(aspect="1:1"), Resize(width=6000)), None),
    ],
)
def test_operations_that_only_move_pixels_let_a_later_one_say_what_is_enough(
    operations: tuple[Operation, ...], least: tuple[int, int] | None
) -> None:
    assert least_of(*operations) == least


@pytest.mark.parametrize("width", range(100, 1300, 37))
def test_what_is_enough_is_neither_less_nor_more_than_what_is_left(width: int) -> None:
    size = 1234, 987
    least = least_of(Crop(aspect="4:5"), Flip(), Resize(width=width), size=size)
    kept = Crop(aspect="4:5").reshaped(size)[0]
    if least is None:
        assert width >= kept
    else:
        assert 0 <= least[0] * kept / size[0] - width < 2


def test_a_crop_made_small_is_not_decoded_in_full_and_looks_the_same() -> None:
    photo, steps = varied((1600, 1200)), (Crop(aspect="4:5", focus="right"), Resize(width=120))
    frame, _ = codec.decode(saved(photo, quality=95), enough=Recipe(steps).enough)
    assert frame.size == (200, 150)
    made = opened(result(saved(photo, quality=95), Recipe(steps).to_json()).data)
    whole = edited(steps[1], edited(steps[0], photo))
    assert made.size == whole.size
    assert likeness(made, whole) > 30


@pytest.mark.parametrize("step", [{"operation": "resize", "width": 160}, {"operation": "crop"}])
def test_a_photo_without_colours_is_decoded_without_them(step: Mapping[str, object]) -> None:
    photo = saved(varied((640, 480)), quality=95)
    frame, _ = codec.decode(photo, luma=True)
    assert frame.mode == "L"
    grey = {"operation": "grayscale"}
    luma = rendered(photo, recipe(step, grey))
    assert luma.mode == "L"
    coloured = edited(Grayscale(), rendered(photo, recipe(step, {"operation": "convert", "format": "png"})))
    assert likeness(luma, coloured) > 36


def test_colours_are_decoded_when_an_operation_sees_them() -> None:
    assert Recipe((Crop(), Resize(width=5), Grayscale(), Watermark(text="x"))).luma_only()
    assert not Recipe((Watermark(text="x", color="#ff0000"), Grayscale())).luma_only()
    assert not Recipe((Border(edge_color="#ff0000"), Grayscale())).luma_only()
    assert not Recipe((Crop(),)).luma_only()
    photo = saved(varied((640, 480)), quality=95)
    coloured = rendered(photo, recipe({"operation": "crop"}))
    assert ImageChops.difference(*coloured.split()[:2]).getbbox()


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 3)])
@pytest.mark.parametrize("name", CASES)
def test_no_photo_is_too_small_for_an_operation(name: str, size: tuple[int, int]) -> None:
    mode, by = CASES[name]
    assert rendered(saved(flat(size, mode=mode), "PNG"), by).size >= (1, 1)
