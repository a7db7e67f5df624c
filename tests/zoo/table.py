"""The table of hostile files: what each must come to. A new format gets rows here, or other outcomes.

An outcome is the code of a refusal, or the look of the result. Whatever it is, a child comes to it within
its limits, and the process that asked holds no more than the file and the result. No row has a file name: what
decodes a file is never told of any, so a wrong ending can do nothing here.
"""

# ruff: noqa: E501 - a row is a line

import functools
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from PIL import Image

from tests.unit.imaging.photos import (
    animation,
    chunk,
    flat,
    hollow_webp,
    png,
    recipe,
    saved,
    varied,
    watermark,
)
from tests.zoo import makers
from tests.zoo.cuts import WHERES, cuts

Colour = tuple[int, ...]
FAINT = watermark(opacity=0)
"""Changes no pixel, so that the look of the result is the file's."""


@dataclass(frozen=True)
class Look:
    """What a result is: its format, size, colours at some points, bytes it must not have, and frames."""

    format: str
    size: tuple[int, int]
    points: Mapping[tuple[int, int], Colour] = field(default_factory=dict)
    lacks: bytes | None = None
    frames: int = 1


@dataclass(frozen=True)
class Animal:
    """A hostile file, and what it comes to by a recipe."""

    name: str
    make: Callable[[], bytes]
    outcome: str | Look
    recipe: bytes = FAINT

    def __str__(self) -> str:
        return self.name


RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
UPRIGHT = {(8, 8): RED, (88, 8): GREEN, (8, 56): BLUE, (88, 56): WHITE}
GOOD = Look("JPEG", (320, 240))
SMALL = Look("JPEG", (48, 36))
TO_JPEG = recipe({"operation": "convert", "format": "jpeg"})

# No AVIF or HEIC of more than 60 MP is all there: to make one takes longer than all these rows.
BOMBS = (
    Animal("a png of 900 MP in one bit, all there", lambda: makers.rows_png(30_000, 30_000, depth=1, colour=0), "too-many-pixels"),
    Animal("a png of 24 MP in 64 bits, all there", lambda: makers.rows_png(6000, 4000, depth=16, colour=6), Look("PNG", (6000, 4000))),
    Animal("a jpeg of 40 MP of one colour", lambda: saved(flat((8000, 5000))), Look("JPEG", (8000, 5000))),
    Animal("a jpeg that says 4,000 MP", lambda: makers.patched(saved(flat((64, 64))), makers.frame_header(saved(flat((64, 64)))) + 1, b"\xff\0\xff\0"), "too-many-pixels"),
    Animal("a webp of 34 bytes that says 268 MP", lambda: hollow_webp(16_383, 16_383), "too-many-pixels"),
    Animal("a webp with a canvas of 281 million MP", lambda: makers.riff(makers.vp8x(1 << 24, 1 << 24)), "too-many-pixels"),
    Animal("a webp of 12 MP of one colour", lambda: saved(flat((4000, 3000)), "WEBP"), Look("WEBP", (4000, 3000))),
    Animal("a gif that says 4,000 MP", lambda: makers.gif(65_535, 65_535), "too-many-pixels"),
    Animal("a gif of 900 MP, all there", lambda: makers.one_colour_gif(1, 30_000, 30_000), "too-many-pixels"),
    Animal("a gif of 12 MP, all there", lambda: makers.one_colour_gif(1, 4000, 3000), Look("PNG", (4000, 3000), {(3999, 2999): (60, 90, 120)})),
    Animal("a bmp of 900 MP in runs, all there", lambda: makers.one_colour_bmp(30_000, 30_000), "too-many-pixels"),
    Animal("a bmp of 12 MP in runs, all there", lambda: makers.one_colour_bmp(4000, 3000), Look("PNG", (4000, 3000), {(3999, 0): (192, 128, 64)})),
    Animal("a bmp that says 4 billion MP", lambda: makers.bmp(2**31 - 1, 2**31 - 1), "too-many-pixels"),
    Animal("a tiff that says 10,000 MP", lambda: makers.tiff(100_000, 100_000), "too-many-pixels"),
    Animal("a tiff of 900 MP in one bit, all there", lambda: makers.one_colour_tiff(30_000, 30_000), "too-many-pixels"),
    Animal("a tiff of 56 MP in one bit, all there", lambda: makers.one_colour_tiff(8000, 7000), Look("PNG", (8000, 7000), {(7999, 6999): (0,)})),
    Animal("an avif of 6 MP, all there", lambda: saved(flat((3000, 2000)), "AVIF", speed=10), Look("AVIF", (3000, 2000))),
    Animal("an avif that says 4,000 MP", lambda: makers.branded(b"avif", 65_535, 65_535), "too-many-pixels"),
    Animal("a heic that says 4,000 MP", lambda: makers.branded(b"heic", 65_535, 65_535), "too-many-pixels"),
    Animal("a png whose iTXt says 200 MB", lambda: makers.with_chunks(saved(flat(), "PNG"), makers.inflating(b"iTXt", b"a\0\1\0\0\0", 200)), "corrupt"),
    Animal("a png whose profile says 200 MB", lambda: makers.with_chunks(saved(flat(), "PNG"), makers.inflating(b"iCCP", b"a\0\0", 200)), "corrupt"),
)  # fmt: skip

