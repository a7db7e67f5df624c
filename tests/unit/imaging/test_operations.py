"""Every operation does what its parameters say, on every kind of frame."""

import io
from collections.abc import Mapping

import pytest
from PIL import Image, ImageChops, ImageDraw

from ebbmark.errors import LimitExceeded, Rejected
from ebbmark.imaging import codec, drawing, marks
from ebbmark.imaging.codec import Limits
from ebbmark.imaging.convert import Convert
from ebbmark.imaging.header import PHOTOS
from ebbmark.imaging.layout import EVERYWHERE, POSITIONS
from ebbmark.imaging.operation import Context
from ebbmark.imaging.recipe import Recipe
from ebbmark.imaging.resize import Resize
from tests.unit.imaging.photos import (
    changed,
    flat,
    likeness,
    opened,
    quarters,
    recipe,
    rendered,
    result,
    saved,
    varied,
    watermark,
)  # fmt: skip

GREY = saved(flat(), "PNG")


def logo(size: tuple[int, int] = (120, 60), colour: str = "#d02020") -> bytes:
    image = Image.new("RGBA", size)
    ImageDraw.Draw(image).ellipse((0, 0, size[0] - 1, size[1] - 1), fill=colour)
    return saved(image, "PNG")


# Watermark


@pytest.mark.parametrize("position", [position for position in POSITIONS if position not in EVERYWHERE])
def test_a_mark_is_where_its_position_says_and_nowhere_else(position: str) -> None:
    box = changed(flat(), rendered(GREY, watermark(position=position)))
    assert box
    left, top, right, bottom = box
    assert min(left, 320 - right) < 10 if position not in {"top", "center", "bottom"} else left > 80
    assert ("left" in position) == (left < 10)
    assert ("right" in position) == (right > 310)
    assert ("top" in position) == (top < 15)
    assert ("bottom" in position) == (bottom > 225)
    assert bottom - top < 240 * 0.05 * 1.6


def test_a_tiled_mark_reaches_every_part_of_the_photo() -> None:
    marked = rendered(GREY, watermark(position="tiled"))
    for x in (0, 160):
        for y in (0, 120):
            box = x, y, x + 160, y + 120
            assert changed(flat().crop(box), marked.crop(box))


def test_tiled_marks_rise_to_the_right_unless_told_otherwise() -> None:
    default = rendered(GREY, watermark(position="tiled"))
    assert likeness(default, rendered(GREY, watermark(position="tiled", angle=-30))) == 99
    assert changed(default, rendered(GREY, watermark(position="tiled", angle=30)))
    assert changed(default, rendered(GREY, watermark(position="tiled", angle=0)))


def test_a_rising_line_is_high_at_its_right_end() -> None:
    marked = rendered(GREY, watermark(position="center", angle=-30, size=0.08, outline=False))
    left, right = marked.crop((0, 0, 160, 240)), marked.crop((160, 0, 320, 240))
    low, high = changed(flat((160, 240)), left), changed(flat((160, 240)), right)
    assert low
    assert high
    assert high[1] + high[3] < low[1] + low[3]


def test_opacity_goes_from_nothing_to_full_ink() -> None:
    strengths = [
        rendered(GREY, watermark(opacity=opacity, color="#ffffff", outline=False))
        .convert("L")
        .getextrema()[1]
        for opacity in (0, 0.25, 0.5, 0.75, 1)
    ]
    assert strengths[0] == 128
    assert strengths[-1] == 255
    assert strengths == sorted(set(strengths))
    assert likeness(rendered(GREY, watermark(opacity=0)), flat()) == 99


@pytest.mark.parametrize(("ground", "ink"), [("#101010", 255), ("#f0f0f0", 16)])
def test_automatic_ink_contrasts_with_what_is_below(ground: str, ink: int) -> None:
    photo = saved(flat(colour=ground), "PNG")
    marked = rendered(photo, watermark(opacity=1, outline=False)).convert("L")
    lightest, darkest = marked.getextrema()[1], marked.getextrema()[0]
    assert ink in {lightest, darkest}


def test_the_ink_of_a_single_mark_depends_only_on_what_is_below_it() -> None:
    photo = quarters()
    on_white = rendered(saved(photo, "PNG"), watermark(opacity=1, outline=False))
    assert on_white.getpixel((319, 239)) == (255, 255, 255)
    assert on_white.crop((160, 120, 320, 240)).convert("L").getextrema()[0] == drawing.DARK[0]


def test_a_colour_is_the_colour_asked_for() -> None:
    marked = rendered(GREY, watermark(color="#ff8800", opacity=1, outline=False, size=0.2))
    assert (255, 136, 0) in {colour for _, colour in marked.getcolors(1 << 20) or []}


