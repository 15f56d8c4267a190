"""One sample off the disk: its pixels, resized and cropped as planned, and its caption.

Owns how files are opened and decoded for training. Must not know torch, nor how a plan was made.
Invariants: formats of no image are never decoded; an image is refused by its header before memory
is taken for its pixels; every failure on bad data is a DataError that names the file. Alpha,
palettes and 16 bits become what the mount makes of them (docs/rendering.md).
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from hffs.core.types import Size
from hffs.errors import DataError
from hffs.train import decoding
from hffs.train.files import Files
from hffs.train.plan import Cut

_DRAFT_SHRINK = 2
"""How many times larger than wanted a JPEG is decoded at least, if not at its full size.

libjpeg shrinks by 2, 4 or 8 for a fraction of the time, but its way is a box filter. Photos of
skimage, shrunk by it to the very size that is wanted, are 37 to 40 dB from what LANCZOS makes of
all pixels, and pages of text 28; with the last halving left to LANCZOS 41 to 49, and 37.
"""


_ENDS_LEFT, _ENDS_ABOVE = (2, 3, 6, 7), (3, 4, 7, 8)
"""Orientations whose turn puts what was last in a row or a column at the left, and at the top."""


def load_pixels(files: Files, name: str, cut: Cut) -> NDArray[np.uint8]:
    """The pixels of a sample, (h, w, 3), RGB; raises DataError.

    Only the crop is resampled, from the pixels that the whole image would be resampled from: the
    same within rounding, and faster by what is cut away.
    """
    try:
        data = files.read(name)
        with decoding.open_image(io.BytesIO(data)) as image:
            _check(image, cut.stored)
            return np.array(_reshape(image, cut))
    except decoding.BAD_DATA as error:
        raise DataError("cannot read", name, why=decoding.explain(error)) from error


def read_caption(files: Files, name: str, extension: str) -> str:
    """The text of the sidecar beside an image, all lines of it; "" if there is none.

    A byte order mark is no text, nor are line ends behind the last word. Raises DataError for what
    is not UTF-8, or cannot be read.
    """
    sidecar = f"{name.rpartition('.')[0]}.{extension}"
    try:
        return files.read(sidecar).decode("utf-8-sig").rstrip("\r\n")
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        raise DataError("cannot read", sidecar, why=decoding.explain(error)) from error


def _check(image: ImageFile, stored: Size) -> None:
    if image.size != stored:
        found = f"{stored.width} x {stored.height}"
        raise ValueError(f"it is {image.width} x {image.height} pixels, the scan found {found}")


def _reshape(image: ImageFile, cut: Cut) -> Image.Image:
    """Resize and crop; of a JPEG that is shrunk much, not all pixels are decoded."""
    orientation = decoding.find_turn(image, cut.orientation)
    width, height = cut.resized.turned(orientation)
    extent: tuple[float, float] = image.size
    if isinstance(image, JpegImageFile):
        drafted = image.draft("RGB", (_DRAFT_SHRINK * width, _DRAFT_SHRINK * height))
        if drafted is not None:
            # Not the size in pixels, which is rounded up: the last ones may lie half outside.
            extent = drafted[1][2:]
    plain = decoding.make_rgb(image)
    turn = decoding.TURNS[orientation]
    if turn is not None:
        plain = plain.transpose(turn)
    box = _find_box(cut, orientation, plain.size, extent if orientation < 5 else extent[::-1])
    # Without a reducing_gap: beside what decoding takes it saves nothing, and shifts colours.
    return plain.resize(cut.size, Image.Resampling.LANCZOS, box)


def _find_box(
    cut: Cut, orientation: int, size: tuple[int, int], extent: tuple[float, float]
) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the crop in the turned image, in its pixels.

    The image fills only `extent` of it; what is outside is where the stored one ended.
    """
    across, down = extent[0] / cut.resized.width, extent[1] / cut.resized.height
    left = cut.left * across + (size[0] - extent[0] if orientation in _ENDS_LEFT else 0)
    top = cut.top * down + (size[1] - extent[1] if orientation in _ENDS_ABOVE else 0)
    right, bottom = left + cut.size.width * across, top + cut.size.height * down
    return left, top, min(right, size[0]), min(bottom, size[1])
