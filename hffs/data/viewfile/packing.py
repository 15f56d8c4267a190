"""Arrays packed into a file: blocks that are compressed one by one, and checked when they are read.

Owns how numbers become bytes. Neighbours in an index differ by little, so that a block may hold
differences, and the bytes of numbers are laid side by side: all lowest, then all next, and so on
(what Blosc calls a shuffle). Whatever is smaller is taken, then packed by zstd. Must not know what
arrays mean.

Invariants, whatever the bytes: an array comes as it was packed, or a FormatError does; memory is
that of a block, of at most `BLOCK_ITEMS`, since arrays are unpacked into a file.
"""

from __future__ import annotations

import tempfile
from enum import IntEnum
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hffs.data.decompressing import open_codec
from hffs.data.viewfile.header import PackedArray
from hffs.errors import FormatError

BLOCK_ITEMS = 1 << 20

_LEVEL = 3
_ZSTD = 6  # parquet.thrift


class Coding(IntEnum):
    """What a block holds; the numbers are in files."""

    PLAIN = 0
    SHUFFLED = 1
    DIFFERENCES = 2


def pack(file: BinaryIO, array: NDArray[Any]) -> PackedArray:
    """Write an array at the place where a file is."""
    offset, blocks, digest = file.tell(), [], blake2b(digest_size=16)
    for start in range(0, len(array), BLOCK_ITEMS):
        coding, packed = _pack_block(np.ascontiguousarray(array[start : start + BLOCK_ITEMS]))
        file.write(packed)
        digest.update(packed)
        blocks.append((len(packed), int(coding)))
    return PackedArray.model_validate(
        {
            "dtype": array.dtype.str,
            "count": len(array),
            "offset": offset,
            "blocks": tuple(blocks),
            "digest": digest.hexdigest(),
        }
    )


def unpack(data: memoryview, packed: PackedArray, folder: Path) -> NDArray[Any]:
    """The array that a file holds, in an unnamed file of a folder, whose space goes with it.

    `data` is the whole file. Raises FormatError for anything but what was packed, OSError.
    """
    kind = np.dtype(packed.dtype)
    if len(packed.blocks) != -(-packed.count // BLOCK_ITEMS):
        raise _bad("it has another number of blocks")
    end = packed.offset + sum(size for size, _ in packed.blocks)
    if end > len(data):
        raise _bad("it ends behind the file")
    if blake2b(data[packed.offset : end], digest_size=16).hexdigest() != packed.digest:
        raise _bad("its checksum differs")
    if not packed.count:
        return np.zeros(0, kind)
    with tempfile.TemporaryFile(dir=folder) as file:
        at, left = packed.offset, packed.count
        for size, coding in packed.blocks:
            items = min(left, BLOCK_ITEMS)
            file.write(_unpack_block(data[at : at + size], coding, items, kind).data)
            at, left = at + size, left - items
        file.flush()
        array: NDArray[Any] = np.memmap(file, kind, "r")
    return array


def _pack_block(block: NDArray[Any]) -> tuple[Coding, bytes]:
    if block.dtype.itemsize == 1:
        return Coding.PLAIN, _compress(block.tobytes())
    shuffled = _compress(_shuffle(block))
    differences = _compress(_shuffle(np.diff(block, prepend=block.dtype.type(0))))
    if len(differences) < len(shuffled):
        return Coding.DIFFERENCES, differences
    return Coding.SHUFFLED, shuffled


def _unpack_block(packed: memoryview, coding: int, items: int, kind: np.dtype[Any]) -> NDArray[Any]:
    expand = open_codec(_ZSTD)
    if expand is None or coding not in list(Coding):
        raise _bad(f"its coding is {coding}")
    data = np.frombuffer(expand(packed, items * kind.itemsize), np.uint8)
    if coding == Coding.PLAIN:
        return data.view(kind)
    block = np.ascontiguousarray(data.reshape(kind.itemsize, items).T).view(kind)[:, 0]
    if coding == Coding.DIFFERENCES:
        block = np.cumsum(block, dtype=kind)  # it wraps around as the differences did
    return np.ascontiguousarray(block)


def _shuffle(block: NDArray[Any]) -> bytes:
    return block.view(np.uint8).reshape(len(block), block.dtype.itemsize).T.tobytes()


def _compress(data: bytes) -> bytes:
    packed: bytes = pa.Codec("zstd", compression_level=_LEVEL).compress(data, asbytes=True)
    return packed


def _bad(why: str) -> FormatError:
    return FormatError("cannot read an array", why=why)
