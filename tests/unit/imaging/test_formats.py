"""Every format that people have becomes an upright plain frame, and a file of the format asked for."""

import struct
import subprocess
import sys
from collections.abc import Mapping

import pytest
from PIL import ExifTags, Image, ImageCms

from ebbmark.errors import LimitExceeded, Rejected
from ebbmark.imaging import codec
from tests.unit.imaging.photos import (
    changed,
    flat,
    heic,
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

NOTHING = recipe({"operation": "watermark", "text": "x", "opacity": 0})
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
RARE = ("AVIF", "GIF", "TIFF", "BMP")


def converted(original: bytes, **parameters: object) -> bytes:
    return result(original, recipe({"operation": "convert", **parameters})).data


def swapped(profile: bytes) -> bytes:
    """A profile of a screen whose red and green lamps are changed about."""
    red, green = profile.index(b"rXYZ") + 4, profile.index(b"gXYZ") + 4
    made = bytearray(profile)
    made[red : red + 8], made[green : green + 8] = profile[green : green + 8], profile[red : red + 8]
    return bytes(made).replace(b"s\0R\0G\0B", b"o\0d\0d\0 ").replace(b"\0s\0R\0G\0B", b"\0o\0d\0d\0 ")


# In


@pytest.mark.parametrize("form", RARE)
def test_rare_formats_are_told_by_their_headers_and_keep_their_look(form: str) -> None:
    photo = saved(varied((123, 45)), form, **({"quality": 95} if form == "AVIF" else {}))
    assert codec.sniff(photo[:32]) == f"image/{form.lower()}"
    assert codec.inspect(photo) == (form.lower(), 123, 45, 1)
    assert likeness(opened(converted(photo, format="png")), varied((123, 45))) > 24


@pytest.mark.parametrize(
    ("form", "becomes"),
    [
        ("JPEG", "JPEG"),
        ("PNG", "PNG"),
        ("WEBP", "WEBP"),
        ("AVIF", "AVIF"),
        ("GIF", "PNG"),
        ("TIFF", "PNG"),
        ("BMP", "PNG"),
    ],
)
@pytest.mark.parametrize("by", [NOTHING, recipe({"operation": "convert", "quality": 60})])
def test_a_result_keeps_its_format_or_the_one_that_is_written_instead(
    form: str, becomes: str, by: bytes
) -> None:
    made = result(saved(varied((64, 48)), form), by)
    assert opened(made.data).format == becomes
    assert made.media_type == f"image/{becomes.lower()}"
    assert made.extension == becomes.lower().replace("jpeg", "jpg")


def test_a_heic_photo_is_read_upright_and_becomes_a_jpeg() -> None:
    photo = heic(quarters((96, 64)))
    assert codec.inspect(photo)[:3] == ("heic", 96, 64)
    made = result(photo, NOTHING)
    assert (made.media_type, made.width, made.height) == ("image/jpeg", 96, 64)
    assert likeness(opened(made.data), quarters((96, 64))) > 20


def test_a_heic_photo_says_so_where_nothing_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    with pytest.raises(Rejected) as refused:
        result(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + box(b"meta", bytes(4) + nested_size(64, 48)), NOTHING)
    assert refused.value.code == "heic-not-installed"


@pytest.mark.parametrize("adobe", [True, False])
def test_print_colours_are_not_turned_round_whether_adobe_wrote_them_or_not(adobe: bool) -> None:  # noqa: FBT001
    inks = Image.new("CMYK", (64, 64), (255, 0, 0, 0))  # cyan
    photo = saved(inks, quality=95)
    at = photo.index(b"Adobe")
    if not adobe:  # whose marker says that the numbers are stored the other way round
        length = struct.unpack_from(">H", photo, at - 2)[0]
        photo = saved(Image.new("CMYK", (64, 64), (0, 255, 255, 255)), quality=95)
        photo = photo[: at - 4] + photo[at - 2 + length :]
    red, green, blue = opened(result(photo, NOTHING).data).getpixel((32, 32))
    assert red < 60
    assert min(green, blue) > 140


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "LAB", "I;16", "I;16B"])
def test_every_kind_of_tiff_keeps_its_look(mode: str) -> None:
    grey = {"1", "L", "I;16", "I;16B"}
    look = Image.new("RGB", (32, 24), "#ffffff" if mode in grey else "#3060c0")
    if mode.startswith("I;16"):
        photo = Image.frombytes(mode, (32, 24), b"\xff\xff" * 32 * 24)
    elif mode == "LAB":
        photo = ImageCms.profileToProfile(
            look, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
        )
    else:
        photo = look.quantize() if mode == "P" else look.convert(mode)
    assert photo is not None
    assert likeness(rendered(saved(photo, "TIFF"), NOTHING), look) > 30


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"])
def test_every_usual_compression_of_tiff_is_read(compression: str | None) -> None:
    photo = saved(varied((64, 48)), "TIFF", **({"compression": compression} if compression else {}))
    assert likeness(rendered(photo, NOTHING), varied((64, 48))) > 25


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["TIFF", "AVIF"])
def test_rare_formats_come_out_upright_too(orientation: int, form: str) -> None:
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    photo = quarters((96, 64))
    stored = photo.transpose(Image.Transpose(back[orientation])) if orientation in back else photo
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    made = rendered(saved(stored, form, exif=exif), NOTHING)
    assert made.size == (96, 64)
    assert likeness(made, photo) > 25


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("form", ["TIFF", "MPO"])
def test_of_several_pictures_the_first_becomes_an_avif_with_its_mark(form: str, mode: str) -> None:
    first, second = quarters().convert(mode), flat(colour="black").convert(mode)
    mark = recipe(
        {"operation": "watermark", "text": "PROOF", "position": "center", "size": 0.3, "opacity": 1},
        {"operation": "convert", "format": "avif"},
    )
    made = result(saved(first, form, save_all=True, append_images=[second]), mark)
    assert codec.inspect(made.data).frames == 1  # and it is no film
    alone = result(saved(first, "JPEG" if form == "MPO" else form), mark)
    assert opened(made.data).tobytes() == opened(alone.data).tobytes()
    assert likeness(opened(made.thumbnail), opened(alone.thumbnail)) == 99


