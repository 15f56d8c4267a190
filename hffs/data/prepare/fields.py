"""What a file of a webdataset sample is by its extension, and the value of one that is text.

Owns the list of extensions and how their bytes are decoded: the rules of `datasets`, but for what
would run code or is no metadata (pickle, arrays, tensors: left out). Knows no tar and no table.
Invariant: a value takes no more than `MAX_VALUE_BYTES`, packed or not.
"""

from __future__ import annotations

import io
import json
from enum import Enum

from hffs.core.formats import Media
from hffs.data.prepare.unpacking import unpack

MAX_VALUE_BYTES = 1 << 20
"""A text or JSON larger than this is no metadata."""


class FieldKind(Enum):
    """What a field becomes: the first three a column of paths, named after a feature; or values."""

    IMAGE = "Image"
    AUDIO = "Audio"
    VIDEO = "Video"
    TEXT = "text"
    INT = "int"
    JSON = "json"

    @property
    def media(self) -> Media | None:
        """The medium, of what stays where it is, in the tar."""
        return _MEDIA.get(self)


_MEDIA: dict[FieldKind, Media] = {
    FieldKind.IMAGE: "image",
    FieldKind.AUDIO: "audio",
    FieldKind.VIDEO: "video",
}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# The lists of datasets' WebDataset builder; of its images not mpg, mpeg (videos), h5 and hdf
# (tables), and with those of today's browsers and phones, and all of `hffs.core.formats`.
IMAGE_EXTENSIONS = _words("""
    apng avif blp bmp bufr bw cur dcx dds dib emf eps fit fits flc fli ftc ftu gbr gif grib heic
    heif icb icns ico iim im j2c j2k jfif jp2 jpc jpe jpeg jpf jpg jpx jxl msp pbm pcd pcx pgm png
    pnm ppm ps psd pxr ras rgb rgba sgi tga tif tiff vda vst webp wmf xbm xpm
""")
AUDIO_EXTENSIONS = _words("""
    aac aif aiff au avr caf flac htk ircam m4a m4b mat4 mat5 mp3 mp4a mpc2k nist oga ogg opus paf
    pvf raw rf64 sd2 sds svx voc w64 wav wave wavex weba wve xi
""")
VIDEO_EXTENSIONS = _words("""
    3g2 3gp asf avi f4v flv m4v mkv mov mp4 mpeg mpg ogv qt webm wmv
""")
TEXT_EXTENSIONS = _words("caption text transcript txt")
INT_EXTENSIONS = _words("cls cls2 id index inx")
JSON_EXTENSIONS = _words("jsn json")

_KINDS = {
    FieldKind.IMAGE: IMAGE_EXTENSIONS,
    FieldKind.AUDIO: AUDIO_EXTENSIONS,
    FieldKind.VIDEO: VIDEO_EXTENSIONS,
    FieldKind.TEXT: TEXT_EXTENSIONS,
    FieldKind.INT: INT_EXTENSIONS,
    FieldKind.JSON: JSON_EXTENSIONS,
}
_BY_EXTENSION = {ext: kind for kind, extensions in _KINDS.items() for ext in extensions}

_PACKINGS = {"gz": "gzip", "bz2": "bz2", "zst": "zstd", "lz4": "lz4", "xz": "xz"}


def find_kind(field: str) -> FieldKind | None:
    """Kind of a field such as `jpg`, `seg.png` or `json.gz`; None for what is left out."""
    stem, _, last = field.lower().rpartition(".")
    if last not in _PACKINGS:
        return _BY_EXTENSION.get(last)
    kind = _BY_EXTENSION.get(stem.rpartition(".")[2])
    return None if kind is None or kind.media else kind


def decode_value(field: str, kind: FieldKind, data: memoryview) -> object:
    """The value of a text, int or JSON field; ValueError says why there is none."""
    packing = _PACKINGS.get(field.lower().rpartition(".")[2])
    require_small(len(data))
    content = bytes(data) if packing is None else _unpack(packing, data)
    if kind is FieldKind.INT:
        return _decode_int(content)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    return _decode_json(text) if kind is FieldKind.JSON else text


def require_small(size_bytes: int) -> None:
    """Raise ValueError for a value that is too large, before it is read."""
    if size_bytes > MAX_VALUE_BYTES:
        raise ValueError(f"larger than {MAX_VALUE_BYTES >> 20} MB")


def _decode_int(content: bytes) -> int:
    try:
        value = int(content)
    except ValueError:
        raise ValueError("not a whole number") from None
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError("number beyond 64 bits")
    return value


def _decode_json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None


def _unpack(packing: str, data: memoryview) -> bytes:
    content = bytearray()
    for piece in unpack(io.BytesIO(data), packing):
        content += piece
        require_small(len(content))
    return bytes(content)
