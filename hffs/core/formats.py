"""Which format some bytes are in, judged by the bytes alone (names and paths may lie).

Owns the list of formats that hffs serves or renders: of images the allowlist of every decoder, of
videos and sounds that of every prober. A view has one medium, and in its columns only formats of
that count: a WAV among images is as unknown as a text.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Media = Literal["image", "video", "audio"]
"""What a view shows."""

SNIFF_BYTES = 12
"""How many leading bytes tell every format of images apart."""

LONGEST_SNIFF_BYTES = 96
"""As many tell those of videos and sounds: what is in an Ogg or Matroska file stands behind its
first header."""

NOUNS: dict[Media, tuple[str, str]] = {
    "image": ("image", "images"),
    "video": ("video", "videos"),
    "audio": ("sound", "sounds"),
}
"""What one of them, and several, are called in messages."""


class MediaFormat(IntEnum):
    """A format by its magic bytes; the numbers are stored in persisted indexes: append only."""

    UNKNOWN = 0
    JPEG = 1
    PNG = 2
    WEBP = 3
    GIF = 4
    TIFF = 5
    BMP = 6
    MP4 = 7
    MOV = 8
    MKV = 9
    WEBM = 10
    AVI = 11
    MPEG = 12
    FLV = 13
    WMV = 14
    OGV = 15
    WAV = 16
    FLAC = 17
    MP3 = 18
    OGG = 19
    OPUS = 20
    M4A = 21
    AAC = 22
    AIFF = 23
    WEBA = 24

    @property
    def extension(self) -> str:
        """File name extension, without the dot."""
        return _EXTENSIONS[self]

    @property
    def media(self) -> Media | None:
        """What it holds; None for what is in no known format."""
        if self is MediaFormat.UNKNOWN:
            return None
        if self <= MediaFormat.BMP:
            return "image"
        return "video" if self <= MediaFormat.OGV else "audio"


_EXTENSIONS = {
    MediaFormat.UNKNOWN: "bin",
    MediaFormat.JPEG: "jpg",
    MediaFormat.PNG: "png",
    MediaFormat.WEBP: "webp",
    MediaFormat.GIF: "gif",
    MediaFormat.TIFF: "tif",
    MediaFormat.BMP: "bmp",
    MediaFormat.MP4: "mp4",
    MediaFormat.MOV: "mov",
    MediaFormat.MKV: "mkv",
    MediaFormat.WEBM: "webm",
    MediaFormat.AVI: "avi",
    MediaFormat.MPEG: "mpeg",
    MediaFormat.FLV: "flv",
    MediaFormat.WMV: "wmv",
    MediaFormat.OGV: "ogv",
    MediaFormat.WAV: "wav",
    MediaFormat.FLAC: "flac",
    MediaFormat.MP3: "mp3",
    MediaFormat.OGG: "ogg",
    MediaFormat.OPUS: "opus",
    MediaFormat.M4A: "m4a",
    MediaFormat.AAC: "aac",
    MediaFormat.AIFF: "aiff",
    MediaFormat.WEBA: "weba",
}

_OTHER_EXTENSIONS = {
    "jpeg": MediaFormat.JPEG,
    "tiff": MediaFormat.TIFF,
    "m4v": MediaFormat.MP4,
    "f4v": MediaFormat.MP4,
    "3gp": MediaFormat.MP4,
    "3g2": MediaFormat.MP4,
    "qt": MediaFormat.MOV,
    "mpg": MediaFormat.MPEG,
    "asf": MediaFormat.WMV,
    "wave": MediaFormat.WAV,
    "oga": MediaFormat.OGG,
    "aif": MediaFormat.AIFF,
    "m4b": MediaFormat.M4A,
    "mp4a": MediaFormat.M4A,
}

_AS_AUDIO = {
    "mp4": MediaFormat.M4A,
    "webm": MediaFormat.WEBA,
}
"""Containers of video that are sounds in a view of these."""

EXTENSIONS = frozenset(_EXTENSIONS.values())
"""Extensions that the files of a view may have, beside those of texts."""

FORMATS: dict[Media, tuple[MediaFormat, ...]] = {
    media: tuple(kind for kind in MediaFormat if kind.media == media) for media in NOUNS
}
"""The known formats of each medium."""

_Magic = tuple[MediaFormat, tuple[tuple[int, bytes], ...]]

_IMAGES: tuple[_Magic, ...] = (
    (MediaFormat.JPEG, ((0, b"\xff\xd8\xff"),)),
    (MediaFormat.PNG, ((0, b"\x89PNG\r\n\x1a\n"),)),
    (MediaFormat.WEBP, ((0, b"RIFF"), (8, b"WEBP"))),
    (MediaFormat.GIF, ((0, b"GIF87a"),)),
    (MediaFormat.GIF, ((0, b"GIF89a"),)),
    (MediaFormat.TIFF, ((0, b"II*\x00"),)),
    (MediaFormat.TIFF, ((0, b"MM\x00*"),)),
    (MediaFormat.BMP, ((0, b"BM"),)),
)

# Behind `ftyp` stands the brand, of QuickTime alone one that is not MP4. Files of before 2001 have
# no such box and begin with another one. https://www.iana.org/assignments/media-types has the rest.
_VIDEOS: tuple[_Magic, ...] = (
    (MediaFormat.MOV, ((4, b"ftypqt  "),)),
    (MediaFormat.MP4, ((4, b"ftyp"),)),
    *((MediaFormat.MOV, ((4, box),)) for box in (b"moov", b"mdat", b"wide", b"free", b"skip")),
    (MediaFormat.AVI, ((0, b"RIFF"), (8, b"AVI "))),
    (MediaFormat.MPEG, ((0, b"\0\0\1\xba"),)),
    (MediaFormat.MPEG, ((0, b"\0\0\1\xb3"),)),
    (MediaFormat.FLV, ((0, b"FLV\1"),)),
    (MediaFormat.WMV, ((0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),)),
    (MediaFormat.OGV, ((0, b"OggS"), (28, b"\x80theora"))),
)

_AUDIO: tuple[_Magic, ...] = (
    *((MediaFormat.WAV, ((0, form), (8, b"WAVE"))) for form in (b"RIFF", b"RF64", b"BW64")),
    (MediaFormat.FLAC, ((0, b"fLaC"),)),
    (MediaFormat.MP3, ((0, b"ID3"),)),
    (MediaFormat.OPUS, ((0, b"OggS"), (28, b"OpusHead"))),
    (MediaFormat.OGG, ((0, b"OggS"),)),
    (MediaFormat.M4A, ((4, b"ftyp"),)),
    *((MediaFormat.AIFF, ((0, b"FORM"), (8, form))) for form in (b"AIFF", b"AIFC")),
)

_MAGIC: dict[Media, tuple[_Magic, ...]] = {"image": _IMAGES, "video": _VIDEOS, "audio": _AUDIO}

_EBML = b"\x1a\x45\xdf\xa3"  # of Matroska; which kind of it is a text behind it
_SYNC, _LAYER_3, _NO_LAYER = 0xE0, 1, 0


def name_format(extension: str, media: Media = "image") -> MediaFormat:
    """Format that an extension stands for, without its dot, in any case: where no byte is known.

    >>> name_format("MPG", "video"), name_format("mp4", "audio"), name_format("mp4")
    (<MediaFormat.MPEG: 12>, <MediaFormat.M4A: 21>, <MediaFormat.UNKNOWN: 0>)
    """
    known = {own: kind for kind, own in _EXTENSIONS.items() if kind} | _OTHER_EXTENSIONS
    if media == "audio":
        known |= _AS_AUDIO
    found = known.get(extension.lower(), MediaFormat.UNKNOWN)
    return found if found.media == media else MediaFormat.UNKNOWN


def list_extensions(media: Media) -> frozenset[str]:
    """Extensions of files that are taken for a medium, without the dot.

    >>> "jpeg" in list_extensions("image"), "mp4" in list_extensions("audio")
    (True, False)
    """
    known = {own: kind for kind, own in _EXTENSIONS.items()} | _OTHER_EXTENSIONS
    return frozenset(extension for extension, kind in known.items() if kind.media == media)


def find_media(extension: str) -> Media | None:
    """What a file of a view holds, by its extension; None for a text, or what is unknown.

    >>> find_media("mp4"), find_media("opus"), find_media("txt")
    ('video', 'audio', None)
    """
    return next((kind.media for kind, own in _EXTENSIONS.items() if own == extension), None)


def count_sniffed(media: Media) -> int:
    """How many leading bytes `sniff` looks at."""
    return SNIFF_BYTES if media == "image" else LONGEST_SNIFF_BYTES


def sniff(head: bytes | memoryview, media: Media = "image") -> MediaFormat:
    """Format from the first `count_sniffed` bytes (fewer are allowed); UNKNOWN where it is none of
    the medium's.
    """
    start = bytes(head[: count_sniffed(media)])
    for kind, parts in _MAGIC[media]:
        if all(start[at : at + len(magic)] == magic for at, magic in parts):
            return kind
    if media == "image":
        return MediaFormat.UNKNOWN
    if start.startswith(_EBML):
        if media == "audio":
            return MediaFormat.WEBA if b"webm" in start else MediaFormat.UNKNOWN
        return MediaFormat.WEBM if b"webm" in start else MediaFormat.MKV
    return _sniff_frame(start) if media == "audio" else MediaFormat.UNKNOWN


def _sniff_frame(start: bytes) -> MediaFormat:
    """Format of a sound that begins with a frame rather than with a header: MPEG audio."""
    if len(start) < 4 or start[0] != 0xFF or start[1] & _SYNC != _SYNC:
        return MediaFormat.UNKNOWN
    layer = start[1] >> 1 & 3
    if layer == _NO_LAYER and start[1] & 0xF0 == 0xF0:
        return MediaFormat.AAC
    is_right = start[2] >> 4 != 0xF and start[2] >> 2 & 3 != 3 and start[1] >> 3 & 3 != 1
    return MediaFormat.MP3 if layer == _LAYER_3 and is_right else MediaFormat.UNKNOWN


def sniff_many(heads: NDArray[np.uint8], media: Media = "image") -> NDArray[np.uint8]:
    """`sniff` for many: `heads` is (n, `count_sniffed`), zero padded; returns (n,) codes."""
    if media != "image":  # thousands where there are millions of images
        return np.fromiter((sniff(bytes(head), media) for head in heads), np.uint8, len(heads))
    found = np.zeros(len(heads), np.uint8)
    for kind, parts in reversed(_IMAGES):
        hit = np.ones(len(heads), bool)
        for at, magic in parts:
            hit &= (heads[:, at : at + len(magic)] == np.frombuffer(magic, np.uint8)).all(axis=1)
        found[hit] = kind
    return found
