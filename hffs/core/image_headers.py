"""Size and EXIF orientation of an image by the first bytes of its file: JPEG, PNG, WebP, GIF, BMP.

Pure: who has the file hands its beginning over, and a function for further ranges; segments that
tell neither are jumped over. Must not know files, or what becomes of an image. Invariants: what is
answered is what Pillow would find; where a file is unusual in any way that Pillow might read
otherwise, the error is UnsupportedError, and a full reader has to be asked; the number of steps and
of ranges is bounded, whatever the bytes are. JPEG: ITU-T T.81 annex B; EXIF: CIPA DC-008; PNG: W3C;
WebP: RFC 9649; GIF: GIF89a.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from hffs.core.byte_ranges import ByteRanges, Fetch
from hffs.core.types import Size
from hffs.errors import UnsupportedError

HEAD_BYTES = 4096
"""As many leading bytes suffice for most files."""

MAX_PIXELS = 178_956_970
"""Refused above: twice Pillow's own mark, 0.7 GB as RGBA; the largest cameras make 150 million."""

PNG_TAIL_BYTES = 4096

_MOST_PARTS = 1000  # segments, chunks or blocks
_PARTS = range(_MOST_PARTS)
_MOST_EXIF_BYTES = 1 << 16
_MOST_XMP_BYTES = 1 << 20

_WEBP_HEAD_BYTES, _VP8X_FLAGS_AT, _VP8X_EXIF, _VP8X_XMP = 30, 20, 0x08, 0x04

_JPEG_SOS, _JPEG_APP1 = 0xFFDA, 0xFFE1
_JPEG_FRAMES = frozenset((0xFFC0, 0xFFC1, 0xFFC2))
_JPEG_TOLD = _JPEG_FRAMES | {_JPEG_SOS, _JPEG_APP1}
_JPEG_SKIPPED = frozenset((0xFFC4, 0xFFDB, 0xFFDD, 0xFFFE, 0xFFE0, *range(0xFFE2, 0xFFF0)))
"""Tables, the restart interval, comments, and what applications wrote, but for APP1."""
_JPEG_EXIF, _JPEG_XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_parse_marker = struct.Struct(">HH").unpack_from
_parse_frame = struct.Struct(">BHHB").unpack

# Of the lengths that they mostly have; what has another is skipped one by one, which takes longer.
_USUAL = re.compile(
    rb"(?:\xff(?:\xdb\0\x43.{65}|\xdb\0\x84.{130}|\xc4\0\x1f.{29}|\xc4\0\xb5.{179}"
    rb"|\xc4\x01\xa2.{416}|\xe0\0\x10.{14}|\xee\0\x0e.{12}|\xdd\0\x04..))*",
    re.DOTALL,
)

_EXIF_HEAD_BYTES = 512  # most first directories end before


class _Order(NamedTuple):
    """How a TIFF block is read: the offset of its directory, a count, entries; a tag's bytes."""

    parse_offset: Callable[..., tuple[int]]
    parse_count: Callable[..., tuple[int]]
    parse_entry: Callable[..., tuple[int, int, int]]
    parse_entries: Callable[[bytes], Iterator[tuple[int, ...]]]
    orientation: bytes


_TYPE_BYTES = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8,
}  # fmt: skip

_ORDERS = {
    magic: _Order(
        struct.Struct(end + "4xI").unpack_from,
        struct.Struct(end + "H").unpack_from,
        struct.Struct(end + "2xHIH").unpack_from,
        struct.Struct(end + "2xHII").iter_unpack,
        struct.pack(end + "H", 0x0112),
    )
    for magic, end in ((b"II*\0", "<"), (b"MM\0*", ">"))
}

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_PNG_TURNING = {b"exif", b"xmp", b"XML:com.adobe.xmp", b"Raw profile type exif"}
_PNG_KEY_BYTES = 32
_parse_chunk = struct.Struct(">I4s").unpack
_parse_size = struct.Struct(">II").unpack_from

