"""Pixels into a file: the rules of docs/rendering.md for modes, metadata and encoders.

Owns them. Must not know where an image came from or which part of it is wanted. An image is made
plain once (`Encoder.prepare`), however many parts of it are then encoded (`Encoder.save`).
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import TiffImageFile

_JPEG_QUALITY = 95
_PNG_LEVEL = 2  # photos: three times as fast as the usual 6, a tenth larger
_MAX_PROFILE_BYTES = 255 * 65_519  # what a JPEG can hold: Pillow would write a broken one above
_GRAY_MODES = ("1", "L", "LA", "La")
_PROFILE_KINDS = {"1": b"GRAY", "L": b"GRAY", "LA": b"GRAY", "I;16": b"GRAY"}  # else b"RGB "
_TIFF_BITS, _TIFF_MEANING, _ZERO_IS_WHITE = 258, 262, 0


@dataclass(frozen=True, slots=True)
class Encoder:
    """Two steps: a loaded image in a mode that the format has; such an image as bytes."""

    prepare: Callable[[Image.Image], Image.Image]
    save: Callable[[Image.Image, bytes, bytes | None], bytes]
    """Takes an EXIF block and a colour profile along."""


def _save_jpeg(plain: Image.Image, exif: bytes, profile: bytes | None) -> bytes:
    file = io.BytesIO()
    plain.save(
        file,
        "JPEG",
        quality=_JPEG_QUALITY,
        subsampling=0,
        comment=b"",  # else that of the source, which may be longer than a JPEG allows
        exif=exif,
        icc_profile=profile,
    )
    return file.getvalue()


def _save_png(plain: Image.Image, exif: bytes, profile: bytes | None) -> bytes:
    file = io.BytesIO()
    plain.save(file, "PNG", compress_level=_PNG_LEVEL, exif=exif, icc_profile=profile)
    return file.getvalue()


def _flatten(image: Image.Image) -> Image.Image:
    """The image in a mode that JPEG has, without alpha: gray becomes L, all else RGB."""
    if image.mode.startswith("I"):
        # 65535 / 257 is 255, exactly: white stays white.
        return Image.fromarray(((_read_gray16(image) + 128) // 257).astype(np.uint8))
    if image.has_transparency_data:
        layer = _layer(image)
        ground = Image.new("L" if layer.mode == "LA" else "RGB", image.size, "white")
        ground.paste(layer, mask=layer)
        return ground
    return image.convert("L") if image.mode in _GRAY_MODES else _convert_to_rgb(image)


def _plain_for_png(image: Image.Image) -> Image.Image:
    """The image in a mode that PNG has, with the same pixels wherever there is one."""
    if image.mode in ("1", "L", "LA", "RGB", "RGBA"):
        return image
    if image.mode == "I;16" and "transparency" in image.info:
        return image  # from a PNG, so it needs no scaling
    if image.mode.startswith("I"):
        return Image.fromarray(_read_gray16(image).astype(np.uint16))
    if image.mode == "P" and 3 * _last_colour(image) < len(image.getpalette() or []):
        return image
    return _layer(image) if image.has_transparency_data else _convert_to_rgb(image)


ENCODERS = {"jpg": Encoder(_flatten, _save_jpeg), "png": Encoder(_plain_for_png, _save_png)}


def _layer(image: Image.Image) -> Image.Image:
    """An image with transparency as LA or RGBA."""
    mode = "LA" if image.mode in _GRAY_MODES else "RGBA"
    return image if image.mode == mode else image.convert(mode)


def _last_colour(image: Image.Image) -> int:
    """Highest palette index in use: Pillow's PNG encoder wraps one beyond the palette."""
    extrema = image.getextrema()
    return int(extrema[1])  # type: ignore[arg-type] # a pair of numbers where there is one band


def _convert_to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating point pixels have no range that means white")
    return image if image.mode == "RGB" else image.convert("RGB")


def _read_gray16(image: Image.Image) -> NDArray[np.uint32]:
    """Pixels of an integer mode, (h, w), 0 black to 65535 white; those that are keyed out white."""
    pixels = np.asarray(image)
    low, high = int(pixels.min()), int(pixels.max())
    if low < 0 or high > 65535:
        raise ValueError(f"pixels from {low} to {high} have no range that means white")
    wide = pixels.astype(np.uint32)
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    if tags.get(_TIFF_BITS) == (12,):
        wide = (wide * 65535 + 2047) // 4095
    if tags.get(_TIFF_MEANING) == _ZERO_IS_WHITE:
        wide = 65535 - wide  # which Pillow does for 8 bits only
    if "transparency" in image.info:
        wide[pixels == image.info["transparency"]] = 65535
    return wide


def make_exif(orientation: int) -> bytes:
    """An EXIF block with the orientation alone, empty where it says nothing.

    The rest is left behind: it may be too long for a JPEG, broken, or say where someone lives.
    """
    if orientation == 1:
        return b""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif.tobytes()


def keep_profile(image: Image.Image, plain: Image.Image) -> bytes | None:
    """The colour profile, where the encoded pixels are of the kind that it describes."""
    profile = image.info.get("icc_profile")
    kind = _PROFILE_KINDS.get(plain.mode, b"RGB ")
    if not isinstance(profile, bytes) or len(profile) > _MAX_PROFILE_BYTES:
        return None
    return profile if profile[16:20] == kind else None
