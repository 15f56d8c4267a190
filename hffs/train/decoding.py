"""An image file on its way to RGB: what is refused, what counts as bad data, how it is turned.

Owns the rules for whatever reads pixels of a folder. Must not know what becomes of them.
Invariants: formats of no image are never decoded; an image is refused by its header before memory
is taken for its pixels; a file that is not a plain one is never waited for. Alpha, palettes and 16
bits become what the mount makes of them (docs/rendering.md).
"""

from __future__ import annotations

import math
import os
import stat
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from hffs.core import bad_data
from hffs.core.formats import FORMATS
from hffs.core.image_headers import MAX_PIXELS
from hffs.train.scanning.headers import OPENING

_ALLOWED = [kind.name for kind in FORMATS["image"]]

TURNS = (
    None, None, Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180,
    Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_90,
)  # fmt: skip
"""What turns a stored image upright, by its EXIF orientation."""

BAD_DATA = (*bad_data.BAD_DATA, Image.DecompressionBombError)


def open_regular(path: Path, buffering: int = -1) -> BinaryIO:
    """Open a plain file for reading; OSError for whatever else it is, a named pipe too."""
    descriptor = os.open(path, OPENING | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("not a regular file")
    return open(descriptor, "rb", buffering)


def read_regular(path: Path) -> bytes:
    """All of a plain file; OSError for whatever else it is.

    Without a buffer: Python asks of a file with one whether it is a terminal, which a mount has to
    answer as one request more.
    """
    with open_regular(path, buffering=0) as file:
        return file.read()


def open_image(file: IO[bytes]) -> ImageFile:
    """Open by header, refusing what is not in the allowlist, too large, or lacks its palette."""
    image = Image.open(file, formats=_ALLOWED)
    if math.prod(image.size) > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels, over {MAX_PIXELS}")
    if image.mode in ("P", "PA") and image.palette is None:
        raise ValueError("a palette image without its palette")
    return image


def find_turn(image: ImageFile, orientation: int) -> int:
    """The EXIF orientation that is left to apply: none (1) to a TIFF, which Pillow turns while it
    loads.
    """
    return 1 if isinstance(image, TiffImageFile) else orientation


def make_rgb(image: Image.Image) -> Image.Image:
    """The image as RGB: 16 bits scaled to 8, what is transparent over white."""
    if image.mode.startswith("I"):
        pixels = np.asarray(image)
        low, high = int(pixels.min()), int(pixels.max())
        if low < 0 or high > 65535:
            raise ValueError(f"pixels from {low} to {high} have no range that means white")
        # 65535 / 257 is 255, exactly: white stays white.
        gray = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
        return Image.fromarray(gray).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating point pixels have no range that means white")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        ground = Image.new("RGB", image.size, "white")
        ground.paste(layer, mask=layer)
        return ground
    return image.convert("RGB")


def explain(error: BaseException) -> str:
    """Why an image was refused, in a few words."""
    if isinstance(error, UnidentifiedImageError):
        return f"not one of {', '.join(_ALLOWED)}"
    if isinstance(error, MemoryError):
        return "not enough memory"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
