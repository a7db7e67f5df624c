"""What a result tells of its photo is what was chosen, and what was removed is told in words."""

import io
import time
from collections.abc import Callable

import pytest
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

from ebbmark.errors import Rejected
from ebbmark.imaging.origin import Origin
from ebbmark.imaging.privacy import WORDS, kept
from tests.unit.imaging.photos import (
    animation,
    changed,
    exif_with_thumbnail,
    flat,
    heic,
    linear,
    opened,
    quarters,
    recipe,
    result,
    saved,
    varied,
)  # fmt: skip

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6" exif:GPSLatitude="48,12N"'
    b' aux:SerialNumber="SN-42">KEPT<xmp:Thumbnails><xmpGImg:image>PICTURE</xmpGImg:image></xmp:Thumbnails>'
    b"</rdf:Description></x:xmpmeta>"
)


def keeping(privacy: str, **more: object) -> bytes:
    return recipe({"operation": "metadata", "privacy": privacy}, {"operation": "convert", **more})


def talkative(orientation: int = 6, notes: bytes = b"NOTES") -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Make] = "Ricoh"
    exif[ExifTags.Base.Artist] = "Ann"
    exif[ExifTags.Base.Copyright] = "© 2026 Zoë".encode()
    exif[ExifTags.IFD.Exif] = {
        ExifTags.Base.BodySerialNumber: "SN-42",
        ExifTags.Base.MakerNote: notes,
        ExifTags.Base.CameraOwnerName: "Ann",
        ExifTags.Base.DateTimeOriginal: "2026:11:24 10:00:00",
        0xA002: 9999,
        0xA003: 8888,
    }
    exif[ExifTags.IFD.GPSInfo] = {ExifTags.GPS.GPSLatitudeRef: "N"}
    return exif


def test_a_photo_that_tells_nothing_has_nothing_removed() -> None:
    for form in ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP"):
        assert result(saved(flat(), form), keeping("private")).removed == (), form


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_what_was_removed_is_told_in_words_the_most_personal_first(form: str) -> None:
    photo = saved(quarters((96, 64)), form, exif=talkative().tobytes())
    made = result(photo, recipe({"operation": "grayscale"}))
    assert made.removed == (
        "location",
        "serial numbers",
        "owner's name",
        "maker notes",
        "dates and camera settings",
    )
    kept = opened(made.data).getexif()
    assert kept[ExifTags.Base.Artist] == "Ann"
    assert set(kept) == {ExifTags.Base.Artist, ExifTags.Base.Copyright}


def test_every_word_there_is_can_be_told() -> None:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Author", "Ann")
    exif = talkative()
    exif[ExifTags.Base.ImageDescription] = "Our house"
    files = [
        (saved(varied(), exif=exif, xmp=XMP, comment=b"hello", icc_profile=SRGB), "strip"),
        (saved(varied(), exif=exif_with_thumbnail(saved(varied((64, 48))))), "private"),
        (saved(varied(), "MPO", save_all=True, append_images=[flat()]), "private"),
        (saved(varied(), "PNG", pnginfo=notes), "private"),
        (with_iptc(saved(varied())), "private"),
    ]
    told = {word for photo, privacy in files for word in result(photo, keeping(privacy)).removed}
    assert told == set(WORDS)


def with_iptc(jpeg: bytes, field: bytes = b"\x1c\x02\x78") -> bytes:
    """Put a caption, or another field, into a JPEG as newspapers do."""
    caption = field + b"\x00\x05Ann's"
    resource = b"8BIM\x04\x04\0\0" + len(caption).to_bytes(4, "big") + caption
    block = b"Photoshop 3.0\0" + resource
    return jpeg[:2] + b"\xff\xed" + (len(block) + 2).to_bytes(2, "big") + block + jpeg[2:]


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_an_unmarked_copy_in_the_file_is_told_and_goes_whatever_is_kept(form: str) -> None:
    thumbnail = saved(varied((64, 48)))
    photo = saved(varied(), form, exif=exif_with_thumbnail(thumbnail))
    for privacy in ("private", "keep", "strip"):
        made = result(photo, keeping(privacy))
        assert "embedded thumbnail" in made.removed
        assert thumbnail not in made.data


# keep


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
@pytest.mark.parametrize("target", ["jpeg", "png", "webp", "avif"])
def test_keep_keeps_what_the_file_says_and_it_is_upright(form: str, target: str) -> None:
    made = result(saved(quarters((96, 64)), form, exif=talkative().tobytes()), keeping("keep", format=target))
    kept = opened(made.data).getexif()
    assert made.removed == ()
    assert (made.width, made.height) == (64, 96)
    assert opened(made.data).size == (64, 96)
    assert ExifTags.Base.Orientation not in kept
    assert kept[ExifTags.Base.Make] == "Ricoh"
    if form not in {"AVIF", "TIFF"}:  # which Pillow writes with question marks
        assert kept[ExifTags.Base.Copyright].encode("latin-1").decode() == "© 2026 Zoë"
    inner, place = kept.get_ifd(ExifTags.IFD.Exif), kept.get_ifd(ExifTags.IFD.GPSInfo)
    assert inner[ExifTags.Base.BodySerialNumber] == "SN-42"
    assert inner[ExifTags.Base.MakerNote] == b"NOTES"
    assert place[ExifTags.GPS.GPSLatitudeRef] == "N"
    assert (inner[0xA002], inner[0xA003]) == (64, 96)


