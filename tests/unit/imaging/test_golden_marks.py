"""Every option of the watermark looks as it did when a person last looked at it.

A golden mark is where it lies and a perceptual hash of what it changes: small numbers, no pictures. After a
change that is meant, `python -m tests.unit.imaging.test_golden_marks` prints the table anew; look at `make
contact-sheet` before you take it.
"""

import hashlib
import subprocess
import sys
from collections.abc import Mapping

import pytest
from PIL import Image, ImageChops, ImageDraw

from ebbmark.errors import Rejected
from ebbmark.imaging import drawing, layout, marks
from ebbmark.imaging.operation import Context
from ebbmark.imaging.watermark import Watermark
from tests.unit.imaging.photos import (
    changed,
    flat,
    likeness,
    recipe,
    rendered,
    result,
    saved,
    varied,
    watermark,
)

SIZE = (480, 320)
GROUND = varied(SIZE)
PHOTO = saved(GROUND, "PNG")
GREY = saved(flat(), "PNG")

MARKS: Mapping[str, Mapping[str, object]] = {
    **{position: {"position": position} for position in layout.POSITIONS},
    "size": {"size": 0.15},
    "diagonal": {"relative_to": "diagonal"},
    "floor": {"min_size": 40},
    "ceiling": {"size": 0.3, "max_size": 24},
    "margin": {"margin": 0.2},
    "colour": {"color": "#ff8800", "opacity": 1},
    "opacity": {"opacity": 0.2, "size": 0.1},
    "angle": {"angle": 37, "position": "center", "size": 0.1},
    "no outline": {"outline": False, "size": 0.1},
    "shadow": {"shadow": True, "outline": False, "size": 0.1},
    "plate": {"plate": "auto", "size": 0.1},
    "coloured plate": {"plate": "#003366", "size": 0.1, "opacity": 1},
    "left lines": {"text": "Ebb\nmark 2026", "align": "left", "size": 0.1},
    "centred lines": {"text": "Ebb\nmark 2026", "align": "center", "size": 0.1},
    "right lines": {"text": "Ebb\nmark 2026", "align": "right", "size": 0.1},
    "logo": {"text": "", "logo": True},
    "logo and text": {"logo": True, "position": "center", "plate": "auto", "shadow": True},
    "Arabic": {"text": "استوديو ٢٠٢٦", "size": 0.1},
    "Hebrew": {"text": "סטודיו (c) 2026", "size": 0.1},
    "Devanagari": {"text": "स्टूडियो", "size": 0.1},
    "Thai": {"text": "สตูดิโอ", "size": 0.1},
    "Japanese": {"text": "写真スタジオ", "size": 0.1},
    "Korean": {"text": "스튜디오", "size": 0.1},
    "names": {"text": "{filename} {n}/{total}\n{date}", "size": 0.1},
}