def test_an_outline_keeps_text_legible_on_its_own_colour() -> None:
    white = saved(flat(colour="white"), "PNG")
    assert not changed(flat(colour="white"), rendered(white, watermark(color="#ffffff", outline=False)))
    assert changed(flat(colour="white"), rendered(white, watermark(color="#ffffff", outline=True)))


def test_portrait_and_landscape_get_the_same_mark() -> None:
    portrait = flat((240, 320))
    one, other = rendered(GREY, watermark()), rendered(saved(portrait, "PNG"), watermark())
    first, second = changed(flat(), one), changed(portrait, other)
    assert first
    assert second
    assert likeness(one.crop(first), other.crop(second)) == 99
    assert (320 - first[2], 240 - first[3]) == (240 - second[2], 320 - second[3])


@pytest.mark.parametrize("factor", [2, 4])
def test_a_preview_on_a_small_copy_shows_the_result(factor: int) -> None:
    large = saved(flat((320 * factor, 240 * factor)), "PNG")
    preview, whole = rendered(GREY, watermark()), rendered(large, watermark())
    assert likeness(preview, whole.reduce(factor)) > 34


def test_a_long_text_shrinks_to_fit() -> None:
    box = changed(flat(), rendered(GREY, watermark(text="long text " * 19)))
    assert box
    assert box[0] >= 0.02 * 240
    assert box[2] <= 320 - 0.02 * 240


def test_several_lines_stand_below_each_other() -> None:
    one = changed(flat(), rendered(GREY, watermark(text="Hello", outline=False)))
    two = changed(flat(), rendered(GREY, watermark(text="Hello\nHello", outline=False)))
    assert one
    assert two
    assert 1.8 < (two[3] - two[1]) / (one[3] - one[1]) < 3.2
    assert abs((two[2] - two[0]) - (one[2] - one[0])) <= 2


def test_a_logo_keeps_its_colours_and_proportions() -> None:
    marked = rendered(GREY, recipe({"operation": "watermark", "logo": True, "opacity": 1}), logo())
    box = changed(flat(), marked)
    assert box
    assert 1.9 < (box[2] - box[0]) / (box[3] - box[1]) < 2.1
    assert marked.getpixel(((box[0] + box[2]) // 2, (box[1] + box[3]) // 2)) == (208, 32, 32)


def test_wide_and_tall_logos_are_equally_large() -> None:
    boxes = [
        changed(flat(), rendered(GREY, recipe({"operation": "watermark", "logo": True}), logo(size)))
        for size in ((120, 60), (60, 120))
    ]
    wide, tall = boxes
    assert wide
    assert tall
    assert (wide[2] - wide[0], wide[3] - wide[1]) == (tall[3] - tall[1], tall[2] - tall[0])


def test_text_stands_below_the_logo() -> None:
    box = changed(flat(), rendered(GREY, watermark(logo=True), logo()))
    alone = changed(flat(), rendered(GREY, recipe({"operation": "watermark", "logo": True}), logo()))
    assert box
    assert alone
    assert box[1] < alone[1]


def test_a_photo_fails_when_its_recipe_wants_a_logo_and_there_is_none() -> None:
    with pytest.raises(Rejected) as refused:
        result(GREY, watermark(logo=True))
    assert refused.value.code == "missing-logo"


def test_a_logo_that_is_no_image_says_so() -> None:
    with pytest.raises(Rejected) as refused:
        result(GREY, watermark(logo=True), b"%PDF-1.7")
    assert refused.value.code == "bad-logo"
    assert refused.value.detail == f"The logo cannot be used. This is a PDF; photos must be {PHOTOS}."


@pytest.mark.parametrize(("mode", "tinted"), [("L", False), ("L", True), ("RGB", True), ("RGBA", True)])
def test_marks_go_on_every_mode_of_frame(mode: str, tinted: bool) -> None:  # noqa: FBT001
    photo = saved(flat(mode=mode), "PNG")
    marked = rendered(photo, watermark(color="#ff0000" if tinted else "auto"))
    assert changed(flat(), marked)
    assert marked.mode == ("RGB" if mode == "L" and tinted else mode)


@pytest.mark.parametrize("position", ["bottom-right", "tiled"])
def test_a_mark_on_a_transparent_ground_has_its_own_colour(position: str) -> None:
    clear = saved(Image.new("RGBA", (320, 240), (0, 255, 0, 0)), "PNG")
    marked = rendered(
        clear, watermark(color="#ff0000", outline=False, position=position, size=0.2, opacity=1)
    )
    assert marked.mode == "RGBA"
    inks = {colour[:3] for _, colour in marked.getcolors(1 << 20) or [] if colour[3] > 250}
    assert inks == {(255, 0, 0)}


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 1), (7, 5), (33, 900)])
@pytest.mark.parametrize("position", ["bottom-right", "tiled"])
def test_no_photo_is_too_small_to_be_marked(size: tuple[int, int], position: str) -> None:
    assert result(saved(flat(size), "PNG"), watermark(position=position, angle=20)).width == size[0]


