"""Marker segments, against files that Pillow writes and files that nobody should."""

from __future__ import annotations

import contextlib
import io
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hffs.core import jpeg
from hffs.core.jpeg import keep_metadata, read_frame, replace_metadata, walk_segments
from hffs.core.types import Size
from hffs.errors import FormatError

SOI, EOI = b"\xff\xd8", b"\xff\xd9"


def segment(marker: int, body: bytes = b"") -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def frame(
    marker: int = 0xC0, size: tuple[int, int] = (31, 24), *factors: int, bits: int = 8
) -> bytes:
    parts = factors or (0x22, 0x11, 0x11)
    body = struct.pack(">BHHB", bits, size[1], size[0], len(parts))
    return segment(marker, body + b"".join(bytes((n, f, 0)) for n, f in enumerate(parts)))


SCAN = segment(0xDA, bytes(10)) + b"entropy \xff\xe1\0\4no" + EOI
JFIF = segment(0xE0, b"JFIF\0\1\2\1\0\x48\0\x48\0\0")
ADOBE = segment(0xEE, b"Adobe\0\x64\0\0\0\0\2")


def profile(kind: bytes = b"RGB ", number: int = 1, count: int = 1) -> bytes:
    head = b"ICC_PROFILE\0" + bytes((number, count))
    return segment(0xE2, head + bytes(16) + kind + b"a profile")


def build(*segments: bytes) -> bytes:
    return b"".join([SOI, *segments, SCAN])


def saved(mode: str = "RGB", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.zeros((24, 31), np.uint8)).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


# Frames


@pytest.mark.parametrize(
    ("mode", "options", "block"),
    [
        ("RGB", {"subsampling": "4:4:4"}, (8, 8)),
        ("RGB", {"subsampling": "4:2:2"}, (16, 8)),
        ("RGB", {"subsampling": "4:2:0"}, (16, 16)),
        ("RGB", {"subsampling": "4:2:0", "progressive": True}, (16, 16)),
        ("RGB", {"subsampling": "4:2:0", "restart_marker_blocks": 1}, (16, 16)),
        ("L", {}, (8, 8)),
        ("CMYK", {}, (8, 8)),
    ],
)
def test_the_frame_of_what_pillow_writes(
    mode: str, options: dict[str, Any], block: tuple[int, int]
) -> None:
    for data in (saved(mode, **options), memoryview(saved(mode, **options))):
        found = read_frame(data)
        assert (found.size, found.block, found.is_dct_8_bit) == (Size(31, 24), Size(*block), True)


@pytest.mark.parametrize(
    ("factors", "block"),
    [
        ((0x11,), (8, 8)),
        ((0x22,), (8, 8)),  # of one component they mean nothing
        ((0x41, 0x11, 0x11), (32, 8)),
        ((0x12, 0x11, 0x11), (8, 16)),
        ((0x22, 0x12, 0x12), (16, 16)),
        ((0x21, 0x12, 0x11, 0x21), (16, 16)),
        ((0x33, 0x11, 0x11), (24, 24)),
    ],
)
def test_blocks_are_as_large_as_the_largest_factors(
    factors: tuple[int, ...], block: tuple[int, int]
) -> None:
    assert read_frame(build(frame(0xC0, (31, 24), *factors))).block == Size(*block)


@pytest.mark.parametrize("marker", range(0xC0, 0xD0))
def test_only_8_bit_dct_frames_count_as_such(marker: int) -> None:
    if marker in (0xC4, 0xC8, 0xCC):
        with pytest.raises(FormatError, match="0 frame headers"):
            read_frame(build(frame(marker)))
        return
    assert read_frame(build(frame(marker))).is_dct_8_bit == (marker in (192, 193, 194, 201, 202))
    assert not read_frame(build(frame(marker, bits=12))).is_dct_8_bit


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not a JPEG"),
        (b"\xff\xd9" + frame() + SCAN, "not a JPEG"),
        (SOI, "no segment at byte 2"),
        (SOI + b"\xff" * 9, "no segment at byte 2"),
        (SOI + b"\xff\xe0\0", "no segment at byte 2"),
        (SOI + b"x" + frame() + SCAN, "no segment at byte 2"),
        (SOI + frame() + frame()[:-1], "a bad segment 0xc0 at byte 21"),
        (SOI + b"\xff\xe1\0\1" + SCAN, "a bad segment 0xe1"),
        (SOI + b"\xff\xe1\0\0" + SCAN, "a bad segment 0xe1"),
        (SOI + b"\xff\0\0\0" + frame() + SCAN, "a bad segment 0x00"),
        (SOI + b"\xff\xd0\0\2" + frame() + SCAN, "a bad segment 0xd0"),
        (SOI + EOI + frame() + SCAN, "a bad segment 0xd9"),
        (SOI + frame(), "no segment at byte 21"),
        (build(), "0 frame headers"),
        (build(frame(), frame()), "2 frame headers"),
        (build(segment(0xC0)), "a bad frame header"),
        (build(segment(0xC0, bytes(9))), "a bad frame header"),
        (build(frame(0xC0, (9, 9), 0x11, 0x51)), "bad sampling factors"),
        (build(frame(0xC0, (9, 9), 0x01)), "bad sampling factors"),
        (build(segment(0xC0, struct.pack(">BHHB", 8, 9, 9, 0))), "bad sampling factors"),
        (build(*[segment(0xFE)] * jpeg.MOST_SEGMENTS, frame()), "over 10000 segments"),
    ],
)  # fmt: skip
def test_a_broken_file_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        read_frame(data)


