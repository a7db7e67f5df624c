"""A photo that nobody took: a shore at ebb, drawn by code, for those who have not chosen one yet."""

import functools
import io
import random

from PIL import ExifTags, Image, ImageChops, ImageDraw, ImageFilter, ImageOps

__all__ = ["stock_photo"]

SIZE = 4032, 3024
_DRAWN = 1008, 756
_HORIZON, _SHORE = 340, 610
_SUN = 700, 250, 46
_GRAIN = 4

_SKY = "#6f9fc8", "#bcd0d6", "#f7d9b0"
_SEA = "#c9a98c", "#4f8591", "#23525f"
_SAND = "#b3956f", "#c8ad86", "#dcc49c"
_ROCK = "#26343a"


@functools.cache
def stock_photo() -> bytes:
    """Return a JPEG of twelve megapixels that says when, with what and by whom; always the same."""
    chance = random.Random(7)  # noqa: S311 - waves, not secrets
    drawn = Image.new("RGB", _DRAWN)
    drawn.paste(_slope(_HORIZON, _SKY), (0, 0))
    _shine(drawn)
    drawn.paste(_sea(chance), (0, _HORIZON))
    _headland(drawn, chance)
    _beach(drawn, chance)
    photo = drawn.resize(SIZE, Image.Resampling.BICUBIC)
    grain = _noise(chance, (1024, 768)).resize(SIZE).point([value * _GRAIN // 255 for value in range(256)])
    photo = ImageChops.subtract(photo, Image.merge("RGB", (grain, grain, grain)), offset=_GRAIN // 2)
    out = io.BytesIO()
    photo.save(out, "JPEG", quality=88, exif=_said())
    return out.getvalue()


def _slope(height: int, colours: tuple[str, str, str]) -> Image.Image:
    """Return a stripe that goes from the first colour to the last, from above to below."""
    above, middle, below = colours
    grey = Image.linear_gradient("L").resize((_DRAWN[0], height))
    return ImageOps.colorize(grey, above, below, mid=middle)


def _noise(chance: random.Random, size: tuple[int, int]) -> Image.Image:
    return Image.frombytes("L", size, chance.randbytes(size[0] * size[1]))


def _shine(drawn: Image.Image) -> None:
    x, y, radius = _SUN
    for reach, strength in ((4 * radius, 90), (radius, 255)):
        light = Image.new("L", _DRAWN)
        ImageDraw.Draw(light).ellipse((x - reach, y - reach, x + reach, y + reach), fill=strength)
        light = light.filter(ImageFilter.GaussianBlur(reach / 3 if strength < 255 else 2))
        drawn.paste("#fff3d6", mask=light)


def _sea(chance: random.Random) -> Image.Image:
    """Return water from the horizon to the shore: waves are wide and flat, and brighter below the sun."""
    height = _DRAWN[1] - _HORIZON
    sea = _slope(height, _SEA)
    waves = _noise(chance, (28, 90)).resize((_DRAWN[0], height), Image.Resampling.BICUBIC)
    sea = Image.blend(sea, ImageOps.colorize(waves, "#1d4652", "#a9c7c6"), 0.28)
    path = Image.new("L", (_DRAWN[0], height))
    x = _SUN[0]
    ImageDraw.Draw(path).polygon([(x - 30, 0), (x + 30, 0), (x + 150, height), (x - 150, height)], fill=200)
    path = ImageChops.multiply(path.filter(ImageFilter.GaussianBlur(24)), waves)
    sea.paste("#ffe9c4", mask=path)
    return sea


def _headland(drawn: Image.Image, chance: random.Random) -> None:
    edge, height = [(0.0, float(_HORIZON))], 150.0
    for x in range(0, 470, 14):
        height = max(4.0, height - chance.uniform(-5, 15))
        edge.append((float(x), _HORIZON - height))
    ImageDraw.Draw(drawn).polygon([*edge, (500, _HORIZON + 6), (0, _HORIZON + 22)], fill=_ROCK)


def _beach(drawn: Image.Image, chance: random.Random) -> None:
    """Lay sand over the bottom, wet where the water has just left it."""
    height = _DRAWN[1] - _SHORE
    sand = _slope(height, _SAND)
    ripples = _noise(chance, (60, 40)).resize(sand.size, Image.Resampling.BICUBIC)
    sand = Image.blend(sand, ImageOps.colorize(ripples, "#8d7350", "#f0dfc0"), 0.25)
    edge = [(float(x), chance.uniform(0, 26) + 40 * abs(x / _DRAWN[0] - 0.45)) for x in range(0, 1100, 60)]
    for drop, strength in ((0, 110), (22, 255)):
        part = Image.new("L", sand.size)
        shape = [(x, y + drop) for x, y in edge]
        ImageDraw.Draw(part).polygon([*shape, (_DRAWN[0] + 92, height), (0, height)], fill=strength)
        drawn.paste(sand, (0, _SHORE), part.filter(ImageFilter.GaussianBlur(1.5)))


def _said() -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = "Ebbmark", "Ebbmark Shore"
    exif[ExifTags.Base.Artist], exif[ExifTags.Base.Copyright] = "Ann Example", "Ann Example"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2026:05:01 18:40:00"
    return exif
