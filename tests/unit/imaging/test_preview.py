"""A preview looks as the result does: held against it, made smaller, across operations and photos."""

import io
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageChops, ImageFilter, ImageStat
from skimage.metrics import structural_similarity

from ebbmark.errors import LimitExceeded, Rejected
from ebbmark.imaging import codec
from ebbmark.imaging.codec import Limits
from ebbmark.imaging.operation import catalogue, schema_of
from ebbmark.imaging.preview import Preview, preview
from ebbmark.imaging.render import render
from ebbmark.imaging.stock import stock_photo
from tests.unit.imaging.photos import flat, opened, recipe, saved, varied, watermark

EDGE = 480
LIKE, OFF = 0.99, 3.0
MARK = {"operation": "watermark", "text": "© Ann Example", "opacity": 0.9}
LOGO = saved(Image.linear_gradient("L").convert("RGBA"), "PNG")

RECIPES: Mapping[str, bytes] = {
    "watermark": recipe(MARK),
    "watermark tiled": recipe({**MARK, "position": "tiled", "size": 0.07}),
    "watermark chessboard": recipe({**MARK, "position": "chessboard", "angle": 45}),
    "watermark not below 90 px": recipe({**MARK, "size": 0.01, "min_size": 90}),
    "watermark not above 30 px": recipe({**MARK, "size": 0.3, "max_size": 30}),
    "watermark with a plate, a shadow and a logo": recipe(
        {**MARK, "plate": "auto", "shadow": True, "logo": True, "relative_to": "diagonal"}
    ),
    "resize to 200 px": recipe({"operation": "resize", "width": 200}),
    "resize to 700 px": recipe({"operation": "resize", "width": 700}),
    "resize to cover": recipe({"operation": "resize", "width": 800, "height": 500, "fit": "cover"}),
    "resize to stretch": recipe({"operation": "resize", "width": 500, "height": 900, "fit": "exact"}),
    "resize larger": recipe({"operation": "resize", "width": 2400, "enlarge": True}),
    "small and large again": recipe(
        {"operation": "resize", "width": 150}, {"operation": "resize", "width": 1500, "enlarge": True}
    ),
    "resize to a share": recipe({"operation": "resize", "percent": 37}),
    "crop to a corner": recipe({"operation": "crop", "aspect": "4:5", "focus": "top-left"}),
    "rotate by little": recipe({"operation": "rotate", "degrees": -7.3}),
    "border in pixels": recipe({"operation": "border", "edge_pixels": 60, "edge_color": "#ff8800"}),
    "convert to png": recipe({"operation": "convert", "format": "png"}),
    "convert to webp": recipe({"operation": "convert", "format": "webp", "quality": 90}),
    "grayscale": recipe({"operation": "grayscale"}),
    "blur": recipe({"operation": "blur", "radius": 0.02}),
    "all in a row": recipe(
        {"operation": "blur", "radius": 0.003},
        {**MARK, "min_size": 60},
        {"operation": "resize", "width": 600},
        {"operation": "grayscale"},
        {**MARK, "position": "top", "color": "#ff8800", "min_size": 50},
    ),
}
HUGE = recipe({"operation": "resize", "width": 16384, "height": 16384, "fit": "exact", "enlarge": True})
WEBP = {"operation": "convert", "format": "webp"}
SHAPES = {
    "landscape": (1920, 1440),
    "portrait": (1440, 1920),
    "panorama": (2400, 800),
    "square": (1200, 1200),
}


def drawn(size: tuple[int, int]) -> Image.Image:
    """Shapes and edges; no grain, which lives through no JPEG as it was."""
    stock = opened(stock_photo()).filter(ImageFilter.GaussianBlur(4))
    return stock.resize(size, Image.Resampling.LANCZOS)


def grainy(size: tuple[int, int]) -> Image.Image:
    """The edges as sharp as they are drawn, and the grain of a dim room."""
    sharp = np.asarray(opened(stock_photo()).resize(size, Image.Resampling.LANCZOS))
    grain = np.random.default_rng(7).normal(0, 3, (*sharp.shape[:2], 1))
    return Image.fromarray(np.clip(sharp + grain, 0, 255).astype(np.uint8))


