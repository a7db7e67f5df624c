"""Convert: what format the results have, and how well they are kept."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from ebbmark.errors import Rejected
from ebbmark.imaging.codec import Encoding
from ebbmark.imaging.colours import COLOUR, ink_of
from ebbmark.imaging.encoding import Chroma
from ebbmark.imaging.operation import Context, Kind, Operation
from ebbmark.patterns import whole

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Convert"]

_LOSSLESS = frozenset({"original", "png", "webp"})


class Convert(Operation, frozen=True):
    """Says how every result is written; without it each keeps the format of its original."""

    summary: ClassVar[str] = "Save every photo as JPEG, PNG, WebP or AVIF."
    encodes_only: ClassVar[bool] = True
    example: ClassVar[Mapping[str, object]] = MappingProxyType({"format": "webp", "quality": 85})
    kind: ClassVar[Kind] = "format"

    format: Annotated[
        Literal["original", "jpeg", "png", "webp", "avif"],
        Meta(
            title="Format",
            description=(
                "original keeps each photo's own; TIFF, BMP and still GIF become PNG, HEIC becomes JPEG."
            ),
            examples=["webp", "jpeg"],
        ),
    ] = "original"
    quality: (
        Annotated[
            int,
            Meta(title="Quality", description="1 to 100; PNG has none.", ge=1, le=100, examples=[85]),
        ]
        | None
    ) = None
    progressive: Annotated[
        bool,
        Meta(title="Progressive", description="JPEG that sharpens while it loads; slow to write."),
    ] = False
    chroma: Annotated[
        Chroma,
        Meta(
            title="Chroma",
            description="How much colour JPEG and AVIF keep: all with 4:4:4, a quarter with 4:2:0.",
            examples=["4:4:4"],
        ),
    ] = "auto"
    lossless: Annotated[
        bool, Meta(title="Lossless", description="WebP without any loss; PNG never has one.")
    ] = False
    background: Annotated[
        str,
        Meta(
            title="Background",
            description="Laid under transparent parts: auto for white where a format has none, or a colour.",
            pattern=whole(f"auto|{COLOUR}"),
            examples=["auto", "#ffffff"],
        ),
    ] = "auto"
    profile: Annotated[
        Literal["keep", "srgb"],
        Meta(
            title="Colours",
            description="keep leaves each photo its profile, srgb converts to what every screen shows.",
            examples=["srgb"],
        ),
    ] = "keep"

    def __post_init__(self) -> None:
        if self.lossless and self.format not in _LOSSLESS:
            detail = f"convert: lossless is for WebP and PNG; {self.format.upper()} has no such kind."
            raise Rejected("invalid-parameter", detail)

    def edit(self, image: "Image", context: Context) -> "Image":
        """Return the frame untouched."""
        del context
        return image

    def encoding(self, encoding: Encoding) -> Encoding:
        """Return what is asked for; what another operation decided besides stays."""
        return msgspec.structs.replace(
            encoding,
            format=encoding.format if self.format == "original" else self.format,
            quality=self.quality,
            progressive=self.progressive,
            chroma=self.chroma,
            lossless=self.lossless,
            background=None if self.background == "auto" else ink_of(self.background),
            profile=self.profile,
        )