_XMP_TURN = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')


class Header(NamedTuple):
    """The stored size of an image, and its EXIF orientation, 1 to 8; 1 is none too."""

    width: int
    height: int
    orientation: int


def read_header(head: bytes, size_bytes: int, fetch: Fetch) -> Header:
    """Size and orientation of a file of `size_bytes` that begins with `head`.

    `fetch` is asked for what lies behind; what it raises goes through. FormatError where no reader
    would find a size, UnsupportedError (one of those) where another may.
    """
    for magic, name, read in _READERS:
        if head.startswith(magic):
            return read(ByteRanges(head, size_bytes, fetch, name))
    raise UnsupportedError("another format")


def _read_jpeg(source: ByteRanges) -> Header:
    """Walk the segments up to the first scan: a dozen, so each step counts."""
    head, last, parse, skip = source.head, len(source.head) - 4, _parse_marker, _USUAL.match
    at, size, exif, xmp = 2, None, None, None
    for _ in _PARTS:
        if at <= last:
            usual = skip(head, at)
            at = usual.end() if usual else at
        marker, length = parse(head, at) if at <= last else parse(source.take(at, 4))
        start, at = at + 4, at + 2 + length
        if length < 2:
            raise source.unusual("a segment without a length")
        if marker in _JPEG_SKIPPED:
            continue
        if at > source.size_bytes and marker in _JPEG_TOLD:
            raise source.broken("truncated")
        if marker == _JPEG_APP1:
            exif, xmp = _note_metadata(source, (start, at), exif, xmp)
        elif marker in _JPEG_FRAMES and size is None:
            size = _read_jpeg_frame(source, start, at)
        elif marker == _JPEG_SOS and size is not None:
            turn = None if exif is None else _read_exif_turn(source, *exif)
            return Header(*size, _read_xmp_turn(source, xmp) if turn is None else turn)
        else:
            raise source.unusual(f"a segment {marker:#06x}")
    raise source.unusual(f"over {_MOST_PARTS} segments")


def _read_jpeg_frame(source: ByteRanges, start: int, stop: int) -> Size:
    if stop - start < 6:
        raise source.unusual("a short frame header")
    bits, height, width, components = _parse_frame(source.take(start, 6))
    if bits != 8 or components not in (1, 3, 4) or stop - start != 6 + 3 * components:
        raise source.unusual("its frame header")
    if not width or not height:
        raise source.unusual("no pixels")
    return Size(width, height)


_Span = tuple[int, int] | None


def _note_metadata(
    source: ByteRanges, span: tuple[int, int], exif: _Span, xmp: _Span
) -> tuple[_Span, _Span]:
    """Where EXIF and XMP are, after an APP1 segment."""
    start, stop = span
    kind = source.take(start, min(stop - start, len(_JPEG_XMP)))
    if kind.startswith(_JPEG_EXIF):
        if exif is not None:
            raise source.unusual("EXIF in parts")
        return (start + len(_JPEG_EXIF), stop), xmp
    return (exif, (start + len(_JPEG_XMP), stop)) if kind == _JPEG_XMP else (exif, xmp)


def _read_exif_turn(source: ByteRanges, start: int, stop: int) -> int | None:
    """Orientation by the first directory of a TIFF block; None where it has no such tag."""
    if start == stop:
        return None
    length = stop - start
    block = source.take(start, min(length, _EXIF_HEAD_BYTES))
    order = _ORDERS.get(block[:4])
    if order is None or length < 8:
        raise source.unusual("its EXIF block")
    first = order.parse_offset(block)[0] + 2
    if first > length:
        raise source.unusual("its EXIF directory")
    if first > len(block):
        block = source.take(start, first)
    last = first + 12 * order.parse_count(block, first - 2)[0]
    if last > min(length, _MOST_EXIF_BYTES):
        raise source.unusual("its EXIF directory")
    if last > len(block):
        block = source.take(start, last)
    return _find_turn(source, block[first:last], length, order)


