"""A small picture of a file of the view, for a person to look at.

Owns `make_thumbnail`. It shows what a viewer of the file would: tiles, EXIF orientations applied.
Must not be used for what a view serves: speed counts here, not bytes that stay the same.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image

from hffs.core.composites import Composite, stored_box, tile_box, turn_size
from hffs.core.types import Size
from hffs.errors import RenderError
from hffs.view.codecs import UPRIGHT, reading
from hffs.view.codecs.encoding import ENCODERS, keep_profile

EDGE_PX = 192
_QUALITY = 70
_MAX_PROFILE_BYTES = 4096
"""A colour profile above this is left out: it would outweigh the picture."""


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A JPEG, and the size in pixels that a viewer would show the file itself at."""

    jpeg: bytes
    size: Size


def make_thumbnail(
    data: bytes | memoryview,
    composite: Composite | None = None,
    tile: int = 0,
    edge_px: int = EDGE_PX,
) -> Thumbnail:
    """Shrink an image, or one tile of it, to an edge of at most `edge_px`; RenderError if bad."""
    reading.check_length(data, "cannot show")
    try:
        with reading.open_to_render(data) as image:
            turn = reading.read_orientation(image, data)
            shown = turn_size(Size(*image.size), turn)
            if composite is None:
                # Of a JPEG as little as a 64th of the pixels is decoded.
                image.draft(image.mode, (2 * edge_px, 2 * edge_px))
            image.load()
            plain = ENCODERS["jpg"].prepare(image)
            profile = keep_profile(image, plain)
            if composite is not None:
                box = tile_box(composite, shown, tile)
                left, top, width, height = stored_box(box, shown, turn)
                plain = plain.crop((left, top, left + width, top + height))
                shown = Size(box.width, box.height)
            return Thumbnail(_shrink(plain, turn, edge_px, profile), shown)
    except reading.BAD_DATA as error:
        raise RenderError("cannot show", why=reading.explain(error)) from error


def _shrink(plain: Image.Image, turn: int, edge_px: int, profile: bytes | None) -> bytes:
    scale = min(1, edge_px / max(plain.size))
    size = [max(1, round(length * scale)) for length in plain.size]
    small = plain.resize((size[0], size[1]), Image.Resampling.LANCZOS, reducing_gap=2)
    transpose = UPRIGHT[turn]
    if transpose is not None:
        small = small.transpose(transpose)
    profile = profile if len(profile or b"") <= _MAX_PROFILE_BYTES else None
    file = io.BytesIO()
    small.save(file, "JPEG", quality=_QUALITY, comment=b"", exif=b"", icc_profile=profile)
    return file.getvalue()