def test_of_a_tiff_of_several_pages_the_first_is_taken_and_the_rest_is_told() -> None:
    pages = saved(quarters(), "TIFF", save_all=True, append_images=[flat(colour="black")])
    made = result(pages, NOTHING)
    assert likeness(opened(made.data), quarters()) > 50
    assert made.removed == ("further pictures",)


def test_numbers_that_are_no_colours_are_refused() -> None:
    with pytest.raises(Rejected) as refused:
        result(saved(Image.new("F", (8, 8), 0.5), "TIFF"), NOTHING)
    assert refused.value.code == "unsupported-format"


def test_a_raw_file_is_not_taken_for_its_small_picture() -> None:
    raw = saved(flat((160, 120)), "TIFF", tiffinfo={0x00FE: 1})
    with pytest.raises(Rejected) as refused:
        result(raw, NOTHING)
    assert refused.value.code == "unsupported-format"
    assert refused.value.detail.startswith("This is a camera's raw file;")


def test_sixteen_bits_of_white_are_white() -> None:
    photo = Image.frombytes("I;16", (3, 1), struct.pack("<3H", 0, 0x7FFF, 0xFFFF))
    made = rendered(saved(photo, "PNG"), recipe({"operation": "convert", "format": "png"}))
    assert [made.getpixel((x, 0)) for x in range(3)] == [0, 127, 255]


def test_the_name_of_a_file_says_nothing_of_its_format() -> None:
    png = saved(flat(), "PNG")
    assert opened(result(png, NOTHING, filename="photo.jpg").data).format == "PNG"


# Bombs, told by their headers


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + kind + body


