"""Opening an image: what is refused by its header, what counts as bad data, how it is oriented.

Owns the limits. Must not know what an image becomes. Invariants: formats of no image are
never decoded; an image is refused before memory is taken for its pixels.
"""

from __future__ import annotations

import io
import math

from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from hffs.core import bad_data
from hffs.core.formats import FORMATS
from hffs.core.image_headers import MAX_PIXELS, PNG_TAIL_BYTES, find_late_exif
from hffs.core.types import Size
from hffs.errors import RenderError

MAX_SIDE_PX = 65_500
"""Not rendered above: JPEG's limit, and Pillow takes minutes over rows of many megabytes."""

MAX_ENCODED_BYTES = 256 * 2**20
"""Refused above: no encoder makes an image of `MAX_PIXELS` so large but an uncompressed one."""

_ALLOWED = [kind.name for kind in FORMATS["image"]]

BAD_DATA = (
    *bad_data.BAD_DATA,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


def open_image(file: io.IOBase) -> ImageFile:
    """Open by header, refusing what is not in the allowlist, too large, or lacks its palette."""
    image = Image.open(file, formats=_ALLOWED)  # type: ignore[arg-type] # any object with read and seek will do
    check_pixels(Size(*image.size))
    if image.mode in ("P", "PA") and image.palette is None:
        raise ValueError("a palette image without its palette")
    return image


def open_to_render(data: bytes | memoryview) -> ImageFile:
    """Open an image whose pixels are wanted."""
    image = open_image(io.BytesIO(data))
    if max(image.size) > MAX_SIDE_PX:
        raise ValueError(f"{_describe(Size(*image.size))}, a side over {MAX_SIDE_PX}")
    _narrow_key(image)
    return image


def check_length(data: bytes | memoryview, what: str = "cannot render") -> None:
    """RenderError (`what` failed) for an encoded image that is refused unread."""
    if len(data) > MAX_ENCODED_BYTES:
        raise RenderError(what, why=f"{len(data)} bytes, over {MAX_ENCODED_BYTES}")


def check_pixels(size: Size) -> Size:
    """The size, if it is not refused."""
    if math.prod(size) > MAX_PIXELS:
        raise Image.DecompressionBombError(f"{_describe(size)}, over {MAX_PIXELS}")
    return size


def _describe(size: Size) -> str:
    return f"{size.width} x {size.height} pixels"


def _narrow_key(image: ImageFile) -> None:
    """Bring the transparent colour of a 16-bit RGB PNG to the 8 bits that Pillow decodes to.

    Pillow compares its low bytes with the high bytes of pixels, so other pixels would vanish.
    Must come before `load`, which forgets what the pixels were.
    """
    key = image.info.get("transparency")
    if isinstance(key, tuple) and any("16" in str(tile.args) for tile in image.tile):
        image.info["transparency"] = tuple(part >> 8 for part in key)


def leave_rows_below(image: ImageFile, rows: int) -> None:
    """Have `load` decode a PNG down to a row only, where it can: of others all is decoded.

    Pillow's decoder ends with the last row of the image that it is told of, and reads the chunks
    behind as ever. Rows of an interlaced PNG come in no order; an animation, whose frames are laid
    over each other, keeps its size.
    """
    if not isinstance(image, PngImageFile) or len(image.tile) != 1 or rows >= image.height:
        return
    if image.is_animated or image.info.get("interlace"):
        return
    (tile,) = image.tile
    if tile.codec_name == "zip" and tile.extents == (0, 0, *image.size):
        image._size = (image.width, rows)  # as plugins of Pillow set it
        image.tile = [tile._replace(extents=(0, 0, image.width, rows))]


def read_orientation(image: Image.Image, data: bytes | memoryview) -> int:
    """EXIF orientation, 1 where there is none to speak of; to be asked before `load`.

    Of a TIFF it is 1, since Pillow applies it while loading.
    """
    if isinstance(image, TiffImageFile):
        return 1
    if isinstance(image, PngImageFile) and "exif" not in image.info:
        image.info |= _find_late_exif(data)
    try:
        # Not PngImageFile's own, which decodes all pixels to look behind them.
        turn = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except BAD_DATA:
        return 1  # no reader could have told a turn from it
    return int(turn) if turn in range(2, 9) else 1


def _find_late_exif(data: bytes | memoryview) -> dict[str | tuple[int, int], bytes]:
    """The EXIF chunk behind the pixels of a PNG, by Pillow's name for it."""
    tail = bytes(data[-PNG_TAIL_BYTES:])
    span = find_late_exif(tail)
    return {} if span is None else {"exif": tail[slice(*span)]}


def explain(error: BaseException) -> str:
    """Why an image was refused, in a few words."""
    if isinstance(error, UnidentifiedImageError):
        return f"not one of {', '.join(_ALLOWED)}"
    if isinstance(error, MemoryError):
        return "not enough memory"
    return str(error) or type(error).__name__
