"""Photos made by code: every oddity in the fewest bytes."""

import io
import json
import math
import struct
import zlib
from collections.abc import Mapping, Sequence

import pytest
from PIL import Image, ImageChops, ImageStat

from ebbmark.imaging.codec import Limits
from ebbmark.imaging.render import Rendered, render

WATERMARK: Mapping[str, object] = {"operation": "watermark", "text": "© Студия 2026"}


def recipe(*operations: Mapping[str, object]) -> bytes:
    return json.dumps({"operations": operations}).encode()


def watermark(**parameters: object) -> bytes:
    return recipe({**WATERMARK, **parameters})


def flat(size: tuple[int, int] = (320, 240), colour: str = "#808080", mode: str = "RGB") -> Image.Image:
    return Image.new("RGB", size, colour).convert(mode)


def varied(size: tuple[int, int] = (320, 240), seed: int = 7) -> Image.Image:
    """Smooth shapes and fine grain, the same in every run."""
    width, height = size
    state, grain = seed, bytearray()
    for _ in range(48 * 36 * 3):
        state = (1_103_515_245 * state + 12_345) % 2**31
        grain.append(state >> 16 & 0xFF)
    coarse = Image.frombytes("RGB", (48, 36), bytes(grain)).resize(size, Image.Resampling.BICUBIC)
    slope = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    return Image.blend(slope, coarse, 0.4)


