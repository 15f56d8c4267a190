"""Many integers of thrift's compact encoding at once: a million take no loop.

Owns the decoding of zigzag LEB128 with numpy; one at a time is `hffs.core.thrift`'s.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hffs.errors import FormatError

MAX_VARINT_BYTES = 10
"""Of an integer of 64 bits, at 7 a byte."""


def find_ends(data: NDArray[np.uint8], count: int) -> NDArray[np.int64]:
    """Offsets behind the first `count` integers; fewer if there are fewer."""
    return np.flatnonzero(data < 0x80)[:count] + 1


def decode_integers(
    data: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Decode the integers that lie between `starts` and `ends`, both offsets in `data`."""
    sizes = ends - starts
    raw = np.zeros(len(starts), np.uint64)
    for part in range(int(sizes.max(initial=0))):
        here = sizes > part
        bits = (data[starts[here] + part] & 0x7F).astype(np.uint64)
        if part >= MAX_VARINT_BYTES or (part == MAX_VARINT_BYTES - 1 and bits.max() > 1):
            raise FormatError("cannot read integers", why="one over 64 bits")
        raw[here] |= bits << np.uint64(7 * part)
    return (raw >> np.uint64(1)).view(np.int64) ^ -(raw & np.uint64(1)).view(np.int64)
