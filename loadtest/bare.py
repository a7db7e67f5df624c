"""Ten recipes that people use, and the least that Pillow can do for the same file and thumbnail."""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple, cast

from PIL import Image, ImageFilter, ImageStat
from PIL.JpegImagePlugin import JpegImageFile

__all__ = ["RECIPES", "Made", "Pieces", "Recipe", "Stamp"]

TEXT = "© Studio 2026"
_BICUBIC = Image.Resampling.BICUBIC
_SEPIA = (0.393, 0.769, 0.189, 0, 0.349, 0.686, 0.168, 0, 0.272, 0.534, 0.131, 0)

Size = tuple[int, int]
Pieces = Sequence[tuple[Size, Image.Image, Image.Image]]
"""Of a ready mark: where each is pasted, its colour and its alpha."""


class Stamp(NamedTuple):
    """A mark that was drawn before anything is measured, and the box that decides on its ink."""

    light: Pieces
    dark: Pieces
    below: tuple[int, int, int, int]


class Made(NamedTuple):
    """What a loop made of one photo."""

    data: bytes
    thumbnail: bytes


class Recipe(NamedTuple):
    """What is asked of Ebbmark, and the bare loop that does the same."""

    operations: tuple[Mapping[str, Any], ...]
    bare: Callable[[bytes, Stamp], Made]
    marked_at: Callable[[Size], Size] | None = None
    """The size of the frame that the mark goes on, by the size of the photo."""


def _opened(
    content: bytes, share: Callable[[Size], float] = lambda _: 1.0, *, mode: str | None = None
) -> tuple[JpegImageFile, Size]:
    """Decode no more than this share of both edges; return the image and the size of the whole."""
    image = cast("JpegImageFile", Image.open(io.BytesIO(content), formats=("JPEG",)))
    whole = image.size
    if (enough := share(whole)) < 1 or mode:
        image.draft(mode, (math.ceil(whole[0] * enough), math.ceil(whole[1] * enough)))
    image.load()
    return image, whole


def _made(image: Image.Image, **how: object) -> Made:
    """Encode a JPEG and its thumbnail."""
    out = io.BytesIO()
    image.save(out, "JPEG", **how)
    return Made(out.getvalue(), _thumbnail(image))


def _thumbnail(image: Image.Image) -> bytes:
    factor = math.ceil(max(image.size) / 320)
    out = io.BytesIO()
    (image.reduce(factor) if factor > 1 else image).save(out, "JPEG", quality=75)
    return out.getvalue()


def _stamped(image: Image.Image, stamp: Stamp) -> None:
    sample = image.resize((64, 64), Image.Resampling.NEAREST, box=stamp.below).convert("L")
    for at, ink, alpha in stamp.dark if ImageStat.Stat(sample).mean[0] > 150 else stamp.light:
        image.paste(ink, at, alpha)


def _inside(size: Size, edge: int) -> Size:
    factor = min(1.0, edge / max(size))
    return round(size[0] * factor), round(size[1] * factor)


def _whole(size: Size) -> Size:
    return size


def _fitted(size: Size) -> Size:
    return _inside(size, 600)


def _small(content: bytes) -> Image.Image:
    image, whole = _opened(content, lambda whole: 600 / max(whole))
    if _inside(whole, 600) == whole:
        return image
    return image.resize(_inside(image.size, 600), _BICUBIC, reducing_gap=2.0)


def _mark(content: bytes, stamp: Stamp) -> Made:
    image, _ = _opened(content)
    _stamped(image, stamp)
    return _made(image, quality="keep")


def _resize(content: bytes, stamp: Stamp) -> Made:
    del stamp
    return _made(_small(content), quality=88, subsampling=2)


def _resize_and_mark(content: bytes, stamp: Stamp) -> Made:
    image = _small(content)
    _stamped(image, stamp)
    return _made(image, quality=88, subsampling=2)


def _square(content: bytes, stamp: Stamp) -> Made:
    del stamp
    image, _ = _opened(content, lambda whole: 400 / min(whole))
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = left, top, left + side, top + side
    return _made(image.resize((400, 400), _BICUBIC, box=box, reducing_gap=2.0), quality=88, subsampling=2)


def _portrait(content: bytes, stamp: Stamp) -> Made:
    del stamp
    image, _ = _opened(content, lambda whole: 300 / round(whole[1] * 4 / 5))
    side = round(image.height * 4 / 5)
    left = (image.width - side) // 2
    final = 300, round(image.height * (300 / side))
    cut = image.resize(final, _BICUBIC, box=(left, 0, left + side, image.height), reducing_gap=2.0)
    return _made(cut, quality=88, subsampling=2)


def _grayscale(content: bytes, stamp: Stamp) -> Made:
    del stamp
    image, _ = _opened(content, mode="L")
    return _made(image, qtables=[image.quantization[0]])


def _sepia_and_border(content: bytes, stamp: Stamp) -> Made:
    del stamp
    image, _ = _opened(content)
    edge = round(0.05 * min(image.size))
    framed = Image.new("RGB", (image.width + 2 * edge, image.height + 2 * edge), "white")
    framed.paste(image.convert("RGB", _SEPIA), (edge, edge))
    return _made(framed, quality=88, subsampling=2)


def _crisp(content: bytes, stamp: Stamp) -> Made:
    del stamp
    image, _ = _opened(content)
    share = 256 / max(image.size)
    size = round(image.width * share), round(image.height * share)
    counts = image.resize(size, Image.Resampling.BOX, reducing_gap=2.0).convert("L").histogram()
    least = size[0] * size[1] * 0.005
    low = next(value for value, seen in enumerate(accumulate(counts)) if seen > least)
    high = next(255 - value for value, seen in enumerate(accumulate(reversed(counts))) if seen > least)
    table = [max(0, min(255, round((value - low) * 255 / (high - low)))) for value in range(256)]
    sharp = image.point(table * 3).filter(ImageFilter.UnsharpMask(1.0, 80, 2))
    return _made(sharp, qtables=list(image.quantization.values()), subsampling=2)


def _webp(content: bytes, stamp: Stamp) -> Made:
    del stamp
    image = _small(content)
    out = io.BytesIO()
    image.save(out, "WEBP", quality=80, method=1)
    return Made(out.getvalue(), _thumbnail(image))


_SMALL: Mapping[str, Any] = {"operation": "resize", "long_edge": 600}
_MARK: Mapping[str, Any] = {"operation": "watermark", "text": TEXT}

RECIPES: Mapping[str, Recipe] = {
    "mark": Recipe((_MARK,), _mark, _whole),
    "tiled mark": Recipe(({**_MARK, "position": "tiled"},), _mark, _whole),
    "long edge 600": Recipe((_SMALL,), _resize),
    "long edge 600, mark": Recipe((_SMALL, _MARK), _resize_and_mark, _fitted),
    "square of 400": Recipe(({"operation": "resize", "width": 400, "height": 400, "fit": "cover"},), _square),
    "crop to 4:5, width 300": Recipe(
        ({"operation": "crop", "aspect": "4:5"}, {"operation": "resize", "width": 300}), _portrait
    ),
    "grayscale": Recipe(({"operation": "grayscale"},), _grayscale),
    "sepia, border": Recipe(({"operation": "sepia"}, {"operation": "border"}), _sepia_and_border),
    "autocontrast, sharpen": Recipe(({"operation": "autocontrast"}, {"operation": "sharpen"}), _crisp),
    "long edge 600, WebP": Recipe((_SMALL, {"operation": "convert", "format": "webp"}), _webp),
}
