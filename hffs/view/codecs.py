"""How an image becomes the bytes of a file: what passes through, what is encoded, and how.

Owns the rules (docs/rendering.md tells them to users) and is the only user of Pillow here. Must
not know where bytes come from or go to. Invariants: formats outside `ImageFormat` are never
decoded; an image is refused by its header before memory is taken for its pixels; the same bytes
under the same `encoder_identity` give the same bytes; every failure on bad data is a RenderError.
Safe on several threads at once; Pillow works without the interpreter's lock.
"""

from __future__ import annotations

import io
import logging
import math
import platform
import struct
import warnings
import zlib
from typing import Literal

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError, features
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from hffs.core.formats import ImageFormat
from hffs.core.types import Size
from hffs.errors import ConfigError, RenderError

Target = Literal["jpg", "png", "source"]

MAX_PIXELS = 178_956_970
"""Refused above: twice Pillow's own mark, 0.7 GB as RGBA; the largest cameras make 150 million."""

MAX_SIDE_PX = 65_500
"""Not rendered above: JPEG's limit, and Pillow takes minutes over rows of many megabytes."""

MAX_ENCODED_BYTES = 256 * 2**20
"""Refused above: no encoder makes an image of `MAX_PIXELS` so large but an uncompressed one."""

_RULES = 1  # raised when a rule below changes, since it changes bytes
_JPEG_QUALITY = 95
_PNG_LEVEL = 2  # photos: three times as fast as the usual 6, a tenth larger
_MAX_PROFILE_BYTES = 255 * 65_519  # what a JPEG can hold: Pillow would write a broken one above
_LIBRARIES = ("jpg", "libjpeg_turbo", "zlib", "zlib_ng", "webp", "libtiff", "littlecms2")
_ALLOWED = [kind.name for kind in ImageFormat if kind is not ImageFormat.UNKNOWN]
_TARGETS: dict[str, Target] = {"jpg": "jpg", "png": "png", "source": "source"}
_PASSING = {"jpg": ImageFormat.JPEG, "png": ImageFormat.PNG}
_GRAY_MODES = ("1", "L", "LA", "La")
_PROFILE_KINDS = {"1": b"GRAY", "L": b"GRAY", "LA": b"GRAY", "I;16": b"GRAY"}  # else b"RGB "
_TIFF_BITS, _TIFF_MEANING, _ZERO_IS_WHITE = 258, 262, 0

