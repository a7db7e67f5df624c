"""Resize: a photo within a frame, filling a frame, or of an exact size; never larger unless asked."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from msgspec import Meta
from PIL import Image

from ebbmark.errors import LimitExceeded, Rejected
from ebbmark.imaging.codec import MEGA
from ebbmark.imaging.operation import Context, Operation

if TYPE_CHECKING:
    Box = tuple[float, float, float, float]
    Size = tuple[int, int]

__all__ = ["Resize"]

LONGEST_EDGE = 16_384


class Resize(Operation, frozen=True):
    """Makes every photo smaller, or larger if allowed."""

    summary: ClassVar[str] = "Change the size of every photo."

    width: Annotated[int, Meta(title="Width", description="Pixels.", ge=1, le=LONGEST_EDGE)] | None = None
    height: Annotated[int, Meta(title="Height", description="Pixels.", ge=1, le=LONGEST_EDGE)] | None = None
    fit: Annotated[
        Literal["inside", "cover", "exact"],
        Meta(
            title="Fit",
            description="inside keeps the whole photo, cover cuts what does not fit, exact stretches.",
        ),
    ] = "inside"
    enlarge: Annotated[bool, Meta(title="Enlarge", description="Make small photos larger, too.")] = False

    def __post_init__(self) -> None:
        if self.width is None and self.height is None:
            raise Rejected("invalid-parameter", "resize needs a width, a height or both.")
        if self.fit != "inside" and (self.width is None or self.height is None):
            raise Rejected("invalid-parameter", f"resize needs both width and height for fit {self.fit}.")

    def edit(self, image: Image.Image, context: Context) -> Image.Image:
        """Return the frame resized; one that is small enough already is returned as it is."""
        part, size = self._plan(context.full(image.size))
        if size[0] * size[1] > context.limits.pixels:
            detail = f"Resized, the image would have {size[0] * size[1] / MEGA:.0f} megapixels."
            raise LimitExceeded("too-many-pixels", detail)
        if context.scale != 1:
            part, size = _shrunk(part, size, image.size, context.scale)
        if size == image.size and part == (0, 0, *image.size):
            return image
        return image.resize(size, Image.Resampling.BICUBIC, box=part, reducing_gap=2.0)

    def resized(self, size: "Size") -> "Size":
        """Return the size that the result gets."""
        return self._plan(size)[1]

    def enough(self, size: "Size") -> "Size | None":
        """Return the size at which the part that is kept has as many pixels as the result."""
        part, final = self._plan(size)
        scale = min((part[2] - part[0]) / final[0], (part[3] - part[1]) / final[1])
        return (round(size[0] / scale), round(size[1] / scale)) if scale > 1 else None

    def _plan(self, size: "Size") -> "tuple[Box, Size]":
        """Return the part of the frame that is kept, and the size it gets."""
        whole = (0.0, 0.0, float(size[0]), float(size[1]))
        wanted = self.width or LONGEST_EDGE * size[0], self.height or LONGEST_EDGE * size[1]
        if self.fit == "inside":
            scale = self._bounded(min(wanted[0] / size[0], wanted[1] / size[1]))
            return whole, (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
        if self.fit == "exact":
            return whole, wanted if self.enlarge else (min(wanted[0], size[0]), min(wanted[1], size[1]))
        scale = max(wanted[0] / size[0], wanted[1] / size[1])
        part = wanted[0] / scale, wanted[1] / scale
        left, top = (size[0] - part[0]) / 2, (size[1] - part[1]) / 2
        shrunk = self._bounded(scale) / scale
        final = max(1, round(wanted[0] * shrunk)), max(1, round(wanted[1] * shrunk))
        return (left, top, left + part[0], top + part[1]), final

    def _bounded(self, scale: float) -> float:
        return scale if self.enlarge else min(1.0, scale)


def _shrunk(part: "Box", size: "Size", frame: "Size", scale: float) -> "tuple[Box, Size]":
    """Return what is to be done to the small copy for what would be done to the frame."""
    left, top, right, bottom = (edge * scale for edge in part)
    box = left, top, min(right, float(frame[0])), min(bottom, float(frame[1]))
    return box, (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