FACTS: Mapping[str, str] = {"filename": "IMG_1.jpg", "n": "7"}


def test_a_mark_may_name_the_photo() -> None:
    named = rendered(GREY, watermark(text="{filename} #{n}"), **FACTS)
    assert likeness(named, rendered(GREY, watermark(text="IMG_1.jpg #7"))) == 99


def test_a_mark_may_say_when_and_with_what_the_photo_was_taken() -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Ricoh", "GR III"
    exif.get_ifd(0x8769)[0x9003] = "2026:11:24 10:00:00"
    photo = saved(flat(), "PNG", exif=exif)
    named = rendered(photo, watermark(text="{exif.date}\n{exif.camera} {unknown}"))
    assert likeness(named, rendered(GREY, watermark(text="2026-11-24\nRicoh GR III {unknown}"))) == 99


def test_characters_of_a_file_name_that_no_font_has_are_replaced() -> None:
    named = rendered(GREY, watermark(text="{filename}"), filename="བོ.jpg")
    assert likeness(named, rendered(GREY, watermark(text="_.jpg"))) == 99


def test_a_photo_that_does_not_say_what_its_mark_should_name_fails() -> None:
    with pytest.raises(Rejected) as refused:
        result(GREY, watermark(text="{exif.date}"))
    assert refused.value.code == "nothing-to-write"


def test_what_was_drawn_is_remembered_only_up_to_a_sum_of_weights() -> None:
    memory: marks.Memory[str] = marks.Memory(10)
    calls: list[str] = []

    def make(word: str) -> str:
        calls.append(word)
        return word

    for word in ("four", "five!", "four", "six666", "four", "much too long to keep", "five!"):
        assert memory.recall(word, lambda word=word: make(word), len) == word
        assert memory.used <= 10
    assert calls == ["four", "five!", "six666", "much too long to keep", "five!"]


# Resize


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"width": 160}, (160, 120)),
        ({"height": 60}, (80, 60)),
        ({"width": 100, "height": 100}, (100, 75)),
        ({"width": 1, "height": 1}, (1, 1)),
        ({"width": 640}, (320, 240)),
        ({"width": 640, "enlarge": True}, (640, 480)),
        ({"width": 100, "height": 100, "fit": "cover"}, (100, 100)),
        ({"width": 300, "height": 300, "fit": "cover"}, (240, 240)),
        ({"width": 480, "height": 480, "fit": "cover", "enlarge": True}, (480, 480)),
        ({"width": 640, "height": 120, "fit": "cover"}, (320, 60)),
        ({"width": 50, "height": 200, "fit": "exact"}, (50, 200)),
        ({"width": 50, "height": 900, "fit": "exact"}, (50, 240)),
        ({"width": 50, "height": 900, "fit": "exact", "enlarge": True}, (50, 900)),
    ],
)
@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_a_photo_gets_the_size_asked_for(
    parameters: Mapping[str, object], expected: tuple[int, int], file_format: str
) -> None:
    made = result(saved(quarters(), file_format), recipe({"operation": "resize", **parameters}))
    assert (made.width, made.height) == expected == opened(made.data).size


def test_cover_keeps_the_middle() -> None:
    made = rendered(
        saved(quarters(), "PNG"), recipe({"operation": "resize", "width": 40, "height": 240, "fit": "cover"})
    )
    assert made.size == (40, 240)
    assert made.getpixel((2, 2)) == (255, 0, 0)
    assert made.getpixel((37, 237)) == (255, 255, 255)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("fit", ["inside", "cover"])
def test_detail_the_decoder_skips_is_not_missed(orientation: int, fit: str) -> None:
    photo = varied((1600, 1200))
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = photo if orientation == 1 else photo.transpose(Image.Transpose.ROTATE_270)
    size = (192, 144) if orientation == 1 else (144, 192)
    step = {"operation": "resize", "width": size[0], "height": size[1], "fit": fit}
    made = rendered(
        saved(photo, quality=95, exif=exif), recipe(step, {"operation": "convert", "format": "png"})
    )
    assert made.size == size
    assert likeness(made, upright.resize(size, Image.Resampling.LANCZOS)) > 34


def test_a_photo_to_be_made_small_is_not_decoded_in_full() -> None:
    photo, step = saved(varied((1600, 1200))), Resize(width=150)
    frame, _ = codec.decode(photo, enough=Recipe((Convert(format="png"), step)).enough)
    assert frame.size == (200, 150)
    made = result(photo, Recipe((step, Convert(format="png"))).to_json())
    assert likeness(opened(made.data), step.edit(frame, Context())) == 99