def quarters(size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Red top left, green top right, blue bottom left, white bottom right."""
    image = Image.new("RGB", size)
    half = size[0] // 2, size[1] // 2
    for colour, at in (("red", (0, 0)), ("lime", (half[0], 0)), ("blue", (0, half[1])), ("white", half)):
        image.paste(colour, (*at, at[0] + half[0], at[1] + half[1]))
    return image


def saved(image: Image.Image, file_format: str = "JPEG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, file_format, **options)
    return out.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def rendered(
    original: bytes, by: bytes, logo: bytes | None = None, limits: Limits | None = None, **facts: str
) -> Image.Image:
    return opened(result(original, by, logo, limits, **facts).data)


def result(
    original: bytes, by: bytes, logo: bytes | None = None, limits: Limits | None = None, **facts: str
) -> Rendered:
    return render(original, by, logo, limits or Limits(), facts)


def changed(
    before: Image.Image, after: Image.Image, by_more_than: int = 6
) -> tuple[int, int, int, int] | None:
    """Return the box of the pixels that differ."""
    difference = ImageChops.difference(before.convert("RGB"), after.convert("RGB")).convert("L")
    return difference.point([255 * (value > by_more_than) for value in range(256)]).getbbox()


def likeness(one: Image.Image, other: Image.Image) -> float:
    """Return the peak signal-to-noise ratio in dB; 99 when equal."""
    statistics = ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB")))
    mean = sum(statistics.sum2) / sum(statistics.count)
    return 10 * math.log10(255 * 255 / mean) if mean else 99.0


def png(width: int, height: int, rows: int | None = None, colour_type: int = 0) -> bytes:
    """Return a PNG of this size in its header, with so many black rows, made without holding them."""
    channels = {0: 1, 2: 3, 6: 4}[colour_type]
    packer, row = zlib.compressobj(1), bytes(1 + width * channels)
    body = b"".join(packer.compress(row) for _ in range(height if rows is None else rows)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def green_profile(space: bytes, points: int) -> bytes:
    """Return a profile by whose table, of so many points an ink or a lamp, every colour is the same green."""
    channels, green = len(space.strip()), bytes([153, 68, 168])
    straight = bytes(range(256))
    table = struct.pack(">4s4xBBBx9i", b"mft1", channels, 3, points, *(65_536, 0, 0, 0) * 2, 65_536)
    table += straight * channels + green * points**channels + straight * 3
    return profile_of(space, b"Lab ", b"A2B0", table)


def profile_of(space: bytes, told_in: bytes, tag: bytes, said: bytes) -> bytes:
    """Return a profile of one tag, which tells colours of a space in those of another."""
    header = struct.pack(
        ">I4xI4s4s4s6H4s28x3i48x",
        *(144 + len(said), 0x04300000 if tag == b"D2B0" else 0x02400000, b"prtr", space, told_in),
        *(2026, 11, 24, 10, 0, 0, b"acsp", 0xF6D6, 0x10000, 0xD32D),
    )
    return header + struct.pack(">I4sII", 1, tag, 144, len(said)) + said


def linear(profile: bytes, *, renamed: bool = True) -> bytes:
    """Return the profile of a screen of linear light: 128 of 255 is what others show as 188."""
    made = bytearray(profile)
    for name in (b"rTRC", b"gTRC", b"bTRC"):
        at = made.index(name)
        begin = int.from_bytes(made[at + 4 : at + 8], "big")
        made[begin : begin + 12] = b"curv" + bytes(8)
        made[at + 8 : at + 12] = (12).to_bytes(4, "big")
    return called_odd(bytes(made)) if renamed else bytes(made)


def called_odd(profile: bytes) -> bytes:
    """Return the profile of sRGB under another name."""
    return profile.replace(b"s\0R\0G\0B", b"o\0d\0d\0 ").replace(b"\0s\0R\0G\0B", b"\0o\0d\0d\0 ")


def hollow_webp(width: int, height: int) -> bytes:
    """Return 34 bytes that claim to be a photo."""
    bits = (width - 1) | (height - 1) << 14
    body = b"\x2f" + struct.pack("<I", bits) + bytes(9)
    return b"RIFF" + struct.pack("<I", 12 + len(body)) + b"WEBPVP8L" + struct.pack("<I", len(body)) + body


def many_scans(count: int) -> bytes:
    """Return a small progressive JPEG whose last scan is repeated until it has `count` of them."""
    data = saved(flat((32, 32)), progressive=True)
    last = data.rindex(b"\xff\xda")
    end = data.rindex(b"\xff\xd9")
    return data[:end] + data[last:end] * (count - data.count(b"\xff\xda")) + data[end:]


def exif_with_thumbnail(thumbnail: bytes) -> bytes:
    """Return an EXIF block with a serial number and, as cameras do, an unmarked copy of the photo."""
    serial = b"SN-1234567\0"
    first, second = 8, 8 + 2 + 12 + 4
    behind = second + 2 + 3 * 12 + 4
    return b"".join(
        (
            b"Exif\0\0II*\0",
            struct.pack("<I", first),
            struct.pack("<HHHIII", 1, 0xA431, 2, len(serial), behind, second),
            struct.pack("<HHHII", 3, 0x0103, 4, 1, 6),
            struct.pack("<HHII", 0x0201, 4, 1, behind + len(serial)),
            struct.pack("<HHIII", 0x0202, 4, 1, len(thumbnail), 0),
            serial,
            thumbnail,
        )
    )


def heic(image: Image.Image) -> bytes:
    """Return a HEIC photo, as telephones make them; what reads those cannot write them."""
    pillow_heif = pytest.importorskip("pillow_heif")
    out = io.BytesIO()
    pillow_heif.from_pillow(image).save(out, quality=95)
    return out.getvalue()


def animation(
    file_format: str, frames: Sequence[Image.Image], durations: Sequence[int] | int = 100, **options: object
) -> bytes:
    """Return a picture that moves."""
    given = durations if isinstance(durations, int) else list(durations)
    return saved(frames[0], file_format, save_all=True, append_images=frames[1:], duration=given, **options)


def moments(data: bytes) -> list[Image.Image]:
    """Return every frame of a file as it is seen, with its duration in `info`."""
    image = Image.open(io.BytesIO(data))
    frames: list[Image.Image] = []
    for number in range(getattr(image, "n_frames", 1)):
        image.seek(number)
        image.load()
        frame = image.convert("RGBA")
        frame.info = {"duration": image.info.get("duration")}
        frames.append(frame)
    return frames
