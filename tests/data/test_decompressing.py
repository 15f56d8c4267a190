from __future__ import annotations

import struct
from collections.abc import Callable

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hffs.core.page_values import Decompress
from hffs.data.decompressing import open_codec
from hffs.errors import FormatError, UnsupportedError


def compress(codec: str) -> Callable[[bytes], bytes]:
    return lambda data: bytes(pa.Codec(codec).compress(data, asbytes=True))


def compress_hadoop(data: bytes) -> bytes:
    """Blocks of 1000 bytes, each with the sizes before it that Hadoop's codec writes."""
    parts = [data[at : at + 1000] for at in range(0, len(data), 1000)]
    blocks = [(len(part), compress("lz4_raw")(part)) for part in parts]
    return b"".join(struct.pack(">II", size, len(block)) + block for size, block in blocks)


WRITERS = {
    "snappy": (1, compress("snappy")),
    "gzip": (2, compress("gzip")),
    "brotli": (4, compress("brotli")),
    "lz4 in Hadoop's blocks": (5, compress_hadoop),
    "lz4 as a frame": (5, compress("lz4")),
    "lz4 as a block": (5, compress("lz4_raw")),
    "zstd": (6, compress("zstd")),
    "lz4_raw": (7, compress("lz4_raw")),
}
names = pytest.mark.parametrize("name", WRITERS)

DATA = b"a page of a file " * 300 + bytes(range(256)) * 4


def opened(codec: int) -> Decompress:
    found = open_codec(codec)
    assert found is not None
    return found


def expand(name: str, body: bytes, size_bytes: int) -> bytes:
    return bytes(opened(WRITERS[name][0])(memoryview(body), size_bytes))


@names
@given(data=st.binary(min_size=1, max_size=3000))
@example(data=DATA)
def test_what_was_compressed_comes_back(name: str, data: bytes) -> None:
    assert expand(name, WRITERS[name][1](data), len(data)) == data


@names
@pytest.mark.parametrize("change", [-1000, -1, 1, 1000])
def test_another_size_than_claimed_is_refused(name: str, change: int) -> None:
    with pytest.raises(FormatError):
        expand(name, WRITERS[name][1](DATA), len(DATA) + change)


@names
@given(where=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255), cut=st.booleans())
def test_damage_is_refused_or_has_the_claimed_size(
    name: str, where: float, value: int, cut: bool
) -> None:
    body = bytearray(WRITERS[name][1](DATA))
    at = int(where * len(body))
    body[at] = value
    try:
        expanded = expand(name, bytes(body[:at] if cut else body), len(DATA))
    except FormatError:
        return
    assert len(expanded) == len(DATA)


@names
@given(body=st.binary(max_size=40), size=st.integers(1, 100))
def test_any_bytes_are_refused_or_have_the_claimed_size(name: str, body: bytes, size: int) -> None:
    try:
        assert len(expand(name, body, size)) == size
    except FormatError:
        return


def test_memory_that_was_not_written_is_never_returned() -> None:
    """A codec of pyarrow returns as much as it was told to, whether or not there was that much."""
    short = pa.Codec("snappy").compress(b"ab" * 50, asbytes=True)
    assert len(pa.Codec("snappy").decompress(short, 200)) == 200
    with pytest.raises(FormatError, match="it holds 100 bytes, not the 200"):
        opened(1)(memoryview(short), 200)


def test_what_is_not_compressed_has_no_codec() -> None:
    assert open_codec(0) is None


@pytest.mark.parametrize(
    ("codec", "why"), [(3, "with LZO"), (8, "unknown codec 8"), (-1, "unknown codec -1")]
)
def test_codecs_that_pyarrow_does_not_have_are_named(codec: int, why: str) -> None:
    with pytest.raises(UnsupportedError, match=why):
        open_codec(codec)
