"""What the header of a Parquet page says.

Owns the PageHeader struct (its field numbers: parquet.thrift in
https://github.com/apache/parquet-format). Knows nothing of where pages lie, and reads no body.

Invariant, whatever the bytes: a header that is returned has no negative number in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from hffs.core.levels import Levels
from hffs.core.thrift import Cursor, Struct, read_struct
from hffs.errors import FormatError, UnsupportedError

MAX_HEADER_BYTES = 1 << 24
"""As in parquet-cpp; statistics in a header hold whole values."""

_MAX_HEADER_VALUES = 256


class PageKind(IntEnum):
    """Page types that can hold or describe values of a chunk."""

    DATA = 0
    DICTIONARY = 2
    DATA_V2 = 3


class Encoding(IntEnum):
    """How the values or the levels of a page are written; only what is read here has a name."""

    PLAIN = 0
    PLAIN_DICTIONARY = 2
    RLE = 3
    DELTA_LENGTH_BYTE_ARRAY = 6
    RLE_DICTIONARY = 8


@dataclass(frozen=True, slots=True)
class PageHeader:
    """The facts of one header; `slots` of a dictionary page are its entries.

    `stored_bytes` is the size of the body as it lies in the file, `full_bytes` its size when
    nothing of it is compressed. `level_bytes` are the sizes of the repetition and the definition
    levels in a v2 body, which are never compressed; a v1 body says them itself. `crc` is unsigned.
    """

    kind: PageKind
    encoding: int
    slots: int
    stored_bytes: int
    full_bytes: int
    level_bytes: tuple[int, int] | None = None
    level_encodings: tuple[int, int] = (Encoding.RLE, Encoding.RLE)
    may_compress: bool = True
    crc: int | None = None

    def has_rle_levels(self, levels: Levels) -> bool:
        """Whether `hffs.core.levels` reads what levels there are."""
        repetition, definition = self.level_encodings
        return (definition == Encoding.RLE or not levels.definition) and (
            repetition == Encoding.RLE or not levels.repetition
        )


def read_header(cursor: Cursor) -> PageHeader:
    """Read the header at the cursor, which is left where the body begins.

    Raises `UnsupportedError` for a page type that holds no values.
    """
    fields = read_struct(cursor, _MAX_HEADER_VALUES)
    header = _parse_header(fields)
    for size_bytes in (header.stored_bytes, header.full_bytes, *(header.level_bytes or ())):
        if min(header.slots, size_bytes) < 0:
            why = f"{header.slots} values in {size_bytes} bytes"
            raise FormatError("cannot read a page header", why=why)
    return header


def _parse_header(fields: Struct) -> PageHeader:
    kind, full_bytes, stored_bytes = fields.integer(1), fields.integer(2), fields.integer(3)
    crc = fields.optional_integer(4)
    if crc is not None:
        crc &= 0xFFFFFFFF  # written as a signed number
    if kind == PageKind.DICTIONARY:
        own = fields.struct(7)
        return PageHeader(
            PageKind.DICTIONARY, own.integer(2), own.integer(1), stored_bytes, full_bytes, crc=crc
        )
    if kind == PageKind.DATA:
        own = fields.struct(5)
        return PageHeader(
            PageKind.DATA,
            own.integer(2),
            own.integer(1),
            stored_bytes,
            full_bytes,
            level_encodings=(own.integer(4), own.integer(3)),
            crc=crc,
        )
    if kind != PageKind.DATA_V2:
        raise UnsupportedError("cannot read pages", why=f"page type {kind}")
    own = fields.struct(8)
    return PageHeader(
        PageKind.DATA_V2,
        own.integer(4),
        own.integer(1),
        stored_bytes,
        full_bytes,
        level_bytes=(own.integer(6), own.integer(5)),
        may_compress=own.fields.get(7) is not False,
        crc=crc,
    )
