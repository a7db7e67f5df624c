"""Convert: what format the results have, and how well they are kept."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, ClassVar

from msgspec import Meta

from ebbmark.imaging.codec import Encoding, Format
from ebbmark.imaging.operation import Context, Kind, Operation

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Convert"]


class Convert(Operation, frozen=True):
    """Writes every result in one format; without it each keeps the format of its original."""

    summary: ClassVar[str] = "Save every photo as JPEG, PNG or WebP."
    encodes_only: ClassVar[bool] = True
    example: ClassVar[Mapping[str, object]] = MappingProxyType({"format": "webp", "quality": 85})
    kind: ClassVar[Kind] = "format"

    format: Annotated[Format, Meta(title="Format", description="PNG keeps everything and is large.")]
    quality: (
        Annotated[
            int,
            Meta(title="Quality", description="1 to 100; PNG has none.", ge=1, le=100, examples=[85, 95]),
        ]
        | None
    ) = None

    def edit(self, image: "Image", context: Context) -> "Image":
        """Return the frame untouched."""
        del context
        return image

    def encoding(self, encoding: Encoding) -> Encoding:
        """Return the format and quality asked for."""
        del encoding
        return Encoding(format=self.format, quality=self.quality)