PHOTOS = {name: drawn(size) for name, size in SHAPES.items()}


def turned(image: Image.Image, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return saved(image, quality=90, exif=exif)


def structure(one: Image.Image, other: Image.Image) -> float:
    """Return SSIM as its authors measure it: of the luma, in Gaussian windows."""
    grey = [np.asarray(codec.flatten(each.convert("RGBA")).convert("L")) for each in (one, other)]
    return float(structural_similarity(*grey, gaussian_weights=True, sigma=1.5, use_sample_covariance=False))


def off_colour(one: Image.Image, other: Image.Image) -> float:
    """Return by how much the colours differ on average, of 255."""
    difference = ImageChops.difference(*(codec.flatten(each.convert("RGBA")) for each in (one, other)))
    return max(ImageStat.Stat(difference).mean)


def likeness(original: bytes, by: bytes) -> float:
    """Return how like a preview is to the result at its size, of which it says the true size."""
    shown, made = preview(original, by, LOGO, edge=EDGE), render(original, by, LOGO)
    assert (shown.result_width, shown.result_height) == (made.width, made.height)
    picture, whole = opened(shown.data), opened(made.data)
    assert picture.size == (shown.width, shown.height)
    assert max(picture.size) == min(EDGE, max(whole.size))
    whole = whole.resize(picture.size, Image.Resampling.BICUBIC)
    assert off_colour(picture, whole) < OFF
    return structure(picture, whole)


def test_the_measure_tells_a_mark_from_none_and_a_mark_from_one_that_is_elsewhere() -> None:
    photo = saved(PHOTOS["landscape"], quality=90)
    shown = opened(preview(photo, RECIPES["watermark"], edge=EDGE).data)
    for other in (
        recipe({**MARK, "opacity": 0.0}),
        recipe({**MARK, "margin": 0.05}),
        recipe({**MARK, "size": 0.055}),
    ):
        different = opened(preview(photo, other, edge=EDGE).data)
        assert structure(shown, different) < LIKE


@pytest.mark.parametrize("by", RECIPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_preview_is_like_the_result(shape: str, by: str) -> None:
    assert likeness(saved(PHOTOS[shape], quality=90), RECIPES[by]) >= LIKE


@pytest.mark.parametrize(
    "operation",
    [
        {"operation": "border", "edge_pixels": 1},
        {"operation": "border", "edge_pixels": 2},
        {"operation": "border", "edge": 0.0005},
        {"operation": "border", "edge": 0.0},
        {"operation": "rotate", "degrees": 0.01},
    ],
)
def test_a_preview_says_the_true_size_of_a_result_that_is_a_little_larger(
    operation: Mapping[str, object],
) -> None:
    photo, by = saved(PHOTOS["landscape"]), recipe(operation)
    shown, made = preview(photo, by, edge=EDGE), render(photo, by)
    assert (shown.result_width, shown.result_height) == (made.width, made.height)


def test_a_border_is_seen_however_narrow_it_is() -> None:
    by = recipe({"operation": "border", "edge_pixels": 2, "edge_color": "#ff0000"})
    shown = preview(None, by, edge=EDGE)
    assert (shown.result_width, shown.result_height) == (4036, 3028)
    sides = [(0, shown.height // 2), (shown.width // 2, 0), (shown.width - 1, 9), (9, shown.height - 1)]
    for red, green, blue in (opened(shown.data).getpixel(side) for side in sides):
        assert red > 150 > max(green, blue)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_preview_that_is_turned_when_it_is_small_is_a_little_softer_than_the_result(shape: str) -> None:
    # Turning mixes neighbours, and of a small copy they are further apart: 0.9845 for the panorama.
    by = recipe({"operation": "rotate", "degrees": 12, "expand": False})
    assert likeness(saved(PHOTOS[shape], quality=90), by) >= 0.98
    askew = recipe({"operation": "rotate", "degrees": 12.5, "expand": False})
    one, other = (opened(preview(saved(PHOTOS[shape]), each, edge=EDGE).data) for each in (by, askew))
    assert structure(one, other) < 0.98


@pytest.mark.parametrize(
    ("step", "like"),
    [
        ({"operation": "sharpen"}, 0.985),
        ({"operation": "sharpen", "sharpness": 2, "reach": 6}, 0.95),
        ({"operation": "blur", "radius": 0.002}, LIKE),
        ({"operation": "blur", "radius": 0.01}, LIKE),
    ],
    ids=["sharpen", "sharpen far", "blur a little", "blur"],
)
def test_a_preview_is_as_sharp_as_the_result_of_a_photo_with_edges_and_grain(
    step: Mapping[str, object], like: float
) -> None:
    # Of grain that is sharpened and then averaged less is left than of grain that is averaged and then
    # sharpened; one that forgot its scale is at 0.981 and 0.904, and its colours are off by up to 8.6.
    assert likeness(saved(grainy(SHAPES["landscape"]), quality=90), recipe(step)) >= like


@pytest.mark.parametrize("by", ["watermark", "resize to cover", "all in a row"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_preview_is_like_the_result_however_the_camera_was_held(orientation: int, by: str) -> None:
    assert likeness(turned(PHOTOS["landscape"], orientation), RECIPES[by]) >= LIKE


@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
def test_a_preview_is_like_the_result_of_every_format(file_format: str) -> None:
    by = recipe(MARK, {"operation": "convert", "format": file_format.lower(), "quality": 95})
    assert likeness(saved(PHOTOS["landscape"], file_format), by) >= LIKE


def parameters_of(name: str) -> dict[str, Any]:
    """Return parameters that an operation takes, from its schema."""
    schema = schema_of(catalogue()[name])
    properties = cast("dict[str, dict[str, Any]]", schema["properties"])
    needed = cast("list[str]", schema["required"])
    return {
        key: _one(each) for key, each in properties.items() if key in needed or key in _NAMED.get(name, ())
    }


_NAMED = {"watermark": ("text",), "resize": ("width",)}
"""What an operation needs although each of its parameters may be left out."""


def _one(schema: dict[str, Any]) -> object:
    if "examples" in schema:
        return schema["examples"][0]
    if "enum" in schema:
        return schema["enum"][0]
    return max(schema.get("minimum", 0), min(200, schema.get("maximum", 200)))


@pytest.mark.parametrize("name", catalogue())
@pytest.mark.parametrize("shape", SHAPES)
def test_no_installed_operation_is_shown_otherwise_than_it_is(shape: str, name: str) -> None:
    by = recipe({"operation": name, **parameters_of(name)})
    assert likeness(saved(PHOTOS[shape], quality=90), by) >= LIKE


@pytest.mark.parametrize(
    "by",
    [
        recipe({"operation": "resize", "width": 300}, MARK),
        recipe(
            {"operation": "resize", "width": 300}, {"operation": "convert", "format": "jpeg", "quality": 5}
        ),
        recipe(MARK, {"operation": "resize", "height": 200}, {"operation": "convert", "format": "png"}),
    ],
)
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_result_that_fits_is_its_own_preview_byte_for_byte(orientation: int, by: bytes) -> None:
    original = turned(PHOTOS["landscape"], orientation)
    assert preview(original, by, edge=EDGE).data == render(original, by).data


def test_transparency_is_seen_where_the_result_has_it() -> None:
    glass = varied((900, 600)).convert("RGBA")
    glass.putalpha(Image.linear_gradient("L").resize((900, 600)))
    photo = saved(glass, "PNG")
    clear = opened(preview(photo, watermark(), edge=EDGE).data)
    assert clear.convert("RGBA").getchannel("A").getextrema()[0] < 20
    laid = preview(photo, recipe(MARK, {"operation": "convert", "format": "jpeg"}), edge=EDGE)
    assert (laid.media_type, opened(laid.data).mode) == ("image/jpeg", "RGB")
    assert likeness(photo, watermark()) >= LIKE


def test_colours_are_shown_by_the_profile_of_the_result() -> None:
    profile = opened(stock_photo()).info.get("icc_profile") or _srgb()
    shown = preview(saved(varied((900, 600)), icc_profile=profile), watermark(), edge=EDGE)
    assert opened(shown.data).info["icc_profile"] == profile


def _srgb() -> bytes:
    from PIL import ImageCms  # noqa: PLC0415 - for one test

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def test_what_a_mark_says_of_the_photo_is_what_it_says_in_the_result() -> None:
    text = {**MARK, "text": "{filename} {n}/{total} {exif.artist}"}
    one = preview(None, recipe(text), facts={"filename": "a", "n": "1", "total": "2"}, edge=EDGE)
    other = preview(None, recipe({**MARK, "text": "a 1/2 Ann Example"}), edge=EDGE)
    assert structure(opened(one.data), opened(other.data)) > 0.999


def test_without_a_photo_one_is_shown_that_nobody_took_and_it_is_always_the_same() -> None:
    stock_photo.cache_clear()
    first = stock_photo()
    stock_photo.cache_clear()
    assert stock_photo() == first
    assert opened(first).size == (4032, 3024)
    shown = preview(None, watermark())
    assert (shown.width, shown.height, shown.result_width) == (1280, 960, 4032)


@pytest.mark.parametrize(
    ("original", "by", "code"),
    [
        (b"", watermark(), "empty-file"),
        (b"only text", watermark(), "unsupported-format"),
        (saved(varied((900, 600)))[:9_000], watermark(), "corrupt"),
        (saved(varied((900, 600))), recipe({**MARK, "text": "{exif.artist}"}), "nothing-to-write"),
        (saved(varied((900, 600))), recipe({**MARK, "logo": True}), "missing-logo"),
        (saved(flat((1600, 10))), HUGE, "too-many-pixels"),
        (saved(flat((16_384, 8)), "PNG"), recipe(WEBP), "too-large-for-format"),
    ],
)  # fmt: skip
def test_what_would_fail_in_a_job_fails_with_the_same_code(original: bytes, by: bytes, code: str) -> None:
    with pytest.raises(Rejected) as in_a_job:
        render(original, by)
    with pytest.raises(Rejected) as here:
        preview(original, by, edge=EDGE)
    assert (in_a_job.value.code, here.value.code) == (code, code)


def test_it_has_limits_of_its_own() -> None:
    photo = saved(varied((900, 600)))
    for limits, code in ((Limits(bytes=1000), "too-many-bytes"), (Limits(pixels=500_000), "too-many-pixels")):
        with pytest.raises(LimitExceeded) as refused:
            preview(photo, watermark(), limits=limits)
        assert refused.value.code == code


FRAMED = """
from PIL import ImageOps
from ebbmark.imaging.operation import Operation

seen = []

class Framed(Operation, frozen=True):
    def edit(self, image, context):
        seen.append((image.size, context.scale))
        return ImageOps.expand(image, 40, "red")
"""


@pytest.fixture
def framed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An installed operation of somebody who has not read how previews are made."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "ebbmark_framed.py").write_text(FRAMED)
    information = tmp_path / "ebbmark_framed-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: ebbmark-framed\nVersion: 1\n")
    (information / "entry_points.txt").write_text("[ebbmark.operations]\nframed = ebbmark_framed:Framed\n")
    catalogue.cache_clear()
    catalogue()
    yield sys.modules["ebbmark_framed"]
    sys.modules.pop("ebbmark_framed", None)
    catalogue.cache_clear()


def test_an_operation_that_does_not_say_how_large_it_makes_photos_is_shown_as_it_is(framed: Any) -> None:  # noqa: ANN401 - a module
    photo = saved(PHOTOS["landscape"], quality=90)
    assert likeness(photo, recipe({"operation": "framed"}, MARK)) >= LIKE
    assert ((1920, 1440), 1.0) in framed.seen


def test_the_work_is_done_on_a_small_copy(framed: Any) -> None:  # noqa: ANN401 - a module
    shown = preview(saved(PHOTOS["landscape"]), recipe({"operation": "framed"}), edge=EDGE)
    assert isinstance(shown, Preview)
    assert framed.seen[0] == ((480, 360), 0.25)
    assert io.BytesIO(shown.data).getbuffer().nbytes < 200_000