def nested_size(width: int, height: int) -> bytes:
    size = box(b"ispe", bytes(4) + struct.pack(">II", width, height))
    return box(b"iprp", box(b"ipco", size))


@pytest.mark.parametrize(
    "data",
    [
        box(b"ftyp", b"avif\0\0\0\0avif") + box(b"meta", bytes(4) + nested_size(30_000, 30_000)),
        box(b"ftyp", b"heic\0\0\0\0heic") + box(b"meta", bytes(4) + nested_size(30_000, 30_000)),
        box(b"ftyp", b"mif1\0\0\0\0mif1avif") + box(b"meta", bytes(4) + nested_size(30_000, 30_000)),
        b"BM" + bytes(8) + struct.pack("<IIiiHH", 54, 40, 30_000, -30_000, 1, 24) + bytes(28),
        b"II*\0" + struct.pack("<IHHHIIHHIII", 8, 2, 256, 4, 1, 30_000, 257, 4, 1, 30_000, 0),
        b"GIF89a"
        + struct.pack("<HH", 30_000, 30_000)
        + b"\0\0\0"
        + b","
        + struct.pack("<4H", 0, 0, 1, 1)
        + b"\0\2\0;",
        b"GIF89a" + bytes(4) + b"\0\0\0" + b"," + struct.pack("<4H", 0, 0, 30_000, 30_000) + b"\0\2\0;",
    ],
)
def test_a_bomb_of_any_format_is_refused_by_its_header(data: bytes) -> None:
    with pytest.raises(LimitExceeded) as refused:
        result(data, NOTHING)
    assert refused.value.code == "too-many-pixels"
    assert refused.value.detail == "The image has 900 megapixels; the limit is 60."


@pytest.mark.parametrize("form", RARE)
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.95])
def test_a_rare_file_that_was_cut_off_is_damaged_or_what_is_left_of_it(form: str, share: float) -> None:
    photo = saved(varied((48, 36)), form)
    try:
        made = result(photo[: int(len(photo) * share)], NOTHING)
    except Rejected as refused:
        assert refused.code in {"corrupt", "unsupported-format"}  # noqa: PT017 - or there is a result
    else:
        assert opened(made.data).size == (48, 36)


def test_an_avif_that_moves_is_refused_with_what_to_do() -> None:
    frames = [flat((32, 32), colour) for colour in ("red", "green")]
    photo = saved(frames[0], "AVIF", save_all=True, append_images=frames[1:], duration=100)
    with pytest.raises(Rejected) as refused:
        result(photo, NOTHING)
    assert (refused.value.code, refused.value.detail) == (
        "animated",
        "An animated AVIF is not taken; send it as GIF, WebP or PNG.",
    )


# Out


@pytest.mark.parametrize("source", ["JPEG", "PNG", "WEBP", *RARE])
@pytest.mark.parametrize("target", ["jpeg", "png", "webp", "avif"])
def test_every_format_becomes_every_other(source: str, target: str) -> None:
    made = result(saved(varied(), source), recipe({"operation": "convert", "format": target}))
    assert opened(made.data).format == target.upper()
    assert made.media_type == f"image/{target}"
    assert likeness(opened(made.data), varied()) > 25


def test_an_avif_has_the_quality_asked_for_and_is_the_same_twice() -> None:
    photo = saved(varied(), "PNG")
    results = [converted(photo, format="avif", quality=quality) for quality in (20, 60, 95)]
    assert [len(data) for data in results] == sorted({len(data) for data in results})
    alike = [likeness(opened(data), varied()) for data in results]
    assert alike == sorted(set(alike))
    assert converted(photo, format="avif", quality=60) == results[1]


@pytest.mark.parametrize("mode", ["RGBA", "L"])
def test_an_avif_keeps_transparency_and_grey(mode: str) -> None:
    photo = varied((64, 48)).convert("L").convert(mode)
    if mode == "RGBA":
        photo.putalpha(Image.linear_gradient("L").resize(photo.size))
    made = opened(converted(saved(photo, "PNG"), format="avif", quality=90))
    assert made.mode == ("RGBA" if mode == "RGBA" else "L")
    assert likeness(made, photo) > 28


