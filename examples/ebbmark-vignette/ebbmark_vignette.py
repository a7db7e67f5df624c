"""Vignette: the corners of every photo fade, alike at any size."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal

from msgspec import Meta
from PIL import Image

from ebbmark.errors import Rejected
from ebbmark.imaging.operation import Context, Kind, Operation

GROUNDS = {"black": 0, "white": 255}


class Vignette(Operation, frozen=True):
    """Lays a ground over the photo that is denser the further a pixel is from the middle."""

    summary: ClassVar[str] = "Let the corners of every photo fade."
    example: ClassVar[Mapping[str, object]] = MappingProxyType({"strength": 0.6, "begin": 0.5})
    kind: ClassVar[Kind] = "filter"
    seconds: ClassVar[float] = 10.0

    strength: Annotated[
        float,
        Meta(
            title="Strength",
            description="0 leaves the photo as it is, 1 hides its corners.",
            ge=0,
            le=1,
            examples=[0.6, 0.25],
        ),
    ] = 0.5
    begin: Annotated[
        float,
        Meta(
            title="Begin",
            description="Where it begins: a share of the way from the middle to a corner.",
            ge=0,
            le=0.95,
            examples=[0.5, 0],
        ),
    ] = 0.4
    fade_to: Annotated[
        Literal["black", "white"],
        Meta(title="Fade to", description="What the corners become.", examples=["black", "white"]),
    ] = "black"
    least_edge: (
        Annotated[
            int,
            Meta(
                title="Least edge",
                description="Smaller photos than that, in pixels, are refused.",
                ge=1,
                le=16_384,
                examples=[200],
            ),
        ]
        | None
    ) = None

    def edit(self, image: Image.Image, context: Context) -> Image.Image:
        """Return the frame under its vignette; what is transparent stays so."""
        if self.least_edge and min(image.size) < self.least_edge * context.scale:
            raise Rejected("photo-too-small", f"The photo has an edge of less than {self.least_edge} pixels.")
        ground = Image.new("L", image.size, GROUNDS[self.fade_to])
        density = self._density(image.size)
        if image.mode == "L":
            return Image.composite(ground, image, density)
        red, green, blue, *alpha = image.split()
        faded = [Image.composite(ground, band, density) for band in (red, green, blue)]
        return Image.merge(image.mode, [*faded, *alpha])

    def _density(self, size: tuple[int, int]) -> Image.Image:
        """Return how much of the ground each pixel gets, 0 to 255."""
        # A pixel of Pillow's gradient is as bright as it is far from the middle: 255 in a corner.
        table = [round(255 * self.strength * self._share(distance / 255)) for distance in range(256)]
        return Image.radial_gradient("L").point(table).resize(size, Image.Resampling.BICUBIC)

    def _share(self, distance: float) -> float:
        """Return how much of the strength is at a distance from the middle, which is 1 in a corner."""
        along = max(0.0, (distance - self.begin) / (1 - self.begin))
        return along * along * (3 - 2 * along)