SIZES = (
    Animal("a png of 0×0", lambda: makers.png_of(makers.png_header(0, 0)), "corrupt"),
    Animal("a png of 0×5", lambda: makers.png_of(makers.png_header(0, 5)), "corrupt"),
    Animal("a jpeg of 0×0", lambda: _resized_jpeg(0, 0), "corrupt"),
    Animal("a jpeg whose height would follow", lambda: _resized_jpeg(48, 0), "corrupt"),
    Animal("a webp of 0×0", lambda: makers.patched(saved(flat((16, 16)), "WEBP"), 26, bytes(4)), "corrupt"),
    Animal("a jpeg of 65535×1", lambda: _resized_jpeg(65_535, 1), "corrupt"),
    Animal("a jpeg of 65500×1", lambda: saved(flat((65_500, 1))), Look("JPEG", (65_500, 1))),
    Animal("a png of 65535×1", lambda: saved(flat((65_535, 1)), "PNG"), Look("PNG", (65_535, 1))),
    Animal("a png of 1×65535", lambda: saved(flat((1, 65_535)), "PNG"), Look("PNG", (1, 65_535))),
    Animal("a png of 65535×1 under a heavy mark", lambda: saved(flat((65_535, 1)), "PNG"), Look("PNG", (65_535, 1)), watermark(position="tiled", shadow=True, plate="auto", size=0.5)),
    Animal("a png of 65535×1 as a jpeg", lambda: saved(flat((65_535, 1)), "PNG"), "too-large-for-format", TO_JPEG),
    Animal("a png longer than any may be", lambda: png(1_000_001, 1), "too-large-for-format"),
    Animal("a webp of 16383×1", lambda: saved(flat((16_383, 1)), "WEBP"), Look("WEBP", (16_383, 1))),
    Animal("a png of one pixel", lambda: saved(flat((1, 1)), "PNG"), Look("PNG", (1, 1))),
)  # fmt: skip

