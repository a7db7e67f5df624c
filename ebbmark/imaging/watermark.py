"""The watermark: a text, a logo or both, once or tiled, looking the same on every photo."""

import hashlib
import re
from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec
from msgspec import Meta
from PIL import Image, ImageStat

from ebbmark.errors import Rejected
from ebbmark.imaging import codec, fonts, layout, marks
from ebbmark.imaging.layout import Position
from ebbmark.imaging.operation import Context, Operation

if TYPE_CHECKING:
    from ebbmark.imaging.marks import Ink

__all__ = ["Watermark"]

TILED_ANGLE = -30.0
LONGEST_FACT = 80
_FACT = re.compile(r"\{(filename|n|date|camera)\}")
_BRIGHT = 150
_SAMPLES = (64, 64)


class Watermark(Operation, frozen=True):
    """Marks every photo with a text, the job's logo, or both."""

    summary: ClassVar[str] = "Put a text, your logo or both on every photo."

    text: Annotated[
        str,
        Meta(
            title="Text",
            description=(
                "What the mark says, in one line or several; "
                "{filename}, {n}, {date} and {camera} stand for the photo's own."
            ),
            max_length=200,
        ),
    ] = ""
    logo: Annotated[bool, Meta(title="Logo", description="Use the logo uploaded with the job.")] = False
    position: Annotated[
        Position,
        Meta(
            title="Position",
            description="Where the mark goes; tiled covers the whole photo.",
        ),
    ] = "bottom-right"
    opacity: Annotated[
        float, Meta(title="Opacity", description="0 is invisible, 1 hides what is below.", ge=0, le=1)
    ] = 0.6
    size: Annotated[
        float,
        Meta(title="Size", description="Height of letters, a share of the short edge.", ge=0.01, le=0.5),
    ] = 0.05
    margin: Annotated[
        float,
        Meta(title="Margin", description="Distance from the edges, a share of the short one.", ge=0, le=0.4),
    ] = 0.03
    color: Annotated[
        str,
        Meta(
            title="Colour",
            description="auto for light or dark by what is below, or a colour such as #ff8800.",
            pattern="^(auto|#[0-9a-fA-F]{6})$",
        ),
    ] = "auto"
    angle: (
        Annotated[
            float,
            Meta(
                title="Angle",
                description="Degrees clockwise; left out, tiled marks rise by 30.",
                ge=-180,
                le=180,
            ),
        ]
        | None
    ) = None
    outline: Annotated[
        bool, Meta(title="Outline", description="A faint edge that keeps the text legible anywhere.")
    ] = True

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "text", fonts.check_text(self.text))
        if not (self.text or self.logo):
            raise Rejected("invalid-parameter", "watermark needs a text, a logo or both.")

    def wants_logo(self) -> bool:
        return self.logo

    def edit(self, image: Image.Image, context: Context) -> Image.Image:
        """Lay the mark on the frame in place; only the pixels under it are touched."""
        logo = self._logo(context)
        design = marks.Design(
            text=self._words(context),
            logo=hashlib.sha256(logo).hexdigest() if logo else "",
            ink=marks.LIGHT,
            outline=self.outline,
            align=self._align(),
        )
        angle = self.angle if self.angle is not None else TILED_ANGLE if self.position == "tiled" else 0.0
        plan = layout.arrange(
            image.size,
            marks.extent(design, logo),
            position=self.position,
            size=self.size,
            margin=self.margin,
            angle=-angle,
        )
        design = msgspec.structs.replace(design, ink=self._ink(image, plan))
        mark = marks.draw(design, logo, plan, self.opacity)
        if mark.coloured and image.mode == "L":
            image = image.convert("RGB")
        for place in plan.places:
            marks.paste(mark, image, place.left, place.top)
        return image

    def _words(self, context: Context) -> str:
        if not _FACT.search(self.text):
            return self.text
        facts = context.facts()
        named = _FACT.sub(lambda found: fonts.legible(facts.get(found[1], ""))[:LONGEST_FACT], self.text)
        words = "\n".join(line.strip() for line in named.splitlines()).strip()
        if not (words or self.logo):
            raise Rejected("nothing-to-write", "The photo does not say what the mark should name.")
        return words

    def _logo(self, context: Context) -> bytes:
        if not self.logo:
            return b""
        if not context.logo:
            raise Rejected("missing-logo", "The recipe asks for a logo, but none was uploaded.")
        return context.logo

    def _align(self) -> "marks.Align":
        if self.position.endswith("left"):
            return "left"
        return "right" if self.position.endswith("right") else "center"

    def _ink(self, image: Image.Image, plan: layout.Arrangement) -> "Ink":
        if self.color != "auto":
            return int(self.color[1:3], 16), int(self.color[3:5], 16), int(self.color[5:7], 16)
        below = (0, 0, *image.size) if self.position == "tiled" else plan.places[0].box
        return marks.DARK if _luma(image, below) > _BRIGHT else marks.LIGHT


def _luma(image: Image.Image, box: tuple[int, int, int, int]) -> float:
    """Return the mean luma of some 4,000 pixels of a box, 0–255; transparency counts as white."""
    sample = image.resize(_SAMPLES, Image.Resampling.NEAREST, box=box)
    return ImageStat.Stat(codec.flatten(sample).convert("L")).mean[0]
