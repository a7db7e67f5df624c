"""What moves goes on moving, every frame with its mark, or is refused with a sentence."""

import struct
from collections.abc import Sequence

import pytest
from PIL import Image

from ebbmark.errors import LimitExceeded, Rejected
from ebbmark.imaging import codec
from ebbmark.imaging.codec import Encoding, Limits, Origin
from tests.unit.imaging.photos import (
    animation,
    changed,
    flat,
    likeness,
    moments,
    opened,
    recipe,
    result,
    saved,
    watermark,
)  # fmt: skip

FORMS = ("GIF", "WEBP", "PNG")
COLOURS = ("#c03030", "#30c030", "#3030c0", "#c0c030")
SIZE = (160, 120)
EXACT = {"GIF": {}, "PNG": {}, "WEBP": {"lossless": True}}
MARK = watermark(size=0.2, opacity=1, outline=False, color="#ffffff")


def moving(
    form: str, colours: Sequence[str] = COLOURS, durations: Sequence[int] = (100, 200, 50, 300)
) -> bytes:
    return animation(form, [flat(SIZE, colour) for colour in colours], durations, loop=0, **EXACT[form])


def refusal(original: bytes, by: bytes = MARK, limits: Limits | None = None) -> Rejected:
    with pytest.raises(Rejected) as refused:
        result(original, by, limits=limits)
    return refused.value


@pytest.mark.parametrize("form", FORMS)
def test_the_header_tells_how_many_frames_there_are(form: str) -> None:
    assert codec.inspect(moving(form)) == (form.lower(), *SIZE, 4)


@pytest.mark.parametrize(
    ("form", "becomes", "durations"),
    [
        ("WEBP", "png", (100, 70_001, 50, 300)),
        ("PNG", "webp", (100, 20_000_000, 50, 300)),
    ],
)
def test_a_picture_that_is_shown_for_longer_than_a_format_can_say_is_refused(
    form: str, becomes: str, durations: Sequence[int]
) -> None:
    original = moving(form, durations=durations)
    kept = result(original, MARK)
    assert [frame.info["duration"] for frame in moments(kept.data)] == list(durations)
    refused = refusal(original, recipe({"operation": "convert", "format": becomes}))
    assert refused.code == "too-long-for-format"
    assert f"longer than a {becomes.upper()} can say" in refused.detail


def test_pictures_that_become_one_are_not_shown_for_longer_than_a_gif_can_say() -> None:
    durations = (100, 400_000, 400_000, 300)
    original = moving("GIF", ("#c03030", "#30c030", "#30c031", "#c0c030"), durations)
    assert [frame.info["duration"] for frame in moments(result(original, MARK).data)] == list(durations)
    assert refusal(original, recipe({"operation": "grayscale"})).code == "too-long-for-format"


@pytest.mark.parametrize("form", FORMS)
def test_an_animation_keeps_its_format_its_frames_their_durations_and_its_loop(form: str) -> None:
    made = result(moving(form), MARK)
    assert made.media_type == f"image/{form.lower()}"
    assert (made.width, made.height) == SIZE
    frames = moments(made.data)
    assert [frame.info["duration"] for frame in frames] == [100, 200, 50, 300]
    assert opened(made.data).info["loop"] == 0
    for frame, colour in zip(frames, COLOURS, strict=True):
        assert likeness(frame.crop((0, 0, 60, 40)), flat((60, 40), colour)) > 30


@pytest.mark.parametrize("form", FORMS)
def test_the_mark_is_at_the_same_place_of_every_frame(form: str) -> None:
    frames = moments(result(moving(form), MARK).data)
    boxes = [
        changed(flat(SIZE, colour), frame, by_more_than=60)
        for frame, colour in zip(frames, COLOURS, strict=True)
    ]
    assert all(boxes)
    for edge in range(4):
        seen = [box[edge] for box in boxes if box]
        assert max(seen) - min(seen) <= 2


def test_a_mark_of_automatic_ink_does_not_flicker_where_the_frames_do() -> None:
    frames = moments(
        result(
            moving("GIF", ("#202020", "#e0e0e0", "#202020")), watermark(opacity=1, size=0.3, outline=False)
        ).data
    )
    lightest = [frame.convert("L").getextrema()[1] for frame in frames]
    assert min(lightest) > 240  # light by the first frame, and on the second one too