LIARS = (
    Animal("a png with a tenth of its rows", lambda: png(100, 100, rows=10, colour_type=2), Look("PNG", (100, 100), {(50, 99): (0, 0, 0)})),
    Animal("a png with ten times its rows", lambda: png(100, 10, rows=100), Look("PNG", (100, 10))),
    Animal("a png of depth 3", lambda: makers.png_of(makers.png_header(8, 8, depth=3)), "corrupt"),
    Animal("a png of colour type 5", lambda: makers.png_of(makers.png_header(8, 8, colour=5)), "corrupt"),
    Animal("a png with a header that does not add up", lambda: makers.patched(saved(flat((8, 8)), "PNG"), 29, b"oops"), "corrupt"),
    Animal("a palette png without a palette", lambda: makers.png_of(makers.png_header(4, 1, 2, 3), chunk(b"IDAT", zlib.compress(b"\0\x1b"))), Look("PNG", (4, 1))),
    Animal("a jpeg of 12 bits", lambda: _precise_jpeg(12), "corrupt"),
    Animal("a jpeg of nine components", lambda: makers.patched(makers.short("jpeg"), makers.frame_header(makers.short("jpeg")) + 5, b"\x09"), "corrupt"),
    Animal("a jpeg half as high as it was", lambda: _resized_jpeg(48, 16), Look("JPEG", (48, 16))),
    Animal("a jpeg without tables", lambda: _without(makers.short("jpeg"), "DHT"), SMALL),
    Animal("a jpeg without quantisation", lambda: _without(makers.short("jpeg"), "DQT"), "corrupt"),
    Animal("a jpeg of tables only", lambda: _without(makers.short("jpeg"), "SOS"), "corrupt"),
    Animal("a webp whose canvas is larger than its picture", lambda: makers.within_canvas(makers.short("webp"), flags=0, size=(640, 480)), "corrupt"),
    Animal("a webp that says it is longer than it is", lambda: makers.patched(makers.short("webp"), 4, b"\xfe\xff\xff\x7f"), "corrupt"),
    Animal("a webp with nothing in it", makers.riff, "corrupt"),
)  # fmt: skip

FRAMES = (
    Animal("an apng of ten thousand frames", lambda: makers.apng(10_000), "too-many-frames"),
    Animal("a webp of ten thousand frames", lambda: makers.moving_webp(10_000), "too-many-frames"),
    Animal("a gif of ten thousand frames", lambda: makers.gif(1, 1, 10_000), "too-many-frames"),
    Animal(
        "an apng of 72 MP that says 8 pixels first",
        lambda: makers.twice_headed(
            animation("PNG", [flat((3000, 3000), f"#{n}{n}{n}", "L") for n in range(8)]),
            makers.png_header(1, 1, colour=0),
        ),
        "corrupt",
    ),
    Animal("an apng of one frame", lambda: makers.apng(1), Look("PNG", (1, 1))),
    Animal("an apng of three frames as a jpeg", lambda: makers.apng(3), "animated", TO_JPEG),
    Animal(
        "an apng that rests for five hours, as a webp",
        lambda: animation("PNG", [flat((8, 8)), flat((8, 8), "red")], 20_000_000),
        "too-long-for-format",
        recipe({"operation": "convert", "format": "webp"}),
    ),
    Animal("a thousand jpegs in one file", lambda: makers.short("jpeg") * 1000, SMALL),
)

PARTS = tuple(
    Animal(f"a {kind}, 25 MB of them", lambda kind=kind: makers.tiny_parts(kind, 24_000_000), "corrupt")
    for kind in makers.TINY_PARTS
)

