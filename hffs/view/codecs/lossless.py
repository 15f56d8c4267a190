"""Parts of a JPEG as JPEGs, cut and turned without decoding a pixel, wherever that is possible.

Owns when it is possible: a part begins at a block (iMCU) of the source and is turned whole, the
source is an 8-bit DCT image, libjpeg has nothing to say against it, and its library is there.
Must not know what becomes of the other parts. Invariant: whether and how one part is cut does not
depend on the others that are asked for at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence

from hffs.core import composites, jpeg
from hffs.core.composites import Box
from hffs.core.types import Size
from hffs.errors import FormatError
from hffs.view.codecs import turbojpeg


def cut_jpeg(
    data: bytes | memoryview, size: Size, boxes: Sequence[Box], orientation: int, exif: bytes
) -> list[bytes | None]:
    """Boxes of the stored image, turned as an orientation asks, None for each that cannot be had.

    `size` is what a decoder makes of the header; `exif` goes into each result.
    """
    try:
        frame = jpeg.read_frame(data)
        if not frame.is_dct_8_bit or frame.size != size or not turbojpeg.is_available():
            return [None] * len(boxes)
        fitting = [box for box in boxes if _fits(box, frame.block, orientation)]
        parts = _transform(data, size, fitting, orientation)
        metadata = jpeg.keep_metadata(data, exif)
        done = {
            box: jpeg.replace_metadata(part, metadata)
            for box, part in zip(fitting, parts, strict=True)
            if part is not None and _has_size(part, box, orientation)
        }
    except FormatError:
        return [None] * len(boxes)
    return [done.get(box) for box in boxes]


def _fits(box: Box, block: Size, orientation: int) -> bool:
    begins = box.left % block.width == 0 and box.top % block.height == 0
    return begins and composites.is_turned_whole(Size(box.width, box.height), block, orientation)


def _transform(
    data: bytes | memoryview, size: Size, boxes: list[Box], orientation: int
) -> list[bytes | None]:
    turn = turbojpeg.TURN_UPRIGHT[orientation]
    if boxes == [Box(0, 0, *size)]:
        return turbojpeg.transform(data, [None], turn).images
    parts = _cut(data, boxes) if boxes else []
    if turn is turbojpeg.Turn.NONE:
        return parts
    # On their own: a grid may have a remainder that cannot be turned, its tiles have none.
    return [part and turbojpeg.transform(part, [None], turn).images[0] for part in parts]


def _cut(data: bytes | memoryview, boxes: list[Box]) -> list[bytes | None]:
    cut = turbojpeg.transform(data, boxes)
    if None not in cut.images or cut.is_damaged or len(boxes) == 1:
        return cut.images
    # One part that cannot be written failed them all: alone, the others would have succeeded.
    return [turbojpeg.transform(data, [box]).images[0] for box in boxes]


def _has_size(part: bytes, box: Box, orientation: int) -> bool:
    """Whether a part is no larger than asked for, as if cut at other blocks than libjpeg's."""
    expected = composites.turn_size(Size(box.width, box.height), orientation)
    return jpeg.read_frame(part).size == expected
