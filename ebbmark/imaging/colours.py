"""A colour is told as `#rrggbb`; a ground of it lies below what does not fill a frame."""

from typing import Final

from PIL import Image

from ebbmark.patterns import whole

__all__ = ["COLOUR", "GROUND", "Ink", "ground", "ink_of"]

Ink = tuple[int, int, int]

COLOUR: Final = "#[0-9a-fA-F]{6}"
GROUND: Final = whole(f"transparent|{COLOUR}")
"""What may be told as the colour of a ground; formats without transparency have white for it."""


def ink_of(colour: str) -> Ink:
    """Return red, green and blue, 0–255 each, of `#rrggbb`."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def ground(colour: str, size: tuple[int, int], mode: str) -> Image.Image:
    """Return a ground for a frame of this mode, in the least of the modes that shows them both."""
    if colour == "transparent":
        return Image.new("RGBA", size)
    red, green, blue = ink_of(colour)
    if mode == "L" and red == green == blue:
        return Image.new("L", size, red)
    if mode == "RGBA":
        return Image.new("RGBA", size, (red, green, blue, 255))
    return Image.new("RGB", size, (red, green, blue))