def _find_turn(source: ByteRanges, tags: bytes, length: int, order: _Order) -> int | None:
    """Orientation by the entries of a directory, in a TIFF block of some length."""
    at = tags.find(order.orientation)
    while at >= 0 and at % 12:
        at = tags.find(order.orientation, at + 1)
    if at < 0:
        return None
    for kind, number, offset in order.parse_entries(tags[:at]):
        size = _TYPE_BYTES.get(kind, 0) * number
        if size > 4 and offset + size > length:  # Pillow reads no further
            raise source.unusual("a tag outside its EXIF block")
    kind, number, turn = order.parse_entry(tags, at)
    if (kind, number) != (3, 1):
        raise source.unusual("its EXIF orientation")
    return turn if 2 <= turn <= 8 else 1


def _read_xmp_turn(source: ByteRanges, span: _Span) -> int:
    """Orientation by an XMP packet, which is asked where EXIF has none."""
    if span is None:
        return 1
    if span[1] - span[0] > _MOST_XMP_BYTES:
        raise source.unusual("long XMP")
    match = _XMP_TURN.search(source.take(span[0], span[1] - span[0]))
    turn = int(match[1]) if match else 1
    return turn if 2 <= turn <= 8 else 1


def _read_png(source: ByteRanges) -> Header:
    """The first chunk, and those up to the pixels; then the end of the file, for EXIF there."""
    size, needs_palette = _read_png_size(source)
    exif: _Span = None
    at = len(_PNG_MAGIC) + 25
    for _ in _PARTS:
        length, kind = _parse_chunk(source.take(at, 8))
        body, end = at + 8, at + 8 + length
        if kind == b"IDAT":
            if needs_palette:
                raise source.unusual("a palette image without its palette")
            return Header(*size, _turn_png(source, exif))
        if end + 4 > source.size_bytes:
            raise source.broken("truncated")
        if kind == b"PLTE":
            needs_palette = False
        elif kind == b"eXIf":
            if exif is not None:
                raise source.unusual("EXIF twice")
            exif = body, end
        elif kind in _PNG_TEXTS and _is_turning(source.take(body, min(length, _PNG_KEY_BYTES))):
            raise source.unusual("metadata as text")
        at = end + 4
    raise source.unusual(f"over {_MOST_PARTS} chunks before the pixels")


def _read_png_size(source: ByteRanges) -> tuple[Size, bool]:
    """The size, and whether there has to be a palette."""
    first = source.take(len(_PNG_MAGIC), 25)
    size = Size(*_parse_size(first, 8))
    is_sound = zlib.crc32(first[4:21]) == int.from_bytes(first[21:], "big")
    if first[:8] != b"\0\0\0\x0dIHDR" or not is_sound or not all(size):
        raise source.unusual("its first chunk")
    return size, first[17] == 3


def _is_turning(text: bytes) -> bool:
    """Whether Pillow takes a text chunk that begins so for metadata that may turn the image."""
    return text.split(b"\0", 1)[0] in _PNG_TURNING


def _turn_png(source: ByteRanges, exif: _Span) -> int:
    if exif is not None:
        return _read_exif_turn(source, *exif) or 1
    start = max(0, source.size_bytes - PNG_TAIL_BYTES)
    span = find_late_exif(source.take(start, source.size_bytes - start))
    return 1 if span is None else _read_exif_turn(source, start + span[0], start + span[1]) or 1


def find_late_exif(tail: bytes) -> tuple[int, int] | None:
    """Where the EXIF chunk is that ExifTool puts behind the pixels of a PNG, near its end.

    `tail` is the last `PNG_TAIL_BYTES`. Looking there costs one page; to walk there, as Pillow
    does, all pages of the file.
    """
    start = tail.rfind(b"eXIf")
    end = start + 4 + int.from_bytes(tail[start - 4 : start], "big")
    if start < 4 or zlib.crc32(tail[start:end]) != int.from_bytes(tail[end : end + 4], "big"):
        return None
    return start + 4, end


