"""Sizes and orientations by headers, against files that Pillow writes and files nobody should."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hffs.core.byte_ranges import MOST_FETCHES
from hffs.core.image_headers import HEAD_BYTES, Header, find_late_exif, read_header
from hffs.core.image_headers import read_webp_canvas as read_canvas
from hffs.errors import FormatError, UnsupportedError

WIDTH, HEIGHT = 31, 24
PLAIN = Header(WIDTH, HEIGHT, 1)


def read(data: bytes, head_bytes: int = HEAD_BYTES) -> Header:
    return read_header(data[:head_bytes], len(data), lambda start, stop: data[start:stop])


def saved(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (WIDTH, HEIGHT)).save(file, kind, **options)
    return file.getvalue()


def exif(turn: int = 6, end: str = "<", **entry: Any) -> bytes:
    """A TIFF block with one other tag before the orientation."""
    magic = b"II*\0" if end == "<" else b"MM\0*"
    kind, number = entry.get("kind", 3), entry.get("number", 1)
    first = struct.pack(end + "HHIHH", 0x0112 << 4, 3, 1, 0x0112, 0x0112)
    turned = struct.pack(end + "HHIHH", entry.get("tag", 0x0112), kind, number, turn, 0)
    return magic + struct.pack(end + "IH", 8, 2) + first + turned + bytes(4)


def segment(marker: int, body: bytes = b"") -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def frame(marker: int = 0xC0, bits: int = 8, components: int = 3, size: Any = None) -> bytes:
    width, height = size or (WIDTH, HEIGHT)
    head = struct.pack(">BHHB", bits, height, width, components)
    return segment(marker, head + b"\1\x11\0" * components)


SOS = segment(0xDA, bytes(10))
XMP = b"http://ns.adobe.com/xap/1.0/\0"


def jpeg(*segments: bytes, after: bytes = b"pixels") -> bytes:
    return b"\xff\xd8" + b"".join(segments) + after


def turned_jpeg(block: bytes) -> bytes:
    return jpeg(segment(0xE1, b"Exif\0\0" + block), frame(), SOS)


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def ihdr(width: int = WIDTH, height: int = HEIGHT, color: int = 2) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0))


IDAT, IEND = chunk(b"IDAT", b"pixels"), chunk(b"IEND")


def png(*chunks: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def webp(*chunks: tuple[bytes, bytes], flags: int = 0) -> bytes:
    canvas = struct.pack("<I", flags) + (WIDTH - 1).to_bytes(3, "little")
    canvas += (HEIGHT - 1).to_bytes(3, "little")
    body = b"".join(
        kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
        for kind, data in [(b"VP8X", canvas), *chunks]
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def gif(*blocks: bytes, palette: int = 0, screen: tuple[int, int] = (WIDTH, HEIGHT)) -> bytes:
    flags = 0x80 | palette - 1 if palette else 0
    head = b"GIF89a" + struct.pack("<HHBBB", *screen, flags, 0, 0)
    return head + bytes(3 << palette if palette else 0) + b"".join(blocks)


def gif_frame(left: int = 0, top: int = 0, size: tuple[int, int] = (WIDTH, HEIGHT)) -> bytes:
    return b"," + struct.pack("<HHHHB", left, top, *size, 0) + b"\2"


def bmp(length: int = 40, size: tuple[int, int] = (WIDTH, HEIGHT)) -> bytes:
    sizes = struct.pack("<HH" if length == 12 else "<ii", *size)
    return b"BM" + bytes(12) + struct.pack("<I", length) + sizes + bytes(40)


# What Pillow writes


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("JPEG", "RGB", {}),
        ("JPEG", "L", {"optimize": True}),
        ("JPEG", "CMYK", {"progressive": True}),
        ("JPEG", "RGB", {"icc_profile": bytes(200_000), "comment": b"x"}),
        ("PNG", "RGBA", {}),
        ("PNG", "P", {}),
        ("PNG", "RGB", {"icc_profile": bytes(10_000)}),
        ("WEBP", "RGB", {}),
        ("WEBP", "RGB", {"lossless": True}),
        ("WEBP", "RGBA", {"icc_profile": bytes(10_000)}),
        ("GIF", "P", {}),
        ("GIF", "P", {"comment": b"c" * 6000}),
        ("BMP", "RGB", {}),
        ("BMP", "1", {}),
    ],
)
@pytest.mark.parametrize("head_bytes", [32, 512, HEAD_BYTES])
def test_the_size_of_what_pillow_writes(
    kind: str, mode: str, options: dict[str, Any], head_bytes: int
) -> None:
    assert read(saved(kind, mode, **options), head_bytes) == PLAIN


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("head_bytes", [32, HEAD_BYTES])
def test_the_orientation_of_what_pillow_writes(kind: str, turn: int, head_bytes: int) -> None:
    block = Image.Exif()
    block[0x0112] = turn
    block[0x9286] = "a comment" * 1000
    assert read(saved(kind, exif=block), head_bytes) == Header(WIDTH, HEIGHT, turn)


# EXIF and XMP


@pytest.mark.parametrize("end", ["<", ">"])
def test_an_orientation_in_either_byte_order(end: str) -> None:
    assert read(turned_jpeg(exif(8, end))).orientation == 8


@pytest.mark.parametrize(
    ("block", "turn"),
    [
        (b"", 1),
        (exif(0), 1),
        (exif(6)[:12] + struct.pack("<HII", 2, 9, 20) + exif()[22:], 6),
        (exif(6)[:12] + struct.pack("<HII", 99, 9, 500) + exif()[22:], 6),
        (exif(9), 1),
        (exif(tag=0x0113), 1),
        (exif(6)[:4] + struct.pack("<I", 1000) + bytes(992) + exif(6)[8:], 6),
        (b"II*\0" + struct.pack("<IH", 8, 60) + bytes(12 * 59) + exif(7)[22:34] + bytes(4), 7),
    ],
)
def test_directories_that_are_sound(block: bytes, turn: int) -> None:
    assert read(turned_jpeg(block)).orientation == turn


@pytest.mark.parametrize(
    "block",
    [
        b"II*",
        b"II*\0\1",
        b"JJ*\0" + exif()[4:],
        exif(kind=4),
        exif()[:12] + struct.pack("<HII", 2, 9, 500) + exif()[22:],
        exif(number=2),
        exif()[:4] + struct.pack("<I", 5000) + exif()[8:],
        exif()[:8] + b"\xff\xff" + exif()[10:],
        exif()[:20],
    ],
)
def test_directories_that_are_not_are_for_another_reader(block: bytes) -> None:
    with pytest.raises(UnsupportedError):
        read(turned_jpeg(block))


def test_xmp_counts_where_exif_says_nothing() -> None:
    packet = segment(0xE1, XMP + b'<x tiff:Orientation="5"/>')
    element = segment(0xE1, XMP + b"<tiff:Orientation>9</tiff:Orientation>")
    silent = segment(0xE1, b"Exif\0\0" + exif(tag=0x0113))
    assert read(jpeg(packet, frame(), SOS)).orientation == 5
    assert read(jpeg(silent, packet, frame(), SOS)).orientation == 5
    assert read(jpeg(segment(0xE1, b"Exif\0\0" + exif(3)), packet, frame(), SOS)).orientation == 3
    assert read(jpeg(element, frame(), SOS)).orientation == 1
    assert read(jpeg(segment(0xE1, XMP), frame(), SOS)).orientation == 1


# JPEG


@pytest.mark.parametrize("marker", [0xC0, 0xC1, 0xC2])
@pytest.mark.parametrize("components", [1, 3, 4])
def test_frames_that_are_usual(marker: int, components: int) -> None:
    assert read(jpeg(frame(marker, components=components), SOS)) == PLAIN


@pytest.mark.parametrize(
    "segments",
    [
        [frame(bits=12), SOS],
        [frame(components=2), SOS],
        [frame(size=(0, 9)), SOS],
        [frame(size=(9, 0)), SOS],
        [segment(0xC0, b"\x08\0"), SOS],
        [segment(0xC0, struct.pack(">BHHB", 8, HEIGHT, WIDTH, 3)), SOS],
        [frame(0xC3), SOS],
        [frame(), frame(), SOS],
        [SOS],
        [segment(0xE1, b"Exif\0\0" + exif()), segment(0xE1, b"Exif\0\0" + exif()), frame(), SOS],
        [b"\xff\xff" + frame(), SOS],
        [b"\xff\xe0\0\1", frame(), SOS],
        [b"\xff\xfe\0\2" * 2000, frame(), SOS],
        [*([segment(0xE2, bytes(9000))] * 70), frame(), SOS],
    ],
)
def test_unusual_frames_are_for_another_reader(segments: list[bytes]) -> None:
    with pytest.raises(UnsupportedError, match="an unusual JPEG: "):
        read(jpeg(b"\xff\xfe\0\2", *segments))


@pytest.mark.parametrize("length", [7, 30, 5000])
def test_a_jpeg_that_ends_before_its_scan_is_truncated(length: int) -> None:
    whole = jpeg(segment(0xE2, bytes(4990)), frame(), SOS, after=b"")
    with pytest.raises(FormatError, match=r"^truncated JPEG$") as caught:
        read(whole[:length])
    assert not isinstance(caught.value, UnsupportedError)
    with pytest.raises(FormatError, match=r"^truncated JPEG$"):
        read(whole[:-1])


def test_a_file_that_became_shorter_is_truncated() -> None:
    data = jpeg(segment(0xE2, bytes(9000)), frame(), SOS)
    with pytest.raises(FormatError, match=r"^truncated JPEG$"):
        read_header(data[:HEAD_BYTES], len(data), lambda start, stop: b"")


# PNG


@pytest.mark.parametrize(
    "chunks",
    [
        [chunk(b"IHDR", bytes(12)), IDAT],
        [ihdr()[:-1] + b"x", IDAT],
        [ihdr(0), IDAT],
        [ihdr(height=0), IDAT],
        [ihdr(color=3), IDAT],
        [ihdr(), chunk(b"eXIf", exif()), chunk(b"eXIf", exif()), IDAT],
        [ihdr(), chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x/>"), IDAT],
        [ihdr(), chunk(b"zTXt", b"Raw profile type exif\0\0"), IDAT],
        [ihdr(), *([chunk(b"tEXt")] * 1100), IDAT],
    ],
)
def test_an_unusual_png_is_for_another_reader(chunks: list[bytes]) -> None:
    with pytest.raises(UnsupportedError, match="an unusual PNG: "):
        read(png(*chunks))


def test_chunks_that_a_png_may_have() -> None:
    assert read(png(ihdr(), chunk(b"tEXt", b"Title\0x"), chunk(b"pHYs"), IDAT)) == PLAIN
    assert read(png(ihdr(color=3), chunk(b"PLTE", bytes(3)), IDAT)) == PLAIN
    assert read(png(ihdr(), chunk(b"eXIf", exif(tag=0x0113)), IDAT)) == PLAIN


def test_a_png_that_ends_before_its_pixels_is_truncated() -> None:
    whole = png(ihdr(), chunk(b"iCCP", bytes(100)), IDAT)
    for length in (9, 40, 70, len(whole) - len(IDAT)):
        with pytest.raises(FormatError, match=r"^truncated PNG$"):
            read(whole[:length])


def test_exif_behind_the_pixels_counts_if_it_is_sound() -> None:
    late = chunk(b"eXIf", exif(8))
    assert read(png(ihdr(), chunk(b"IDAT", bytes(9000)), late, IEND)).orientation == 8
    assert read(png(ihdr(), IDAT, chunk(b"eXIf", exif(tag=0x0113)), IEND)).orientation == 1
    assert read(png(ihdr(), IDAT, late[:-1] + b"x", IEND)).orientation == 1
    assert find_late_exif(b"eXIf") is None


# WebP


def test_metadata_of_a_webp_counts_if_it_is_announced() -> None:
    pixels, turned = (b"VP8 ", b"pixels!"), (b"EXIF", exif(6))
    xmp = (b"XMP ", b'<x tiff:Orientation="5"/>')
    assert read(webp(pixels, turned)) == PLAIN
    assert read(webp(pixels, turned, flags=0x08)).orientation == 6
    assert read(webp(pixels, (b"EXIF", b"Exif\0\0" + exif(6)), flags=0x08)).orientation == 6
    assert read(webp(pixels, xmp, turned, flags=0x0C)).orientation == 6
    assert read(webp(pixels, xmp, turned, flags=0x04)).orientation == 5
    assert read(webp(pixels, xmp, (b"EXIF", b""), flags=0x0C)).orientation == 5
    assert read(webp(pixels, flags=0x0C)) == PLAIN


@pytest.mark.parametrize(
    "data",
    [
        b"RIFF\0\0\0\0WAVEfmt " + bytes(100),
        webp()[:29],
        webp((b"VP8 ", bytes(9)), flags=0x08)[:-4],
        webp(*([(b"abcd", b"")] * 1100), flags=0x08),
        webp((b"VP8 ", b""), (b"XMP ", bytes(2 << 20)), flags=0x04),
        b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\0\0\0\x9d\x01\x2a" + bytes(20),
        b"RIFF\0\0\0\0WEBPVP8 " + bytes(40),
        b"RIFF\0\0\0\0WEBPVP8L" + bytes(40),
    ],
)
def test_an_unusual_webp_is_for_another_reader(data: bytes) -> None:
    with pytest.raises(UnsupportedError, match="an unusual WebP: "):
        read(data)


def test_the_canvas_of_what_is_no_webp_is_none() -> None:
    assert read_canvas(bytes(100)) is None
    assert read_canvas(webp()) == (WIDTH, HEIGHT)


# GIF and BMP


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (gif(gif_frame()), (WIDTH, HEIGHT)),
        (gif(gif_frame(), palette=8), (WIDTH, HEIGHT)),
        (gif(b"!\xf9\4\0\0\0\0\0", b"!\xfe\3abc\2de\0", gif_frame(size=(2, 2))), (WIDTH, HEIGHT)),
        (gif(gif_frame(10, 10)), (WIDTH + 10, HEIGHT + 10)),
        (gif(b"\0\0", gif_frame()), (WIDTH, HEIGHT)),
    ],
)
def test_a_gif_is_as_large_as_its_screen_and_first_frame(
    data: bytes, size: tuple[int, int]
) -> None:
    assert read(data) == Header(*size, 1)


@pytest.mark.parametrize(
    "data",
    [
        gif(b";" + gif_frame()),
        gif(gif_frame(size=(0, 0)), screen=(0, 0)),
        gif(b"\0" * 1100, gif_frame()),
        gif(b"!\xfe", b"\x80" * (1 << 17), gif_frame()),
    ],
)
def test_an_unusual_gif_is_for_another_reader(data: bytes) -> None:
    with pytest.raises(UnsupportedError, match="an unusual GIF: "):
        read(data)


def test_a_gif_without_a_frame_is_truncated() -> None:
    with pytest.raises(FormatError, match=r"^truncated GIF$"):
        read(gif(b"!\xfe\3ab"))


@pytest.mark.parametrize("length", [12, 40, 52, 56, 64, 108, 124])
def test_every_header_of_a_bmp(length: int) -> None:
    assert read(bmp(length)) == PLAIN


def test_a_bmp_may_begin_at_the_top() -> None:
    assert read(bmp(size=(WIDTH, -HEIGHT))) == PLAIN


@pytest.mark.parametrize("data", [bmp(41), bmp(size=(0, 1)), bmp(size=(1, 0)), bmp(size=(-1, 1))])
def test_an_unusual_bmp_is_for_another_reader(data: bytes) -> None:
    with pytest.raises(UnsupportedError, match="an unusual BMP: "):
        read(data)


def test_another_format_is_for_another_reader() -> None:
    with pytest.raises(UnsupportedError, match="another format"):
        read(b"II*\0 a TIFF")


# Anything

SAMPLES = [
    turned_jpeg(exif(6)),
    saved("JPEG"),
    png(ihdr(), chunk(b"eXIf", exif(6)), IDAT, IEND),
    webp((b"VP8 ", bytes(9)), (b"EXIF", exif(6)), flags=0x08),
    gif(b"!\xfe\3abc\0", gif_frame(), palette=2),
    bmp(),
]


@given(st.sampled_from(SAMPLES), st.data(), st.sampled_from([32, HEAD_BYTES]))
def test_whatever_the_bytes_nothing_is_raised_but_a_format_error_within_bounds(
    sample: bytes, draw: st.DataObject, head_bytes: int
) -> None:
    data = bytearray(sample)
    for _ in range(draw.draw(st.integers(0, 6))):
        data[draw.draw(st.integers(2, len(data) - 1))] = draw.draw(st.integers(0, 255))
    whole, asked = bytes(data[: draw.draw(st.integers(8, len(data)))]), 0

    def fetch(start: int, stop: int) -> bytes:
        nonlocal asked
        asked += 1
        assert 0 <= start < stop <= len(whole)
        return whole[start:stop]

    try:
        header = read_header(whole[:head_bytes], len(whole), fetch)
    except FormatError:
        pass
    else:
        assert header.width > 0
        assert header.height > 0
        assert 1 <= header.orientation <= 8
    assert asked <= MOST_FETCHES


@given(st.binary(max_size=200), st.sampled_from([s[:12] for s in SAMPLES]))
def test_noise_behind_a_signature(noise: bytes, start: bytes) -> None:
    with contextlib.suppress(FormatError):
        assert min(read(start + noise)) > 0
