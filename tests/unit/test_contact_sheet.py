"""The picture of every mark in the documents is what the code draws, or it must be drawn anew."""

import runpy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops

DOCS = Path(__file__).parents[2] / "docs"
SHEET: Mapping[str, Any] = runpy.run_path(str(DOCS / "contact_sheet.py"))
DRAWN_FAST = sorted(name for name in SHEET["PHOTOS"] if not name.startswith("huge"))
COARSE = 4
"""Pixels that are looked at as one: what a WebP changes is finer."""
NEAR = 20
"""A WebP changes 14 at most, and another mark 29 at least, but for two on the tiny photo."""


@pytest.fixture(scope="module")
def kept() -> Iterator[Image.Image]:
    with Image.open(DOCS / "images" / "contact-sheet.webp") as picture:
        yield picture.convert("RGB")


def difference(one: Image.Image, other: Image.Image) -> int:
    """Return by how much the most different places of two pictures differ, 0 to 255."""
    apart = ImageChops.difference(one.reduce(COARSE), other.reduce(COARSE)).convert("L")
    return int(apart.getextrema()[1])


@pytest.mark.parametrize("name", DRAWN_FAST)
def test_the_contact_sheet_is_what_the_code_draws(kept: Image.Image, name: str) -> None:
    for style, (at, drawn) in zip(SHEET["MARKS"], SHEET["column"](name), strict=True):
        shown = kept.crop((*at, at[0] + drawn.width, at[1] + drawn.height))
        assert difference(drawn, shown) <= NEAR, style
