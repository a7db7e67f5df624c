"""Border: a plain edge around a photo."""

from typing import TYPE_CHECKING, Annotated, ClassVar

from msgspec import Meta

from ebbmark.imaging.colours import GROUND, ground
from ebbmark.imaging.operation import Context, Kind, Operation

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Border"]


class Border(Operation, frozen=True):
    """Lays every photo on a larger ground; every pixel of it stays what it is."""

    summary: ClassVar[str] = "Put a plain border around every photo."
    kind: ClassVar[Kind] = "frame"

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
        edge = self._edge(context.full(image.size))
        if not edge:
            return image
        edge = max(1, round(edge * context.scale))  # of a small copy, too, it is to be seen
        size = image.width + 2 * edge, image.height + 2 * edge
        context.check(size)
        framed = ground(self.edge_color, size, image.mode)
        framed.paste(image, (edge, edge))
        return framed

    def sized(self, size: tuple[int, int]) -> tuple[int, int]:
        edge = self._edge(size)
        return size[0] + 2 * edge, size[1] + 2 * edge

    def _edge(self, size: tuple[int, int]) -> int:
        return round(self.edge * min(size)) if self.edge_pixels is None else self.edge_pixels
