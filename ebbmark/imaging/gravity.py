"""One of nine places says which part of a frame stays, or where on it something stands."""

from typing import Literal, get_args

__all__ = ["PLACES", "Gravity", "shift"]

Gravity = Literal[
    "top-left", "top", "top-right",
    "left", "center", "right",
    "bottom-left", "bottom", "bottom-right",
]  # fmt: skip
PLACES: tuple[Gravity, ...] = get_args(Gravity)
"""From left to right and from top to bottom."""


def shift(free: tuple[float, float], place: str) -> tuple[float, float]:
    """Return how much of the free room is left of and above what stands at a place."""
    left = 0.0 if "left" in place else free[0] if "right" in place else free[0] / 2
    top = 0.0 if "top" in place else free[1] if "bottom" in place else free[1] / 2
    return left, top
