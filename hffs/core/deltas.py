"""Integers as bit-packed differences: Parquet's DELTA_BINARY_PACKED, as lengths are written in it.

The encoding: https://parquet.apache.org/docs/file-format/data-pages/encodings. It comes in blocks,
each with the least difference in it and several miniblocks of their own bit width.

Invariants, whatever the bytes: every failure is a `FormatError`; time and memory are linear in the
integers that are asked for.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hffs.core.levels import unpack_bits
from hffs.core.thrift import Cursor
from hffs.errors import FormatError

_MAX_BITS = 32
"""Of a difference between two 32-bit integers, once the least one is taken off."""


def read_deltas(cursor: Cursor, count: int) -> NDArray[np.int64]:
    """Read `count` 32-bit integers, which must be all; the cursor is left behind them.

    They are not checked to be within 32 bits.
    """
    if not count and cursor.at == len(cursor.data):
        return np.empty(0, np.int64)
    block, miniblocks = cursor.varint(32), cursor.varint(32)
    total, first = cursor.varint(32), cursor.signed(64)
    _check(total == count, f"{total} integers, not {count}")
    _check(0 < miniblocks <= block and block % (8 * miniblocks) == 0, f"{miniblocks} miniblocks")
    _check(first.bit_length() <= _MAX_BITS, f"an integer over {_MAX_BITS} bits")
    steps = np.zeros(count, np.int64)
    steps[:1] = first
    done = 1
    while done < count:
        done += _read_block(cursor, block // miniblocks, miniblocks, steps[done:])
    return np.cumsum(steps)


def _read_block(cursor: Cursor, size: int, miniblocks: int, steps: NDArray[np.int64]) -> int:
    """Fill `steps` from one block, and say how many of them it held."""
    least = cursor.signed(64)
    _check(least.bit_length() <= _MAX_BITS, f"a difference over {_MAX_BITS} bits")
    done = 0
    for width in cursor.take(miniblocks):
        if done >= len(steps):  # the widths of miniblocks that are not there may be anything
            break
        _check(width <= _MAX_BITS, f"differences of {width} bits")
        packed = cursor.take(size * width // 8)
        count = min(size, len(steps) - done)
        steps[done : done + count] = unpack_bits(packed, width, count)
        done += count
    steps[:done] += least
    return done


def _check(sound: bool, why: str) -> None:
    if not sound:
        raise FormatError("cannot read delta-packed integers", why=why)
