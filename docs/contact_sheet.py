"""Draws every kind of mark over every kind of photo, for docs/images: nothing is retouched, all is code.

python docs/contact_sheet.py
"""  # noqa: INP001 - a script, not a package

import argparse
import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

from ebbmark.imaging.operation import Context
from ebbmark.imaging.recipe import Recipe
from ebbmark.imaging.typesetting import typeset
from ebbmark.imaging.watermark import Watermark

Size = tuple[int, int]
Colour = tuple[int, int, int]

_GROUND, _INK, _SOFT = (251, 250, 248), (28, 31, 33), (91, 100, 104)
_ROW, _GAP, _EDGE, _LABEL, _HEAD = 168, 14, 40, 196, 96
_FINER = 4
_MOST_BYTES = 400_000
_FACTS = {"filename": "IMG_2041", "n": "3", "total": "24", "date": "2026-05-01", "exif.date": "2026-04-27"}

MARKS: Mapping[str, tuple[Watermark, ...]] = {
    "Text": (Watermark(text="© Ann Example 2026", size=0.08, opacity=0.85),),
    "By the diagonal": (
        Watermark(text="© Ann Example 2026", relative_to="diagonal", size=0.045, opacity=0.85),
    ),
    "Centre, faint": (Watermark(text="EBBMARK", position="center", size=0.2, opacity=0.5),),
    "Tiled": (Watermark(text="© Ann Example", position="tiled", size=0.07, opacity=0.5),),
    "Chessboard": (Watermark(text="PROOF", position="chessboard", size=0.09, opacity=0.5),),
    "Turned": (Watermark(text="SAMPLE", position="center", size=0.2, angle=-33, opacity=0.5),),
    "Colour, shadow": (
        Watermark(
            text="Studio Ebb",
            position="top-left",
            size=0.11,
            color="#ffb000",
            opacity=1,
            shadow=True,
            outline=False,
        ),
    ),
    "Plate, facts": (
        Watermark(
            text="{filename}\n{exif.date}",
            position="bottom-left",
            size=0.075,
            opacity=0.9,
            plate="auto",
            outline=False,
        ),
    ),
    "Plate in colour": (
        Watermark(
            text="NOT FOR PRINT", position="top", size=0.08, opacity=0.95, plate="#b3261e", outline=False
        ),
    ),
    "Logo": (Watermark(logo=True, text="ebb & flow", size=0.075, opacity=0.9),),
    "Many scripts": (
        Watermark(
            text="写真 · استوديو · שלום\nस्टूडियो · 스튜디오 · Студия",
            position="bottom",
            size=0.09,
            opacity=0.95,
            shadow=True,
        ),
    ),
    "Two marks": (
        Watermark(text="PREVIEW", position="tiled", size=0.09, opacity=0.22, outline=False),
        Watermark(text="{n} of {total}", position="top-right", size=0.08, opacity=0.95, plate="auto"),
    ),
}