def test_a_photo_made_small_gets_a_quality_of_its_own() -> None:
    made = opened(result(saved(varied((640, 480)), quality=95), Recipe((Resize(width=500),)).to_json()).data)
    usual = opened(saved(flat(), quality=codec.DEFAULT_QUALITY["jpeg"]))
    assert made.quantization == usual.quantization  # pyright: ignore[reportAttributeAccessIssue]


def test_no_photo_is_enlarged_beyond_the_limit_of_pixels() -> None:
    by = recipe({"operation": "resize", "width": 2_000, "enlarge": True})
    with pytest.raises(LimitExceeded) as refused:
        result(GREY, by, limits=Limits(pixels=1_000_000))
    assert refused.value.code == "too-many-pixels"


# Convert


@pytest.mark.parametrize("source", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("target", ["jpeg", "png", "webp"])
def test_every_format_becomes_every_other(source: str, target: str) -> None:
    made = result(saved(varied(), source), recipe({"operation": "convert", "format": target}))
    assert opened(made.data).format == target.upper()
    assert made.media_type == f"image/{target}"
    assert made.extension == {"jpeg": "jpg"}.get(target, target)
    assert likeness(opened(made.data), varied()) > 30


@pytest.mark.parametrize("source", ["JPEG", "PNG", "WEBP"])
def test_without_convert_the_format_stays(source: str) -> None:
    assert opened(result(saved(varied(), source), watermark()).data).format == source


@pytest.mark.parametrize("target", ["jpeg", "webp"])
def test_quality_trades_size_for_likeness(target: str) -> None:
    photo = saved(varied(), "PNG")
    results = [
        result(photo, recipe({"operation": "convert", "format": target, "quality": quality})).data
        for quality in (10, 50, 95)
    ]
    sizes, alike = [len(data) for data in results], [likeness(opened(data), varied()) for data in results]
    assert sizes == sorted(set(sizes))
    assert alike == sorted(set(alike))


def test_where_convert_stands_does_not_matter_to_the_pixels() -> None:
    photo, convert = saved(varied((1600, 1200))), {"operation": "convert", "format": "png"}
    small = {"operation": "resize", "width": 160}
    assert result(photo, recipe(convert, small)).data == result(photo, recipe(small, convert)).data


def test_a_photo_too_long_for_the_format_says_so() -> None:
    with pytest.raises(Rejected) as refused:
        result(saved(flat((16_384, 1)), "PNG"), recipe({"operation": "convert", "format": "webp"}))
    assert refused.value.code == "too-large-for-format"
    assert refused.value.detail == "A WEBP can be at most 16383 pixels long."


# Grayscale and blur


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_grayscale_takes_the_colour_and_leaves_the_light(mode: str) -> None:
    photo = varied().convert(mode)
    made = rendered(saved(photo, "PNG"), recipe({"operation": "grayscale"}))
    assert made.mode == ("RGBA" if mode == "RGBA" else "L")
    assert not ImageChops.difference(made.convert("L"), photo.convert("L")).getbbox()


def test_blur_is_alike_at_any_size() -> None:
    by = recipe({"operation": "blur", "radius": 0.02})
    small, large = varied((320, 240)), varied((320, 240)).resize((1280, 960), Image.Resampling.BICUBIC)
    one, other = rendered(saved(small, "PNG"), by), rendered(saved(large, "PNG"), by)
    assert likeness(one, small) < 40
    assert likeness(one, other.reduce(4)) > 38


def test_blur_does_not_let_hidden_colours_leak() -> None:
    photo = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    photo.paste((0, 0, 255, 255), (0, 0, 32, 64))
    made = rendered(saved(photo, "PNG"), recipe({"operation": "blur", "radius": 0.1}))
    assert all(colour[0] == 0 for _, colour in made.getcolors(1 << 20) or [] if colour[3] > 8)


def test_operations_happen_in_order() -> None:
    blur, mark = {"operation": "blur", "radius": 0.2}, {"operation": "watermark", "text": "XX", "opacity": 1}
    sharp = rendered(GREY, recipe(blur, mark)).convert("L").getextrema()
    soft = rendered(GREY, recipe(mark, blur)).convert("L").getextrema()
    assert sharp[1] - sharp[0] > 100
    assert soft[1] - soft[0] < 60


def test_an_operation_never_changes_the_original() -> None:
    original = bytes(GREY)
    first = result(original, watermark()).data
    assert original == GREY
    assert result(io.BytesIO(GREY).getvalue(), watermark()).data == first
