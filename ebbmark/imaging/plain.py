"""Whatever a file holds becomes a frame of mode RGB, RGBA or L here, and a frame's colours become sRGB."""

import functools
import io
from typing import TYPE_CHECKING, cast

from PIL import Image, ImageChops

from ebbmark.errors import Rejected

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsTransform

__all__ = ["alike", "is_srgb", "plain", "profile_fits", "srgb"]

_SIXTEEN_BITS = 65_535
_NEAR = 2
_MOST_TAGS = 100
"""No profile with more is read."""
_STEPS = range(0, 256, 51)
_SAMPLES = bytes(
    [channel for grey in range(256) for channel in (grey, grey, grey)]
    + [channel for red in _STEPS for green in _STEPS for blue in _STEPS for channel in (red, green, blue)]
)
"""Every grey, and 216 colours."""


def plain(image: Image.Image, icc: bytes | None) -> Image.Image:
    """Return the frame in one of the three modes: the image itself if it is in one of them.

    Raises `Rejected` with `unsupported-format` for numbers that are no colours.
    """
    transparent = image.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in image.info
    if image.mode.startswith("I;16"):
        return _scaled(image)
    if image.mode in {"I", "F"}:
        detail = "Its pixels are numbers of 32 bits; save it with 8 or 16 bits a channel."
        raise Rejected("unsupported-format", detail)
    if image.mode == "LAB":
        return _from_lab(image)
    if image.mode == "CMYK" and icc:
        return _from_print(image, icc)
    mode = "RGBA" if transparent else "L" if image.mode in {"L", "1"} else "RGB"
    # Converting to its own mode would copy the frame.
    return image if image.mode == mode else image.convert(mode)


def alike(frames: list[Image.Image]) -> None:
    """Bring frames to one mode, in place: the poorest that holds them all."""
    modes = {frame.mode for frame in frames}
    mode = "RGBA" if "RGBA" in modes else "RGB"
    if len(modes) > 1:
        frames[:] = [frame if frame.mode == mode else frame.convert(mode) for frame in frames]


def profile_fits(icc: bytes, mode: str) -> bool:
    """Tell whether a colour profile describes the colours of a frame of this mode."""
    return icc[16:20] == (b"GRAY" if mode == "L" else b"RGB ")


@functools.lru_cache(maxsize=1)  # it keeps the profile, which may be of megabytes
def is_srgb(icc: bytes) -> bool:
    """Tell whether a frame without this profile looks the same, to within rounding.

    What a profile calls itself does not say so: some named sRGB are of linear light.
    """
    samples = Image.frombytes("RGB", (len(_SAMPLES) // 3, 1), _SAMPLES)
    seen = _converted(samples, icc) if profile_fits(icc, "RGB") else None
    if seen is None:
        return False
    extrema = ImageChops.difference(samples, seen).getextrema()
    return all(most <= _NEAR for _, most in cast("tuple[tuple[int, int], ...]", extrema))


def srgb(frame: Image.Image, icc: bytes) -> Image.Image:
    """Return the frame in sRGB, by the profile of the photo it was made of; as it is if that is of no use.

    Of a frame that has lost its colours since, or got some, the profile tells how light each value is.
    """
    if is_srgb(icc):
        return frame
    if not profile_fits(icc, frame.mode):
        return _lightened(frame, icc)
    colours = frame.convert("RGB") if frame.mode == "RGBA" else frame
    converted = _converted(colours, icc)
    if converted is None:
        return frame
    if frame.mode == "RGBA":
        converted.putalpha(frame.getchannel("A"))
    return converted.convert("L") if frame.mode == "L" else converted


def _lightened(frame: Image.Image, icc: bytes) -> Image.Image:
    greys = Image.linear_gradient("L").crop((0, 0, 1, 256))
    told = _converted(greys if frame.mode != "L" else greys.convert("RGB"), icc)
    if told is None:
        return frame
    curve = list(told.convert("L").tobytes())
    return frame.point(curve * min(3, len(frame.mode)) + list(range(256)) * (frame.mode == "RGBA"))


def _scaled(image: Image.Image) -> Image.Image:
    """Return 16 bits of grey as 8, white as white; converting alone clips and does not scale."""
    wide = image if image.mode == "I;16" else image.convert("I")
    return wide.point(lambda value: value * (255 / _SIXTEEN_BITS) + 0.5).convert("L")


def _from_lab(image: Image.Image) -> Image.Image:
    from PIL import ImageCms  # noqa: PLC0415 - 10 ms that only few photos are worth

    lab, screen = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.profileToProfile(image, lab, screen, outputMode="RGB") or image.convert("RGB")


def _from_print(image: Image.Image, icc: bytes) -> Image.Image:
    """Convert CMYK to sRGB by its profile, or plainly when the profile is of no use."""
    return _converted(image, icc) or image.convert("RGB")


def _converted(image: Image.Image, icc: bytes) -> Image.Image | None:
    """Return an image in sRGB, of mode RGB; None when the profile is of no use for it."""
    from PIL import ImageCms  # noqa: PLC0415 - as above

    transform = _to_srgb(icc, image.mode)
    if transform is None:
        return None
    try:
        converted = ImageCms.applyTransform(image, transform)
    except (ImageCms.PyCMSError, OSError):
        return None
    if converted is not None:
        converted.info = {}  # which says that it is sRGB, in a profile
    return converted


@functools.lru_cache(maxsize=1)
def _to_srgb(icc: bytes, mode: str) -> "ImageCmsTransform | None":
    """Return what converts images of a mode; every frame of an animation has the same profile."""
    from PIL import ImageCms  # noqa: PLC0415 - as above

    if _has_steps(icc):
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        return ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")  # pyright: ignore[reportArgumentType] - Pillow names its class nowhere
    except (ImageCms.PyCMSError, OSError):
        return None


def _has_steps(icc: bytes) -> bool:
    """Tell whether a profile tells its colours in any number of steps, as hardly any does.

    Each step is done for tens of thousands of colours: 400 kB of them take half a minute.
    """
    tags = min(int.from_bytes(icc[128:132], "big"), _MOST_TAGS)
    begins = (int.from_bytes(icc[at : at + 4], "big") for at in range(136, 136 + 12 * tags, 12))
    return any(icc[begin : begin + 4] == b"mpet" for begin in begins)