@pytest.mark.parametrize("form", FORMS)
def test_every_operation_edits_every_frame(form: str) -> None:
    by = recipe({"operation": "resize", "width": 80}, {"operation": "grayscale"})
    made = result(moving(form), by)
    frames = moments(made.data)
    assert (made.width, made.height) == (80, 60)
    assert [frame.size for frame in frames] == [(80, 60)] * 4
    for frame in frames:
        red, green, blue, _ = frame.getpixel((40, 30))
        assert max(red, green, blue) - min(red, green, blue) <= 4


@pytest.mark.parametrize("source", FORMS)
@pytest.mark.parametrize("target", ["webp", "png"])
def test_an_animation_becomes_another_kind_of_animation(source: str, target: str) -> None:
    made = result(moving(source), recipe({"operation": "convert", "format": target, "quality": 90}))
    frames = moments(made.data)
    assert opened(made.data).format == target.upper()
    assert [frame.info["duration"] for frame in frames] == [100, 200, 50, 300]
    for frame, colour in zip(frames, COLOURS, strict=True):
        assert likeness(frame, flat(SIZE, colour)) > 28


@pytest.mark.parametrize("target", ["jpeg", "avif"])
def test_a_format_that_shows_one_picture_is_refused_for_an_animation(target: str) -> None:
    refused = refusal(moving("GIF"), recipe({"operation": "convert", "format": target}))
    assert refused.code == "animated"
    assert refused.detail == f"The image is animated, and a {target.upper()} shows one picture only."


@pytest.mark.parametrize(("loop", "plays"), [(None, 1), (0, 0), (3, 4)])
def test_how_often_it_plays_is_carried_from_the_count_of_a_gif(loop: int | None, plays: int) -> None:
    frames = [flat((32, 32), colour) for colour in COLOURS]
    told = {} if loop is None else {"loop": loop}
    photo = animation("GIF", frames, 100, **told)
    for target in ("webp", "png"):
        made = result(photo, recipe({"operation": "convert", "format": target}))
        assert opened(made.data).info["loop"] == plays
    again = opened(result(photo, recipe({"operation": "grayscale"})).data)
    assert again.info.get("loop") == loop


@pytest.mark.parametrize(
    ("form", "loop", "target", "told"),
    [
        ("GIF", 65_535, "webp", 65_535),
        ("GIF", 65_535, "png", 65_536),
        ("GIF", 65_535, "original", 65_535),
        ("PNG", 2**32 - 1, "png", 2**31 - 1),
        ("PNG", 2**32 - 1, "webp", 65_535),
    ],
)
def test_what_plays_more_often_than_a_format_can_say_plays_as_often_as_it_can(
    form: str, loop: int, target: str, told: int
) -> None:
    photo = animation(form, [flat((32, 32), colour) for colour in COLOURS], 100, loop=loop)
    made = result(photo, recipe({"operation": "convert", "format": target}))
    assert opened(made.data).info["loop"] == told


@pytest.mark.parametrize(("form", "target"), [("GIF", "original"), ("PNG", "original"), ("PNG", "webp")])
def test_what_is_transparent_in_a_frame_does_not_show_the_frame_before(form: str, target: str) -> None:
    left, right = (Image.new("RGBA", (64, 64)) for _ in range(2))
    left.paste((200, 30, 30, 255), (0, 0, 32, 64))
    right.paste((30, 30, 200, 255), (32, 0, 64, 64))
    photo = animation(form, [left, right], 100, disposal=2 if form == "GIF" else 1)
    made = moments(result(photo, recipe({"operation": "convert", "format": target})).data)
    assert [frame.getpixel((8, 32))[3] for frame in made] == [255, 0]
    assert [frame.getpixel((56, 32))[3] for frame in made] == [0, 255]


def test_frames_of_a_gif_that_change_only_a_part_are_whole() -> None:
    frames = [flat(SIZE, "#404040") for _ in range(3)]
    for number, frame in enumerate(frames):
        frame.paste("#e08020", (number * 40, 40, number * 40 + 20, 60))
    for made, frame in zip(moments(result(animation("GIF", frames), MARK).data), frames, strict=True):
        top = (0, 0, 160, 80)
        assert likeness(made.crop(top), frame.crop(top)) > 30


@pytest.mark.parametrize("opacity", [255, 128])
@pytest.mark.parametrize("lossless", [True, False])
def test_frames_that_come_out_alike_are_a_still_webp_that_is_whole(opacity: int, *, lossless: bool) -> None:
    frame = flat((32, 32), "#c03030")
    frame.putalpha(opacity)
    origin = Origin(format="png", size=frame.size, durations=(100, 200))
    encoding = Encoding(format="webp", lossless=lossless)
    made = opened(codec.encode([frame, frame.copy()], encoding, origin).data)
    assert (made.format, getattr(made, "n_frames", 1)) == ("WEBP", 1)
    seen = made.convert("RGBA").getpixel((16, 16))
    assert seen == pytest.approx((0xC0, 0x30, 0x30, opacity), abs=6)


