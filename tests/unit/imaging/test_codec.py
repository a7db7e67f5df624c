"""Every valid oddity becomes an upright plain frame; what must go is gone, what must stay is there."""

import pickle

import msgspec
import pytest
from PIL import ExifTags, Image, ImageCms

from ebbmark.errors import Rejected
from ebbmark.imaging import codec
from ebbmark.imaging.render import THUMBNAIL_EDGE, Rendered
from tests.unit.imaging.photos import (
    changed,
    exif_with_thumbnail,
    flat,
    likeness,
    opened,
    png,
    quarters,
    recipe,
    rendered,
    result,
    saved,
    varied,
    watermark,
)  # fmt: skip

NOTHING = recipe({"operation": "watermark", "text": "x", "opacity": 0})
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def corners(image: Image.Image) -> list[str]:
    width, height = image.size
    inset = width // 8, height // 8
    names = {(1, 0, 0): "red", (0, 1, 0): "green", (0, 0, 1): "blue", (1, 1, 1): "white"}
    found: list[str] = []
    for x in (inset[0], width - inset[0]):
        for y in (inset[1], height - inset[1]):
            pixel = image.convert("RGB").getpixel((x, y))
            assert isinstance(pixel, tuple)
            found.append(names[pixel[0] // 128, pixel[1] // 128, pixel[2] // 128])
    return found


def with_orientation(image: Image.Image, orientation: int, file_format: str) -> bytes:
    """Store a photo as a camera held that way does."""
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = image.transpose(Image.Transpose(back[orientation])) if orientation in back else image
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return saved(stored, file_format, exif=exif)


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_photos_come_out_upright_however_the_camera_was_held(orientation: int, file_format: str) -> None:
    made = result(with_orientation(quarters((96, 64)), orientation, file_format), NOTHING)
    assert (made.width, made.height) == (96, 64)
    assert corners(opened(made.data)) == ["red", "blue", "green", "white"]
    assert ExifTags.Base.Orientation not in opened(made.data).getexif()


def test_a_mark_stands_upright_on_a_photo_held_sideways() -> None:
    sideways = with_orientation(flat((320, 240)), 6, "PNG")
    assert likeness(rendered(sideways, watermark()), rendered(saved(flat(), "PNG"), watermark())) == 99


@pytest.mark.parametrize(("orientation", "upright"), [(1, (1600, 400)), (3, (1600, 400)), (6, (400, 1600))])
def test_how_much_is_enough_is_asked_of_the_upright_size(orientation: int, upright: tuple[int, int]) -> None:
    exif, asked = Image.Exif(), list[tuple[int, int]]()
    exif[ExifTags.Base.Orientation] = orientation

    def enough(size: tuple[int, int]) -> tuple[int, int]:
        asked.append(size)
        return size[0] // 4, size[1] // 4

    frame, origin = codec.decode(saved(flat((1600, 400)), exif=exif), enough=enough)
    assert asked == [upright]
    assert frame.size == origin.size == (upright[0] // 4, upright[1] // 4)


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "LA"])
def test_every_kind_of_png_keeps_its_look(mode: str) -> None:
    photo = quarters().convert(mode)
    made = rendered(saved(photo, "PNG"), NOTHING)
    assert likeness(made, photo.convert("RGB")) > 60
    assert made.mode == {"RGB": "RGB", "P": "RGB", "L": "L", "1": "L"}.get(mode, "RGBA")


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    photo = Image.new("I;16", (4, 1))
    for x, value in enumerate((0, 0x4000, 0x8000, 0xFFFF)):
        photo.putpixel((x, 0), value)
    made = rendered(saved(photo, "PNG"), recipe({"operation": "convert", "format": "png"}))
    assert [made.getpixel((x, 0)) for x in range(4)] == [0, 64, 128, 255]


@pytest.mark.parametrize("mode", ["P", "RGB", "L"])
def test_a_single_transparent_colour_is_transparency(mode: str) -> None:
    photo = Image.new("L", (8, 8), 200).convert(mode)
    photo.paste(Image.new("L", (4, 8), 10).convert(mode), (0, 0))
    clear = photo.getpixel((0, 0))
    made = rendered(
        saved(photo, "PNG", transparency=clear), recipe({"operation": "convert", "format": "png"})
    )
    assert made.mode == "RGBA"
    assert made.getchannel("A").getpixel((0, 0)) == 0
    assert made.getchannel("A").getpixel((7, 0)) == 255


@pytest.mark.parametrize("target", ["png", "webp"])
def test_transparency_stays_where_the_format_has_it(target: str) -> None:
    photo = varied()
    photo.putalpha(Image.linear_gradient("L").resize(photo.size))
    made = rendered(saved(photo, "PNG"), recipe({"operation": "convert", "format": target}))
    assert made.mode == "RGBA"
    assert likeness(made.getchannel("A"), photo.getchannel("A")) > 50


def test_transparency_is_laid_on_white_where_the_format_has_none() -> None:
    clear = saved(Image.new("RGBA", (64, 64), (0, 0, 0, 0)), "PNG")
    made = result(clear, recipe({"operation": "convert", "format": "jpeg"}))
    assert opened(made.data).getpixel((5, 5)) == (255, 255, 255)
    assert opened(made.thumbnail).getpixel((5, 5)) == (255, 255, 255)


def test_a_photo_for_print_becomes_one_for_screens() -> None:
    photo = varied().convert("CMYK")
    made = opened(result(saved(photo, quality=95), NOTHING).data)
    assert made.mode == "RGB"
    assert likeness(made, photo.convert("RGB")) > 36


@pytest.mark.parametrize("profile", [b"nonsense", SRGB])
def test_a_profile_of_no_use_does_not_fail_a_photo_for_print(profile: bytes) -> None:
    photo = saved(varied().convert("CMYK"), icc_profile=profile)
    assert likeness(opened(result(photo, NOTHING).data), varied()) > 25


def test_of_several_pictures_in_one_file_the_first_is_taken() -> None:
    photo = saved(quarters(), "MPO", save_all=True, append_images=[flat(colour="black")])
    made = opened(result(photo, NOTHING).data)
    assert made.format == "JPEG"
    assert getattr(made, "n_frames", 1) == 1
    assert corners(made) == ["red", "blue", "green", "white"]


@pytest.mark.parametrize(
    "options", [{"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"quality": 30}]
)
def test_every_usual_kind_of_jpeg_is_read(options: dict[str, int]) -> None:
    photo = saved(varied(), **options)
    assert likeness(rendered(photo, NOTHING), opened(photo)) > 36


# What is kept, and what is not


@pytest.mark.parametrize("quality", [70, 85, 95])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_what_no_operation_touched_stays_as_it_was(quality: int, subsampling: int) -> None:
    photo = saved(varied((640, 480)), quality=quality, subsampling=subsampling)
    made = result(photo, watermark())
    top = (0, 0, 640, 400)
    assert likeness(opened(made.data).crop(top), opened(photo).crop(top)) > 45
    assert 0.9 < len(made.data) / len(photo) < 1.15
    assert opened(made.data).quantization == opened(photo).quantization  # pyright: ignore[reportAttributeAccessIssue]


def test_a_quality_asked_for_is_the_quality_given() -> None:
    photo = saved(varied(), quality=95)
    made = result(photo, recipe({"operation": "convert", "format": "jpeg", "quality": 50}))
    fifty = opened(saved(varied(), quality=50))
    assert opened(made.data).quantization == fifty.quantization  # pyright: ignore[reportAttributeAccessIssue]


def test_a_mark_on_a_coarse_photo_is_not_as_coarse() -> None:
    photo = saved(varied(), quality=20)
    assert len(result(photo, watermark()).data) > 1.5 * len(photo)


def test_gps_serials_names_and_comments_are_gone() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "SECRETMAKER"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.BodySerialNumber] = "SECRETSERIAL"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "SECRETPLACE"
    photo = saved(varied(), exif=exif, comment=b"SECRETCOMMENT", xmp=b"<x>SECRETXMP</x>")
    assert photo.count(b"SECRET") == 5
    for target in ("jpeg", "png", "webp"):
        made = result(photo, recipe({"operation": "convert", "format": target}))
        assert b"SECRET" not in made.data
        assert b"SECRET" not in made.thumbnail
        assert not opened(made.data).getexif()


def test_an_unmarked_copy_within_the_file_does_not_survive() -> None:
    thumbnail = saved(varied((64, 48)))
    photo = saved(varied(), exif=exif_with_thumbnail(thumbnail))
    assert thumbnail in photo
    made = result(photo, watermark())
    assert thumbnail not in made.data
    assert made.data.count(b"\xff\xd8\xff") == 1


@pytest.mark.parametrize("target", ["jpeg", "png", "webp"])
def test_artist_and_copyright_holder_stay(target: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "Зоя Ким".encode()
    exif[ExifTags.Base.Copyright] = "© 2026 Zoë".encode()
    made = result(saved(varied(), exif=exif), recipe({"operation": "convert", "format": target}))
    kept = opened(made.data).getexif()
    assert {tag: kept[tag].encode("latin-1").decode() for tag in kept} == {
        ExifTags.Base.Artist: "Зоя Ким",
        ExifTags.Base.Copyright: "© 2026 Zoë",
    }


@pytest.mark.parametrize("source", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("target", ["jpeg", "png", "webp"])
def test_the_colour_profile_stays(source: str, target: str) -> None:
    made = result(
        saved(varied(), source, icc_profile=SRGB), recipe({"operation": "convert", "format": target})
    )
    assert opened(made.data).info["icc_profile"] == SRGB
    assert opened(made.thumbnail).info["icc_profile"] == SRGB


def test_a_profile_of_colours_the_result_no_longer_has_goes() -> None:
    made = result(saved(varied(), icc_profile=SRGB), recipe({"operation": "grayscale"}))
    assert "icc_profile" not in opened(made.data).info


# Thumbnails


@pytest.mark.parametrize("size", [(1, 1), (320, 240), (321, 100), (640, 480), (99, 2000), (3000, 2000)])
def test_a_thumbnail_is_a_small_jpeg_of_the_finished_photo(size: tuple[int, int]) -> None:
    made = result(saved(quarters(size) if min(size) > 8 else flat(size), "PNG"), watermark(opacity=0))
    small = opened(made.thumbnail)
    assert small.format == "JPEG"
    assert max(small.size) <= THUMBNAIL_EDGE
    assert max(small.size) >= min(max(size), THUMBNAIL_EDGE // 2)
    assert len(made.thumbnail) < 20_000
    if min(small.size) > 80:
        assert corners(small) == ["red", "blue", "green", "white"]


def test_the_thumbnail_carries_the_mark() -> None:
    photo = saved(flat(), "PNG")
    plain, marked = result(photo, NOTHING), result(photo, watermark(opacity=1))
    assert changed(opened(plain.thumbnail), opened(marked.thumbnail), by_more_than=30)


# Headers


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"progressive": True}])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_the_header_tells_format_and_size(file_format: str, options: dict[str, bool], mode: str) -> None:
    if file_format == "JPEG" and mode == "RGBA":
        mode = "CMYK"
    data = saved(flat((123, 45), mode=mode), file_format, **options)
    assert codec.inspect(data) == (file_format.lower(), 123, 45, 1)
    assert codec.sniff(data[:32]) == f"image/{file_format.lower()}"


@pytest.mark.parametrize(
    "head", [b"", b"\xff\xd8", b"hello, world", b"GIF88a\0\0\0\0\0\0", b"BMW and others", b"RIFF\0\0\0\0WAVE"]
)
def test_strangers_are_not_taken_for_photos(head: bytes) -> None:
    assert codec.sniff(head) is None


def test_the_header_is_enough_to_know_a_bomb() -> None:
    assert codec.inspect(png(30_000, 30_000, rows=0)).size == (30_000, 30_000)


# Crossing to a child and back


def test_results_and_refusals_survive_pickling() -> None:
    made = result(saved(flat(), "PNG"), watermark())
    assert pickle.loads(pickle.dumps(made)) == made  # noqa: S301
    assert isinstance(made, Rendered)
    with pytest.raises(Rejected) as refused:
        result(b"", watermark())
    returned = pickle.loads(pickle.dumps(refused.value))  # noqa: S301
    assert (returned.code, returned.detail) == ("empty-file", "The file is empty.")


def test_equal_input_gives_equal_output() -> None:
    for file_format in ("JPEG", "PNG", "WEBP"):
        photo = saved(varied(), file_format)
        first, second = (result(photo, watermark(position="tiled")) for _ in range(2))
        assert msgspec.structs.replace(second, began=first.began, steps=first.steps) == first
        assert [step for step, _ in first.steps] == ["decode", "watermark", "encode", "thumbnail"]
