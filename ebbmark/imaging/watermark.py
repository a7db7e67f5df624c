"""The watermark: a text, a logo or both, once or all over, looking the same on every photo."""

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta
from PIL import Image, ImageStat

from ebbmark.errors import Rejected
from ebbmark.imaging import codec, drawing, facts, fonts, layout, marks
from ebbmark.imaging.colours import COLOUR, ink_of
from ebbmark.imaging.layout import Measure, Position
from ebbmark.imaging.operation import Context, Kind, Operation
from ebbmark.patterns import whole

if TYPE_CHECKING:
    from ebbmark.imaging.colours import Ink
    from ebbmark.imaging.typesetting import Align

__all__ = ["Watermark"]

TILED_ANGLE = -30.0
LARGEST_EM = 4096
_BRIGHT = 150
_SAMPLES = (64, 64)

Pixels = Annotated[int, Meta(ge=1, le=LARGEST_EM)]


class Watermark(Operation, frozen=True):
    """Marks every photo with a text, the job's logo, or both."""

    summary: ClassVar[str] = "Put a text, your logo or both on every photo."
    example: ClassVar[Mapping[str, object]] = MappingProxyType({"text": "© Ann Example 2026"})
    kind: ClassVar[Kind] = "mark"

    text: Annotated[
        str,
        Meta(
            title="Text",
            description=(
                "What the mark says, in any script, in one line or several. "
                + ", ".join(f"{{{name}}}" for name in facts.NAMES)
                + " stand for the photo's own."
            ),
            max_length=200,
            examples=["© Ann Example 2026", "{filename}\n{n} of {total}", "© {exif.artist}, {exif.date}"],
        ),
    ] = ""
    logo: Annotated[
        bool, Meta(title="Logo", description="Use the logo uploaded with the job.", examples=[True])
    ] = False
    position: Annotated[
        Position,
        Meta(
            title="Position",
            description=(
                "Where the mark goes; tiled covers the photo in slanting rows, chessboard in upright ones."
            ),
            examples=["bottom-right", "tiled"],
        ),
    ] = "bottom-right"
    opacity: Annotated[
        float,
        Meta(
            title="Opacity",
            description="0 is invisible, 1 hides what is below.",
            ge=0,
            le=1,
            examples=[0.6, 0.25],
        ),
    ] = 0.6
    size: Annotated[
        float,
        Meta(
            title="Size",
            description="Height of letters, a share of the short edge or of the diagonal.",
            ge=0.01,
            le=0.5,
            examples=[0.05, 0.12],
        ),
    ] = 0.05
    relative_to: Annotated[
        Measure,
        Meta(
            title="Size of what",
            description="The diagonal lets a panorama have a mark as large as a square photo's.",
            examples=["short-edge", "diagonal"],
        ),
    ] = "short-edge"
    min_size: (
        Annotated[
            Pixels,
            Meta(title="Smallest", description="Letters are never lower, in pixels.", examples=[14]),
        ]
        | None
    ) = None
    max_size: (
        Annotated[
            Pixels,
            Meta(title="Largest", description="Letters are never higher, in pixels.", examples=[120]),
        ]
        | None
    ) = None
    margin: Annotated[
        float,
        Meta(
            title="Margin",
            description="Distance from the edges, a share of the short one.",
            ge=0,
            le=0.4,
            examples=[0.03, 0],
        ),
    ] = 0.03
    color: Annotated[
        str,
        Meta(
            title="Colour",
            description="auto for light or dark by what is below, or a colour such as #ff8800.",
            pattern=whole(f"auto|{COLOUR}"),
            examples=["auto", "#ff8800"],
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
                examples=[-30, 90],
            ),
        ]
        | None
    ) = None
    align: Annotated[
        Literal["auto", "left", "center", "right"],
        Meta(
            title="Lines",
            description="How several lines stand below each other; auto by the position.",
            examples=["auto", "center"],
        ),
    ] = "auto"
    outline: Annotated[
        bool,
        Meta(
            title="Outline",
            description="A faint edge that keeps the text legible anywhere.",
            examples=[True],
        ),
    ] = True
    shadow: Annotated[
        bool,
        Meta(
            title="Shadow",
            description="A soft shadow that lifts the mark off the photo.",
            examples=[True],
        ),
    ] = False
    plate: Annotated[
        str,
        Meta(
            title="Plate",
            description="A ground below the mark: none, auto for the contrary of its ink, or a colour.",
            pattern=whole(f"none|auto|{COLOUR}"),
            examples=["none", "auto", "#003366"],
        ),
    ] = "none"

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "text", fonts.check_text(self.text))
        if not (self.text or self.logo):
            raise Rejected("invalid-parameter", "watermark needs a text, a logo or both.")
        if self.min_size and self.max_size and self.min_size > self.max_size:
            raise Rejected("invalid-parameter", "watermark: min_size must not be above max_size.")

    def wants_logo(self) -> bool:
        return self.logo

    def edit(self, image: Image.Image, context: Context) -> Image.Image:
        """Lay the mark on the frame in place; only the pixels under it are touched.

        On a small copy it is laid as on the frame itself, and seen from afar.
        """
        logo = self._logo(context)
        design = drawing.Design(
            text=self._words(context),
            logo=hashlib.sha256(logo).hexdigest() if logo else "",
            ink=drawing.LIGHT,
            outline=self.outline,
            shadow=self.shadow,
            plate=None if self.plate == "none" else drawing.DARK,
            align=self._align(),
        )
        frame = context.full(image.size)
        plan = self._plan(frame, marks.extent(design, logo))
        ink = context.once("ink", lambda: self._ink(image, plan, context.scale))
        design = msgspec.structs.replace(design, ink=ink, plate=self._ground(ink))
        mark = marks.draw(design, logo, plan, self.opacity)
        if mark.coloured and image.mode == "L":
            image = image.convert("RGB")
        for place in plan.places:
            if context.scale == 1:
                marks.paste(mark, image, place.left, place.top)
            else:
                marks.paste_small(mark, image, place, context.scale)
        return image

    def _plan(self, frame: tuple[int, int], extent: tuple[float, float]) -> layout.Arrangement:
        angle = self.angle if self.angle is not None else TILED_ANGLE if self.position == "tiled" else 0.0
        em = layout.em_of(frame, self.size, self.relative_to, self.min_size, self.max_size)
        return layout.arrange(frame, extent, position=self.position, em=em, margin=self.margin, angle=-angle)

    def _words(self, context: Context) -> str:
        if "{" not in self.text and "}" not in self.text:
            return self.text
        words = facts.expand(self.text, context.facts())
        if not (words or self.logo):
            raise Rejected("nothing-to-write", "The photo does not say what the mark should name.")
        return words

    def _logo(self, context: Context) -> bytes:
        if not self.logo:
            return b""
        if not context.logo:
            raise Rejected("missing-logo", "The recipe asks for a logo, but none was uploaded.")
        return context.logo

    def _align(self) -> "Align":
        if self.align != "auto":
            return self.align
        if self.position.endswith("left"):
            return "left"
        return "right" if self.position.endswith("right") else "center"

    def _ink(self, image: Image.Image, plan: layout.Arrangement, scale: float) -> "Ink":
        """Return the colour of the mark: as told, or what stands out from its plate or the photo."""
        if self.color != "auto":
            return ink_of(self.color)
        if self.plate.startswith("#"):
            return drawing.contrast(ink_of(self.plate))
        everywhere = self.position in layout.EVERYWHERE
        below = (0, 0, *image.size) if everywhere else plan.places[0].seen(scale, image.size)
        return drawing.DARK if _luma(image, below) > _BRIGHT else drawing.LIGHT

    def _ground(self, ink: "Ink") -> "Ink | None":
        if self.plate == "none":
            return None
        return drawing.contrast(ink) if self.plate == "auto" else ink_of(self.plate)


def _luma(image: Image.Image, box: tuple[float, float, float, float]) -> float:
    """Return the mean luma of some 4,000 pixels of a box, 0–255; transparency counts as white."""
    sample = image.resize(_SAMPLES, Image.Resampling.NEAREST, box=box)
    return ImageStat.Stat(codec.flatten(sample).convert("L")).mean[0]
