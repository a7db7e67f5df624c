"""No file, however made, gets further than a refusal with a code and a sentence, and at little cost."""

import contextlib
import random
import resource
import struct
import subprocess
import sys
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from ebbmark.errors import LimitExceeded, Rejected
from ebbmark.imaging import codec
from ebbmark.imaging.codec import Limits
from ebbmark.imaging.drawing import LOGO_LIMITS
from ebbmark.imaging.header import PHOTOS, scans
from tests.unit.imaging.photos import (
    animation,
    chunk,
    flat,
    hollow_webp,
    many_scans,
    opened,
    png,
    recipe,
    rendered,
    result,
    saved,
    varied,
    watermark,
)  # fmt: skip
from tests.zoo import makers

SMALL = {file_format: saved(varied((48, 36)), file_format) for file_format in ("JPEG", "PNG", "WEBP")}
SMALL["progressive"] = saved(varied((48, 36)), progressive=True)
RARE = {file_format: saved(varied((48, 36)), file_format) for file_format in ("AVIF", "GIF", "TIFF", "BMP")}
RARE |= {
    f"moving {file_format}": animation(file_format, [flat((48, 36), colour) for colour in ("red", "blue")])
    for file_format in ("GIF", "PNG", "WEBP")
}
MARK = watermark()
FAR_TIFF = b"II+\0\x08\0\0\0" + b"\xff" * 8
"""Its first directory begins where no file reaches."""


def refusal(original: bytes, limits: Limits | None = None) -> Rejected:
    with pytest.raises(Rejected) as refused:
        result(original, MARK, limits=limits)
    return refused.value


def test_an_empty_file() -> None:
    refused = refusal(b"")
    assert (refused.code, refused.detail) == ("empty-file", "The file is empty.")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"Dear reader, this is a letter.", "not a photo"),
        (b"FUJIFILMCCD-RAW 0201", "a camera's raw file"),
        (b"\xff\x0a\xfa\x0f", "a JPEG XL photo"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "a camera's raw file"),
        (b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41", "a video"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not a photo"),
    ],
)
def test_what_is_not_a_photo_is_told_what_it_is(data: bytes, name: str) -> None:
    refused = refusal(data)
    assert refused.code == "unsupported-format"
    assert refused.detail == f"This is {name}; photos must be {PHOTOS}."


@pytest.mark.parametrize("kind", sorted(SMALL))
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_file_that_was_cut_off(kind: str, share: float) -> None:
    data = SMALL[kind]
    refused = refusal(data[: int(len(data) * share)])
    assert refused.code == "corrupt"
    assert refused.detail.startswith("The file is damaged: ")


