"""The PLAIN layout of BYTE_ARRAY values: a chain of <u32 length><bytes>.

Invariants, whatever the bytes: nothing outside the given range is read; memory and time are linear
in the bytes that are there, not in the values that are claimed.
"""

from __future__ import annotations

import struct
from array import array

import numpy as np
from numpy.typing import NDArray

from hffs.core.thrift import Cursor
from hffs.errors import FormatError

_U32 = struct.Struct("<I")

PREFIX_BYTES = _U32.size
"""What is before each value."""


def walk_plain(data: memoryview, at: int, end: int, count: int) -> NDArray[np.int64]:
    """Offsets of the next `count` prefixes from `at` on, and the offset behind the last value.

    `end` is where the page ends, and not behind the data.
    """
    places = array("q", [at])
    last = end - PREFIX_BYTES
    for _ in range(count):
        if at > last:
            raise FormatError(
                "cannot read the page", f"at byte {at}", why="a value runs over the end of the page"
            )
        at += PREFIX_BYTES + _U32.unpack_from(data, at)[0]
        places.append(at)
    return np.frombuffer(places, np.int64)


def step_plain(prefix: memoryview, at: int, end: int, left: int) -> int:
    """Offset behind one value, given nothing but its `prefix`, which lies at `at`.

    `left` values follow up to `end`, where the page ends: FormatError where there is no room for
    these, or where none is left and yet bytes are.
    """
    behind = at + PREFIX_BYTES + int(_U32.unpack(Cursor(prefix).take(PREFIX_BYTES))[0])
    rest = end - behind
    if rest < left * PREFIX_BYTES or (rest and not left):
        why = f"a value that ends at byte {behind} of {end}, before {left} others"
        raise FormatError("cannot read the page", f"at byte {at}", why=why)
    return behind