@pytest.mark.parametrize("target", ["jpeg", "png", "webp", "avif"])
def test_keep_keeps_xmp_without_its_turn_and_its_pictures(target: str) -> None:
    made = result(saved(varied(), xmp=XMP), keeping("keep", format=target))
    info = opened(made.data).info
    xmp = info.get("xmp") or info["XML:com.adobe.xmp"].encode()
    assert b"KEPT" in xmp
    assert b'tiff:Orientation="1"' in xmp
    assert b"PICTURE" not in xmp
    assert made.removed == ("embedded thumbnail",)


@pytest.mark.parametrize(
    ("held", "word"),
    [
        (b' GImage:Mime="image/jpeg" GImage:Data="PICTURE" dc:title="KEPT"/>', "further pictures"),
        (b" GImage:Data = 'PICTURE' dc:title='KEPT'/>", "further pictures"),
        (b"><GImage:Data>PICTURE</GImage:Data>KEPT</rdf:Description>", "further pictures"),
        (b' GDepth:Data="PICTURE">KEPT</rdf:Description>', "further pictures"),
        (b">KEPT<xmp:Thumbnails>PICTURE</rdf:Description>", "embedded thumbnail"),
        (
            b"><xmp:Thumbnails/>KEPT<xmpGImg:image>PICTURE</xmpGImg:image></rdf:Description>",
            "embedded thumbnail",
        ),
    ],
)
def test_no_picture_in_xmp_is_kept_wherever_a_program_puts_it(held: bytes, word: str) -> None:
    xmp = b"<x:xmpmeta><rdf:Description" + held + b"</x:xmpmeta>"
    made = result(saved(varied(), xmp=xmp), keeping("keep"))
    kept = opened(made.data).info["xmp"]
    assert b"KEPT" in kept
    assert b"PICTURE" not in kept
    assert made.removed == (word,)