METADATA = (
    Animal("a jpeg with a profile of 16 MB", lambda: makers.jpeg_with_profile(16_000_000), GOOD),
    Animal("a jpeg with a profile of 7 MB of nothing", lambda: makers.jpeg_with_profile(7_000_000), GOOD),
    Animal("a jpeg with a profile of 7 MB of colours", lambda: makers.jpeg_with_table(b"RGB ", 133), Look("JPEG", (320, 240), {(9, 9): (0, 113, 50)})),
    Animal("a jpeg for print with a profile of 6 MB", lambda: makers.jpeg_with_table(b"CMYK", 38), Look("JPEG", (320, 240), {(9, 9): (0, 113, 50)})),
    Animal("a jpeg whose profile tells its colours in 50,000 steps", lambda: makers.jpeg_with_steps(50_000), GOOD),
    Animal("a png with a profile of 900 kB", lambda: saved(varied(), "PNG", icc_profile=bytes(16) + b"RGB " + bytes(900_000)), Look("PNG", (320, 240))),
    Animal("a webp with a profile of 16 MB", lambda: saved(varied(), "WEBP", icc_profile=bytes(16) + b"RGB " + bytes(16_000_000)), Look("WEBP", (320, 240))),
    Animal("a jpeg with 5,000 tags", lambda: makers.inserted(saved(varied()), (0xE1, makers.exif_of_thousands(5000))), GOOD),
    Animal("a png with 20 MB of EXIF", lambda: makers.with_chunks(saved(varied(), "PNG"), chunk(b"eXIf", makers.exif_of_thousands(60)[6:] + bytes(20_000_000))), Look("PNG", (320, 240))),
    Animal("a webp with 20 MB of EXIF", lambda: makers.within_canvas(saved(varied(), "WEBP"), (b"EXIF", makers.exif_of_thousands(60)[6:] + bytes(20_000_000)), flags=0x08, size=(320, 240)), Look("WEBP", (320, 240))),
    Animal("a jpeg with 12 MB of XMP", lambda: makers.jpeg_with_xmp(190), Look("JPEG", (320, 240), lacks=b"ns.adobe")),
    Animal("a webp with 20 MB of XMP", lambda: makers.within_canvas(saved(varied(), "WEBP"), (b"XMP ", b"x" * 20_000_000), flags=0x04, size=(320, 240)), Look("WEBP", (320, 240), lacks=b"XMP ")),
    Animal("a png with 20 MB of XMP", lambda: makers.with_chunks(saved(varied(), "PNG"), chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"x" * 20_000_000)), Look("PNG", (320, 240), lacks=b"adobe")),
    Animal("a png with 80 MB of texts", lambda: makers.with_chunks(saved(flat(), "PNG"), *[makers.inflating(b"zTXt", b"a\0\0", 1)] * 80), "corrupt"),
)  # fmt: skip

POLYGLOTS = (
    Animal("a jpeg that is an archive", lambda: saved(varied()) + makers.archive(), Look("JPEG", (320, 240), lacks=b"evil.js")),
    Animal("a png that is a page", lambda: saved(varied(), "PNG") + b"<script>alert(1)</script>", Look("PNG", (320, 240), lacks=b"script")),
    Animal("a jpeg that is a program", lambda: makers.inserted(saved(varied()), (0xFE, b"<?php system($_GET[0]); ?>")), Look("JPEG", (320, 240), lacks=b"php")),
    Animal("a png that is a page within", lambda: makers.with_chunks(saved(varied(), "PNG"), chunk(b"tEXt", b"Comment\0<script>alert(1)</script>")), Look("PNG", (320, 240), lacks=b"script")),
    Animal("a webp that is a script", lambda: makers.patched(saved(varied(), "WEBP"), 4, b"/*AA"), "corrupt"),
    Animal("a document with a jpeg in it", lambda: b"%PDF-1.7\n" + saved(varied()), "unsupported-format"),
    Animal("a drawing with a jpeg in it", lambda: b"<svg><image/></svg>" + saved(varied()), "unsupported-format"),
    Animal("a gif with a jpeg behind it", lambda: makers.gif(1, 1) + saved(varied()), Look("PNG", (1, 1))),
)  # fmt: skip