GOLDEN: Mapping[str, tuple[tuple[int, int, int, int], int]] = {
    "top-left": ((10, 10, 125, 27), 0x206244C8E8230600226244CCE826060),
    "top": ((182, 10, 297, 27), 0x206644CCE8A60600226644CCE8A6060),
    "top-right": ((355, 10, 470, 27), 0x206254CCC8A78600206254CCE8A6060),
    "left": ((10, 151, 125, 168), 0x206654C8E8A28602246654C8E8A6060),
    "center": ((182, 151, 297, 168), 0x206644CCE8A69610286646ECE8A6061),
    "right": ((355, 151, 470, 168), 0x206654CCE8260602246654ECE826860),
    "bottom-left": ((10, 293, 125, 310), 0x2024A4AC46C68E00206646CCE826060),
    "bottom": ((182, 293, 297, 310), 0x625EB4AE56468600227244CCE8A6060),
    "bottom-right": ((355, 293, 470, 310), 0x2028808CCEC68E10206654CCE926060),
    "tiled": ((0, 0, 480, 320), 0x5AA54AAD4AA556A54AB54AAD4AA556A5),
    "chessboard": ((0, 0, 480, 320), 0x4C238C6923CE738CCC718C6B63CE738C),
    "size": ((126, 258, 470, 310), 0x2068AEA844662E002066446CE8E6260),
    "diagonal": ((263, 279, 470, 310), 0x6268AA2A4C466600226654CCE8A2260),
    "floor": ((183, 267, 470, 310), 0x266AA2484CC6A600266654ECE826260),
    "ceiling": ((298, 284, 470, 310), 0x206AAA484C26260020664448E8E2060),
    "margin": ((301, 239, 416, 256), 0x226AA22A62430200226654CCE8A7061),
    "colour": ((355, 293, 470, 310), 0x20624CECA8A616122476666C6922260),
    "opacity": ((240, 275, 470, 310), 0x20692A2888A24200206644CCE822060),
    "angle": ((147, 82, 341, 235), 0xC060300C06030100C060380C06030100),
    "no outline": ((244, 279, 470, 310), 0x264654CCE8EB261),
    "shadow": ((235, 270, 468, 307), 0x624B64AC84C60200226646486823261),
    "plate": ((205, 253, 470, 310), 0x4EA692D090D852654EA6862F4D335365),
    "coloured plate": ((205, 253, 470, 310), 0x42F4D332300B15979D0B3C4A49B),
    "left lines": ((306, 242, 470, 310), 0x30D4D654030202005AB2365403010100),
    "centred lines": ((306, 242, 470, 310), 0x30D4D654040E06065AB23654041E1E16),
    "right lines": ((306, 242, 470, 310), 0x30D4D654B03030305AB23654B0B0F0B0),
    "logo": ((406, 278, 470, 310), 0x44121213139290F1F1B1B131331330F),
    "logo and text": ((174, 126, 306, 193), 0x42F230C1E1A0E0C7313BA8F99169A9D),
    "Arabic": ((280, 276, 470, 310), 0xC2E9489D58C32822C2E6EAEAD92B282),
    "Hebrew": ((252, 278, 470, 310), 0x469A2918921690204696940524A3801),
    "Devanagari": ((381, 269, 470, 310), 0x35745D291884C4403534B352275D44C),
    "Thai": ((381, 271, 470, 310), 0x65656C0D092191806560A68A9511938),
    "Japanese": ((279, 276, 470, 310), 0xAA2A91A8D8745453A8AB53D29ADA5252),
    "Korean": ((351, 277, 470, 310), 0x26B189CB65B824372675176664655727),
    "names": ((296, 243, 470, 310), 0x9189D213A4A1296A13359513A4B029E8),
}


def logo() -> bytes:
    image = Image.new("RGBA", (120, 60))
    ImageDraw.Draw(image).ellipse((0, 0, 119, 59), fill="#d02020")
    return saved(image, "PNG")


def marked(name: str) -> Image.Image:
    facts = {"filename": "IMG_1", "n": "3", "total": "12", "date": "2026-05-01"}
    return rendered(PHOTO, watermark(**MARKS[name]), logo(), **facts)


def golden(name: str) -> tuple[tuple[int, int, int, int], int]:
    """Return where a mark lies and what it looks like, whatever it lies on."""
    after = marked(name)
    box = changed(GROUND, after, by_more_than=1)
    assert box
    difference = [ImageChops.difference(GROUND, after), ImageChops.subtract(after, GROUND)]
    return box, sum(_hash(each.crop(box).convert("L")) << 64 * place for place, each in enumerate(difference))


def _hash(image: Image.Image) -> int:
    """Return 64 bits: whether each part of the picture is lighter than the one to its left."""
    small = image.resize((9, 8), Image.Resampling.BOX).tobytes()
    bits = [small[9 * row + at + 1] > small[9 * row + at] for row in range(8) for at in range(8)]
    return sum(bit << place for place, bit in enumerate(bits))


def test_every_mark_has_its_golden_one() -> None:
    assert GOLDEN.keys() == MARKS.keys()


def test_every_option_has_a_golden_mark() -> None:
    assert {option for options in MARKS.values() for option in options} == set(Watermark.__struct_fields__)


@pytest.mark.parametrize("name", MARKS)
def test_a_mark_is_its_golden_one(name: str) -> None:
    box, look = golden(name)
    expected_box, expected_look = GOLDEN[name]
    assert all(abs(one - other) <= 2 for one, other in zip(box, expected_box, strict=True))
    assert (look ^ expected_look).bit_count() <= 10


def test_no_two_golden_marks_are_alike() -> None:
    assert len(set(GOLDEN.values())) == len(GOLDEN)


# What can be known without a golden mark


def place_of(operation: Watermark, text: str = "") -> tuple[int, int, int, int]:
    """Where a mark must lie: by the layout, from nothing but its extent."""
    design = drawing.Design(
        text=text or operation.text,
        logo="",
        ink=drawing.LIGHT,
        outline=operation.outline,
        shadow=operation.shadow,
        plate=None,
        align="left",
    )
    plan = layout.arrange(
        SIZE,
        marks.extent(design, b""),
        position=operation.position,
        em=layout.em_of(SIZE, operation.size, operation.relative_to),
        margin=operation.margin,
        angle=-(operation.angle or 0),
    )
    return plan.places[0].box