@pytest.mark.parametrize(
    "part", [b"<a:Thumbnails", b"<a:Thumbnails>", b" GImage:Data=", b"<GImage:Data> ", b"w"]
)
def test_xmp_that_begins_pictures_without_end_costs_no_time(part: bytes) -> None:
    origin = Origin(format="jpeg", size=(8, 8), xmp=part * (64_000 // len(part)))
    began = time.process_time()
    kept("keep", origin, (8, 8))
    assert time.process_time() - began < 0.2


def test_notes_of_the_maker_that_hold_a_picture_are_not_kept() -> None:
    picture = saved(varied((32, 24)))
    made = result(saved(varied(), exif=talkative(1, b"NOTES" + picture)), keeping("keep"))
    assert picture not in made.data
    assert opened(made.data).getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.BodySerialNumber] == "SN-42"
    assert made.removed == ("maker notes",)


@pytest.mark.parametrize(
    "block",
    [
        b"Exif\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\1" * 60,
        b"Exif\0\0II+\0\x08\0\0\0" + b"\xff" * 8,
    ],
)
@pytest.mark.parametrize("privacy", ["private", "keep", "strip"])
def test_a_damaged_block_fails_no_photo_whatever_is_kept(block: bytes, privacy: str) -> None:
    assert result(saved(flat((32, 32)), exif=block), keeping(privacy)).width == 32


def test_a_gif_that_moves_keeps_nothing_and_says_so() -> None:
    frames = [flat((32, 32), colour) for colour in ("red", "blue")]
    made = result(animation("GIF", frames, comment=b"by Ann"), keeping("keep"))
    assert made.removed == ("comments",)
    assert b"by Ann" not in made.data


# strip


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_strip_leaves_the_picture_alone(form: str) -> None:
    photo = saved(varied(), form, exif=talkative(1), icc_profile=SRGB)
    made = result(photo, keeping("strip"))
    assert not opened(made.data).getexif()
    for data in (made.data, made.thumbnail):
        assert "icc_profile" not in opened(data).info
    assert made.removed[-2:] == ("artist and copyright", "colour profile")
    assert changed(opened(photo), opened(made.data), by_more_than=24) is None


# The colour profile


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_grey_made_of_a_photo_with_a_profile_is_as_light_as_the_photo(form: str) -> None:
    photo = saved(flat(), form, icc_profile=linear(SRGB))
    made = result(photo, recipe({"operation": "grayscale"}))
    assert "icc_profile" not in opened(made.data).info
    assert made.removed == ("colour profile",)
    for data in (made.data, made.thumbnail):
        assert opened(data).getpixel((8, 8)) == pytest.approx(188, abs=2)


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_a_coloured_mark_on_grey_with_a_profile_leaves_the_grey_as_light_as_it_was(mode: str) -> None:
    photo = saved(flat(mode=mode), "PNG", icc_profile=grey_of(linear(SRGB)))
    border = {"operation": "border", "edge_pixels": 4, "edge_color": "#ff0000"}
    made = result(photo, recipe(border))
    picture = opened(made.data)
    assert picture.getpixel((0, 0))[:3] == (255, 0, 0)
    assert picture.getpixel((99, 99)) == pytest.approx((188, 188, 188, 255)[: len(picture.mode)], abs=2)
    assert made.removed == ("colour profile",)


def grey_of(profile: bytes) -> bytes:
    """Return the profile of a screen without colours."""
    return profile[:16] + b"GRAY" + profile[20:].replace(b"rTRC", b"kTRC", 1)


@pytest.mark.parametrize("profile", [grey_of(linear(SRGB)), b"\0" * 16 + b"CMYK" + bytes(200)])
def test_a_profile_that_never_fitted_its_photo_changes_no_colour_and_goes(profile: bytes) -> None:
    photo = saved(quarters(), "PNG", icc_profile=profile)
    made = result(photo, keeping("private"))
    assert changed(opened(photo), opened(made.data), by_more_than=0) is None
    assert made.removed == ("colour profile",)


def test_a_profile_that_is_not_in_the_result_is_told_whyever_that_is() -> None:
    moving = animation("GIF", [flat((32, 32), colour) for colour in ("red", "blue")])
    first = moving.index(b"\x21\xf9")
    profile = b"\x21\xff\x0bICCRGBG1012" + bytes([200]) + SRGB[:200] + b"\0"  # which Pillow does not write
    moving = moving[:first] + profile + moving[first:]
    huge = saved(varied((48, 36)), icc_profile=b"\0" * 16 + b"RGB " + bytes(3_000_000))
    for photo, by in (
        (moving, keeping("private")),
        (huge, keeping("private")),
        (saved(flat(), icc_profile=SRGB), keeping("private", profile="srgb")),
        (saved(flat(), icc_profile=SRGB), recipe({"operation": "grayscale"})),
    ):
        assert result(photo, by).removed == ("colour profile",)
    assert result(saved(flat(), icc_profile=SRGB), keeping("private")).removed == ()


def test_strip_converts_colours_that_are_not_srgb() -> None:
    from tests.unit.imaging.test_formats import swapped  # noqa: PLC0415 - the one odd profile there is

    photo = saved(flat((16, 16), "#c02020"), "PNG", icc_profile=swapped(SRGB))
    made = result(photo, keeping("strip"))
    for data in (made.data, made.thumbnail):
        red, green, _ = opened(data).getpixel((8, 8))
        assert green > red


@pytest.mark.parametrize("by", [keeping("strip"), keeping("private", profile="srgb")])
def test_a_thumbnail_has_no_profile_where_its_photo_may_have_none(by: bytes) -> None:
    photo = saved(flat(), icc_profile=linear(SRGB))
    assert "icc_profile" in opened(result(photo, keeping("private")).thumbnail).info
    thumbnail = opened(result(photo, by).thumbnail)
    assert "icc_profile" not in thumbnail.info
    assert thumbnail.getpixel((8, 8)) == pytest.approx((188, 188, 188), abs=2)


# Who it is by


def by_xmp() -> bytes:
    return saved(varied(), xmp=b"<x:xmpmeta><rdf:Description><dc:creator>Ann</dc:creator></rdf:Description>")


def by_text() -> bytes:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Copyright", "Ann")
    return saved(varied(), "PNG", pnginfo=notes)


def by_iptc() -> bytes:
    return with_iptc(saved(varied()), b"\x1c\x02\x50")


@pytest.mark.parametrize(("photo", "where"), [(by_xmp, "XMP"), (by_text, "comments"), (by_iptc, "IPTC")])
def test_artist_and_copyright_that_exif_does_not_name_are_said_to_be_removed(
    photo: Callable[[], bytes], where: str
) -> None:
    made = result(photo(), keeping("private"))
    assert made.removed == (where, "artist and copyright")
    assert b"Ann" not in made.data
    kept = result(photo(), keeping("keep"))
    assert (b"Ann" in kept.data) is (kept.removed == ())
    assert kept.removed in {(), made.removed}


def test_artist_and_copyright_that_exif_names_too_are_not_said_to_be_removed() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "Ann"
    assert result(saved(varied(), exif=exif, xmp=b"<dc:creator>Ann"), keeping("private")).removed == ("XMP",)


def test_a_heic_photo_is_private_too() -> None:
    photo = heic_with(talkative(1))
    made = result(photo, recipe({"operation": "grayscale"}))
    assert "location" in made.removed
    assert b"SN-42" not in made.data


def heic_with(exif: Image.Exif) -> bytes:
    heic(flat())  # or the test is skipped
    import pillow_heif  # noqa: PLC0415 # pyright: ignore[reportMissingImports]

    out = io.BytesIO()
    pillow_heif.from_pillow(flat()).save(out, quality=80, exif=exif.tobytes())
    return out.getvalue()


def test_a_privacy_that_does_not_exist_is_refused() -> None:
    with pytest.raises(Rejected) as refused:
        result(saved(flat()), keeping("secret"))
    assert refused.value.detail == "metadata: privacy must be one of keep, private, strip."