def _chance(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - the same leaves in every run; guards no secret


def _between(one: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _sky(size: Size, top: Colour, bottom: Colour) -> Image.Image:
    slope = Image.linear_gradient("L").resize(size)
    return Image.composite(Image.new("RGB", size, bottom), Image.new("RGB", size, top), slope)


def _ridge(image: Image.Image, height: float, rough: float, colour: Colour, seed: int) -> None:
    """Draw hills up to a share of the picture's height."""
    chance = _chance(seed)
    waves = [(chance.uniform(0.6, 1.6) * 2**k, chance.uniform(0, 6.3), rough / 1.9**k) for k in range(6)]
    width, tall = image.size
    line = [
        (
            x,
            tall * (1 - height - sum(high * math.sin(fast * x / tall * 2 + at) for fast, at, high in waves)),
        )
        for x in range(0, width + 8, 4)
    ]
    ImageDraw.Draw(image).polygon([(0, tall), *line, (width, tall)], fill=colour)


def _ridges(image: Image.Image, near: Colour, far: Colour, *, rough: float, seed: int, top: float) -> None:
    for step in range(5):
        _ridge(
            image, top * (1 - step / 5.5), rough * (1 - step / 8), _between(far, near, step / 4), seed + step
        )


def _glow(image: Image.Image, at: tuple[float, float], radius: float, colour: Colour) -> None:
    short = min(image.size)
    mask = Image.new("L", image.size)
    x, y, r = at[0] * image.width, at[1] * image.height, radius * short
    ImageDraw.Draw(mask).ellipse((x - r, y - r, x + r, y + r), fill=255)
    halo = mask.resize((image.width // 8, image.height // 8)).filter(ImageFilter.GaussianBlur(short / 60))
    image.paste(colour, mask=halo.resize(image.size).point([value // 2 for value in range(256)]))
    image.paste(colour, mask=mask)


def light(size: Size) -> Image.Image:
    """Mist over mountains: nearly white."""
    image = _sky(size, (236, 242, 246), (250, 247, 240))
    _ridges(image, (176, 196, 204), (233, 239, 241), rough=0.05, seed=4, top=0.6)
    return image


def dark(size: Size) -> Image.Image:
    """A town at night: nearly black, with windows."""
    image = _sky(size, (8, 12, 28), (36, 30, 58))
    _glow(image, (0.74, 0.24), 0.07, (244, 236, 208))
    chance, draw = _chance(7), ImageDraw.Draw(image)
    unit = size[1] / 60
    for layer in range(2):
        x = 0.0
        while x < size[0]:
            wide, tall = chance.uniform(5, 10) * unit, chance.uniform(12, 34 - 8 * layer) * unit
            draw.rectangle(
                (x, size[1] - tall, x + wide, size[1]), fill=(14 - 4 * layer, 14 - 4 * layer, 26 - 6 * layer)
            )
            for row in range(1, int(tall / unit / 2)):
                for column in range(1, int(wide / unit / 1.6)):
                    if chance.random() < 0.3:
                        left, top = x + column * 1.6 * unit - unit, size[1] - tall + row * 2 * unit - unit
                        draw.rectangle((left, top, left + 0.7 * unit, top + unit), fill=(230, 180, 92))
            x += wide + chance.uniform(-1, 2) * unit
    return image


def busy(size: Size) -> Image.Image:
    """Leaves in autumn: no quiet place anywhere."""
    image, chance = Image.new("RGB", size, (52, 40, 26)), _chance(3)
    colours = [(196, 84, 30), (226, 152, 44), (122, 58, 30), (240, 208, 110), (88, 104, 44), (60, 76, 36)]
    short = min(size)
    for _ in range(520):
        length = short * chance.uniform(0.12, 0.26)
        leaf = Image.new("L", (round(length), round(length)))
        middle = length / 2
        blade = [
            (
                middle + middle * math.cos(t / 9),
                middle + 0.4 * middle * math.sin(t / 9) * abs(math.sin(t / 18)),
            )
            for t in range(57)
        ]
        ImageDraw.Draw(leaf).polygon(blade, fill=255)
        leaf = leaf.rotate(chance.uniform(0, 360), Image.Resampling.BILINEAR, expand=True)
        at = round(chance.uniform(-0.1, 1) * size[0]), round(chance.uniform(-0.1, 1) * size[1])
        shade = _between(chance.choice(colours), (20, 14, 8), chance.uniform(0, 0.35))
        image.paste(shade, at, leaf)
    return image


def sea(size: Size) -> Image.Image:
    """A sun that sets into the sea: light above, dark below."""
    image = _sky(size, (92, 110, 158), (252, 190, 120))
    _glow(image, (0.5, 0.6), 0.11, (255, 236, 190))
    water = _sky((size[0], size[1] * 2 // 5), (214, 142, 96), (22, 40, 70))
    image.paste(water, (0, size[1] - water.height))
    draw, chance = ImageDraw.Draw(image), _chance(5)
    for step in range(90):
        down = (step / 90) ** 1.6
        y = size[1] - water.height * (1 - down)
        wide = size[0] * (0.03 + 0.14 * down) * chance.uniform(0.3, 1)
        x = size[0] * (0.5 + chance.uniform(-0.06, 0.06) * (1 + 2 * down))
        draw.line(
            (x - wide, y, x + wide, y),
            fill=_between((255, 226, 170), (60, 84, 118), down),
            width=max(1, size[1] // 240),
        )
    return image


def meadow(size: Size) -> Image.Image:
    """Hills in summer: of middling light."""
    image = _sky(size, (82, 146, 206), (206, 228, 240))
    _glow(image, (0.2, 0.2), 0.07, (255, 250, 226))
    _ridges(image, (62, 110, 48), (138, 172, 150), rough=0.035, seed=21, top=0.52)
    return image


def tower(size: Size) -> Image.Image:
    """A lighthouse: upright, of strong contrasts."""
    image = _sky(size, (40, 84, 132), (238, 206, 184))
    draw, (width, height) = ImageDraw.Draw(image), size
    for band in range(6):
        top, bottom = 0.26 + band * 0.1, 0.36 + band * 0.1
        half = [0.085 + 0.07 * (edge - 0.26) for edge in (top, bottom)]
        corners = [(-half[0], top), (half[0], top), (half[1], bottom), (-half[1], bottom)]
        box = [((0.5 + x) * width, y * height) for x, y in corners]
        draw.polygon(box, fill=(196, 52, 44) if band % 2 else (246, 242, 234))
    draw.rectangle((0.4 * width, 0.245 * height, 0.6 * width, 0.26 * height), fill=(38, 42, 48))
    draw.rectangle((0.45 * width, 0.19 * height, 0.55 * width, 0.245 * height), fill=(255, 236, 168))
    draw.polygon(
        [(0.43 * width, 0.19 * height), (0.57 * width, 0.19 * height), (0.5 * width, 0.145 * height)],
        fill=(38, 42, 48),
    )
    _ridge(image, 0.13, 0.02, (54, 62, 58), 9)
    return image


def dusk(size: Size) -> Image.Image:
    """Mountains at dusk: a panorama."""
    image = _sky(size, (58, 56, 98), (246, 168, 140))
    _ridges(image, (26, 24, 44), (168, 112, 132), rough=0.07, seed=31, top=0.62)
    return image


PHOTOS: Mapping[str, tuple[Callable[[Size], Image.Image], Size, Size]] = {
    "light": (light, (1500, 1000), (240, 160)),
    "dark": (dark, (1500, 1000), (240, 160)),
    "busy": (busy, (1500, 1000), (240, 160)),
    "huge: 24 megapixels": (sea, (6000, 4000), (240, 160)),
    "tiny: 120 × 80": (meadow, (120, 80), (120, 80)),
    "portrait": (tower, (1000, 1500), (112, 168)),
    "landscape": (meadow, (1600, 1200), (224, 168)),
    "panorama": (dusk, (3000, 750), (440, 110)),
}
"""How a photo is made, its size, and how large it is shown."""


def logo() -> bytes:
    """Return a logo with alpha: a ring with three waves."""
    image = Image.new("RGBA", (800, 800))
    draw = ImageDraw.Draw(image)
    draw.ellipse((20, 20, 780, 780), fill=(15, 118, 110, 255))
    for step in range(3):
        middle = 300 + 110 * step
        wave = [(x, middle + 38 * math.sin(x / 62 + step)) for x in range(150, 651, 4)]
        draw.line(wave, fill=(255, 255, 255, 255), width=44, joint="curve")
    image = image.reduce(2)
    out = BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def sheet() -> Image.Image:
    """Return the whole sheet."""
    columns = _columns()
    height = _EDGE + _HEAD + len(MARKS) * (_ROW + _GAP) + _EDGE - _GAP
    canvas = Image.new("RGB", (columns["end"] - _GAP + _EDGE, height), _GROUND)
    _write(canvas, "Every mark, over every photo", (_EDGE, _EDGE), 34, _INK)
    for row, style in enumerate(MARKS):
        _write(canvas, style, (_EDGE, _EDGE + _HEAD + row * (_ROW + _GAP) + _ROW // 2 - 9), 18, _INK)
    for name in PHOTOS:
        _write(canvas, name, (columns[name], _EDGE + _HEAD - 30), 15, _SOFT)
        for at, picture in column(name):
            canvas.paste(picture, at)
    return canvas


def column(name: str) -> Iterator[tuple[tuple[int, int], Image.Image]]:
    """Yield a photo with each of the marks, and where on the sheet that is."""
    make, size, shown = PHOTOS[name]
    photo, left = make(size), _columns()[name]
    for row, marks in enumerate(MARKS.values()):
        top = _EDGE + _HEAD + row * (_ROW + _GAP)
        yield (left, top + (_ROW - shown[1]) // 2), _shown(photo, marks, shown)


def _columns() -> dict[str, int]:
    """Return where the column of each photo begins, and where the next would."""
    widths = [shown[0] + _GAP for _, _, shown in PHOTOS.values()]
    return dict(zip([*PHOTOS, "end"], itertools.accumulate(widths, initial=_EDGE + _LABEL), strict=True))


def _shown(photo: Image.Image, marks: tuple[Watermark, ...], size: Size) -> Image.Image:
    frame = photo.copy()
    context = Context(logo=logo(), facts=lambda: _FACTS)
    for operation in Recipe(marks).operations:
        frame = operation.edit(frame, context)
    return frame if frame.size == size else frame.resize(size, Image.Resampling.LANCZOS, reducing_gap=4)


def _write(canvas: Image.Image, text: str, at: tuple[int, int], em: int, colour: Colour) -> None:
    # Cut to its ink a text would stand higher without ascenders: what follows it has all there are.
    whole = typeset(text + "   |", _FINER * em, "left")
    ink = whole.crop((0, 0, typeset(text, _FINER * em, "left").width, whole.height))
    canvas.paste(colour, at, ink.reduce(_FINER))


def main() -> None:
    """Save the sheet as a WebP of at most 400 kB."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images" / "contact-sheet.webp")
    out: Path = parser.parse_args().out
    whole = sheet()
    for quality in range(90, 40, -5):
        written = BytesIO()
        whole.save(written, "WEBP", quality=quality, method=6)
        if written.tell() <= _MOST_BYTES:
            break
    out.write_bytes(written.getvalue())


if __name__ == "__main__":
    main()
