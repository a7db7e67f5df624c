"""The corpus of the load tests: made by code, the same bytes everywhere, with hashes that anyone can check.

`python -m loadtest.published` makes it and writes the hashes down in `corpus.json`.
"""

import hashlib
import io
import json
import random
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, features

from loadtest.corpus import encoded, photo

MANIFEST = Path(__file__).with_name("corpus.json")
TURNED, UPSIDE_DOWN = 6, 3
"""EXIF orientations of phones that were held upright, and upside down."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file of the corpus."""

    name: str
    size: tuple[int, int]
    """As the sensor sees it; `orientation` says how it was held."""
    seed: int
    orientation: int | None = None
    drawn: bool = False
    """Whether it is a picture of a screen: flat areas and rows of text."""

    @property
    def form(self) -> str:
        """Its format, as Pillow calls it."""
        return {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}[self.name.rpartition(".")[2]]

    @property
    def shown(self) -> tuple[int, int]:
        """Its size as it is to be seen."""
        width, height = self.size
        return (height, width) if self.orientation == TURNED else (width, height)

    def frame(self) -> Image.Image:
        """Return its pixels."""
        return screen(*self.size, seed=self.seed) if self.drawn else photo(*self.size, seed=self.seed)


def screen(width: int, height: int, *, seed: int) -> Image.Image:
    """Return what a phone's screen may show: a bar, bubbles, and rows of something like words."""
    chance = random.Random(seed)  # noqa: S311 - words, not secrets
    frame = Image.new("RGB", (width, height), (242, 242, 247))
    draw = ImageDraw.Draw(frame)
    draw.rectangle((0, 0, width, height // 16), fill=(28, 100, 242))
    unit, top = width // 40, height // 12
    while top < height - 8 * unit:
        rows, mine = chance.randrange(1, 6), chance.random() < 0.5
        left, right = (8 * unit, width - unit) if mine else (unit, width - 8 * unit)
        bottom = top + (2 * rows + 1) * unit
        draw.rounded_rectangle((left, top, right, bottom), unit, fill=(220, 248, 198) if mine else "white")
        for row in range(rows):
            x, y = left + unit, top + (2 * row + 1) * unit
            while x < right - 4 * unit:
                word = chance.randrange(unit, 4 * unit)
                draw.rectangle((x, y, x + word, y + unit // 2), fill=(60, 60, 67))
                x += word + unit // 2
        top = bottom + unit
    return frame


def _several(count: int, name: str, size: tuple[int, int], seed: int, **more: int | bool) -> Iterator[Entry]:
    for n in range(count):
        yield Entry(name=name.format(n=n + 1), size=size, seed=seed + n, **more)  # pyright: ignore[reportArgumentType] - each is one of its fields


_SMALL = (
    *_several(6, "small-{n}.jpg", (640, 480), 100),
    *_several(2, "small-upright-{n}.jpg", (640, 480), 110, orientation=TURNED),
)
_MESSENGER = (
    *_several(4, "messenger-{n}.jpg", (1600, 1200), 200),
    *_several(2, "messenger-upright-{n}.jpg", (1200, 1600), 210),
)
_CAMERA = (
    *_several(2, "camera-{n}.jpg", (4032, 3024), 300),
    *_several(1, "camera-upright-{n}.jpg", (4032, 3024), 310, orientation=TURNED),
    *_several(1, "camera-upside-down-{n}.jpg", (3264, 2448), 320, orientation=UPSIDE_DOWN),
)
_OTHERS = (
    *_several(2, "screen-{n}.png", (1080, 2400), 400, drawn=True),
    *_several(1, "photo-{n}.png", (960, 720), 410),
    *_several(2, "web-{n}.webp", (1280, 960), 420),
)
MIXES: Mapping[str, tuple[Entry, ...]] = {
    "0.3MP": _SMALL,
    "2MP": _MESSENGER,
    "12MP": _CAMERA[:3],
    "phone": (*_SMALL, *_MESSENGER, *_CAMERA, *_OTHERS),
}
"""What is sent in turn: photos of one size, or of phones: 18 JPEGs, 3 PNGs and 2 WebPs from 0.3 to 12 MP."""

ENTRIES = MIXES["phone"]


def encoders() -> dict[str, str]:
    """Return the versions that the bytes depend on; pixels depend on none of them."""
    return {
        "pillow": Image.__version__,
        "libjpeg_turbo": features.version("libjpeg_turbo") or "none",
        "webp": features.version("webp") or "none",
        # Pillow says which one it was built with, and loads the machine's.
        "zlib": f"{features.version('zlib_ng') or 'none'}, {zlib.ZLIB_RUNTIME_VERSION}",
    }


def load(mix: str, folder: Path, on_made: Callable[[Entry], object] = lambda _: None) -> dict[Entry, bytes]:
    """Return the files of a mix, made where the folder does not have them yet."""
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[Entry, bytes] = {}
    for entry in MIXES[mix]:
        path = folder / entry.name
        if not path.exists():
            draft = path.with_suffix(".draft")
            draft.write_bytes(file(entry.frame(), entry))
            draft.replace(path)
        files[entry] = path.read_bytes()
        on_made(entry)
    return files


def file(frame: Image.Image, entry: Entry) -> bytes:
    """Return the entry's file with these pixels."""
    return encoded(frame, form=entry.form, orientation=entry.orientation)


def described(entry: Entry) -> dict[str, object]:
    """Return what the manifest says of an entry."""
    frame = entry.frame()
    content = file(frame, entry)
    with Image.open(io.BytesIO(content)) as image:
        form = image.format
    return {
        "form": form,
        "size": list(entry.size),
        "orientation": entry.orientation,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "pixels_sha256": hashlib.sha256(frame.tobytes()).hexdigest(),
    }


def main() -> int:
    """Write the manifest."""
    files = {entry.name: described(entry) for entry in ENTRIES}
    MANIFEST.write_text(json.dumps({"encoders": encoders(), "files": files}, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
