"""Which image format some bytes are in, judged by the bytes alone (names and paths may lie).

Owns the list of formats that hffs serves or renders: the allowlist of every decoder.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

SNIFF_BYTES = 12
"""How many leading bytes tell every format of `ImageFormat` apart."""


class ImageFormat(IntEnum):
    """A format by its magic bytes; the numbers are stored in persisted indexes: append only."""

    UNKNOWN = 0
    JPEG = 1
    PNG = 2
    WEBP = 3
    GIF = 4
    TIFF = 5
    BMP = 6

    @property
    def extension(self) -> str:
        """File name extension, without the dot."""
        return _EXTENSIONS[self]


_EXTENSIONS = {
    ImageFormat.UNKNOWN: "bin",
    ImageFormat.JPEG: "jpg",
    ImageFormat.PNG: "png",
    ImageFormat.WEBP: "webp",
    ImageFormat.GIF: "gif",
    ImageFormat.TIFF: "tif",
    ImageFormat.BMP: "bmp",
}

_OTHER_EXTENSIONS = {"jpeg": ImageFormat.JPEG, "tiff": ImageFormat.TIFF}

EXTENSIONS = frozenset(_EXTENSIONS.values())
"""Extensions that a view's images may have."""

_MAGIC: tuple[tuple[ImageFormat, tuple[tuple[int, bytes], ...]], ...] = (
    (ImageFormat.JPEG, ((0, b"\xff\xd8\xff"),)),
    (ImageFormat.PNG, ((0, b"\x89PNG\r\n\x1a\n"),)),
    (ImageFormat.WEBP, ((0, b"RIFF"), (8, b"WEBP"))),
    (ImageFormat.GIF, ((0, b"GIF87a"),)),
    (ImageFormat.GIF, ((0, b"GIF89a"),)),
    (ImageFormat.TIFF, ((0, b"II*\x00"),)),
    (ImageFormat.TIFF, ((0, b"MM\x00*"),)),
    (ImageFormat.BMP, ((0, b"BM"),)),
)


def name_format(extension: str) -> ImageFormat:
    """Format that an extension stands for, without its dot, in any case: where no byte is known."""
    known = {own: kind for kind, own in _EXTENSIONS.items() if kind} | _OTHER_EXTENSIONS
    return known.get(extension.lower(), ImageFormat.UNKNOWN)


def sniff(head: bytes | memoryview) -> ImageFormat:
    """Format of an image from its first `SNIFF_BYTES` bytes (fewer are allowed)."""
    start = bytes(head[:SNIFF_BYTES])
    for kind, parts in _MAGIC:
        if all(start[at : at + len(magic)] == magic for at, magic in parts):
            return kind
    return ImageFormat.UNKNOWN


def sniff_many(heads: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`sniff` for many images: `heads` is (n, SNIFF_BYTES), zero padded; returns (n,) codes."""
    found = np.zeros(len(heads), np.uint8)
    for kind, parts in reversed(_MAGIC):
        hit = np.ones(len(heads), bool)
        for at, magic in parts:
            hit &= (heads[:, at : at + len(magic)] == np.frombuffer(magic, np.uint8)).all(axis=1)
        found[hit] = kind
    return found
