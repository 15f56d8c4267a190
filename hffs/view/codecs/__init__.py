"""How an image becomes the bytes of a file: what passes through, what is encoded, and how.

Owns the rules (docs/rendering.md tells them to users) and is the only user of Pillow here. Must
not know where bytes come from or go to. Invariants: formats of no image are never
decoded; an image is refused by its header before memory is taken for its pixels; the same bytes
under the same `encoder_identity` give the same bytes; every failure on bad data is a RenderError.
Safe on several threads at once; Pillow works without the interpreter's lock.

`reading` opens and refuses, `headers` measures, `lossless` cuts JPEGs, `encoding` makes the rest;
`thumbnails` are for people, not for views.
"""

from __future__ import annotations

import logging
import platform
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import PIL
from PIL import Image, features
from PIL.ImageFile import ImageFile

from hffs.core.composites import Box, Composite, stored_box, tile_box, turn_size
from hffs.core.formats import MediaFormat, sniff
from hffs.core.types import Size
from hffs.errors import ConfigError, RenderError
from hffs.view.codecs import reading, turbojpeg
from hffs.view.codecs.encoding import ENCODERS, Encoder, keep_profile, make_exif
from hffs.view.codecs.headers import Measured, measure
from hffs.view.codecs.lossless import cut_jpeg

__all__ = [
    "Measured", "Reshape", "Target", "encoder_identity", "extension", "measure", "parse_target",
    "passes_through", "render", "silence_warnings",
]  # fmt: skip

Target = Literal["jpg", "png", "source"]

_RULES = 2  # raised when a rule below changes, since it changes bytes
_LIBRARIES = ("jpg", "libjpeg_turbo", "zlib", "zlib_ng", "webp", "libtiff", "littlecms2")
_TARGETS: dict[str, Target] = {"jpg": "jpg", "png": "png", "source": "source"}
_PASSING = {"jpg": MediaFormat.JPEG, "png": MediaFormat.PNG}
UPRIGHT = (
    None, None, Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180,
    Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_90,
)  # fmt: skip
"""What turns a stored image upright, by its EXIF orientation."""


@dataclass(frozen=True, slots=True)
class Reshape:
    """What is done to the pixels of every image."""

    composite: Composite | None = None
    upright: bool = False
    """Whether an EXIF orientation is applied; else it is kept beside the pixels."""

    def __bool__(self) -> bool:
        return self.upright or self.composite is not None


_AS_IS = Reshape()


def parse_target(text: str) -> Target:
    """The `image_format` of a configuration."""
    if text not in _TARGETS:
        raise ConfigError(
            "cannot use image_format", text, why=f"it is one of {', '.join(_TARGETS)}"
        )
    return _TARGETS[text]


def silence_warnings() -> None:
    """Keep Pillow's warnings about odd images off a daemon's log; called once by a program."""
    warnings.filterwarnings("ignore", module=r"PIL\b")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)  # it logs what it raises as well


def passes_through(kind: MediaFormat, target: Target, reshaped: bool = False) -> bool:
    """Whether a file of the view holds the source's bytes untouched.

    `reshaped` says that this very image is cut, or turned away from how it is stored.
    """
    return not reshaped and (target == "source" or _PASSING[target] is kind)


def extension(kind: MediaFormat, target: Target, reshaped: bool = False) -> str:
    """Extension of the file, which its bytes agree with."""
    if target == "source" and reshaped:
        return "jpg" if kind is MediaFormat.JPEG else "png"
    return kind.extension if target == "source" else target


def encoder_identity(target: Target, reshape: Reshape = _AS_IS) -> str:
    """Everything besides the source that rendered bytes depend on."""
    parts = [f"rules {_RULES}", target, platform.machine(), f"Pillow {PIL.__version__}"]
    parts += [f"{name} {features.version(name)}" for name in _LIBRARIES]
    # Python's own zlib packs the colour profile of a PNG.
    parts.append(f"Python zlib {zlib.ZLIB_RUNTIME_VERSION}")
    if reshape:
        parts.append(repr(reshape))
        if target != "png":  # nothing is cut or turned without decoding it
            parts.append(turbojpeg.describe_library())
    return ", ".join(parts)


def render(
    data: bytes | memoryview,
    target: Target,
    reshape: Reshape = _AS_IS,
    tiles: Sequence[int] | None = None,
) -> list[bytes]:
    """Make the files of an image: one for each tile asked for, else one; of frames the first.

    Without `tiles` all that the composite selects are asked for. `source` has no encoding for an
    image that is not reshaped: it is a KeyError, a mistake of the caller.
    """
    kind = sniff(data)
    encoding = extension(kind, target, True) if reshape else target
    encoder = ENCODERS[encoding]
    reading.check_length(data)
    try:
        with reading.open_to_render(data) as image:
            orientation = reading.read_orientation(image, data)
            parts = _plan_parts(Size(*image.size), orientation, reshape, tiles)
            whole: list[bytes | None] = [None] * len(parts.boxes)
            if reshape and kind is MediaFormat.JPEG and encoding == "jpg":
                whole = cut_jpeg(data, Size(*image.size), parts.boxes, parts.turn, parts.exif)
            left = [box for box, done in zip(parts.boxes, whole, strict=True) if done is None]
            encoded = iter(_encode(image, encoder, parts, left) if left else ())
            return [next(encoded) if done is None else done for done in whole]
    except reading.BAD_DATA as error:
        raise RenderError("cannot render", why=reading.explain(error)) from error


@dataclass(frozen=True, slots=True)
class _Parts:
    """What is wanted of an image: boxes of its stored pixels, and what happens to each."""

    boxes: list[Box]
    turn: int
    exif: bytes


def _plan_parts(
    size: Size, orientation: int, reshape: Reshape, tiles: Sequence[int] | None
) -> _Parts:
    """What a reshape asks for of an image with this stored size; grids divide the displayed one."""
    boxes = [Box(0, 0, *size)]
    composite = reshape.composite
    if composite is not None:
        shown = turn_size(size, orientation)
        wanted = composite.tiles if tiles is None else tiles
        boxes = [
            stored_box(tile_box(composite, shown, tile), shown, orientation) for tile in wanted
        ]
    if reshape.upright:
        return _Parts(boxes, orientation, b"")
    return _Parts(boxes, 1, make_exif(orientation))


def _encode(image: ImageFile, encoder: Encoder, parts: _Parts, boxes: list[Box]) -> list[bytes]:
    """Decode once, make plain once, encode each part."""
    if image.mode != "P":  # whose colours, down to the last row, decide how a PNG is encoded
        reading.leave_rows_below(image, max(box.top + box.height for box in boxes))
    image.load()
    plain = encoder.prepare(image)
    profile, turn = keep_profile(image, plain), UPRIGHT[parts.turn]
    done = []
    for left, top, width, height in boxes:
        part = plain
        if (width, height) != plain.size:
            part = plain.crop((left, top, left + width, top + height))
        if turn is not None:
            part = part.transpose(turn)
        done.append(encoder.save(part, parts.exif, profile))
    return done
