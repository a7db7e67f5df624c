"""A golden picture is text: mode, size, a perceptual hash, and the colour and detail of each of its parts.

`python -m tests.unit.imaging.golden` draws all of them anew into goldens.json and names those that changed.
Do so after a change that is meant, and look at what it changed before you take it.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from ebbmark.imaging.codec import flatten
from ebbmark.imaging.operation import catalogue
from tests.unit.imaging import test_golden_marks as marks
from tests.unit.imaging.photos import quarters, recipe, rendered, saved, varied

GOLDENS = Path(__file__).with_name("goldens.json")
MODES = ("RGB", "RGBA", "L")
COLUMNS, ROWS = 9, 6
EDGES = 12
"""Detail from which on a part of a picture is masked: half a pixel more or less is seen in its colour."""
PLAIN_WITHIN, MASKED_WITHIN, DETAIL_WITHIN, BITS_WITHIN = 2, 10, 3, 10

Options = Mapping[str, Any]

OPTIONS: Mapping[str, tuple[Options, ...]] = {
    "resize": (
        {"width": 90},
        {"height": 45},
        {"long_edge": 120},
        {"percent": 30},
        {"width": 80, "height": 80, "fit": "cover"},
        {"width": 80, "height": 80, "fit": "cover", "gravity": "left"},
        {"width": 150, "height": 30, "fit": "cover", "gravity": "bottom-right"},
        {"width": 60, "height": 150, "fit": "exact"},
        {"width": 400, "enlarge": True},
    ),
    "crop": (
        {},
        {"aspect": "4:5"},
        {"aspect": "1:2", "focus": "left"},
        {"aspect": "4:1", "focus": "bottom"},
    ),
    "rotate": (
        {},
        {"degrees": 180},
        {"degrees": -90},
        {"degrees": 20},
        {"degrees": 20, "expand": False},
        {"degrees": -35, "corners": "#203040"},
        {"degrees": 20, "corners": "transparent"},
    ),
    "flip": ({}, {"direction": "vertical"}),
    "border": (
        {},
        {"edge": 0.2},
        {"edge_pixels": 24},
        {"edge": 0.2, "edge_color": "#803020"},
        {"edge": 0.2, "edge_color": "transparent"},
    ),
    "grayscale": ({},),
    "sepia": ({}, {"sepia": 0.4}),
    "blur": ({}, {"radius": 0.06}),
    "sharpen": (
        {},
        {"sharpness": 4},
        {"sharpness": 4, "reach": 4},
        {"sharpness": 4, "threshold": 40},
    ),
    "brightness": ({}, {"brightness": 1.6}, {"brightness": 0.6}),
    "contrast": ({}, {"contrast": 2}, {"contrast": 0.5}),
    "saturation": ({}, {"saturation": 2.5}, {"saturation": 0.3}),
    "autocontrast": ({}, {"cutoff": 12}, {"each_colour": True, "cutoff": 4}),
}
"""Every operation but the watermark, whose options are in `test_golden_marks`."""

FIRST_IN_EVERY_MODE = {name: options[0] for name, options in OPTIONS.items()}


class Golden(NamedTuple):
    """What a picture looks like."""

    mode: str
    size: tuple[int, int]
    hash: int
    """Of 128 parts, whether each is lighter than its neighbour."""
    parts: tuple[tuple[int, ...], ...]
    """Row by row: red, green, blue, alpha, and how much its pixels differ from their surroundings."""

    @classmethod
    def of(cls, image: Image.Image) -> Self:
        """Look at a picture."""
        shown = flatten(image).convert("L")
        return cls(image.mode, image.size, _hash(shown), _parts(image, shown))

    def differences(self, other: Self) -> list[str]:
        """Say in what another picture is not this one; each part within what a decoder may round."""
        if (self.mode, self.size) != (other.mode, other.size):
            return [f"{other.mode} {other.size}, not {self.mode} {self.size}"]
        found: list[str] = []
        if (bits := (self.hash ^ other.hash).bit_count()) > BITS_WITHIN:
            found.append(f"{bits} of 128 bits of its hash differ")
        for place, (mine, its) in enumerate(zip(self.parts, other.parts, strict=True)):
            within = MASKED_WITHIN if mine[4] >= EDGES else PLAIN_WITHIN
            colours = zip(mine[:4], its[:4], strict=True)
            if any(abs(one - another) > within for one, another in colours):
                found.append(f"part {place}: colour {its[:4]}, not {mine[:4]}")
            if abs(mine[4] - its[4]) > DETAIL_WITHIN + mine[4] // 10:
                found.append(f"part {place}: detail {its[4]}, not {mine[4]}")
        return found

    def to_json(self) -> dict[str, object]:
        """Return what `from_json` reads: short lines, so that a change can be read as text."""
        lines = [self.parts[at : at + COLUMNS] for at in range(0, len(self.parts), COLUMNS)]
        return {
            "mode": self.mode,
            "size": "x".join(map(str, self.size)),
            "hash": f"{self.hash:032x}",
            "parts": [" ".join(bytes(part).hex() for part in line) for line in lines],
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """Read a golden picture."""
        width, height = map(int, told["size"].split("x"))
        parts = tuple(tuple(bytes.fromhex(part)) for line in told["parts"] for part in line.split())
        return cls(told["mode"], (width, height), int(told["hash"], 16), parts)


def scene(mode: str) -> Image.Image:
    """Return a photo no two parts of which are alike, with fine detail and hard edges."""
    image = Image.blend(varied((240, 160)), quarters((240, 160)), 0.3)
    draw = ImageDraw.Draw(image)
    draw.ellipse((20, 25, 75, 80), fill="#f0d020")
    for x in range(150, 230, 4):
        draw.line((x, 95, x, 145), fill="#202020")
    if mode == "RGBA":
        image.putalpha(
            Image.radial_gradient("L").resize(image.size).point([255 - v // 2 for v in range(256)])
        )
    return image.convert(mode)


SCENES = {mode: saved(scene(mode), "PNG") for mode in MODES}


def _cases() -> dict[str, tuple[str, bytes]]:
    """Return the mode and the recipe of each picture, by its name."""
    cases: dict[str, tuple[str, bytes]] = {}
    for name, choices in OPTIONS.items():
        for options in choices:
            told = ", ".join(f"{option} {value}" for option, value in options.items())
            modes = MODES if options is FIRST_IN_EVERY_MODE[name] else ("RGB",)
            for mode in modes:
                cases[f"{name} {mode} {told}".strip()] = mode, recipe({"operation": name, **options})
    return cases


CASES = _cases()
MARKS = {f"watermark {name}": name for name in marks.MARKS}


def picture(name: str) -> Golden:
    """Draw a picture and look at it; of a mark at where it lies."""
    if name in MARKS:
        box, _ = marks.GOLDEN[MARKS[name]]
        return Golden.of(marks.marked(MARKS[name]).crop(box))
    mode, by = CASES[name]
    return Golden.of(rendered(SCENES[mode], by))


def goldens() -> dict[str, Golden]:
    """Return what pictures looked like when a person last looked at them."""
    return {name: Golden.from_json(told) for name, told in json.loads(GOLDENS.read_text("utf-8")).items()}


def options_shown() -> Mapping[str, set[str]]:
    """Return the options of each operation that some picture shows."""
    return {name: {option for options in choices for option in options} for name, choices in OPTIONS.items()}


def operations_that_edit() -> set[str]:
    """Return the operations that come with Ebbmark and change pixels."""
    return {
        name
        for name, kind in catalogue().items()
        if kind.__module__.startswith("ebbmark.") and not kind.encodes_only
    }


def _hash(shown: Image.Image) -> int:
    across = shown.resize((9, 8), Image.Resampling.BOX).tobytes()
    down = shown.resize((8, 9), Image.Resampling.BOX).tobytes()
    bits = [across[9 * row + at + 1] > across[9 * row + at] for row in range(8) for at in range(8)]
    bits += [down[8 * row + at + 8] > down[8 * row + at] for row in range(8) for at in range(8)]
    return sum(bit << place for place, bit in enumerate(bits))


def _parts(image: Image.Image, shown: Image.Image) -> tuple[tuple[int, ...], ...]:
    detail = ImageChops.difference(shown, shown.filter(ImageFilter.GaussianBlur(2)))
    small = image.convert("RGBA").resize((COLUMNS, ROWS), Image.Resampling.BOX)
    fine = detail.resize((COLUMNS, ROWS), Image.Resampling.BOX)
    places = [(x, y) for y in range(ROWS) for x in range(COLUMNS)]
    return tuple((*_pixel(small, at), *_pixel(fine, at)) for at in places)


def _pixel(image: Image.Image, at: tuple[int, int]) -> tuple[int, ...]:
    return tuple(image.crop((*at, at[0] + 1, at[1] + 1)).tobytes())


def main() -> int:
    """Draw all pictures anew."""
    before = goldens() if GOLDENS.exists() else {}
    after = {name: picture(name) for name in (*CASES, *MARKS)}
    for name in sorted(before.keys() | after.keys()):
        if name not in after or name not in before or before[name].differences(after[name]):
            sys.stdout.write(f"changed: {name}\n")
    text = json.dumps({name: golden.to_json() for name, golden in after.items()}, indent=1)
    GOLDENS.write_text(text + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
