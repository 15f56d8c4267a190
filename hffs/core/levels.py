"""Levels and other small numbers of a Parquet page: bit-packed, or in runs of the same number.

Owns the RLE / bit-packed hybrid and the definition and repetition levels that are written in it
(https://parquet.apache.org/docs/file-format/data-pages/encodings). Knows nothing of page headers.

Invariants, whatever the bytes: every failure is a `FormatError`; time and memory are linear in the
numbers that are asked for.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hffs.core.thrift import Cursor
from hffs.errors import FormatError

MAX_LEVEL = 255
"""Levels are kept in one byte each."""

_U32 = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Levels:
    """Maximum levels of the leaf: steps of its path that are optional or repeated; repeated."""

    definition: int
    repetition: int


@dataclass(frozen=True, slots=True, eq=False)
class PageLevels:
    """Levels of each slot of a page (uint8): how much of its path is there, what it repeats."""

    repetitions: NDArray[np.uint8]
    definitions: NDArray[np.uint8]


def read_levels(
    cursor: Cursor, sections: tuple[int, int] | None, levels: Levels, slots: int
) -> PageLevels:
    """Read the levels that a page body begins with; the cursor is left where its values begin.

    `sections` are the bytes of the repetition and of the definition levels, which the header of a
    v2 page says; None for a v1 page, whose body says them.
    """
    repetition_bytes, definition_bytes = sections or (None, None)
    repetitions = _read_stream(cursor, repetition_bytes, levels.repetition, slots)
    definitions = _read_stream(cursor, definition_bytes, levels.definition, slots)
    return PageLevels(repetitions, definitions)


def _read_stream(
    cursor: Cursor, size_bytes: int | None, maximum: int, count: int
) -> NDArray[np.uint8]:
    if size_bytes is None:  # v1: the stream says its own size, and is left out where all are 0
        size_bytes = _U32.unpack(cursor.take(4))[0] if maximum else 0
    stream = cursor.take(size_bytes)
    return decode_levels(stream, maximum, count) if maximum else np.zeros(count, np.uint8)


def decode_levels(stream: memoryview, maximum: int, count: int) -> NDArray[np.uint8]:
    """Decode `count` levels of the RLE / bit-packed hybrid; `maximum` is at most 255."""
    levels = np.empty(count, np.uint8)
    fill_hybrid(stream, maximum.bit_length(), levels)
    if (levels > maximum).any():
        raise FormatError("cannot read levels", why=f"a level over {maximum}")
    return levels


def fill_hybrid(
    stream: memoryview, width: int, numbers: NDArray[np.uint8] | NDArray[np.uint32]
) -> None:
    """Fill `numbers` from the RLE / bit-packed hybrid; each has `width` bits, and room for them."""
    cursor, width_bytes = Cursor(stream), (width + 7) // 8
    count, done = len(numbers), 0
    while done < count:
        header = cursor.varint(32)
        run = min((header >> 1) * (8 if header & 1 else 1), count - done)
        if run == 0:  # Arrow refuses it too; a stream of empty runs would cost time for nothing
            raise FormatError("cannot read levels", why="a run of no levels")
        if header & 1:  # some writers cut the padding of the last run, so take no more than needed
            packed = cursor.take((run * width + 7) // 8)
            numbers[done : done + run] = unpack_bits(packed, width, run, numbers.itemsize)
        else:
            number = int.from_bytes(cursor.take(width_bytes), "little")
            if number >> width:
                raise FormatError("cannot read levels", why=f"a number over {width} bits")
            numbers[done : done + run] = number
        done += run


def unpack_bits(
    packed: memoryview, width: int, count: int, item_bytes: int = 4
) -> NDArray[np.unsignedinteger]:
    """Unpack numbers of `width` bits, least significant first, to `item_bytes` (1 or 4) each."""
    numbers = np.zeros((count, item_bytes), np.uint8)
    if width:
        flat = np.frombuffer(packed, np.uint8)
        grid = np.unpackbits(flat, count=count * width, bitorder="little").reshape(count, width)
        numbers[:, : (width + 7) // 8] = np.packbits(grid, axis=1, bitorder="little")
    return numbers.view(np.dtype(f"<u{item_bytes}"))[:, 0]
