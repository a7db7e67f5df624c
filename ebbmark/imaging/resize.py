"""Resize: a photo within a frame, filling a frame, or of an exact size; never larger unless asked."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from msgspec import Meta
from PIL import Image

from ebbmark.errors import Rejected
from ebbmark.imaging.gravity import Gravity, shift
from ebbmark.imaging.operation import Context, Kind, Operation

if TYPE_CHECKING:
    Size = tuple[int, int]

__all__ = ["Resize"]

LONGEST_EDGE = 16_384

Edge = Annotated[int, Meta(ge=1, le=LONGEST_EDGE)]


class Resize(Operation, frozen=True):
    """Makes every photo smaller, or larger if allowed."""

    summary: ClassVar[str] = "Change the size of every photo."
    example: ClassVar[Mapping[str, object]] = MappingProxyType({"width": 1600, "height": 1600})
    kind: ClassVar[Kind] = "shape"

    width: Annotated[Edge, Meta(title="Width", description="Pixels.", examples=[1600])] | None = None
    height: Annotated[Edge, Meta(title="Height", description="Pixels.", examples=[1200])] | None = None
    long_edge: (
        Annotated[
            Edge,
            Meta(
                title="Long edge",
                description="Pixels of the longer side, in place of width and height.",
                examples=[2048],
            ),
        ]
        | None
    ) = None
    percent: (
        Annotated[
            float,
            Meta(
                title="Percent",
                description="Of width and height as they are, in place of both; above 100 needs enlarge.",
                gt=0,
                le=1000,
                examples=[50, 12.5],
            ),
        ]
        | None
    ) = None
    fit: Annotated[
        Literal["inside", "cover", "exact"],
        Meta(
            title="Fit",
            description="inside keeps the whole photo, cover cuts what does not fit, exact stretches.",
            examples=["inside"],
        ),
    ] = "inside"
    gravity: Annotated[
        Gravity,
        Meta(
            title="Gravity",
            description="Which part of the photo cover keeps.",
            examples=["center", "top"],
        ),
    ] = "center"
    enlarge: Annotated[
        bool, Meta(title="Enlarge", description="Make small photos larger, too.", examples=[True])
    ] = False

    def __post_init__(self) -> None:
        boxed = self.width is not None or self.height is not None
        ways = sum((boxed, self.long_edge is not None, self.percent is not None))
        if not ways:
            detail = "resize needs a width, a height or both. Or give it a long_edge, or a percent."
            raise Rejected("invalid-parameter", detail)
        if ways > 1:
            detail = "resize takes width and height, or long_edge, or percent: one of the three."
            raise Rejected("invalid-parameter", detail)
        if self.fit != "inside" and (self.width is None or self.height is None):
            raise Rejected("invalid-parameter", f"resize needs both width and height for fit {self.fit}.")
        if self.percent is not None and self.percent > 100 and not self.enlarge:
            raise Rejected("invalid-parameter", "resize: percent must not be above 100 without enlarge.")

    def edit(self, image: Image.Image, context: Context) -> Image.Image:
        """Return the frame resized; one that is small enough already is returned as it is."""
        part, size = self._plan(image.size, context.scale)
        if size == image.size and part == (0, 0, *image.size):
            return image
        context.check(size)
        return image.resize(size, Image.Resampling.BICUBIC, box=part, reducing_gap=2.0)

    def enough(self, size: "Size") -> "Size | None":
        """Return the size at which the part that is kept has as many pixels as the result.

        A share is one of the whole photo: of a smaller copy it would be less.
        """
        if self.percent is not None:
            return None
        part, final = self._plan(size)
        scale = min((part[2] - part[0]) / final[0], (part[3] - part[1]) / final[1])
        return (round(size[0] / scale), round(size[1] / scale)) if scale > 1 else None

    def reshaped(self, size: "Size") -> "Size | None":
        return self._plan(size)[1]

    def _plan(self, size: "Size", scale: float = 1.0) -> "tuple[tuple[float, float, float, float], Size]":
        """Return the part of the frame that is kept, and the size it gets."""
        whole = (0.0, 0.0, float(size[0]), float(size[1]))
        wanted = self._wanted(size, scale)
        if self.fit == "inside":
            factor = self._bounded(min(wanted[0] / size[0], wanted[1] / size[1]))
            return whole, _rounded(size[0] * factor, size[1] * factor)
        if self.fit == "exact":
            if not self.enlarge:
                wanted = min(wanted[0], size[0]), min(wanted[1], size[1])
            return whole, _rounded(*wanted)
        factor = max(wanted[0] / size[0], wanted[1] / size[1])
        part = wanted[0] / factor, wanted[1] / factor
        left, top = shift((size[0] - part[0], size[1] - part[1]), self.gravity)
        shrunk = self._bounded(factor) / factor
        final = _rounded(wanted[0] * shrunk, wanted[1] * shrunk)
        # Rounding must not reach over the edge.
        return (left, top, min(left + part[0], size[0]), min(top + part[1], size[1])), final

    def _wanted(self, size: "Size", scale: float) -> tuple[float, float]:
        """Return the frame to be fitted, in pixels; a side that was not told is no limit."""
        if self.percent is not None:
            return size[0] * self.percent / 100, size[1] * self.percent / 100
        if self.long_edge is not None:
            return self.long_edge * scale, self.long_edge * scale
        width, height = self.width or LONGEST_EDGE * size[0], self.height or LONGEST_EDGE * size[1]
        return width * scale, height * scale

    def _bounded(self, factor: float) -> float:
        return factor if self.enlarge else min(1.0, factor)


def _rounded(width: float, height: float) -> "Size":
    return max(1, round(width)), max(1, round(height))
