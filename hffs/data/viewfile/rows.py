"""The table of a view file, which any reader of Parquet shows: a row for each image, in order.

Owns its columns. People read all of them; of these hffs itself reads the captions, which stand
nowhere else in the file. They are decoded here as pages of any file are, by `hffs.core`, since
pyarrow is not proof against every file.

Invariants, whatever the bytes: captions come whole or a FormatError does; memory is that of a page,
and the offsets.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hffs.core.footers import ChunkPlace, parse_chunks
from hffs.core.levels import Levels
from hffs.core.page_headers import MAX_HEADER_BYTES, PageKind, read_header
from hffs.core.page_values import (
    PageValues,
    check_page,
    decode_dictionary,
    decode_page,
)
from hffs.core.tails import TAIL_BYTES, find_footer
from hffs.core.thrift import Cursor
from hffs.data.decompressing import open_codec
from hffs.errors import FormatError

GROUP_ROWS = 1 << 17

SCHEMA = pa.schema(
    {
        "file_name": pa.string(),
        "caption": pa.large_string(),
        "row": pa.int64(),
        "item": pa.int32(),
        "tile": pa.uint16(),
        "format": pa.string(),
        "size_bytes": pa.int64(),
        "width": pa.int32(),
        "height": pa.int32(),
    }
)
_CAPTION_LEAF = SCHEMA.names.index("caption")
_LEVELS = Levels(definition=1, repetition=0)
_MOST_PAGE_BYTES = 1 << 28
_PAGE_CAPTIONS = 128
"""At most so many of the longest are on a page: one ends where it is found to be large."""
_DICTIONARIES = ["caption", "format", "item", "tile", "width", "height"]
_ENCODINGS = {
    "file_name": "DELTA_BYTE_ARRAY",
    "row": "DELTA_BINARY_PACKED",
    "size_bytes": "DELTA_BINARY_PACKED",
}


@contextmanager
def open_writer(file: BinaryIO) -> Iterator[pq.ParquetWriter]:
    """What writes the table into a file; the footer comes when it is closed."""
    writer = pq.ParquetWriter(
        pa.PythonFile(file, mode="w"),
        SCHEMA,
        compression="zstd",
        use_dictionary=_DICTIONARIES,
        column_encoding=_ENCODINGS,
        write_page_checksum=True,
        write_batch_size=_PAGE_CAPTIONS,
    )
    try:
        yield writer
    finally:
        with suppress(OSError):  # of a disk that is full, which was raised before
            writer.close()
        writer.is_open = False  # else it tries again when it is collected


def read_captions(
    data: memoryview, rows: int, each: int, folder: Path
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """The captions of a table, each of `each` rows in turn: where each begins in a blob, and that,
    in an unnamed file of a folder.

    `data` is the whole file. Raises FormatError where they are not as they were written, OSError.
    """
    lengths: list[NDArray[np.int64]] = []
    passed = 0
    with tempfile.TemporaryFile(dir=folder) as file:
        for page in _read_pages(data):
            chosen = slice(-passed % each, None, each)
            offsets, sizes = page.offsets[chosen], page.lengths[chosen]
            if (offsets < 0).any():
                raise _bad("a caption is missing")
            _write_values(file, page.data, offsets, sizes)
            lengths.append(sizes)
            passed += len(page.offsets)
            if passed > rows:
                break
        if passed != rows:
            raise _bad(f"there are captions of other than {rows} rows")
        file.flush()
        ends = np.cumsum(np.concatenate([np.zeros(1, np.int64), *lengths]))
        blob: NDArray[Any] = np.zeros(0, np.uint8)
        if ends[-1]:
            blob = np.memmap(file, np.uint8, "r")
    return ends, blob


def _read_pages(data: memoryview) -> Iterator[PageValues]:
    span = find_footer(data[-TAIL_BYTES:], len(data))
    for place in parse_chunks(data[span.offset : span.end], _CAPTION_LEAF):
        yield from _read_chunk(data, place)


def _read_chunk(data: memoryview, place: ChunkPlace) -> Iterator[PageValues]:
    at, end, left = place.chunk.offset, place.chunk.end, place.slots
    if end > len(data):
        raise _bad("they end behind the file")
    codec, dictionary = open_codec(place.codec), None
    while left > 0:
        page, is_dictionary = _cut_page(data[at:end])
        at += len(page)
        check_page(page)
        if is_dictionary:
            dictionary = decode_dictionary(page, codec, _MOST_PAGE_BYTES)
            continue
        values = decode_page(page, _LEVELS, codec, dictionary, _MOST_PAGE_BYTES)
        left -= len(values.offsets)
        yield values
    if left:
        raise _bad("a page has more of them than its row group")


def _cut_page(data: memoryview) -> tuple[memoryview, bool]:
    """The page that some bytes begin with, and whether it is a dictionary."""
    cursor = Cursor(data[:MAX_HEADER_BYTES])
    header = read_header(cursor)
    size = cursor.at + header.stored_bytes
    if size > len(data):
        raise _bad("a page ends behind its row group")
    return data[:size], header.kind == PageKind.DICTIONARY


def _write_values(
    file: BinaryIO, data: memoryview, offsets: NDArray[np.int64], sizes: NDArray[np.int64]
) -> None:
    """Write values one after the other, a few at a time: each byte takes eight meanwhile."""
    source = np.frombuffer(data, np.uint8)
    cuts = np.flatnonzero(np.diff(np.cumsum(sizes) >> 20)) + 1
    for some, counts in zip(np.split(offsets, cuts), np.split(sizes, cuts), strict=True):
        starts = np.cumsum(counts) - counts
        places = np.repeat(some - starts, counts) + np.arange(counts.sum())
        file.write(source[places].data)


def _bad(why: str) -> FormatError:
    return FormatError("cannot read its captions", why=why)