COLOURS = (
    Animal("a jpeg for print, inverted as Adobe does", lambda: makers.for_print((255, 0, 0, 0)), Look("JPEG", (64, 48), {(32, 24): (0, 255, 255)})),
    Animal("a jpeg for print of pure black", lambda: makers.for_print((0, 0, 0, 255)), Look("JPEG", (64, 48), {(32, 24): (0, 0, 0)})),
    Animal("a jpeg for print without a word of Adobe", lambda: makers.without_adobe(makers.for_print((255, 0, 0, 0))), Look("JPEG", (64, 48), {(32, 24): (0, 0, 0)})),
    Animal("a jpeg for print in YCCK", lambda: makers.for_print((255, 0, 0, 0), transform=2), Look("JPEG", (64, 48))),
    Animal("a png of one bit", lambda: saved(Image.new("1", (16, 16), 1), "PNG"), Look("PNG", (16, 16), {(8, 8): (255,)})),
    Animal("a png of 16 bits of grey", lambda: makers.rows_png(16, 16, depth=16, colour=0, value=0x80), Look("PNG", (16, 16), {(8, 8): (128,)})),
    Animal("a png of 48 bits of colour", lambda: makers.rows_png(16, 16, depth=16, colour=2, value=0x40), Look("PNG", (16, 16), {(8, 8): (64, 64, 64)})),
    Animal("a png of grey and glass", lambda: makers.rows_png(16, 16, depth=8, colour=4, value=0x40), Look("PNG", (16, 16), {(8, 8): (64, 64, 64, 64)})),
    Animal("a palette with glass", makers.glassy_palette, Look("PNG", (4, 1), {(0, 0): (*RED, 255), (1, 0): (*GREEN, 128), (2, 0): (*BLUE, 255), (3, 0): (*WHITE, 0)})),
    Animal("a palette with glass, as a jpeg", makers.glassy_palette, Look("JPEG", (4, 1)), TO_JPEG),
)  # fmt: skip

NUMBERS = (
    *(
        Animal(
            f"orientation {n} among rationals that are no numbers",
            lambda n=n: makers.held(n, makers.no_numbers(n)),
            Look("JPEG", (96, 64), UPRIGHT),
        )
        for n in range(1, 9)
    ),
    Animal("a date that is a rational", lambda: makers.held(1, makers.no_numbers()), "nothing-to-write", watermark(text="{exif.date}")),
    Animal("an orientation that is a text", lambda: makers.held(1, makers.exif_of((0x0112, 2, 2, b"6\0"))), Look("JPEG", (96, 64), UPRIGHT)),
    Animal("an orientation that is not a number", lambda: makers.held(1, makers.exif_of((0x0112, 5, 1, struct.pack("<II", 0, 0)))), Look("JPEG", (96, 64), UPRIGHT)),
    Animal("an orientation of many", lambda: makers.held(1, makers.exif_of((0x0112, 3, 9000, b"\6\0" * 9000))), Look("JPEG", (64, 96))),
    Animal("a directory that leads to itself", lambda: makers.held(1, makers.exif_of((0x8769, 4, 1, struct.pack("<I", 8)))), Look("JPEG", (96, 64), UPRIGHT)),
)  # fmt: skip


def _resized_jpeg(width: int, height: int) -> bytes:
    data = makers.short("jpeg")
    return makers.patched(data, makers.frame_header(data) + 1, struct.pack(">HH", height, width))


def _precise_jpeg(bits: int) -> bytes:
    data = makers.short("jpeg")
    return makers.patched(data, makers.frame_header(data), bytes([bits]))


def _without(jpeg: bytes, segment: str) -> bytes:
    return b"".join(jpeg[begin:end] for name, begin, end in makers.segments(jpeg) if name != segment)