def is_progressive(data: bytes) -> bool:
    return b"\xff\xc2" in data


def test_a_jpeg_is_progressive_when_asked_and_else_is_not() -> None:
    photo = saved(varied(), progressive=True)
    assert is_progressive(converted(photo, format="jpeg", progressive=True))
    assert not is_progressive(converted(photo, format="jpeg"))


@pytest.mark.parametrize(("chroma", "sampling"), [("4:4:4", 0), ("4:2:2", 1), ("4:2:0", 2)])
def test_chroma_is_what_was_asked_for(chroma: str, sampling: int) -> None:
    for photo in (saved(varied(), subsampling=1), saved(varied(), "PNG")):
        _, origin = codec.decode(converted(photo, format="jpeg", chroma=chroma))
        assert origin.subsampling == sampling


def test_chroma_left_to_itself_is_the_original_s() -> None:
    _, origin = codec.decode(converted(saved(varied(), subsampling=0), format="jpeg"))
    assert origin.subsampling == 0


def test_lossless_webp_has_every_pixel() -> None:
    photo = saved(varied(), "PNG")
    assert likeness(opened(converted(photo, format="webp", lossless=True)), varied()) == 99
    assert likeness(opened(converted(photo, format="webp")), varied()) < 60


@pytest.mark.parametrize("target", ["jpeg", "avif"])
def test_lossless_is_refused_where_there_is_none(target: str) -> None:
    with pytest.raises(Rejected) as refused:
        converted(saved(flat()), format=target, lossless=True)
    assert refused.value.code == "invalid-parameter"


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"format": "jpeg"}, (255, 255, 255)),
        ({"format": "jpeg", "background": "#102030"}, (16, 32, 48)),
        ({"format": "png", "background": "#000000"}, (0, 0, 0)),
    ],
)
def test_what_is_transparent_lies_on_the_background(
    parameters: Mapping[str, object], expected: tuple[int, int, int]
) -> None:
    clear = saved(Image.new("RGBA", (64, 64), (9, 9, 9, 0)), "PNG")
    made = result(clear, recipe({"operation": "convert", **parameters}))
    for picture in (opened(made.data), opened(made.thumbnail)):
        assert picture.mode == "RGB"
        assert max(abs(a - b) for a, b in zip(picture.getpixel((5, 5)), expected, strict=True)) <= 2


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_strange_profile_is_kept_or_its_colours_are_converted(mode: str) -> None:
    odd = swapped(SRGB)
    photo = saved(flat((16, 16), "#c02020").convert(mode), "PNG", icc_profile=odd)
    kept = opened(converted(photo, format="png"))
    assert kept.info["icc_profile"] == odd
    assert kept.getpixel((8, 8))[:3] == (0xC0, 0x20, 0x20)
    plain = opened(converted(photo, format="png", profile="srgb"))
    assert "icc_profile" not in plain.info
    red, green, _ = plain.getpixel((8, 8))[:3]
    assert green > red  # what such a screen showed was green


def test_colours_that_are_srgb_already_stay_as_they_are() -> None:
    photo = saved(varied(), "PNG", icc_profile=SRGB)
    made = opened(converted(photo, format="png", profile="srgb"))
    assert "icc_profile" not in made.info
    assert likeness(made, varied()) == 99


def test_a_mark_lies_on_rare_formats_as_on_others() -> None:
    for form in RARE:
        assert changed(flat(), rendered(saved(flat(), form), watermark())) is not None


def test_rare_plugins_are_loaded_with_their_first_file_only() -> None:
    script = (
        "import sys\n"
        "from ebbmark.imaging import warm\n"
        "print(*(name in sys.modules for name in ('PIL.AvifImagePlugin', 'pi_heif', 'PIL.ImageCms')))\n"
    )
    child = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, check=True)
    assert child.stdout == b"False False False\n"
