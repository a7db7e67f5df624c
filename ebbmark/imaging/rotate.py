"""Rotate: a photo turned by any angle, without loss by a quarter, a half or three."""

import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Final

from msgspec import Meta
from PIL import Image

from ebbmark.imaging.colours import GROUND, ground
from ebbmark.imaging.operation import Context, Kind, Operation

if TYPE_CHECKING:
    Size = tuple[int, int]

__all__ = ["Rotate"]

_QUARTERS: Final = {
    90: Image.Transpose.ROTATE_270,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_90,
}
"""Pillow turns the other way."""


class Rotate(Operation, frozen=True):
    """Turns every photo clockwise, after it was turned upright."""

    summary: ClassVar[str] = "Turn every photo by an angle."
    kind: ClassVar[Kind] = "turn"

    degrees: Annotated[
        float,
        Meta(
            title="Degrees",
            description="Clockwise; multiples of 90 change no pixel.",
            ge=-360,
            le=360,
            examples=[90, -2.5],
        ),
    ] = 90.0
    expand: Annotated[
        bool,
        Meta(
            title="Expand",
            description="Enlarge the frame so that a slanting photo is whole; else its corners are cut off.",
            examples=[True],
        ),
    ] = True
    corners: Annotated[
        str,
        Meta(
            title="Corners",
            description="What a slanting photo leaves free: transparent or a colour such as #ffffff.",
            pattern=GROUND,
            examples=["#ffffff", "transparent"],
        ),
    ] = "#ffffff"

    def edit(self, image: Image.Image, context: Context) -> Image.Image:
        """Return the frame turned around its middle."""
        quarter = self._quarter()
        if quarter is not None:
            return image.transpose(_QUARTERS[quarter]) if quarter else image
        size = self.sized(image.size)
        context.check(size)
        turned = _slanted(image, math.radians(self.degrees), size)
        if self.corners == "transparent":
            return turned
        below = ground(self.corners, size, image.mode)
        if below.mode == "RGBA":
            below.alpha_composite(turned)
        else:
            below.paste(turned.convert(below.mode), mask=turned.getchannel("A"))
        return below

    def reshaped(self, size: "Size") -> "Size | None":
        quarter = self._quarter()
        if quarter is None:
            return None
        return (size[1], size[0]) if quarter % 180 else size

    def sized(self, size: "Size") -> "Size":
        return self.reshaped(size) or (self._outer(size) if self.expand else size)

    def _quarter(self) -> int | None:
        """Return 0, 90, 180 or 270, or None for a turn that is none of them."""
        return None if self.degrees % 90 else int(self.degrees % 360)

    def _outer(self, size: "Size") -> "Size":
        turn = math.radians(self.degrees)
        cosine, sine = abs(math.cos(turn)), abs(math.sin(turn))
        return math.ceil(size[0] * cosine + size[1] * sine), math.ceil(size[0] * sine + size[1] * cosine)


def _slanted(image: Image.Image, turn: float, size: "Size") -> Image.Image:
    """Return the image turned clockwise by radians, in the middle of a transparent frame of this size."""
    # A clear edge around it, or the filter would see none and make steps of it.
    edged = Image.new("RGBA", (image.width + 2, image.height + 2))
    edged.paste(image, (1, 1))
    cosine, sine = math.cos(turn), math.sin(turn)
    x, y = size[0] / 2, size[1] / 2
    # Where in the image each pixel of the result comes from.
    back = (
        cosine, sine, edged.width / 2 - cosine * x - sine * y,
        -sine, cosine, edged.height / 2 + sine * x - cosine * y,
    )  # fmt: skip
    return edged.transform(size, Image.Transform.AFFINE, back, Image.Resampling.BICUBIC)
