"""Tones: operations that give each pixel another colour by its own colour alone, whatever stands beside it.

Brightness, contrast and saturation are the CSS filters of these names, so that a browser shows the same.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, ClassVar

from msgspec import Meta
from PIL import Image, ImageOps

from ebbmark.imaging.operation import Context, Operation

__all__ = ["Autocontrast", "Brightness", "Contrast", "Saturation", "blended", "on_colours"]

_LUMA = ((0.213, 0.715, 0.072),) * 3
_MIDDLE = 127.5


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


def _mapped(image: Image.Image, value_of: Callable[[int], float]) -> Image.Image:
    """Return the image with each value of each colour mapped and clipped."""
    table = [max(0, min(255, round(value_of(value)))) for value in range(256)]
    if image.mode == "RGBA":
        return image.point([*table * 3, *range(256)])
    return image.point(table * len(image.getbands()))


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
        return _mapped(image, lambda value: value * self.brightness)


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
        return _mapped(image, lambda value: _MIDDLE + (value - _MIDDLE) * self.contrast)


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
        del context
        seen = image.getchannel("A") if image.mode == "RGBA" else None
        return on_colours(
            image,
            lambda colours: ImageOps.autocontrast(
                colours, self.cutoff, mask=seen, preserve_tone=not self.each_colour
            ),
        )