@pytest.mark.parametrize("position", sorted(set(layout.POSITIONS) - layout.EVERYWHERE))
@pytest.mark.parametrize("angle", [0, 90, 200])
def test_a_mark_touches_no_pixel_outside_its_place(position: str, angle: float) -> None:
    operation = Watermark(text="© Ebb", position=position, angle=angle)  # pyright: ignore[reportArgumentType]
    box = place_of(operation)
    after = operation.edit(GROUND.copy(), Context())
    changes = changed(GROUND, after, by_more_than=0)
    assert changes
    assert all(one >= other - 1 for one, other in zip(changes[:2], box[:2], strict=True))
    assert all(one <= other + 1 for one, other in zip(changes[2:], box[2:], strict=True))
    inset = round(operation.margin * min(SIZE))
    assert box[0] >= inset
    assert box[1] >= inset
    assert box[2] <= SIZE[0] - inset
    assert box[3] <= SIZE[1] - inset


@pytest.mark.parametrize("opacity", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("style", [{}, {"shadow": True}, {"plate": "auto"}, {"color": "#ff8800"}])
def test_opacity_blends_exactly(opacity: float, style: Mapping[str, object]) -> None:
    full = rendered(PHOTO, watermark(opacity=1, **style))
    faint = rendered(PHOTO, watermark(opacity=opacity, **style))
    difference = ImageChops.difference(Image.blend(GROUND, full, opacity), faint)
    assert max(high for _, high in difference.getextrema()) <= 2


@pytest.mark.parametrize(
    ("angle", "turn"),
    [(90, Image.Transpose.ROTATE_270), (180, Image.Transpose.ROTATE_180), (-90, Image.Transpose.ROTATE_90)],
)
def test_a_quarter_turn_is_the_mark_turned(angle: float, turn: Image.Transpose) -> None:
    upright, turned = (
        rendered(GREY, watermark(angle=each, color="#ffffff", position="center")) for each in (0, angle)
    )
    one, other = changed(flat(), upright), changed(flat(), turned)
    assert one
    assert other
    expected = upright.crop(one).transpose(turn)
    assert (
        likeness(
            turned.crop((other[0], other[1], other[0] + expected.width, other[1] + expected.height)), expected
        )
        > 30
    )


def test_a_plate_is_as_strong_as_it_says_and_larger_than_its_text() -> None:
    style = {"color": "#ffffff", "outline": False, "opacity": 1, "size": 0.1}
    text = changed(flat(), rendered(GREY, watermark(**style)))
    after = rendered(GREY, watermark(**style, plate="#000000"))
    plate = changed(flat(), after)
    assert text
    assert plate
    assert plate[2] - plate[0] > text[2] - text[0] + 0.8 * 24
    assert plate[3] - plate[1] > text[3] - text[1] + 0.4 * 24
    ground = round(128 * (1 - drawing.PLATE_STRENGTH))
    middle_of_left_edge = plate[0] + 3, (plate[1] + plate[3]) // 2
    assert all(abs(value - ground) <= 1 for value in after.getpixel(middle_of_left_edge))
    assert after.getpixel((plate[0], plate[1])) == (128, 128, 128), "its corners are round"


@pytest.mark.parametrize(("plate", "ink"), [("#101010", 255), ("#f0f0f0", 16)])
def test_automatic_ink_contrasts_with_its_plate(plate: str, ink: int) -> None:
    for ground in ("#000000", "#ffffff"):
        photo = saved(flat(colour=ground), "PNG")
        after = rendered(photo, watermark(plate=plate, outline=False, opacity=1, size=0.2)).convert("L")
        box = changed(flat(colour=ground), after)
        assert box
        middle = after.crop((box[0] + 9, box[1] + 9, box[2] - 9, box[3] - 9))
        assert ink in (middle.getextrema()[0], middle.getextrema()[1])


def test_an_automatic_plate_is_the_contrary_of_its_ink() -> None:
    for ground, darker in (("#303030", True), ("#d0d0d0", False), ("#808080", True)):
        photo = flat(colour=ground)
        after = rendered(saved(photo, "PNG"), watermark(plate="auto", opacity=1, outline=False))
        box = changed(photo, after, by_more_than=1) or (0, 0, 1, 1)
        beside = after.getpixel((box[0] + 2, (box[1] + box[3]) // 2))[0]
        assert (beside <= photo.getpixel((0, 0))[0]) == darker


def test_a_shadow_lies_below_and_to_the_right() -> None:
    style = {
        "color": "#ffffff",
        "outline": False,
        "opacity": 1,
        "size": 0.2,
        "text": "I",
        "position": "center",
    }
    before, after = rendered(GREY, watermark(**style)), rendered(GREY, watermark(**style, shadow=True))
    dark = ImageChops.subtract(flat(), after).convert("L").point([255 * (value > 3) for value in range(256)])
    light = changed(flat(), before)
    shade = dark.getbbox()
    assert light
    assert shade
    middles = [((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for box in (light, shade)]
    assert middles[1][0] - middles[0][0] > -3
    assert shade[3] > light[3]
    assert shade[2] > light[2]


@pytest.mark.parametrize("edge", [200, 800, 2000])
def test_letters_are_never_lower_nor_higher_than_told(edge: int) -> None:
    photo = flat((edge, edge))
    style = {"text": "H", "outline": False, "min_size": 30, "max_size": 60, "opacity": 1, "color": "#ffffff"}
    box = changed(photo, rendered(saved(photo, "PNG"), watermark(**style)))
    assert box
    wanted = min(60, max(30, 0.05 * edge)) * 0.714  # how high an H is in Noto Sans
    assert abs(box[3] - box[1] - wanted) <= 1.5


@pytest.mark.parametrize(
    "style", [{"min_size": 48}, {"size": 0.3, "max_size": 30}, {"relative_to": "diagonal"}]
)
def test_a_small_copy_shows_the_result_also_of_what_is_told_in_pixels(style: Mapping[str, object]) -> None:
    operation = Watermark(text="© Ebbmark", **style)  # pyright: ignore[reportArgumentType]
    whole = operation.edit(flat((960, 640)), Context())
    small = operation.edit(flat((480, 320)), Context(scale=0.5))
    assert likeness(small, whole.reduce(2)) > 33
    if "relative_to" not in style:
        unscaled = operation.edit(flat((480, 320)), Context())
        assert likeness(unscaled, whole.reduce(2)) < likeness(small, whole.reduce(2)) - 4


def test_a_panorama_has_by_the_diagonal_a_mark_as_large_as_others() -> None:
    heights: dict[str, list[int]] = {}
    for measure in ("short-edge", "diagonal"):
        for size in ((600, 600), (500, 720), (720, 500), (1200, 300)):
            photo = flat(size)
            box = changed(photo, rendered(saved(photo, "PNG"), watermark(text="H", relative_to=measure)))
            assert box
            heights.setdefault(measure, []).append(box[3] - box[1])
    least, most = min(heights["diagonal"]), max(heights["diagonal"])
    assert most < 1.5 * least
    assert max(heights["short-edge"]) > 1.8 * min(heights["short-edge"])


def test_several_marks_are_laid_one_over_the_other() -> None:
    first = {"operation": "watermark", "text": "© Ebb", "position": "top-left"}
    second = {"operation": "watermark", "text": "PROOF", "position": "tiled", "opacity": 0.2}
    both = rendered(PHOTO, recipe(first, second))
    one_by_one = rendered(saved(rendered(PHOTO, recipe(first)), "PNG"), recipe(second))
    assert not ImageChops.difference(both, one_by_one).getbbox()


def test_the_ceiling_may_not_be_below_the_floor() -> None:
    with pytest.raises(Rejected, match="min_size must not be above max_size"):
        Watermark(text="x", min_size=30, max_size=20)


PROGRAM = """
import hashlib
from tests.unit.imaging.test_golden_marks import MARKS, digest
print(digest())
"""


def digest() -> str:
    """Return one digest of all marks, drawn in an order of their own."""
    total = hashlib.sha256()
    for name in sorted(MARKS):
        total.update(result(PHOTO, watermark(**MARKS[name]), logo(), filename="IMG_1").data)
    return total.hexdigest()


@pytest.mark.parametrize("seed", ["1", "2"])
def test_the_same_recipe_gives_the_same_bytes_in_every_process(seed: str) -> None:
    other = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"PYTHONHASHSEED": seed, "LANG": "ja_JP.UTF-8", "PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == digest()


if __name__ == "__main__":
    for name in MARKS:
        box, look = golden(name)
        print(f'    "{name}": ({box}, {look:#x}),')  # noqa: T201 - a table to paste
