"""Pillow's plugins for rare formats are loaded with the first file of theirs, not in every child."""

import importlib
from collections.abc import Mapping
from typing import Any, Final

from PIL import JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from ebbmark.errors import Rejected
from ebbmark.imaging.header import Format

__all__ = ["load_plugin"]

# Registering the three usual readers by import spares each child the scan of all forty plugins.
_USUAL = (JpegImagePlugin.JpegImageFile, PngImagePlugin.PngImageFile, WebPImagePlugin.WebPImageFile)

_PLUGINS: Final[Mapping[Format, str]] = {
    "avif": "PIL.AvifImagePlugin",
    "gif": "PIL.GifImagePlugin",
    "tiff": "PIL.TiffImagePlugin",
    "bmp": "PIL.BmpImagePlugin",
}


def load_plugin(form: Format) -> str:
    """Have the format read and written from now on; return what Pillow calls it.

    Raises `Rejected` with `heic-not-installed`.
    """
    if form == "heic":
        _load_heic()
        return "HEIF"
    if form in _PLUGINS:
        plugin: Any = importlib.import_module(_PLUGINS[form])
        if form == "avif":
            plugin.DEFAULT_MAX_THREADS = 1  # as many children as cores are at work already
    return form.upper()


def _load_heic() -> None:
    try:
        plugin: Any = importlib.import_module("pi_heif")
    except ImportError as exc:
        detail = "This is a HEIC photo, and what reads those is not installed here: ebbmark[heic]."
        raise Rejected("heic-not-installed", detail) from exc
    plugin.register_heif_opener(thumbnails=False, decode_threads=1)
