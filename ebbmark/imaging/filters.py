"""Filters: operations that change colours or sharpness and leave the size as it is."""

from typing import TYPE_CHECKING, Annotated, ClassVar

from msgspec import Meta
from PIL import Image, ImageFilter

from ebbmark.imaging.operation import Context, Operation
from ebbmark.imaging.tones import blended, on_colours

if TYPE_CHECKING:
    Size = tuple[int, int]

__all__ = ["Blur", "Grayscale", "Sepia", "Sharpen"]

_SEPIA = (
    (0.393, 0.769, 0.189),
    (0.349, 0.686, 0.168),
    (0.272, 0.534, 0.131),
)


class Grayscale(Operation, frozen=True):
    """Takes the colour out of every photo."""

    summary: ClassVar[str] = "Make every photo black and white."
    luma_only: ClassVar[bool] = True

    def edit(self, image: Image.Image, context: Context) -> Image.Image:
        """Return the luma of the frame; transparency stays."""
        del context
        if image.mode == "L":
            return image  # converting to its own mode would copy the frame
        if image.mode == "RGB":
            return image.convert("L")
        return image.convert("LA").convert("RGBA")

    def reshaped(self, size: "Size") -> "Size":
        return size


class Sepia(Operation, frozen=True):
    """Tints every photo like an old print, as the CSS filter of this name does."""

    summary: ClassVar[str] = "Make every photo brown like an old print."

    sepia: Annotated[
        float,
        Meta(
            title="How brown",
            description="0 leaves the colours, 1 leaves none of them.",
            ge=0,
            le=1,
            examples=[1, 0.5],
        ),
    ] = 1.0

    def edit(self, image: Image.Image, context: Context) -> Image.Image:
        """Return the frame tinted, in colour even if it had none; transparency stays."""
        del context
        matrix = blended(_SEPIA, self.sepia)
        coloured = image.convert("RGB") if image.mode == "L" else image
        return on_colours(coloured, lambda colours: colours.convert("RGB", matrix))


class Blur(Operation, frozen=True):
    """Blurs every photo, alike at any size."""

    summary: ClassVar[str] = "Blur every photo."

    radius: Annotated[
        float,
        Meta(
            title="Radius",
            description="As a share of the short edge; 0.01 is mild.",
            gt=0,
            le=0.25,
            examples=[0.01, 0.05],
        ),
    ] = 0.01

    def edit(self, image: Image.Image, context: Context) -> Image.Image:
        """Return the frame blurred by a Gaussian."""
        del context
        radius = self.radius * min(image.size)
        if image.mode != "RGBA":
            return image.filter(ImageFilter.GaussianBlur(radius))
        # Premultiplied, or the colour hidden below transparent pixels would leak out.
        return image.convert("RGBa").filter(ImageFilter.GaussianBlur(radius)).convert("RGBA")


class Sharpen(Operation, frozen=True):
    """Sharpens every photo by an unsharp mask."""

    summary: ClassVar[str] = "Make every photo crisper."

    sharpness: Annotated[
        float,
        Meta(
            title="How crisp",
            description="How much edges gain; 0 is nothing, 1 is plain to see.",
            ge=0,
            le=5,
            examples=[0.8, 1.5],
        ),
    ] = 0.8
    reach: Annotated[
        float,
        Meta(
            title="Reach",
            description="How far from an edge it is seen, in pixels of the result.",
            ge=0.2,
            le=20,
            examples=[1, 2.5],
        ),
    ] = 1.0
    threshold: Annotated[
        int,
        Meta(
            title="Threshold",
            description="Differences up to this, of 255, stay as they are: grain is not sharpened.",
            ge=0,
            le=255,
            examples=[2],
        ),
    ] = 2

    def edit(self, image: Image.Image, context: Context) -> Image.Image:
        """Return the frame sharpened; transparency stays."""
        mask = ImageFilter.UnsharpMask(
            self.reach * context.scale, round(100 * self.sharpness), self.threshold
        )
        return on_colours(image, lambda colours: colours.filter(mask))
