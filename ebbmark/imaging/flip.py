"""Flip: a photo as a mirror shows it."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from msgspec import Meta
from PIL import Image

from ebbmark.imaging.operation import Context, Operation

if TYPE_CHECKING:
    Size = tuple[int, int]

__all__ = ["Flip"]


class Flip(Operation, frozen=True):
    """Mirrors every photo; every pixel stays what it is."""

    summary: ClassVar[str] = "Mirror every photo."

    direction: Annotated[
        Literal["horizontal", "vertical"],
        Meta(
            title="Direction",
            description="horizontal swaps left and right, vertical top and bottom.",
            examples=["vertical"],
        ),
    ] = "horizontal"

    def edit(self, image: Image.Image, context: Context) -> Image.Image:
        """Return the frame mirrored."""
        del context
        horizontal = self.direction == "horizontal"
        return image.transpose(
            Image.Transpose.FLIP_LEFT_RIGHT if horizontal else Image.Transpose.FLIP_TOP_BOTTOM
        )

    def reshaped(self, size: "Size") -> "Size":
        return size