def read_webp_canvas(head: bytes) -> Size | None:
    """Size by the first 30 bytes of a WebP, None for anything else.

    Pillow would copy the whole file and set up a decoder: 1,200 a second, and every byte off disk.
    """
    if head[:4] != b"RIFF" or head[8:12] != b"WEBP" or len(head) < _WEBP_HEAD_BYTES:
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


def _read_webp(source: ByteRanges) -> Header:
    size = read_webp_canvas(source.head[:_WEBP_HEAD_BYTES])
    if size is None or not all(size):
        raise source.unusual("its first chunk")
    flags = source.head[_VP8X_FLAGS_AT] & (_VP8X_EXIF | _VP8X_XMP)
    if source.head[12:16] != b"VP8X" or not flags:
        return Header(*size, 1)
    spans: dict[bytes, tuple[int, int]] = {}
    at = 12
    for _ in _PARTS:
        if at + 8 > source.size_bytes:
            return Header(*size, _turn_webp(source, flags, spans))
        start = source.take(at, 8)
        end = at + 8 + int.from_bytes(start[4:], "little")
        if end > source.size_bytes:
            raise source.unusual("its last chunk is cut short")
        spans.setdefault(start[:4], (at + 8, end))
        at = end + end % 2
    raise source.unusual(f"over {_MOST_PARTS} chunks")


def _turn_webp(source: ByteRanges, flags: int, spans: dict[bytes, tuple[int, int]]) -> int:
    exif = spans.get(b"EXIF") if flags & _VP8X_EXIF else None
    if exif is not None and exif[1] - exif[0] >= 6 and source.take(exif[0], 6) == _JPEG_EXIF:
        exif = (exif[0] + 6, exif[1])
    turn = None if exif is None else _read_exif_turn(source, *exif)
    if turn is not None:
        return turn
    return _read_xmp_turn(source, spans.get(b"XMP ") if flags & _VP8X_XMP else None)


def _read_gif(source: ByteRanges) -> Header:
    """The screen, and the first frame: where that is larger, it counts."""
    width, height, flags = struct.unpack("<HHB", source.take(6, 5))
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    for _ in _PARTS:
        kind = source.take(at, 1)
        if kind == b",":
            left, top, wide, high = struct.unpack("<4H", source.take(at + 1, 8))
            size = Size(max(width, left + wide), max(height, top + high))
            if not all(size):
                raise source.unusual("no pixels")
            return Header(*size, 1)
        if kind == b"!":
            at += 2
            while block := source.take(at, 1)[0]:
                at += 1 + block
        elif kind != b"\0":
            raise source.unusual("something between its blocks")
        at += 1
    raise source.unusual(f"over {_MOST_PARTS} blocks before the first frame")


def _read_bmp(source: ByteRanges) -> Header:
    """The information header; a negative height is that of rows from the top."""
    length = int.from_bytes(source.take(14, 4), "little")
    if length == 12:
        size = Size(*struct.unpack("<HH", source.take(18, 4)))
    elif length in (40, 52, 56, 64, 108, 124):
        wide, high = struct.unpack("<ii", source.take(18, 8))
        size = Size(wide, abs(high))
    else:
        raise source.unusual("its header")
    if min(size) <= 0:
        raise source.unusual("its size")
    return Header(*size, 1)


_READERS: tuple[tuple[bytes, str, Callable[[ByteRanges], Header]], ...] = (
    (b"\xff\xd8\xff", "JPEG", _read_jpeg),
    (_PNG_MAGIC, "PNG", _read_png),
    (b"RIFF", "WebP", _read_webp),
    (b"GIF87a", "GIF", _read_gif),
    (b"GIF89a", "GIF", _read_gif),
    (b"BM", "BMP", _read_bmp),
)
