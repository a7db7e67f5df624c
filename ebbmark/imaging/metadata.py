"""Metadata: what the results tell besides their pictures."""

from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec
from msgspec import Meta

from ebbmark.imaging.codec import Encoding
from ebbmark.imaging.operation import Context, Operation
from ebbmark.imaging.privacy import Privacy

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Metadata"]


class Metadata(Operation, frozen=True):
    """Says what of a file's metadata its result keeps; without it results are private."""

    summary: ClassVar[str] = "Choose what the results tell of their photos."
    encodes_only: ClassVar[bool] = True

    privacy: Annotated[
        Privacy,
        Meta(
            title="Privacy",
            description=(
                "private keeps artist, copyright and colours; keep keeps EXIF and XMP, the location too; "
                "strip keeps nothing."
            ),
            examples=["strip", "keep"],
        ),
    ] = "private"

    def edit(self, image: "Image", context: Context) -> "Image":
        """Return the frame untouched."""
        del context
        return image

    def encoding(self, encoding: Encoding) -> Encoding:
        """Return what was decided so far, with the privacy asked for."""
        return msgspec.structs.replace(encoding, privacy=self.privacy)