def test_a_photo_cut_in_half_says_that_its_end_is_missing() -> None:
    data = saved(varied((640, 480)))
    assert refusal(data[: len(data) // 2]).detail == "The file is damaged: its end is missing."


@pytest.mark.parametrize("kind", sorted(SMALL | RARE))
@settings(max_examples=60, deadline=None)
@given(cut=st.floats(0, 1), seed=st.integers(0, 1 << 30), flips=st.integers(0, 8))
def test_damage_never_gives_anything_but_a_photo_or_a_refusal(
    kind: str, cut: float, seed: int, flips: int
) -> None:
    data, chance = bytearray((SMALL | RARE)[kind]), random.Random(seed)
    for _ in range(flips):
        data[chance.randrange(len(data))] = chance.randrange(256)
    del data[int(len(data) * cut) :]
    with contextlib.suppress(Rejected):
        made = result(bytes(data), MARK, limits=Limits(pixels=1_000_000))
        assert opened(made.data).size == (made.width, made.height)


@pytest.mark.parametrize(
    ("data", "megapixels"),
    [
        (png(30_000, 30_000, rows=0), 900),
        (png(10_000, 8_000, rows=0, colour_type=2), 80),
        (png(1, 0x7FFF_FFFF, rows=0), 2147),
        (hollow_webp(16_383, 16_383), 268),
    ],
)
def test_a_bomb_is_refused_by_its_header(data: bytes, megapixels: int) -> None:
    tracemalloc.start()
    refused = refusal(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(refused, LimitExceeded)
    assert refused.code == "too-many-pixels"
    assert refused.detail == f"The image has {megapixels} megapixels; the limit is 60."
    assert peak < 2_000_000


def test_eighty_megapixels_that_are_really_there() -> None:
    assert refusal(png(10_000, 8_000)).code == "too-many-pixels"


def test_a_jpeg_header_that_lies_about_its_size() -> None:
    data = bytearray(saved(flat((64, 64))))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", 65_000, 65_000)
    assert refusal(bytes(data)).detail == "The image has 4225 megapixels; the limit is 60."


def test_34_bytes_that_claim_49_megapixels() -> None:
    data = hollow_webp(7000, 7000)
    assert len(data) == 34
    assert refusal(data).code == "corrupt"


def test_as_many_pixels_as_allowed_are_allowed() -> None:
    data = saved(flat((100, 100)), "PNG")
    assert result(data, MARK, limits=Limits(pixels=10_000)).width == 100
    assert refusal(data, Limits(pixels=9_999)).code == "too-many-pixels"


def test_each_call_has_a_limit_of_pixels_of_its_own() -> None:
    before, data = Image.MAX_IMAGE_PIXELS, saved(flat((100, 100)), "PNG")
    codec.decode(data, Limits(pixels=10_000))
    result(data, MARK, limits=Limits(pixels=20_000))
    assert refusal(data, Limits(pixels=9_999)).code == "too-many-pixels"
    assert before == Image.MAX_IMAGE_PIXELS


def test_the_first_photo_with_a_logo_may_be_as_large_as_any() -> None:
    logo = saved(flat((40, 40), "#123456"), "PNG")
    marked = {"operation": "watermark", "logo": True}
    by = recipe(marked, {"operation": "crop", "aspect": "7:6"}, {"operation": "resize", "width": 100})
    large = png(6_000, 5_000)
    assert LOGO_LIMITS.pixels < 6_000 * 5_000 * 35 / 36
    assert result(large, by, logo).width == 100


def test_more_bytes_than_allowed() -> None:
    refused = refusal(SMALL["PNG"] + bytes(3_000_000), Limits(bytes=2_500_000))
    assert refused.code == "too-many-bytes"
    assert refused.detail == "The file has 3.0 MB; the limit is 2.5."


def test_a_progressive_jpeg_of_three_hundred_scans() -> None:
    refused = refusal(many_scans(300))
    assert refused.code == "too-many-scans"
    assert refused.detail == "The JPEG is made of more than 30 scans; no camera does that."


def test_scans_are_counted_up_to_the_limit_and_not_beyond() -> None:
    assert result(many_scans(30), MARK).width == 32
    assert refusal(many_scans(31)).code == "too-many-scans"


def test_what_only_looks_like_a_scan_is_not_counted() -> None:
    photo = saved(varied((48, 36)), progressive=True, comment=b"\xff\xda\x00\x08" * 300)
    assert rendered(photo, MARK).size == (48, 36)


def test_scans_hidden_behind_a_false_end_are_counted() -> None:
    data = many_scans(300)
    first = data.index(b"\xff\xda")
    comment = b"\xff\xfe" + struct.pack(">H", 4) + b"\xff\xd9"
    assert refusal(data[:first] + comment + data[first:]).code == "too-many-scans"


def test_a_png_with_a_bomb_of_text() -> None:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("comment", "x" * 80_000_000, zip=True)
    data = saved(flat((8, 8)), "PNG", pnginfo=notes)
    assert len(data) < 200_000
    assert refusal(data).code == "corrupt"


def test_a_huge_colour_profile_is_not_carried_along() -> None:
    data = saved(varied((48, 36)), icc_profile=b"\0" * 16 + b"RGB " + bytes(3_000_000))
    made = result(data, MARK)
    assert "icc_profile" not in opened(made.data).info


@pytest.mark.parametrize(
    "block",
    [
        b"Exif\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\1" * 60,
        b"Exif\0\0" + FAR_TIFF,
    ],
)
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_a_damaged_exif_block_fails_no_photo(block: bytes, file_format: str) -> None:
    made = result(saved(flat((32, 32)), file_format, exif=block), watermark(text="© {camera}"))
    assert (made.width, made.height) == (32, 32)


@pytest.mark.parametrize("value", [0, 9, 60_000])
def test_an_orientation_that_does_not_exist_is_upright(value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    assert rendered(saved(flat((40, 20)), exif=exif), MARK).size == (40, 20)


def test_a_png_whose_chunks_claim_more_than_there_is() -> None:
    data = SMALL["PNG"]
    huge = data[:33] + struct.pack(">I", 0x7FFF_FFFF) + b"zTXt" + data[33:]
    assert refusal(huge).code == "corrupt"
    assert refusal(data[:8] + chunk(b"gAMA", bytes(4)) + data[8:]).code == "corrupt"


OUT_OF_MEMORY = """
import resource, sys
from ebbmark.errors import LimitExceeded
from ebbmark.imaging import codec, recipe, watermark
from ebbmark.imaging.render import render
data = sys.stdin.buffer.read()
grown = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (grown + 64_000_000, grown + 64_000_000))
try:
    render(data, b'{"operations": [{"operation": "watermark", "text": "x"}]}')
except LimitExceeded as exc:
    print(exc.code)
"""


def test_a_photo_that_outgrows_its_memory_fails_alone() -> None:
    large = png(6_000, 5_000, colour_type=2)
    child = subprocess.run(
        [sys.executable, "-c", OUT_OF_MEMORY], input=large, capture_output=True, timeout=60, check=True
    )
    assert child.stdout == b"out-of-memory\n"
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


def test_a_directory_of_exif_that_breaks_off_says_nothing_and_nobody_is_warned() -> None:
    exif = makers.exif_of(sub=((0x9003, 2, 20, b"2026:05:01 18:40:00\0"),))
    photo = saved(flat((32, 32)), exif=exif[: exif.rindex(b"\x01\0\x03\x90") + 8])
    with pytest.raises(Rejected, match="nothing-to-write"):
        result(photo, watermark(text="{exif.date}"))


def test_a_jpeg_that_counts_more_colours_than_it_describes() -> None:
    data = saved(flat((32, 32)))
    at = data.index(b"\xff\xc0") + 2
    short = data[:at] + struct.pack(">H", 14) + data[at + 2 : at + 14] + data[at + 17 :]
    assert refusal(short).code == "corrupt"


def test_a_tiff_whose_directory_is_further_away_than_any_file_is_long() -> None:
    assert refusal(FAR_TIFF).code == "corrupt"


@pytest.mark.parametrize("tail", [b"\xff\xc0", b"\xff\xc0\0\x11\x08", b"\xff\xda", b"\xff\xda\0"])
def test_a_progressive_jpeg_that_ends_within_a_further_header(tail: bytes) -> None:
    data = SMALL["progressive"].removesuffix(b"\xff\xd9") + tail
    assert scans(data, 30) == scans(SMALL["progressive"], 30)
    assert refusal(data).code == "corrupt"


@pytest.mark.parametrize("where", ["before the first", "behind the pixels"])
def test_a_png_with_a_second_header(where: str) -> None:
    moving = animation("PNG", [flat((30, 30), colour) for colour in ("red", "lime", "blue")])
    twice = makers.twice_headed(moving, makers.png_header(1, 1))
    if where == "behind the pixels":
        at = moving.index(b"fcTL", moving.index(b"IDAT")) - 4
        twice = moving[:at] + chunk(b"IHDR", makers.png_header(60_000, 60_000)) + moving[at:]
    refused = refusal(twice, Limits(pixels=1_000))
    assert (refused.code, refused.detail) == ("corrupt", "The file is damaged: it has two headers.")


@pytest.mark.parametrize("kind", makers.TINY_PARTS)
def test_a_header_of_nothing_but_tiny_parts_is_judged_at_once(kind: str) -> None:
    data = makers.tiny_parts(kind, 25_000_000)
    began = time.process_time()
    assert refusal(data).code == "corrupt"
    assert time.process_time() - began < 0.7