# What Pillow and its C libraries raise on bad data. Not a broad except: an error in the rules
# themselves (AttributeError, NameError, ...) is not among them.
_BAD_DATA = (
    OSError, SyntaxError, ValueError, TypeError, struct.error, zlib.error, EOFError, IndexError,
    KeyError, OverflowError, ZeroDivisionError, MemoryError, NotImplementedError, RuntimeError,
    AssertionError, Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip


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


def passes_through(kind: ImageFormat, target: Target) -> bool:
    """Whether a file of the view holds the source's bytes untouched."""
    return target == "source" or _PASSING[target] is kind


def extension(kind: ImageFormat, target: Target) -> str:
    """Extension of the file, which its bytes agree with."""
    return kind.extension if target == "source" else target


def encoder_identity(target: Target) -> str:
    """Everything besides the source that rendered bytes depend on."""
    parts = [f"rules {_RULES}", target, platform.machine(), f"Pillow {PIL.__version__}"]
    parts += [f"{name} {features.version(name)}" for name in _LIBRARIES]
    # Python's own zlib packs the colour profile of a PNG.
    return ", ".join([*parts, f"Python zlib {zlib.ZLIB_RUNTIME_VERSION}"])


def render(data: bytes | memoryview, target: Target) -> bytes:
    """Decode an image and encode it for the target; of several frames the first.

    `source` has no encoding: it is a KeyError, a mistake of the caller.
    """
    encode = _ENCODERS[target]
    if len(data) > MAX_ENCODED_BYTES:
        raise RenderError("cannot render", why=f"{len(data)} bytes, over {MAX_ENCODED_BYTES}")
    try:
        with _open(io.BytesIO(data)) as image:
            if max(image.size) > MAX_SIDE_PX:
                raise ValueError(f"{_describe(Size(*image.size))}, a side over {MAX_SIDE_PX}")
            _narrow_key(image)
            image.load()
            return encode(image)
    except _BAD_DATA as error:
        raise RenderError("cannot render", why=_explain(error)) from error


def measure(data: bytes | memoryview) -> Size:
    """Width and height of what `render` would make, by the header alone; no pixel is decoded.

    An EXIF orientation does not count, since it is kept; that of a TIFF does, since it is applied.
    """
    try:
        size = _read_webp_canvas(bytes(data[:30]))
        if size is not None:
            return _check_pixels(size)
        with memoryview(data) as view, _open(_Window(view)) as image:
            return Size(*image.size)
    except _BAD_DATA as error:
        raise RenderError("cannot measure", why=_explain(error)) from error


class _Window(io.RawIOBase):
    """A read-only file over a buffer: unlike BytesIO it copies only what is read.

    For a mapped image on a cold disk that is its header instead of all of it.
    """

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        end = len(self._data) if size is None or size < 0 else self._at + size
        part = bytes(self._data[self._at : end])
        self._at += len(part)
        return part

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = (0, self._at, len(self._data))[whence]
        if base + offset < 0:
            raise ValueError("seek before the start")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at


def _open(file: io.IOBase) -> ImageFile:
    """Open by header, refusing what is not in the allowlist, too large, or lacks its palette."""
    image = Image.open(file, formats=_ALLOWED)  # type: ignore[arg-type] # any object with read and seek will do
    _check_pixels(Size(*image.size))
    if image.mode in ("P", "PA") and image.palette is None:
        raise ValueError("a palette image without its palette")
    return image


def _check_pixels(size: Size) -> Size:
    if math.prod(size) > MAX_PIXELS:
        raise Image.DecompressionBombError(f"{_describe(size)}, over {MAX_PIXELS}")
    return size


def _describe(size: Size) -> str:
    return f"{size.width} x {size.height} pixels"


def _read_webp_canvas(head: bytes) -> Size | None:
    """Size by the first 30 bytes of a WebP (RFC 9649), None for anything else.

    Pillow would copy the whole file and set up a decoder: 1,200 a second, and every byte off disk.
    """
    if head[:4] != b"RIFF" or head[8:12] != b"WEBP" or len(head) < 30:
        return None
    if head[12:16] == b"VP8X":
        wide, high = (int.from_bytes(head[at : at + 3], "little") for at in (24, 27))
        return Size(wide + 1, high + 1)
    if head[12:16] == b"VP8L" and head[20] == 0x2F:
        bits = int.from_bytes(head[21:25], "little")
        return Size((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if head[12:16] == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        wide, high = struct.unpack_from("<HH", head, 26)
        return Size(wide & 0x3FFF, high & 0x3FFF)
    return None


def _explain(error: BaseException) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"not one of {', '.join(_ALLOWED)}"
    if isinstance(error, MemoryError):
        return "not enough memory"
    return str(error) or type(error).__name__


def _narrow_key(image: ImageFile) -> None:
    """Bring the transparent colour of a 16-bit RGB PNG to the 8 bits that Pillow decodes to.

    Pillow compares its low bytes with the high bytes of pixels, so other pixels would vanish.
    Must come before `load`, which forgets what the pixels were.
    """
    key = image.info.get("transparency")
    if isinstance(key, tuple) and any("16" in str(tile.args) for tile in image.tile):
        image.info["transparency"] = tuple(part >> 8 for part in key)


def _encode_jpeg(image: Image.Image) -> bytes:
    plain = _flatten(image)
    file = io.BytesIO()
    plain.save(
        file,
        "JPEG",
        quality=_JPEG_QUALITY,
        subsampling=0,
        comment=b"",  # else that of the source, which may be longer than a JPEG allows
        exif=_keep_orientation(image),
        icc_profile=_keep_profile(image, plain),
    )
    return file.getvalue()


def _encode_png(image: Image.Image) -> bytes:
    plain = _plain_for_png(image)
    file = io.BytesIO()
    exif, profile = _keep_orientation(image), _keep_profile(image, plain)
    plain.save(file, "PNG", compress_level=_PNG_LEVEL, exif=exif, icc_profile=profile)
    return file.getvalue()


_ENCODERS = {"jpg": _encode_jpeg, "png": _encode_png}


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


def _keep_orientation(image: Image.Image) -> bytes:
    """An EXIF block with the orientation alone, empty where there is none to speak of.

    The rest is left behind: it may be too long for a JPEG, broken, or say where someone lives.
    """
    try:
        turn = image.getexif().get(ExifTags.Base.Orientation)
    except _BAD_DATA:
        return b""  # no reader could have told a turn from it
    if turn not in range(2, 9):
        return b""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = turn
    return exif.tobytes()


def _keep_profile(image: Image.Image, plain: Image.Image) -> bytes | None:
    """The colour profile, where the encoded pixels are of the kind that it describes."""
    profile = image.info.get("icc_profile")
    kind = _PROFILE_KINDS.get(plain.mode, b"RGB ")
    if not isinstance(profile, bytes) or len(profile) > _MAX_PROFILE_BYTES:
        return None
    return profile if profile[16:20] == kind else None
