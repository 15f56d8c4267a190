"""The PLAIN layout of BYTE_ARRAY values: a chain of <u32 length><bytes>.

Invariants, whatever the bytes: nothing outside the given range is read; memory and time are linear
in the bytes that are there, not in the values that are claimed.
"""

from __future__ import annotations

import struct
from array import array

import numpy as np
from numpy.typing import NDArray

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
