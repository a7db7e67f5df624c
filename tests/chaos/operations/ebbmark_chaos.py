"""Operations that harm the child that performs them, each in its own way."""

import os
import time
from pathlib import Path
from typing import ClassVar

from PIL import Image

from ebbmark.imaging.operation import Context, Operation


class Crash(Operation, frozen=True):
    """Ends the child as a fault in a decoder would."""

    summary: ClassVar[str] = "Crash."

    def edit(self, image: Image.Image, context: Context) -> Image.Image:
        del image, context
        os.abort()


class Hang(Operation, frozen=True):
    """Never returns."""

    summary: ClassVar[str] = "Hang."

    def edit(self, image: Image.Image, context: Context) -> Image.Image:
        del context
        while True:
            time.sleep(1)
            image.getbbox()


class Bomb(Operation, frozen=True):
    """Takes memory until there is no more for it."""

    summary: ClassVar[str] = "Take all memory."

    def edit(self, image: Image.Image, context: Context) -> Image.Image:
        del context
        held = []
        while True:
            held.append(bytes(64 * 1024**2))
            image.getbbox()


class Fused(Operation, frozen=True):
    """Ends the child as long as nobody has mended what is wrong."""

    summary: ClassVar[str] = "Crash until it is mended."

    def edit(self, image: Image.Image, context: Context) -> Image.Image:
        del context
        if Path(os.environ["CHAOS_FUSE"]).exists():
            os.abort()
        return image
