"""What compressed files hold: of a tar, whose members cannot be read in place, and of its members.

Owns unpacking within limits of size and memory. It must not know what the files mean.
Invariant: what was unpacked is whole, or an error.
"""

from __future__ import annotations

import lzma
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from hffs.errors import DataError, FormatError

PIECE_BYTES = 1 << 20
"""How much is unpacked at once, at most."""

MOST_TIMES = 200
"""A file that unpacks to more times its size is a bomb: a tar of 100-byte texts grows by 20."""

FREE_BYTES = 64 << 20
"""A file may grow to this in any case."""

_PACKINGS = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bz2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
}
HEAD_BYTES = max(map(len, _PACKINGS))
_XZ_MEMORY_BYTES = 80 << 20
"""What `xz -9` needs; a header may ask for 4 GB."""


class PackingError(ValueError):
    """What is packed is broken, or cut off."""


@contextmanager
def open_plain(
    path: Path, which: str, folder: Path, progress: Callable[[int], None]
) -> Iterator[Path]:
    """The path itself; of a compressed file, that of what it holds, below `folder` until the end.

    `progress` is told how many bytes of the compressed file are unpacked. Raises FormatError
    (broken, cut off), DataError (a bomb), naming `which`, or OSError.
    """
    with path.open("rb") as file:
        packing = find_packing(file.read(HEAD_BYTES))
    if packing is None:
        yield path
        return
    most_bytes = max(FREE_BYTES, MOST_TIMES * path.stat().st_size)
    with tempfile.NamedTemporaryFile(dir=folder, prefix="unpacked-") as plain:
        try:
            with path.open("rb") as packed:
                for piece in unpack(packed, packing):
                    if plain.tell() + len(piece) > most_bytes:
                        why = f"it unpacks to more than {MOST_TIMES} times its size"
                        raise DataError("cannot use", which, why=why)
                    plain.write(piece)
                    progress(packed.tell())
        except PackingError as error:
            raise FormatError("cannot read", which, why=str(error), fix="fetch it again") from error
        plain.flush()
        yield Path(plain.name)


def find_packing(head: bytes) -> str | None:
    """How a file is compressed, by its first HEAD_BYTES; None where it is not."""
    return next((name for magic, name in _PACKINGS.items() if head.startswith(magic)), None)


def unpack(packed: BinaryIO, packing: str) -> Iterator[bytes]:
    """Pieces of what a file holds, of at most PIECE_BYTES; all streams in it, one after the other.

    Raises PackingError, or OSError of the disk.
    """
    try:
        yield from _unpack_xz(packed) if packing == "xz" else _unpack_stream(packed, packing)
    except (OSError, EOFError, lzma.LZMAError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise PackingError(f"broken {packing}") from error


def _unpack_stream(packed: BinaryIO, packing: str) -> Iterator[bytes]:
    with pa.CompressedInputStream(pa.PythonFile(packed, "r"), packing) as stream:
        while piece := stream.read(PIECE_BYTES):
            yield piece


def _unpack_xz(packed: BinaryIO) -> Iterator[bytes]:
    """By hand: `lzma.open` takes as much memory as the file asks for."""
    unpacker = lzma.LZMADecompressor(memlimit=_XZ_MEMORY_BYTES)
    piece = packed.read(PIECE_BYTES)
    while not unpacker.eof or piece:
        if unpacker.eof:  # another stream follows
            unpacker = lzma.LZMADecompressor(memlimit=_XZ_MEMORY_BYTES)
        elif unpacker.needs_input and not piece:
            raise EOFError
        yield unpacker.decompress(piece, PIECE_BYTES)
        piece = unpacker.unused_data
        if not piece and (unpacker.eof or unpacker.needs_input):
            piece = packed.read(PIECE_BYTES)
