"""Using every codec once, so that nothing is left to import or to open when images come.

For processes that may open no file any more (`hffs.view.workers`). Owns the list of what Python and
Pillow load late.
"""

from __future__ import annotations

import importlib
import io

from PIL import Image

from hffs.core.formats import FORMATS
from hffs.view.codecs import Reshape, Target, render
from hffs.view.codecs.turbojpeg import is_available

_LATE = ("encodings.ascii", "encodings.latin_1", "encodings.utf_16", "encodings.utf_16_le")
"""What texts and tags inside of images are decoded by."""

_TARGETS: tuple[Target, ...] = ("jpg", "png")


def preload() -> None:
    """Read one small image of every format, and encode it in every way."""
    for name in _LATE:
        importlib.import_module(name)
    Image.init()
    is_available()
    exif = Image.Exif()
    exif[274] = 6
    for kind in FORMATS["image"]:
        file = io.BytesIO()
        Image.new("RGB", (16, 16)).save(file, kind.name, exif=exif)
        for target in _TARGETS:
            render(file.getvalue(), target, Reshape(upright=True))
