"""Tiles of PNGs whose lower rows are not decoded: the same bytes as if all had been."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hffs.core.composites import Composite, plan_composite
from hffs.errors import RenderError
from hffs.view.codecs import Reshape, Target, reading, render

MODES = ("RGB", "RGBA", "L", "LA", "1", "P", "I;16", "RGB keyed", "P keyed")
ADAM7 = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4),
    (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2),
)  # fmt: skip
"""Left, top and the steps of each pass of an interlaced PNG."""


def grid(count: int, layout: str) -> Composite:
    return plan_composite(count, layout, "all")


def paint(mode: str, width: int, height: int, seed: int) -> tuple[Image.Image, dict[str, Any]]:
    """An image without two rows alike, and what it is to be saved with."""
    draw = np.random.default_rng(seed)
    if mode == "I;16":
        return Image.fromarray(draw.integers(0, 65536, (height, width)).astype(np.uint16)), {}
    channels = draw.integers(0, 256, (height, width, 4)).astype(np.uint8)
    channels[..., 0] = np.linspace(0, 255, height)[:, None]  # filters of all kinds pay somewhere
    image = Image.fromarray(channels)
    kind, _, keyed = mode.partition(" ")
    image = image.convert("RGB").quantize(64) if kind == "P" else image.convert(kind)
    key = 3 if kind == "P" else image.getpixel((0, 0))
    return image, {"transparency": key} if keyed else {}


def encode(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


@contextmanager
def all_rows() -> Iterator[None]:
    """Images are decoded to their last row."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "leave_rows_below", lambda *_: None)
        yield


def count_rows(
    data: bytes, tile: int, composite: Composite, monkeypatch: pytest.MonkeyPatch
) -> int:
    """How many rows are decoded for a tile."""
    seen: list[int] = []
    leave = reading.leave_rows_below

    def watch(image: Any, rows: int) -> None:
        leave(image, rows)
        seen.append(image.height)

    with monkeypatch.context() as patch:
        patch.setattr(reading, "leave_rows_below", watch)
        render(data, "jpg", Reshape(composite), [tile])
    (rows,) = seen
    return rows


class Case(NamedTuple):
    """An image, how it is stored, and what is asked for of it."""

    mode: str
    size: tuple[int, int]
    seed: int
    level: int
    orientation: int
    target: Target
    layout: tuple[int, str]
    upright: bool


CASES = st.builds(
    Case,
    mode=st.sampled_from(MODES),
    size=st.tuples(st.integers(6, 70), st.integers(6, 70)),
    seed=st.integers(0, 1000),
    level=st.integers(0, 9),
    orientation=st.integers(1, 8),
    target=st.sampled_from(["jpg", "png", "source"]),
    layout=st.sampled_from([(4, "2x2"), (3, "vertical"), (2, "horizontal"), (6, "3x2")]),
    upright=st.booleans(),
)


@settings(max_examples=150)
@given(CASES)
def test_a_tile_is_the_same_bytes_as_if_all_rows_had_been_decoded(case: Case) -> None:
    image, options = paint(case.mode, *case.size, case.seed)
    exif = Image.Exif()
    exif[274] = case.orientation
    data = encode(image, compress_level=case.level, exif=exif, **options)
    reshape, tiles = Reshape(grid(*case.layout), case.upright), range(case.layout[0])
    alone = [render(data, case.target, reshape, [tile])[0] for tile in tiles]
    assert render(data, case.target, reshape) == alone
    with all_rows():
        assert [render(data, case.target, reshape, [tile])[0] for tile in tiles] == alone


def test_rows_below_the_tile_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(paint("RGB", 64, 61, 0)[0])
    rows = [count_rows(data, tile, grid(4, "2x2"), monkeypatch) for tile in range(4)]
    assert rows == [30, 30, 60, 60]


def split(data: bytes, at: int) -> bytes:
    """A PNG with its pixels in two chunks, of which the first has so many bytes."""
    start = data.index(b"IDAT") - 4
    (length,) = struct.unpack_from(">I", data, start)
    body = data[start + 8 : start + 8 + length]
    chunks = b"".join(chunk(b"IDAT", part) for part in (body[:at], body[at:]))
    return data[:start] + chunks + data[start + 12 + length :]


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1500] + bytes([255]) * 1000 + data[-500:],  # pixels that are no zlib
        lambda data: data[: len(data) * 2 // 3],  # the end is lost
    ],
)
def test_what_is_broken_below_a_tile_is_not_missed(damage: Callable[[bytes], bytes]) -> None:
    data = encode(paint("RGB", 64, 64, 1)[0])
    broken, reshape = damage(data), Reshape(grid(2, "vertical"))
    assert render(broken, "jpg", reshape, [0]) == render(data, "jpg", reshape, [0])
    for tiles in ([1], [0, 1]):
        with pytest.raises(RenderError):
            render(broken, "jpg", reshape, tiles)
    with pytest.raises(RenderError):  # above it, it is
        render(data[: len(data) // 3], "jpg", reshape, [0])


def test_chunks_behind_the_tile_and_behind_all_pixels_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = encode(paint("RGB", 64, 64, 2)[0])
    for at in (100, 7000, 12_000):
        several = split(data, at)
        assert count_rows(several, 0, grid(4, "2x2"), monkeypatch) == 32
        for tile in range(4):
            reshape = Reshape(grid(4, "2x2"))
            assert render(several, "png", reshape, [tile]) == render(data, "png", reshape, [tile])
    with pytest.raises(RenderError):  # a chunk that says it is longer than the file
        render(split(data, 7000)[:-2000], "png", Reshape(grid(4, "2x2")), [0])


def interlace(image: Image.Image) -> bytes:
    """An RGB image as an interlaced PNG, which Pillow does not write."""
    pixels, rows = np.asarray(image), list[bytes]()
    for left, top, across, down in ADAM7:
        part = pixels[top::down, left::across]
        rows += [b"\0" + row.tobytes() for row in part if row.size]
    header = struct.pack(">IIBBBBB", *image.size, 8, 2, 0, 0, 1)
    body = [(b"IHDR", header), (b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in body)


def animate(image: Image.Image) -> bytes:
    turned = image.transpose(Image.Transpose.ROTATE_180)
    return encode(image, save_all=True, append_images=[turned], default_image=False)


@pytest.mark.parametrize("build", [interlace, animate])
def test_rows_in_another_order_are_all_decoded(
    build: Callable[[Image.Image], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = paint("RGB", 64, 64, 3)[0]
    data = build(image)
    assert count_rows(data, 0, grid(4, "2x2"), monkeypatch) == 64
    (tile,) = render(data, "png", Reshape(grid(4, "2x2")), [0])
    with Image.open(io.BytesIO(tile)) as found:
        expected = image.crop((0, 0, 32, 32))
        assert np.array_equal(np.asarray(found), np.asarray(expected))


def test_a_palette_is_judged_by_all_of_its_pixels() -> None:
    # A colour that the palette lacks, in the last row: it makes the whole image RGB.
    image = Image.new("P", (32, 32))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((31, 31), 200)
    data = encode(image)
    made = render(data, "png", Reshape(grid(2, "vertical")), [0])
    assert made == render(data, "png", Reshape(grid(2, "vertical")))[:1]
