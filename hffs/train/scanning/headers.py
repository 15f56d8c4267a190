"""Size and orientation of an image file, by as little of it as tells them.

Owns opening, what is refused, and the words for why. Must not know folders or what was read before.
Invariants: the bytes decide, not the name; nothing but a regular file is read, and opening one that
is not (a pipe, a device) never waits; formats of no image are never opened by Pillow, and it is
loaded, with numpy, only for a file that `hffs.core.image_headers` does not know.
"""

from __future__ import annotations

import os
import stat
import threading
import warnings
from typing import TYPE_CHECKING

from hffs.core.bad_data import BAD_DATA
from hffs.core.image_headers import (
    HEAD_BYTES,
    MAX_PIXELS,
    PNG_TAIL_BYTES,
    Header,
    find_late_exif,
    read_header,
)
from hffs.errors import DataError, FormatError, UnsupportedError

if TYPE_CHECKING:
    from PIL import Image

OPENING = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY

_ORIENTATION = 0x0112

_PILLOW = threading.Lock()
"""Held while Pillow opens a file: which warnings are shown is one thing for all threads."""


def read_open_header(opened: int, status: os.stat_result) -> Header:
    """Size and orientation of an open file.

    Raises DataError whose `why` says what is wrong with the file, or OSError where it cannot be
    read, which may pass.
    """
    if not stat.S_ISREG(status.st_mode):
        raise DataError("cannot measure", why="not a regular file")
    size_bytes = status.st_size
    if not size_bytes:
        raise DataError("cannot measure", why="empty file")
    head = os.pread(opened, HEAD_BYTES, 0)
    try:
        header = read_header(
            head, size_bytes, lambda start, stop: os.pread(opened, stop - start, start)
        )
    except UnsupportedError:
        header = _read_by_pillow(opened, head)
    except FormatError as error:
        raise DataError("cannot measure", why=error.what) from error
    if header.width * header.height > MAX_PIXELS:
        why = f"{header.width} x {header.height} pixels, over {MAX_PIXELS}"
        raise DataError("cannot measure", why=why)
    return header


def _read_by_pillow(opened: int, head: bytes) -> Header:
    """What Pillow finds, if the file begins as one of the formats that are images here."""
    from PIL import Image, UnidentifiedImageError  # late: most folders hold nothing unusual

    from hffs.core.formats import FORMATS, MediaFormat, sniff

    kind = sniff(head)
    allowed = [known.name for known in FORMATS["image"]]
    refused = f"not one of {', '.join(allowed)}"
    if kind is MediaFormat.UNKNOWN:
        raise DataError("cannot measure", why=refused)
    with _PILLOW, warnings.catch_warnings(), open(os.dup(opened), "rb") as file:
        warnings.simplefilter("ignore")
        try:
            file.seek(0)
            with Image.open(file, formats=allowed) as image:
                if image.mode in ("P", "PA") and image.palette is None:
                    raise ValueError("a palette image without its palette")
                return Header(*image.size, _find_turn(image, opened))
        except UnidentifiedImageError as error:
            os.pread(opened, 1, 0)  # an error of reading is told as that, not as one of the bytes
            raise DataError("cannot measure", why=f"damaged {kind.name}") from error
        except (*BAD_DATA, Image.DecompressionBombError) as error:
            os.pread(opened, 1, 0)
            why = str(error) or type(error).__name__
            raise DataError("cannot measure", why=why) from error


def _find_turn(image: Image.Image, opened: int) -> int:
    """EXIF orientation; of a TIFF 1, since Pillow applies it while loading."""
    from PIL import Image

    if image.format == "TIFF":
        return 1
    if image.format == "PNG" and "exif" not in image.info:
        size_bytes = os.fstat(opened).st_size
        tail = os.pread(opened, PNG_TAIL_BYTES, max(0, size_bytes - PNG_TAIL_BYTES))
        span = find_late_exif(tail)
        if span is not None:
            image.info["exif"] = tail[slice(*span)]
    try:
        # Not that of PNG, which decodes all pixels to look behind them.
        turn = Image.Image.getexif(image).get(_ORIENTATION, 1)
    except BAD_DATA:
        return 1  # no reader could have told a turn from it
    return int(turn) if turn in range(2, 9) else 1