def test_fill_bytes_before_a_marker_belong_to_nothing() -> None:
    data = build(b"\xff" * 100_000 + JFIF, b"\xff" + frame())
    assert read_frame(data).size == Size(31, 24)
    parts = [data[part.start : part.end] for part in walk_segments(data)]
    assert parts == [JFIF, frame(), SCAN[:14]]


@given(st.binary(max_size=60), st.integers(0, 400), st.integers(0, 20))
def test_any_bytes_are_a_frame_or_an_error(noise: bytes, at: int, lost: int) -> None:
    whole = saved(comment=b"hello", icc_profile=bytes(200))
    data = whole[:at] + noise + whole[at + lost :]
    for work in (read_frame, lambda data: keep_metadata(data, b"")):
        with contextlib.suppress(FormatError):  # and nothing else, nor for ever
            work(data)


# Metadata


def test_what_tells_colours_is_kept_and_the_rest_left() -> None:
    thumbnail = segment(0xE0, b"JFIF\0\1\2\1\0\x48\0\x48\2\1" + b"thumb!")
    data = build(
        ADOBE + b"\xff\xff", segment(0xE1, b"Exif\0\0at home"), thumbnail,
        segment(0xE0, b"JFXX\0x"),
        profile(count=2), segment(0xE2, b"MPF\0of three"), profile(b"what", 2, 2),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0at home"), segment(0xED, b"Photoshop 3.0"),
        segment(0xFE, b"a comment"), frame(), JFIF,
    )  # fmt: skip
    profiles = [profile(count=2), profile(b"what", 2, 2)]
    assert keep_metadata(data, b"") == [JFIF, *profiles, ADOBE]
    exif = b"Exif\0\0turn"
    assert keep_metadata(data, exif) == [JFIF, segment(0xE1, exif), *profiles, ADOBE]


@pytest.mark.parametrize(
    "data",
    [
        build(frame()),
        build(segment(0xE0, b"JFIF\0\1\2"), segment(0xEE, b"Adobe\0\x64"), frame()),
        build(segment(0xE0, b"JFIX\0\1\2\1\0\x48\0\x48\0\0"), segment(0xEE, b"x" * 12), frame()),
        build(profile(b"GRAY"), frame()),
        build(profile(b"CMYK"), frame()),
        build(profile(b"RGB ", 2, 2), frame()),  # its first part is missing
        build(profile(b"RGB "), frame(0xC0, (9, 9), 0x11)),
        build(profile(b"RGB "), frame(0xC0, (9, 9), 0x11, 0x11)),
        build(*[profile(b"RGB ")] * 256, frame()),
    ],
)
def test_what_is_too_short_or_of_another_kind_is_left(data: bytes) -> None:
    assert keep_metadata(data, b"") == []


@pytest.mark.parametrize(("mode", "kind"), [("L", b"GRAY"), ("RGB", b"RGB "), ("CMYK", b"CMYK")])
def test_a_profile_of_several_segments_arrives_whole(mode: str, kind: bytes) -> None:
    whole = bytes(16) + kind + bytes(range(256)) * 300
    data = saved(mode, icc_profile=whole)
    made = replace_metadata(saved(mode), keep_metadata(data, b""))
    image = Image.open(io.BytesIO(made))
    image.load()
    assert image.info["icc_profile"] == whole


def test_metadata_is_replaced_and_everything_else_left_alone() -> None:
    data = build(
        JFIF, ADOBE, segment(0xFE, b"comment"), b"\xff" + segment(0xDB, b"tables"), frame()
    )
    made = replace_metadata(memoryview(data), [segment(0xE1, b"new")])
    assert made == build(segment(0xE1, b"new"), segment(0xDB, b"tables"), frame())
    assert replace_metadata(made, []) == build(segment(0xDB, b"tables"), frame())


def test_pixels_do_not_change_with_metadata() -> None:
    for mode in ("L", "RGB", "CMYK"):
        data = saved(mode, comment=b"mine", quality=100)
        made = replace_metadata(data, keep_metadata(data, b""))
        assert b"mine" not in made
        images = [Image.open(io.BytesIO(each)) for each in (data, made)]
        assert images[0].tobytes() == images[1].tobytes()
