"""Border: a plain edge around a photo."""

from typing import TYPE_CHECKING, Annotated, ClassVar

from msgspec import Meta

from ebbmark.imaging.colours import GROUND, ground
from ebbmark.imaging.operation import Context, Operation

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Border"]


class Border(Operation, frozen=True):
    """Lays every photo on a larger ground; every pixel of it stays what it is."""

    summary: ClassVar[str] = "Put a plain border around every photo."

    edge: Annotated[
        float,
        Meta(
            title="Edge",
            description="How wide the border is, a share of the short edge.",
            ge=0,
            le=0.5,
            examples=[0.05, 0.1],
        ),
    ] = 0.05
    edge_pixels: (
        Annotated[
            int,
            Meta(
                title="Edge in pixels",
                description="How wide the border is in pixels, in place of the share.",
                ge=0,
                le=4096,
                examples=[20],
            ),
        ]
        | None
    ) = None
    edge_color: Annotated[
        str,
        Meta(
            title="Edge's colour",
            description="transparent or a colour such as #ffffff.",
            pattern=GROUND,
            examples=["#ffffff", "#101010"],
        ),
    ] = "#ffffff"

    def edit(self, image: "Image", context: Context) -> "Image":
        """Return the frame with its border, which is equally wide on all sides."""
        told = self.edge_pixels
        edge = round(self.edge * min(image.size) if told is None else told * context.scale)
        if not edge:
            return image
        size = image.width + 2 * edge, image.height + 2 * edge
        context.check(size)
        framed = ground(self.edge_color, size, image.mode)
        framed.paste(image, (edge, edge))
        return framed
