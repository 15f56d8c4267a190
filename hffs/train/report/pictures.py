"""Small pictures of whole images, over which a page draws what is cut away.

Owns how large they are, and that an image which cannot be decoded becomes a picture without pixels
that says why; what is refused is said by `hffs.train.decoding`. Must not know how a page looks.
"""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import BinaryIO

from PIL import Image

from hffs.data.watcher import Watcher
from hffs.train.decoding import (
    BAD_DATA,
    TURNS,
    explain,
    find_turn,
    make_rgb,
    open_image,
    open_regular,
)
from hffs.train.plan import Plan
from hffs.train.report.facts import CropFacts, CropPicture

EDGE_PX = 320

_QUALITY = 75
_AT_ONCE = 16


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
    orientation = int(plan.scan.orientation[crop.image]) if plan.upright else 1
    try:
        with open_regular(plan.scan.folder / crop.name) as file:
            jpeg = _shrink(file, orientation)
    except BAD_DATA as error:
        return CropPicture(crop, "", explain(error))
    return CropPicture(crop, base64.b64encode(jpeg).decode("ascii"), "")


def _shrink(file: BinaryIO, orientation: int) -> bytes:
    with open_image(file) as image:
        # Of a JPEG as little as a 64th of the pixels is decoded.
        image.draft(image.mode, (2 * EDGE_PX, 2 * EDGE_PX))
        small = make_rgb(image)
        turn = TURNS[find_turn(image, orientation)]
    small.thumbnail((EDGE_PX, EDGE_PX), Image.Resampling.LANCZOS, reducing_gap=2)
    if turn is not None:
        small = small.transpose(turn)
    made = io.BytesIO()
    small.save(made, "JPEG", quality=_QUALITY)
    return made.getvalue()
