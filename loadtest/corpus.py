"""Photos made by code: skies, hills and grain at every scale, with about the bytes that photos have."""

import io
import random
from pathlib import Path
from statistics import NormalDist

from PIL import Image, ImageChops, ImageDraw, ImageFilter

SIZES = {"0.3MP": (640, 480), "2MP": (1632, 1224), "12MP": (4000, 3000)}
_QUALITY = 90
_ORIENTATION = 0x0112


def photo(width: int, height: int, *, seed: int) -> Image.Image:
    """Return a landscape: a sky, three ridges of hills, a sun, and noise at every scale."""
    chance = random.Random(seed)  # noqa: S311 - hills, not secrets
    sky = Image.linear_gradient("L").resize((width, height))
    low, high = (chance.randrange(120, 256) for _ in range(2))
    frame = Image.merge(
        "RGB",
        [
            sky.point(lambda v, a=a, b=b: int(a + (b - a) * v / 255))
            for a, b in ((60, 250), (110, high), (200, low))
        ],
    )
    draw = ImageDraw.Draw(frame)
    x, y, r = chance.randrange(width), height * chance.uniform(0.15, 0.4), min(width, height) * 0.07
    draw.ellipse((x - r, y - r, x + r, y + r), fill=(255, 240, 200))
    for ridge in range(3):
        base = height * (0.55 + 0.14 * ridge)
        points = [(0, height)]
        level = base
        for step in range(41):
            level += chance.uniform(-1, 1) * height * 0.035
            points.append((int(width * step / 40), int(level)))
        green = 90 - ridge * 24
        draw.polygon([*points, (width, height)], fill=(green // 2, green + 30, green))
    return ImageChops.add(frame, _grain(width, height, chance), scale=1, offset=-128)


def _grain(width: int, height: int, chance: random.Random) -> Image.Image:
    """Return noise whose power falls with its frequency, as in nature, around 128."""
    grain = Image.new("L", (width, height), 128)
    for octave, strength in ((1, 10), (2, 14), (4, 18), (16, 26), (64, 30)):
        noise = _noise((max(1, width // octave), max(1, height // octave)), strength, chance)
        grain = ImageChops.add(grain, noise.resize((width, height), Image.Resampling.BICUBIC), offset=-128)
    return grain.filter(ImageFilter.GaussianBlur(0.7)).convert("RGB")


def _noise(size: tuple[int, int], strength: float, chance: random.Random) -> Image.Image:
    """Return normally distributed noise around 128; Pillow's own is another one in each process."""
    spread = NormalDist(128, strength)
    grey = [min(255, max(0, round(spread.inv_cdf((level + 0.5) / 256)))) for level in range(256)]
    return Image.frombytes("L", size, chance.randbytes(size[0] * size[1])).point(grey)


def encoded(frame: Image.Image, *, form: str = "JPEG", orientation: int | None = None) -> bytes:
    """Return the file; `orientation` is the EXIF one."""
    exif = Image.Exif()
    if orientation is not None:
        exif[_ORIENTATION] = orientation
    file = io.BytesIO()
    frame.save(file, form, quality=_QUALITY, exif=exif)
    return file.getvalue()


def sample(size: str, folder: Path) -> bytes:
    """Return the photo of a named size, made once and kept in the folder."""
    path = folder / f"{size}.jpg"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(photo(*SIZES[size], seed=1)))
    return path.read_bytes()


def holiday(count: int) -> list[tuple[str, bytes]]:
    """Return a folder of photos as people have them: mostly JPEGs, some turned, a few PNG and WebP."""
    names = ("IMG", "DSC", "Отпуск", "Διακοπές", "été")
    files: list[tuple[str, bytes]] = []
    for n in range(count):
        width, height = ((1632, 1224), (1280, 853), (960, 1280))[n % 3]
        form = {7: "PNG", 11: "WEBP"}.get(n % 13, "JPEG")
        turned = (None, None, 6, 3)[n % 4] if form == "JPEG" else None
        extension = {"JPEG": ".JPG" if n % 5 == 0 else ".jpg", "PNG": ".png", "WEBP": ".webp"}[form]
        name = f"{names[n % len(names)]}_{n:04}{extension}"
        files.append((name, encoded(photo(width, height, seed=n), form=form, orientation=turned)))
    return files
