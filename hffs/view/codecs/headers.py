"""Size and orientation of an image by its header; no pixel is decoded.

Owns `measure`. Must not know what an image becomes. Invariant: it reads no more of a buffer than
it has to, since a mapped image on a cold disk is read page by page.
"""

from __future__ import annotations

from typing import NamedTuple

from PIL import Image

from hffs.core.image_headers import read_webp_canvas
from hffs.errors import RenderError
from hffs.view.codecs.ranges import RangeFile
from hffs.view.codecs.reading import BAD_DATA, check_pixels, explain, open_image, read_orientation

_RIFF_HEADER_BYTES, _VP8X_FLAGS_AT, _VP8X_EXIF, _VP8X_XMP = 12, 20, 0x08, 0x04
_MOST_CHUNKS = 10_000


class Measured(NamedTuple):
    """The stored size of an image, and its EXIF orientation.

    That is 1 to 8; 1 stands for none as well, and for a TIFF, whose size is the one after it.
    """

    width: int
    height: int
    orientation: int


def measure(data: bytes | memoryview) -> Measured:
    """Size and orientation that `render` would find."""
    try:
        size = read_webp_canvas(bytes(data[:30]))
        if size is not None:
            return Measured(*check_pixels(size), _read_webp_orientation(data))
        with memoryview(data) as view, open_image(RangeFile.over(view)) as image:
            return Measured(*image.size, read_orientation(image, view))
    except BAD_DATA as error:
        raise RenderError("cannot measure", why=explain(error)) from error


def _read_webp_orientation(data: bytes | memoryview) -> int:
    """Orientation by the EXIF or XMP chunk of a WebP, if its header announces one."""
    if bytes(data[12:16]) != b"VP8X" or not data[_VP8X_FLAGS_AT] & (_VP8X_EXIF | _VP8X_XMP):
        return 1
    carrier = Image.Image()  # reads its info as Pillow reads that of a WebP
    carrier.info = _find_webp_metadata(data)
    return read_orientation(carrier, b"")


def _find_webp_metadata(data: bytes | memoryview) -> dict[str | tuple[int, int], bytes]:
    """The first chunk of each kind that the header announces, by Pillow's name for it."""
    flags, found = data[_VP8X_FLAGS_AT], dict[str | tuple[int, int], bytes]()
    at = _RIFF_HEADER_BYTES
    for _ in range(_MOST_CHUNKS):
        name, length = bytes(data[at : at + 4]), bytes(data[at + 4 : at + 8])
        if len(length) < 4:
            break
        end = at + 8 + int.from_bytes(length, "little")
        if name == b"EXIF" and flags & _VP8X_EXIF:
            found.setdefault("exif", bytes(data[at + 8 : end]))
        elif name == b"XMP " and flags & _VP8X_XMP:
            found.setdefault("xmp", bytes(data[at + 8 : end]))
        at = end + end % 2
    return found