KINDS = ("jpeg", "progressive jpeg", "png", "palette png", "webp", "lossless webp", "webp with alpha")
RARE_KINDS = (
    "gif", "tiff", "packed tiff", "bmp", "palette bmp", "avif", "moving gif", "moving png", "moving webp",
)  # fmt: skip
HEIC_BOXES = (
    "ftyp", "meta", "hdlr", "iloc", "iinf", "pitm",
    "iprp", "ipco", "hvcC", "colr", "ispe", "clap", "pixi", "ipma", "mdat",
)  # fmt: skip
"""Told here, since a HEIC is made by a test that wants it: what makes one may be missing."""
TOO_SHORT_TO_TELL = {
    "jpeg": ("within part 0, SOI", "before part 1, APP0"),
    "progressive jpeg": ("within part 0, SOI", "before part 1, APP0"),
    **dict.fromkeys(("gif", "tiff", "packed tiff", "moving gif"), ("a byte into part 0, header",)),
    **dict.fromkeys(("avif", "heic"), ("a byte into part 0, ftyp",)),
    **dict.fromkeys(
        ("bmp", "palette bmp"),
        (
            *(f"{where} part 0, file header" for where in WHERES if where != "before"),
            *(f"{where} part 1, picture header" for where in ("before", "a byte into")),
        ),
    ),
}
"""Where less is left of a file than says what it is, by its kind."""
WHOLE_ENOUGH: Mapping[str, Look] = {
    # A PNG without its end, or without the last byte of what its pixels add up to.
    **{
        f"a {kind} cut {where}": Look("PNG", (48, 36), frames=frames)
        for kind, pixels, end, frames in (
            ("png", "1, IDAT", "2, IEND", 1),
            ("palette png", "3, IDAT", "4, IEND", 1),
            ("moving png", "7, fdAT", "8, IEND", 3),
        )
        for where in (f"a byte before the end of part {pixels}", *(f"{each} part {end}" for each in WHERES))
    },
    # A GIF does not say how many frames it has: where one would begin, those before it are whole.
    "a gif cut before part 4, end": Look("PNG", (48, 36)),
    "a moving gif cut before part 5, extension F9": Look("PNG", (48, 36)),
    "a moving gif cut before part 6, frame": Look("PNG", (48, 36)),
    "a moving gif cut before part 9, extension F9": Look("GIF", (48, 36), frames=2),
    "a moving gif cut before part 10, frame": Look("GIF", (48, 36), frames=2),
    "a moving gif cut before part 13, end": Look("GIF", (48, 36), frames=3),
}
"""What is cut off and missed by no decoder, by the name of its row."""


def truncations() -> Iterator[Animal]:
    """Yield a small file of each kind, cut before, in and at either end of every part."""
    for kind in (*KINDS, *RARE_KINDS):
        data = makers.short(kind)
        for where, at in cuts(data, kind):
            yield _truncated(kind, where, lambda data=data, at=at: data[:at])
    for n, box in enumerate(HEIC_BOXES):
        for where in (f"{each} part {n}, {box}" for each in WHERES):
            if where != "before part 0, ftyp":
                yield _truncated("heic", where, lambda where=where: _cut_heic(where))


def _truncated(kind: str, where: str, make: Callable[[], bytes]) -> Animal:
    name = f"a {kind} cut {where}"
    told = "unsupported-format" if where in TOO_SHORT_TO_TELL.get(kind, ()) else "corrupt"
    return Animal(name, make, WHOLE_ENOUGH.get(name, told))


def _cut_heic(where: str) -> bytes:
    data = makers.short("heic")
    return data[: dict(cuts(data, "heic"))[where]]


def moving_bombs() -> Iterator[Animal]:
    """Yield animations whose frames are all there: few, one more than allowed, and far too many."""
    made = (("an apng", makers.apng), ("a webp", makers.moving_webp), ("a gif", makers.one_colour_gif))
    for (name, make), form in zip(made, ("PNG", "WEBP", "GIF"), strict=True):
        for frames in (12, 61, 500):
            outcome = "too-many-pixels" if frames > 60 else Look(form, (1000, 1000), frames=frames)
            bomb = functools.partial(make, frames, 1000, 1000)
            yield Animal(f"{name} of {frames} frames of 1 MP", bomb, outcome)


TABLE = (
    *BOMBS,
    *SIZES,
    *LIARS,
    *FRAMES,
    *moving_bombs(),
    *PARTS,
    *METADATA,
    *POLYGLOTS,
    *COLOURS,
    *NUMBERS,
    *truncations(),
)
