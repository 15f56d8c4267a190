"""Small pictures of whole images, over which a page draws what is cut away.

Owns how large they are, and that an image which cannot be decoded becomes a picture without pixels
that says why. Must not know how a page looks. Invariants: formats of no image are never decoded; an
image is refused by its header before memory is taken for its pixels.
"""

from __future__ import annotations

import base64
import io
import math
import struct
import warnings
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from hffs.core.formats import FORMATS
from hffs.data.watcher import Watcher
from hffs.train.plan import Plan
from hffs.train.report.facts import CropFacts, CropPicture
from hffs.train.report.regular import open_regular

EDGE_PX = 320
MAX_PIXELS = 178_956_970
"""Refused above: twice Pillow's own mark, 0.7 GB as RGBA; the largest cameras make 150 million."""

_QUALITY = 75
_AT_ONCE = 16
_ALLOWED = [kind.name for kind in FORMATS["image"]]

# What Pillow and its C libraries raise on bad data; not a broad except, as it has no error of code.
_BAD_DATA = (
    OSError, SyntaxError, ValueError, TypeError, struct.error, zlib.error, EOFError, IndexError,
    KeyError, OverflowError, ZeroDivisionError, MemoryError, NotImplementedError, RuntimeError,
    Image.DecompressionBombError,
)  # fmt: skip

_TURNS = (
    None, None, Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180,
    Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_90,
)  # fmt: skip
"""What turns a stored image upright, by its EXIF orientation."""


def take_pictures(
    plan: Plan, crops: Sequence[CropFacts], workers: int, watcher: Watcher
) -> list[CropPicture]:
    """A picture of the image of each crop, in their order."""
    pictures: list[CropPicture] = []
    with (
        # Of a damaged image, or a large one; here, as what is ignored is so for all threads.
        warnings.catch_warnings(action="ignore"),
        ThreadPoolExecutor(workers, thread_name_prefix="hffs-thumbnail") as pool,
    ):
        for start in range(0, len(crops), _AT_ONCE):
            pictures += pool.map(partial(_take, plan), crops[start : start + _AT_ONCE])
            watcher.progress("making thumbnails", len(pictures), len(crops))
    return pictures


def _take(plan: Plan, crop: CropFacts) -> CropPicture:
    turn = int(plan.scan.orientation[crop.image]) if plan.upright else 1
    try:
        with open_regular(plan.scan.folder / crop.name) as file:
            jpeg = _shrink(file, turn)
    except _BAD_DATA as error:
        return CropPicture(crop, "", _explain(error))
    return CropPicture(crop, base64.b64encode(jpeg).decode("ascii"), "")


def _shrink(file: BinaryIO, turn: int) -> bytes:
    with Image.open(file, formats=_ALLOWED) as image:
        if math.prod(image.size) > MAX_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels, over {MAX_PIXELS}")
        # Of a JPEG as little as a 64th of the pixels is decoded.
        image.draft(image.mode, (2 * EDGE_PX, 2 * EDGE_PX))
        image.load()
        small = _flatten(image)
        # Pillow turns a TIFF itself while it loads.
        transpose = None if isinstance(image, TiffImageFile) else _TURNS[turn]
    small.thumbnail((EDGE_PX, EDGE_PX), Image.Resampling.LANCZOS, reducing_gap=2)
    if transpose is not None:
        small = small.transpose(transpose)
    made = io.BytesIO()
    small.save(made, "JPEG", quality=_QUALITY)
    return made.getvalue()


def _flatten(image: ImageFile) -> Image.Image:
    """The image as RGB: over white where it is transparent, scaled where it has 16 bits."""
    if image.mode.startswith("I"):
        deep = np.asarray(image)
        return Image.fromarray((deep.clip(0, 2**16 - 1) >> 8).astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    shown = image.convert("RGBA")
    ground = Image.new("RGBA", shown.size, "white")
    ground.alpha_composite(shown)
    return ground.convert("RGB")


def _explain(error: BaseException) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"not one of {', '.join(_ALLOWED)}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
