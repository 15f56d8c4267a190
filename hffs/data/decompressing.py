"""What decompresses the pages of a Parquet file, by the number that the footer gives a codec.

Owns the passage to pyarrow's codecs. Knows nothing of pages.

Invariants: what is returned has exactly the size that was claimed, and every byte of it was
written; no more is allocated, but for the window of a codec that has one; every failure is a
`FormatError`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import pyarrow as pa

from hffs.core.page_values import Decompress
from hffs.core.thrift import Cursor
from hffs.errors import FormatError, UnsupportedError

_UNCOMPRESSED = 0
_LZ4_FRAME_MAGIC = b"\x04\x22\x4d\x18"
_HADOOP_PREFIX = struct.Struct(">II")


def open_codec(codec: int) -> Decompress | None:
    """Find what decompresses a `CompressionCodec` of parquet.thrift; None: it is uncompressed.

    Raises `UnsupportedError` for LZO, which pyarrow does not have, and for unknown ones.
    """
    if codec == _UNCOMPRESSED:
        return None
    if codec not in _CODECS:
        name = "LZO" if codec == 3 else f"the unknown codec {codec}"
        raise UnsupportedError("cannot decompress a page", why=f"it is compressed with {name}")
    expand = _CODECS[codec]

    def decompress(body: memoryview, size_bytes: int) -> memoryview:
        try:
            expanded = expand(body, size_bytes)
        except (OSError, pa.ArrowException) as error:
            raise FormatError("cannot decompress a page", why=str(error)) from error
        if len(expanded) != size_bytes:
            raise _wrong_size(f"{len(expanded)} bytes", size_bytes)
        return expanded

    return decompress


def _expand_snappy(body: memoryview, size_bytes: int) -> memoryview:
    says = Cursor(body).varint(32)
    if says != size_bytes:  # pyarrow would leave the rest as the memory was
        raise _wrong_size(f"{says} bytes", size_bytes)
    return memoryview(pa.Codec("snappy").decompress(body, size_bytes))


def _expand_zstd(body: memoryview, size_bytes: int) -> memoryview:
    """Not as a stream, for which a few bytes can demand a window of 128 MB."""
    return memoryview(pa.Codec("zstd").decompress(body, size_bytes))


def _stream(codec: str) -> Callable[[memoryview, int], memoryview]:
    """Decompress as a stream, which tells how long it is, as `pa.Codec` does not."""

    def expand(body: memoryview, size_bytes: int) -> memoryview:
        with pa.CompressedInputStream(pa.BufferReader(pa.py_buffer(body)), codec) as stream:
            expanded = memoryview(stream.read_buffer(size_bytes))
            if stream.read(1):
                raise _wrong_size("more", size_bytes)
            return expanded

    return expand


def _expand_lz4_raw(body: memoryview, size_bytes: int) -> memoryview:
    """Decompress a bare block, which does not say its size: what also fits in less is too short."""
    codec = pa.Codec("lz4_raw")
    expanded = memoryview(codec.decompress(body, size_bytes))
    try:
        codec.decompress(body, size_bytes - 1)
    except OSError:
        return expanded
    raise _wrong_size("less", size_bytes)


def _expand_lz4(body: memoryview, size_bytes: int) -> memoryview:
    """Decompress what the deprecated codec LZ4 was taken to mean: Hadoop's blocks, frame or block.

    https://github.com/apache/parquet-format/blob/master/Compression.md; as parquet-cpp, a bare
    block is tried last, since it looks like nothing.
    """
    if body[:4] == _LZ4_FRAME_MAGIC:
        return _stream("lz4")(body, size_bytes)
    try:
        return memoryview(b"".join(_expand_hadoop(Cursor(body), size_bytes)))
    except (OSError, FormatError):
        return _expand_lz4_raw(body, size_bytes)


def _expand_hadoop(cursor: Cursor, size_bytes: int) -> Iterator[memoryview]:
    """Decompress blocks that have their size, and that of what they hold, before them."""
    while size_bytes or cursor.at < len(cursor.data):
        full, stored = _HADOOP_PREFIX.unpack(cursor.take(_HADOOP_PREFIX.size))
        if not 0 < full <= size_bytes:
            raise _wrong_size("a block of another size", size_bytes)
        size_bytes -= full
        yield _expand_lz4_raw(cursor.take(stored), full)


_CODECS: dict[int, Callable[[memoryview, int], memoryview]] = {
    1: _expand_snappy,
    2: _stream("gzip"),
    4: _stream("brotli"),
    5: _expand_lz4,
    6: _expand_zstd,
    7: _expand_lz4_raw,
}


def _wrong_size(found: str, size_bytes: int) -> FormatError:
    why = f"it holds {found}, not the {size_bytes} bytes that it says"
    return FormatError("cannot decompress a page", why=why)
