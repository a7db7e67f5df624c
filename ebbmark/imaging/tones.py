"""Tones: operations that give each pixel another colour by its own colour alone, whatever stands beside it.

Brightness, contrast and saturation are the CSS filters of these names, so that a browser shows the same.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate, chain
from typing import Annotated, ClassVar

from msgspec import Meta
from PIL import Image

from ebbmark.imaging.operation import Context, Operation

__all__ = ["Autocontrast", "Brightness", "Contrast", "Saturation", "blended", "on_colours"]

_LUMA = ((0.213, 0.715, 0.072),) * 3
_MIDDLE = 127.5
_COUNTED = 256
"""Pixels of the long edge of what is counted."""


def on_colours(image: Image.Image, change: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Return the image with its colours changed and its transparency as it was."""
    if image.mode != "RGBA":
        return change(image)
    changed = change(image.convert("RGB"))
    changed.putalpha(image.getchannel("A"))
    return changed


def blended(matrix: Sequence[Sequence[float]], share: float) -> tuple[float, ...]:
    """Return what `Image.convert` takes: so much of a 3 × 3 matrix, and the rest of each colour itself."""
    return tuple(
        share * matrix[row][column] + (1 - share) * (row == column) if column < 3 else 0.0
        for row in range(3)
        for column in range(4)
    )


def _mapped(image: Image.Image, *tables: list[int]) -> Image.Image:
    """Return the image with each value replaced by what stands in the table of its colour, or in the one."""
    if image.mode == "L":
        return image.point(tables[0])
    values = [*chain.from_iterable(tables if len(tables) > 1 else tables * 3)]
    return image.point([*values, *range(256)] if image.mode == "RGBA" else values)


def _table(value_of: Callable[[int], float]) -> list[int]:
    return [max(0, min(255, round(value_of(value)))) for value in range(256)]


class Brightness(Operation, frozen=True):
    """Makes every photo lighter or darker."""

    summary: ClassVar[str] = "Make every photo lighter or darker."

    brightness: Annotated[
        float,
        Meta(
            title="How light",
            description="0 is black, 1 changes nothing, 2 is twice as light.",
            ge=0,
            le=4,
            examples=[1.15, 0.9],
        ),
    ] = 1.15

    def edit(self, image: Image.Image, context: Context) -> Image.Image:
        """Return the frame with all its values multiplied; transparency stays."""
        del context
        return _mapped(image, _table(lambda value: value * self.brightness))


class Contrast(Operation, frozen=True):
    """Draws light and dark apart, around the same grey in every photo."""

    summary: ClassVar[str] = "Draw light and dark apart, or together."

    contrast: Annotated[
        float,
        Meta(
            title="How hard",
            description="0 is plain grey, 1 changes nothing, 2 is hard.",
            ge=0,
            le=4,
            examples=[1.2, 0.8],
        ),
    ] = 1.2

    def edit(self, image: Image.Image, context: Context) -> Image.Image:
        """Return the frame with the distance of each value to the middle multiplied; transparency stays."""
        del context
        return _mapped(image, _table(lambda value: _MIDDLE + (value - _MIDDLE) * self.contrast))


class Saturation(Operation, frozen=True):
    """Makes the colours of every photo stronger or paler."""

    summary: ClassVar[str] = "Make colours stronger or paler."

    saturation: Annotated[
        float,
        Meta(
            title="How strong",
            description="0 leaves no colour, 1 changes nothing, 2 is garish.",
            ge=0,
            le=4,
            examples=[1.2, 0.6],
        ),
    ] = 1.2

    def edit(self, image: Image.Image, context: Context) -> Image.Image:
        """Return the frame with the distance of each colour to its grey multiplied; transparency stays."""
        del context
        if image.mode == "L":
            return image
        matrix = blended(_LUMA, 1 - self.saturation)
        return on_colours(image, lambda colours: colours.convert("RGB", matrix))


class Autocontrast(Operation, frozen=True):
    """Stretches what a photo has of light and dark over the whole range."""

    summary: ClassVar[str] = "Let every photo reach from black to white."

    cutoff: Annotated[
        float,
        Meta(
            title="Cutoff",
            description="Percent of the darkest and of the lightest pixels that do not count.",
            ge=0,
            le=20,
            examples=[0.5, 2],
        ),
    ] = 0.5
    each_colour: Annotated[
        bool,
        Meta(
            title="Each colour",
            description="Stretch red, green and blue each by itself, which also takes out a colour cast.",
            examples=[True],
        ),
    ] = False

    def edit(self, image: Image.Image, context: Context) -> Image.Image:
        """Return the frame stretched; transparency stays, and what is wholly transparent does not count."""
        return _mapped(image, *context.once("tables", lambda: self._tables(image)))

    def _tables(self, image: Image.Image) -> list[list[int]]:
        counts = _histogram(image, "RGB" if self.each_colour and image.mode != "L" else "L")
        return [_stretched(counts[at : at + 256], self.cutoff) for at in range(0, len(counts), 256)]


def _histogram(image: Image.Image, bands: str) -> list[int]:
    """Count the values of a small copy: the grain of a large photo would count for more than its picture.

    So a photo and a small copy of it are stretched alike.
    """
    share = min(1.0, _COUNTED / max(image.size))
    size = max(1, round(image.width * share)), max(1, round(image.height * share))
    small = image.resize(size, Image.Resampling.BOX, reducing_gap=2.0) if share < 1 else image
    return small.convert(bands).histogram(small.getchannel("A") if small.mode == "RGBA" else None)


def _stretched(counts: Sequence[int], cutoff: float) -> list[int]:
    """Return the table that stretches what is counted to 0–255, but for so many percent at either end."""
    least = sum(counts) * cutoff / 100
    low = next((value for value, seen in enumerate(accumulate(counts)) if seen > least), 255)
    high = next((255 - value for value, seen in enumerate(accumulate(reversed(counts))) if seen > least), 0)
    if high <= low:
        return list(range(256))
    return _table(lambda value: (value - low) * 255 / (high - low))