def test_the_picture_a_png_shows_where_nothing_moves_is_no_frame() -> None:
    frames = [flat((32, 32), colour) for colour in COLOURS[:2]]
    photo = saved(
        flat((32, 32), "black"), "PNG", save_all=True, append_images=frames, default_image=True, duration=100
    )
    made = moments(result(photo, recipe({"operation": "convert"})).data)
    assert [likeness(frame, given) > 30 for frame, given in zip(made, frames, strict=True)] == [True, True]


def test_the_thumbnail_is_of_the_first_frame() -> None:
    made = result(moving("WEBP"), recipe({"operation": "convert"}))
    assert likeness(opened(made.thumbnail), flat(SIZE, COLOURS[0])) > 30


def test_a_still_gif_is_a_still_png() -> None:
    made = result(saved(flat(SIZE), "GIF"), MARK)
    assert (made.media_type, len(moments(made.data))) == ("image/png", 1)


def test_an_animated_logo_lends_its_first_frame() -> None:
    by = recipe({"operation": "watermark", "logo": True, "opacity": 1, "size": 0.2})
    made = result(saved(flat(), "PNG"), by, moving("GIF"))
    assert any(
        max(abs(a - b) for a, b in zip(colour[:3], (0xC0, 0x30, 0x30), strict=True)) < 4
        for _, colour in opened(made.data).convert("RGB").getcolors(1 << 20) or []
    )


# Limits


@pytest.mark.parametrize("form", FORMS)
def test_more_frames_than_allowed_are_refused_before_any_is_decoded(form: str) -> None:
    refused = refusal(moving(form), limits=Limits(frames=3))
    assert isinstance(refused, LimitExceeded)
    assert (refused.code, refused.detail) == (
        "too-many-frames",
        "The animation has 4 frames; the limit is 3.",
    )


@pytest.mark.parametrize("form", FORMS)
def test_all_frames_together_have_no_more_pixels_than_one_photo(form: str) -> None:
    every = 4 * SIZE[0] * SIZE[1]
    assert result(moving(form), MARK, limits=Limits(pixels=every)).width == 160
    refused = refusal(moving(form), limits=Limits(pixels=every - 1))
    assert refused.code == "too-many-pixels"
    assert refused.detail.startswith("The 4 frames have")


def test_no_animation_is_enlarged_beyond_the_pixels_of_one_photo() -> None:
    by = recipe({"operation": "resize", "width": 640, "enlarge": True})
    assert refusal(moving("GIF"), by, Limits(pixels=1_000_000)).code == "too-many-pixels"


def test_ten_thousand_frames_of_nothing_are_refused_by_their_number() -> None:
    photo = animation("GIF", [flat((8, 8), colour, "P") for colour in COLOURS[:2]])
    frame = photo.rindex(b",")
    body = photo[frame:-1]
    refused = refusal(photo[:-1] + body * 10_000 + b";")
    assert (refused.code, refused.detail) == (
        "too-many-frames",
        "The animation has 10002 frames; the limit is 500.",
    )


def test_a_png_that_counts_more_frames_than_it_has_is_damaged() -> None:
    photo = bytearray(moving("PNG"))
    at = photo.index(b"acTL") + 4
    photo[at : at + 4] = struct.pack(">I", 40)
    assert refusal(bytes(photo)).code == "corrupt"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_an_animation_that_was_cut_off_is_damaged(form: str, share: float) -> None:
    photo = moving(form)
    assert refusal(photo[: int(len(photo) * share)]).code == "corrupt"


def test_a_frame_that_reaches_beyond_the_canvas_makes_all_frames_larger() -> None:
    photo = bytearray(animation("GIF", [flat((32, 32), colour) for colour in COLOURS[:2]]))
    photo[6:10] = struct.pack("<HH", 16, 16)
    made = result(bytes(photo), recipe({"operation": "convert"}))
    assert [frame.size for frame in moments(made.data)] == [(32, 32)] * 2


@pytest.mark.parametrize("form", FORMS)
def test_the_same_animation_gives_the_same_bytes(form: str) -> None:
    assert result(moving(form), MARK).data == result(moving(form), MARK).data
