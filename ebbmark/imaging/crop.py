"""Crop: a photo cut to an aspect ratio, as large as it can be."""

from typing import TYPE_CHECKING, Annotated, ClassVar

from msgspec import Meta

from ebbmark.imaging.gravity import Gravity, shift
from ebbmark.imaging.operation import Context, Kind, Operation
from ebbmark.patterns import whole

if TYPE_CHECKING:
    from PIL.Image import Image

    Size = tuple[int, int]

__all__ = ["Crop"]

_SIDE = r"[1-9][0-9]{0,3}(\.[0-9]{1,3})?"


class Crop(Operation, frozen=True):
    """Cuts every photo to one aspect ratio; nothing is scaled."""

    summary: ClassVar[str] = "Cut every photo to the same proportions."
    kind: ClassVar[Kind] = "shape"

    aspect: Annotated[
        str,
        Meta(
            title="Aspect",
            description="Width to height, such as 4:5, 16:9 or 1.91:1.",
            pattern=whole(f"{_SIDE}:{_SIDE}"),
            max_length=17,
            examples=["4:5", "16:9", "1.91:1"],
        ),
    ] = "1:1"
    focus: Annotated[
        Gravity,
        Meta(title="Focus", description="Which part of the photo stays.", examples=["center", "top"]),
    ] = "center"

    def edit(self, image: "Image", context: Context) -> "Image":
        """Return the largest part of the frame that has the aspect, to within half a pixel."""
        del context
        size = self.reshaped(image.size)
        if size == image.size:
            return image
        free = image.width - size[0], image.height - size[1]
        left, top = (int(each) for each in shift(free, self.focus))
        return image.crop((left, top, left + size[0], top + size[1]))

    def reshaped(self, size: "Size") -> "Size":
        across, down = (float(side) for side in self.aspect.split(":"))
        scale = min(size[0] / across, size[1] / down)
        return max(1, round(across * scale)), max(1, round(down * scale))
