"""Filters: operations that change colours or sharpness and leave the size as it is."""

from typing import Annotated, ClassVar

from msgspec import Meta
from PIL import Image, ImageFilter

from ebbmark.imaging.operation import Context, Operation

__all__ = ["Blur", "Grayscale"]


class Grayscale(Operation, frozen=True):
    """Takes the colour out of every photo."""

    summary: ClassVar[str] = "Make every photo black and white."

    def edit(self, image: Image.Image, context: Context) -> Image.Image:
        """Return the luma of the frame; transparency stays."""
        del context
        if image.mode != "RGBA":
            return image.convert("L")
        return image.convert("LA").convert("RGBA")


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
            examples=[0.01, 0.04],
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
