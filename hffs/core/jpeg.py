"""The frame of a JPEG file: marker segments up to its first scan (ITU-T T.81, annex B).

Owns reading what a lossless cut has to know (size, blocks) and choosing which segments outlive
one. Must not know libraries or pixels. Invariants: nothing of the entropy-coded data is looked at;
a file whose segments are cut short, overlong or too many is a FormatError, found in time that is
bounded by `MOST_SEGMENTS`; what is kept of a file is copied segment by segment, never guessed.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from hffs.core.types import Size
from hffs.errors import FormatError

MOST_SEGMENTS = 10_000
"""Refused above: 16 MB of profile, the most there may be, come in 255."""

_SOI = b"\xff\xd8"
_SOF_FIRST, _SOF_LAST, _NO_SOF = 0xC0, 0xCF, (0xC4, 0xC8, 0xCC)
_SOS, _COM, _APP0, _APP1, _APP2, _APP14, _APP15 = 0xDA, 0xFE, 0xE0, 0xE1, 0xE2, 0xEE, 0xEF
_BARE = (0x00, 0x01, *range(0xD0, 0xDA))  # have no length, and no place before the first scan
_DCT_8_BIT = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)  # baseline, extended and progressive, arithmetic too

_JFIF, _PROFILE, _ADOBE = b"JFIF\0", b"ICC_PROFILE\0", b"Adobe"
_JFIF_BYTES, _ADOBE_BYTES = 14, 12
_PROFILE_KIND = slice(14 + 16, 14 + 20)  # behind identifier, number and count
_PROFILE_KINDS = {1: b"GRAY", 3: b"RGB ", 4: b"CMYK"}

_FILL = re.compile(rb"\xff+")

Data = bytes | memoryview


class Segment(NamedTuple):
    """A marker and what belongs to it: `data[start:end]`, body from `body` on."""

    marker: int
    start: int
    body: int
    end: int


@dataclass(frozen=True, slots=True)
class Frame:
    """What a frame header says of an image."""

    size: Size
    is_dct_8_bit: bool
    sampling: tuple[Size, ...]
    """Of each component, horizontally and vertically."""

    @property
    def block(self) -> Size:
        """Pixels of the smallest part that stands for itself (iMCU): 8 x 8, 16 x 16, ..."""
        if len(self.sampling) == 1:
            return Size(8, 8)  # factors mean nothing for one component
        across = max(factors.width for factors in self.sampling)
        return Size(8 * across, 8 * max(factors.height for factors in self.sampling))


def walk_segments(data: Data) -> Iterator[Segment]:
    """Every segment of a JPEG up to its first SOS, which is the last; FormatError if there is none.

    Bytes of 0xFF may fill the space before a marker; any other byte there is refused.
    """
    if bytes(data[:2]) != _SOI:
        raise FormatError("not a JPEG")
    at = 2
    for _ in range(MOST_SEGMENTS):
        fill = _FILL.match(data, at)
        if fill is None or fill.end() + 3 > len(data):
            raise FormatError("broken JPEG", why=f"no segment at byte {at}")
        marker, body = data[fill.end()], fill.end() + 3
        end = body - 2 + int.from_bytes(data[body - 2 : body], "big")
        if marker in _BARE or not body <= end <= len(data):
            raise FormatError("broken JPEG", why=f"a bad segment {marker:#04x} at byte {at}")
        yield Segment(marker, fill.end() - 1, body, end)
        if marker == _SOS:
            return
        at = end
    raise FormatError("broken JPEG", why=f"over {MOST_SEGMENTS} segments before the image")


def read_frame(data: Data) -> Frame:
    """The frame header; FormatError where there is none, or more than one."""
    frames = [segment for segment in walk_segments(data) if _is_frame(segment.marker)]
    if len(frames) != 1:
        raise FormatError("broken JPEG", why=f"{len(frames)} frame headers")
    return _parse_frame(frames[0].marker, bytes(data[frames[0].body : frames[0].end]))


def _is_frame(marker: int) -> bool:
    return _SOF_FIRST <= marker <= _SOF_LAST and marker not in _NO_SOF


def _parse_frame(marker: int, body: bytes) -> Frame:
    if len(body) < 6 or len(body) != 6 + 3 * body[5]:
        raise FormatError("broken JPEG", why="a bad frame header")
    precision, height, width = struct.unpack_from(">BHH", body)
    sampling = tuple(Size(factors >> 4, factors & 15) for factors in body[7::3])
    if not sampling or not all(1 <= factor <= 4 for factors in sampling for factor in factors):
        raise FormatError("broken JPEG", why="bad sampling factors")
    return Frame(Size(width, height), marker in _DCT_8_BIT and precision == 8, sampling)


def keep_metadata(data: Data, exif: bytes) -> list[bytes]:
    """What a file made of the coefficients of another keeps of it, as segments.

    How colours are to be read: JFIF without its thumbnail, Adobe's transform, and the profile if
    it is of the kind of the pixels. `exif` is a block to go with them, empty for none. All else
    (the EXIF that was there, XMP, comments) is left: it may tell where someone lives.
    """
    components = len(read_frame(data).sampling)
    first, rest, profile = list[bytes](), list[bytes](), list[bytes]()
    for marker, _, start, end in walk_segments(data):
        head = bytes(data[start : start + 30 + 4])
        if marker == _APP0 and head.startswith(_JFIF) and end - start >= _JFIF_BYTES and not first:
            first.append(_segment(marker, head[: _JFIF_BYTES - 2] + b"\0\0"))
        elif marker == _APP14 and head.startswith(_ADOBE) and end - start >= _ADOBE_BYTES:
            rest.append(_segment(marker, head[:_ADOBE_BYTES]))
        elif marker == _APP2 and head.startswith(_PROFILE):
            profile.append(bytes(data[start:end]))
    if exif:
        first.append(_segment(_APP1, exif))
    if len(profile) < 256 and any(_tells_kind(part, components) for part in profile):
        first += [_segment(_APP2, part) for part in profile]
    return first + rest


def _tells_kind(part: bytes, components: int) -> bool:
    """Whether this is the first part of a profile, and of the kind of so many components."""
    kind = _PROFILE_KINDS.get(components)
    return part[len(_PROFILE) : len(_PROFILE) + 1] == b"\1" and part[_PROFILE_KIND] == kind


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def replace_metadata(data: Data, segments: list[bytes]) -> bytes:
    """A JPEG with these segments in place of all that applications and comments wrote into it."""
    view, kept = memoryview(data), list[memoryview]()
    end = len(_SOI)
    for segment in walk_segments(data):
        if not (_APP0 <= segment.marker <= _APP15 or segment.marker == _COM):
            kept.append(view[segment.start : segment.end])
        end = segment.end
    return b"".join([_SOI, *segments, *kept, view[end:]])
