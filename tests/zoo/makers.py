"""Hostile files made by code: each function returns the bytes of one, or changes those of a good one."""

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator

from PIL import ExifTags, Image

from tests.unit.imaging.photos import (
    animation,
    chunk,
    flat,
    green_profile,
    heic,
    profile_of,
    quarters,
    saved,
    varied,
)  # fmt: skip

PNG = b"\x89PNG\r\n\x1a\n"
_STANDALONE = {0x01, *range(0xD0, 0xDA)}
_MARKERS = {
    0xC0: "SOF0",
    0xC2: "SOF2",
    0xC4: "DHT",
    0xD8: "SOI",
    0xD9: "EOI",
    0xDA: "SOS",
    0xDB: "DQT",
    0xE0: "APP0",
}


# The parts of a file


def segments(jpeg: bytes) -> Iterator[tuple[str, int, int]]:
    """Yield name, begin and end of every segment of a JPEG; a scan goes with its header."""
    at = 0
    while at < len(jpeg):
        marker, end = jpeg[at + 1], at + 2
        if marker not in _STANDALONE:
            end += int.from_bytes(jpeg[end : end + 2], "big")
        if marker == 0xDA:
            while not (jpeg[end] == 0xFF and jpeg[end + 1] not in {0, *range(0xD0, 0xD8)}):
                end += 1
        yield _MARKERS.get(marker, f"{marker:02X}"), at, end
        at = end


def chunks(png: bytes) -> Iterator[tuple[str, int, int]]:
    """Yield name, begin and end of every chunk of a PNG."""
    at = 8
    while at < len(png):
        end = at + 12 + int.from_bytes(png[at : at + 4], "big")
        yield png[at + 4 : at + 8].decode(), at, end
        at = end


def riff_chunks(webp: bytes) -> Iterator[tuple[str, int, int]]:
    """Yield name, begin and end of every chunk of a WebP."""
    at = 12
    while at < len(webp):
        size = int.from_bytes(webp[at + 4 : at + 8], "little")
        end = at + 8 + size + size % 2
        yield webp[at : at + 4].decode().strip(), at, end
        at = end


def patched(data: bytes, at: int, by: bytes) -> bytes:
    return data[:at] + by + data[at + len(by) :]


def frame_header(jpeg: bytes) -> int:
    """Return where a JPEG says its precision, height, width and number of components."""
    return next(begin for name, begin, _ in segments(jpeg) if name.startswith("SOF")) + 4


def inserted(jpeg: bytes, *new: tuple[int, bytes]) -> bytes:
    """Put segments right behind the first two bytes."""
    written = b"".join(bytes([0xFF, kind]) + struct.pack(">H", len(body) + 2) + body for kind, body in new)
    return jpeg[:2] + written + jpeg[2:]


def png_of(header: bytes, *rest: bytes) -> bytes:
    return PNG + chunk(b"IHDR", header) + b"".join(rest) + chunk(b"IEND", b"")


def png_header(width: int, height: int, depth: int = 8, colour: int = 2, interlace: int = 0) -> bytes:
    return struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)


def with_chunks(png: bytes, *new: bytes) -> bytes:
    """Put chunks right behind the header."""
    return png[:33] + b"".join(new) + png[33:]


def riff(*parts: tuple[bytes, bytes]) -> bytes:
    body = b"".join(
        name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for name, data in parts
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def vp8x(width: int, height: int, flags: int = 0) -> tuple[bytes, bytes]:
    return b"VP8X", bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(
        3, "little"
    )


def within_canvas(webp: bytes, *parts: tuple[bytes, bytes], flags: int, size: tuple[int, int]) -> bytes:
    """Return a plain WebP as an extended one, with further chunks behind its picture."""
    return riff(
        vp8x(*size, flags), (webp[12:16], webp[20 : 20 + int.from_bytes(webp[16:20], "little")]), *parts
    )


# Bombs


def rows_png(width: int, height: int, *, depth: int, colour: int, value: int = 0) -> bytes:
    """Return a PNG in which every row is there, made without holding them."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    row = b"\0" + bytes([value]) * ((width * channels * depth + 7) // 8)
    packer = zlib.compressobj(1)
    body = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    return png_of(png_header(width, height, depth, colour), chunk(b"IDAT", body))


def inflating(kind: bytes, head: bytes, megabytes: int) -> bytes:
    """Return a chunk that is small and says a lot."""
    packer = zlib.compressobj(9)
    body = b"".join(packer.compress(bytes(1_000_000)) for _ in range(megabytes)) + packer.flush()
    return chunk(kind, head + body)


def gif(width: int, height: int, frames: int = 1) -> bytes:
    frame = b"\x21\xf9\x04\0\0\0\0\0" + b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02D\x01\0"
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", width, height, 0x80, 0, 0)
        + b"\0\0\0\xff\xff\xff"
        + frame * frames
        + b";"
    )


def bmp(width: int, height: int) -> bytes:
    header = (40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 58, 0, 0, 54) + struct.pack("<IiiHHIIiiII", *header) + bytes(4)


def tiff(width: int, height: int) -> bytes:
    one_value = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: 4}
    tags = [(tag, 4, value) for tag, value in one_value.items()]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<I", 12) + bytes(4) + struct.pack("<H", len(tags)) + entries + bytes(4)


def one_colour_gif(frames: int, width: int, height: int) -> bytes:
    """Return a GIF whose every pixel is there; of several frames each has another colour than the last."""
    packed = _one_colour_lzw(width * height)
    blocks = b"".join(bytes([len(part)]) + part for part in _sliced(packed, 255))
    place = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0x81)
    parts = [b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0)]
    for n in range(frames):
        palette = bytes([60 + n % 2 * 120, 90, 120]) * 4
        parts += [b"\x21\xf9\x04\0\x0a\0\0\0", place, palette, b"\2", blocks, b"\0"]
    return b"".join((*parts, b";"))


def _one_colour_lzw(pixels: int) -> bytes:
    """Return so many pixels of colour 0 in LZW: each code stands for one pixel more than the one before."""
    clear, end, free, most = 4, 5, 6, 4096
    bits, filled, out = clear | 0 << 3, 6, bytearray()
    left = pixels - 1
    while True:
        many = min(left, min(free, most - 1) - clear)
        code = end if not left else many + clear if many > 1 else 0
        bits |= code << filled
        filled += min(12, max(3, free.bit_length()))
        while filled >= 8:
            out.append(bits & 0xFF)
            bits, filled = bits >> 8, filled - 8
        if not left:
            return bytes(out) + bytes([bits])
        left -= many
        free = min(most, free + 1)


def _sliced(data: bytes, length: int) -> Iterator[bytes]:
    return (data[at : at + length] for at in range(0, len(data), length))


def one_colour_bmp(width: int, height: int) -> bytes:
    """Return a BMP in runs whose every pixel is there."""
    row = b"\xff\0" * (width // 255) + bytes([width % 255, 0]) * (width % 255 > 0) + b"\0\0"
    body = row * height + b"\0\1"
    header = (40, width, height, 1, 8, 1, len(body), 0, 0, 2, 0)
    start = struct.pack("<IHHI", 62 + len(body), 0, 0, 62) + struct.pack("<IiiHHIIiiII", *header)
    return b"BM" + start + b"\x40\x80\xc0\0" * 2 + body


def one_colour_tiff(width: int, height: int) -> bytes:
    """Return a TIFF of one bit a pixel, in PackBits, whose every pixel is there."""
    length = (width + 7) // 8
    row = b"\x81\0" * (length // 128) + (bytes([257 - length % 128, 0]) if length % 128 > 1 else b"")
    row += b"\0\0" * (length % 128 == 1)
    values = {
        256: width, 257: height, 258: 1, 259: 32_773, 262: 1, 273: 122, 277: 1, 278: height,
        279: len(row) * height,
    }  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in values.items())
    return b"II*\0" + struct.pack("<IH", 8, len(values)) + entries + bytes(4) + row * height


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + kind + body


def branded(brand: bytes, width: int, height: int) -> bytes:
    """Return a file of the AVIF and HEIC family that has a size and no picture."""
    size = box(b"ispe", struct.pack(">III", 0, width, height))
    meta = bytes(4) + box(b"iprp", box(b"ipco", size))
    return box(b"ftyp", brand + bytes(4) + b"mif1" + brand) + box(b"meta", meta)


# Frames without end


def apng(frames: int, width: int = 1, height: int = 1) -> bytes:
    """Return an APNG whose frames are all there, each of another colour than the last."""
    pixels = [zlib.compress((b"\0" + bytes([red, 90, 120]) * width) * height) for red in (60, 180)]
    parts = [chunk(b"acTL", struct.pack(">II", frames, 0))]
    number = 0
    for n in range(frames):
        parts.append(chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, width, height, 0, 0, 1, 100, 0, 0)))
        parts.append(
            chunk(b"fdAT", struct.pack(">I", number + 1) + pixels[n % 2]) if n else chunk(b"IDAT", pixels[0])
        )
        number += 2 if n else 1
    return png_of(png_header(width, height), *parts)


def twice_headed(png: bytes, first: bytes) -> bytes:
    """Put another header before that of a PNG; most decoders believe the last one."""
    return png[:8] + chunk(b"IHDR", first) + png[8:]


def moving_webp(frames: int, width: int = 1, height: int = 1) -> bytes:
    """Return a WebP whose frames are all there, each of another colour than the last."""
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    place = bytes(6) + size + (100).to_bytes(3, "little") + b"\0"
    pictures = [
        place + saved(flat((width, height), colour), "WEBP", lossless=True)[12:]
        for colour in ("#3c5a78", "#b45a78")
    ]
    moments = ((b"ANMF", pictures[n % 2]) for n in range(frames))
    return riff(vp8x(width, height, 0x02), (b"ANIM", bytes(6)), *moments)


# Parts without end


def tiny_parts(kind: str, size: int) -> bytes:
    """Return a header of so many bytes that is made of the smallest parts there are."""
    gif_head = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0)
    jpeg = short("jpeg")
    scan = jpeg.index(b"\xff\xda")
    begin, part, end = {
        "jpeg of markers": (jpeg[:2], b"\xff\x01", jpeg[2:]),
        "jpeg of markers before its scan": (jpeg[:scan], b"\xff\x01", jpeg[scan:]),
        "jpeg of comments": (jpeg[:2], b"\xff\xfe\0\2", jpeg[2:]),
        "jpeg of padding": (jpeg[:2], b"\xff", jpeg[2:]),
        "png of chunks": (short("png")[:33], chunk(b"noTe", b""), short("png")[33:]),
        "webp of chunks": (riff(vp8x(1, 1, 0x02)), b"noTe\0\0\0\0", b""),
        "gif of nothing": (gif_head, b"\0", b""),
        "gif of comments": (gif_head, b"\x21\xfe\0", b""),
        "gif of blocks": (gif_head + b"\x21\xfe", b"\1x", b""),
        "avif of boxes": (
            b"\0\0\0\x10ftypavif\0\0\0\0",
            box(b"meta", bytes(4) + box(b"free", b"") * 300),
            b"",
        ),
    }[kind]
    return begin + part * (size // len(part)) + end


TINY_PARTS = (
    "jpeg of markers",
    "jpeg of markers before its scan",
    "jpeg of comments",
    "jpeg of padding",
    "png of chunks",
    "webp of chunks",
    "gif of nothing",
    "gif of comments",
    "gif of blocks",
    "avif of boxes",
)


# Metadata without end


def jpeg_with_profile(size: int) -> bytes:
    """Return a JPEG with a colour profile in as many segments as it takes, 255 at most."""
    profile = bytes(16) + b"RGB " + bytes(size - 20)
    pieces = [profile[at : at + 65_000] for at in range(0, size, 65_000)]
    count = len(pieces)
    return inserted(
        saved(varied()),
        *((0xE2, b"ICC_PROFILE\0" + bytes([n, count]) + piece) for n, piece in enumerate(pieces, 1)),
    )


def jpeg_with_table(space: bytes, points: int) -> bytes:
    """Return a JPEG whose colours a profile tells by a table of so many points for each ink or lamp."""
    mode = "CMYK" if space == b"CMYK" else "RGB"
    return saved(varied().convert(mode), icc_profile=green_profile(space, points))


def jpeg_with_steps(count: int) -> bytes:
    """Return a JPEG whose profile tells each colour in so many steps, which are one and the same."""
    step = struct.pack(">4s4xHH9f3f", b"matf", 3, 3, 1, 0.001, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0)
    place = struct.pack(">II", 16 + 8 * count, len(step))
    steps = struct.pack(">4s4xHHI", b"mpet", 3, 3, count) + place * count + step
    return saved(varied(), icc_profile=profile_of(b"RGB ", b"XYZ ", b"D2B0", steps))


def jpeg_with_xmp(pieces: int) -> bytes:
    head = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32
    size = struct.pack(">I", pieces * 65_000)
    return inserted(
        saved(varied()),
        *((0xE1, head + size + struct.pack(">I", n * 65_000) + b"x" * 65_000) for n in range(pieces)),
    )


def exif_of(*tags: tuple[int, int, int, bytes], sub: tuple[tuple[int, int, int, bytes], ...] = ()) -> bytes:
    """Return an EXIF block of tags (number, type, count, value), and of those of its second directory."""

    def directory(entries: tuple[tuple[int, int, int, bytes], ...], at: int) -> bytes:
        behind, fixed, values = at + 2 + 12 * len(entries) + 4, b"", b""
        for tag, kind, count, value in entries:
            told = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<I", behind + len(values))
            values += b"" if len(value) <= 4 else value
            fixed += struct.pack("<HHI", tag, kind, count) + told
        return struct.pack("<H", len(entries)) + fixed + bytes(4) + values

    second = int(ExifTags.IFD.Exif)
    if any(tag[0] == second for tag in tags):
        return b"Exif\0\0II*\0\x08\0\0\0" + directory(tags, 8)
    behind = 8 + len(directory((*tags, (second, 4, 1, bytes(4))), 8))
    whole = directory((*tags, (second, 4, 1, struct.pack("<I", behind))), 8)
    return b"Exif\0\0II*\0\x08\0\0\0" + whole + directory(sub, behind)


def exif_of_thousands(count: int) -> bytes:
    return exif_of(*((0x9000 + n % 0x6000, 3, 1, b"\x01\0") for n in range(count)))


def no_numbers(orientation: int = 1) -> bytes:
    """Return an EXIF block in which rationals are 0/0 and floats are not numbers."""
    nan, infinite = struct.pack("<II", 0, 0), struct.pack("<iI", -1, 0)
    return exif_of(
        (0x0112, 3, 1, struct.pack("<H", orientation)),
        (0x011A, 5, 1, nan),
        (0x011B, 5, 1, struct.pack("<II", 1, 0)),
        (0x8298, 5, 1, nan),
        sub=(
            (0x829A, 5, 1, nan),
            (0x9003, 5, 1, nan),
            (0x9201, 10, 1, infinite),
            (0x9204, 11, 1, struct.pack("<f", float("nan"))),
            (0x9205, 12, 1, struct.pack("<d", float("inf"))),
        ),
    )


def held(orientation: int, exif: bytes) -> bytes:
    """Return four quarters, upright red, green, blue and white, stored as a camera held that way does."""
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    image = quarters((96, 64))
    stored = image.transpose(Image.Transpose(back[orientation])) if orientation in back else image
    return saved(stored, exif=exif)


# Two things at once, and colours of other worlds


def archive() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        packed.writestr("evil.js", "alert(1)")
    return out.getvalue()


def for_print(colour: tuple[int, int, int, int], transform: int | None = None) -> bytes:
    """Return a CMYK JPEG as Adobe writes them, inverted; with another transform, or with no word of Adobe."""
    data = saved(Image.new("CMYK", (64, 48), colour), quality=95)
    at = data.find(b"\xff\xee")
    if at < 0 or transform is None:
        return data
    return patched(data, at + 15, bytes([transform]))


def without_adobe(jpeg: bytes) -> bytes:
    at = jpeg.find(b"\xff\xee")
    return jpeg if at < 0 else jpeg[:at] + jpeg[at + 16 :]


def glassy_palette() -> bytes:
    """Return a PNG of four colours, the second of them half transparent."""
    header = png_header(4, 1, 2, 3)
    colours = chunk(b"PLTE", bytes([255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255]))
    return png_of(
        header, colours, chunk(b"tRNS", bytes([255, 128, 255, 0])), chunk(b"IDAT", zlib.compress(b"\0\x1b"))
    )


def short(kind: str) -> bytes:
    """Return a small good file of a kind."""
    image, moving = varied((48, 36)), [varied((48, 36), seed) for seed in (7, 8, 9)]
    return {
        "jpeg": lambda: saved(image),
        "progressive jpeg": lambda: saved(image, progressive=True),
        "png": lambda: saved(image, "PNG"),
        "palette png": lambda: saved(image.quantize(16), "PNG", transparency=3),
        "webp": lambda: saved(image, "WEBP"),
        "lossless webp": lambda: saved(image, "WEBP", lossless=True),
        "webp with alpha": lambda: saved(
            image.convert("RGBA"), "WEBP", exif=exif_of(), icc_profile=b"\0" * 200
        ),
        "gif": lambda: saved(image, "GIF"),
        "tiff": lambda: saved(image, "TIFF"),
        "packed tiff": lambda: saved(image, "TIFF", compression="tiff_lzw", strip_size=2048),
        "bmp": lambda: saved(image, "BMP"),
        "palette bmp": lambda: saved(image.quantize(16), "BMP"),
        "avif": lambda: saved(image, "AVIF"),
        "heic": lambda: heic(image),
        "moving gif": lambda: animation("GIF", moving),
        "moving png": lambda: animation("PNG", moving),
        "moving webp": lambda: animation("WEBP", moving),
    }[kind]()
