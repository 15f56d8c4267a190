"""The end of a Parquet file: where its footer is, and the key-value metadata that this has.

Owns FileMetaData as far as that (field numbers: https://github.com/apache/parquet-format,
parquet.thrift). Imports no numpy: what a file calls itself is asked before a daemon forks.

Invariants, whatever the bytes: every failure is a `FormatError`, an `UnsupportedError` where
another reader may do better; time and memory are linear in the bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from hffs.core.thrift import (
    Cursor,
    Kind,
    iterate_fields,
    read_list_header,
    read_struct,
    skip_value,
)
from hffs.errors import FormatError, UnsupportedError

TAIL_BYTES = 8
"""What a file ends with: the length of its footer, and the magic."""

_MAGIC, _MAGIC_ENCRYPTED = b"PAR1", b"PARE"
_KEY_VALUES = 5
_MOST_PAIR_VALUES = 16


@dataclass(frozen=True, slots=True)
class Span:
    """Some bytes of a file."""

    offset: int
    size_bytes: int

    @property
    def end(self) -> int:
        """Offset of the first byte behind them."""
        return self.offset + self.size_bytes


def find_footer(tail: memoryview, file_size_bytes: int) -> Span:
    """Find the FileMetaData struct from the last bytes of a file, at least `TAIL_BYTES`."""
    end = bytes(Cursor(tail).data[-TAIL_BYTES:])
    if len(end) < TAIL_BYTES:
        raise bad_footer(f"{len(end)} bytes are no Parquet file")
    if end[4:] == _MAGIC_ENCRYPTED:
        raise UnsupportedError("cannot read the footer", why="it is encrypted")
    if end[4:] != _MAGIC:
        raise bad_footer("the file does not end as a Parquet file does")
    size_bytes = int.from_bytes(end[:4], "little")
    offset = file_size_bytes - TAIL_BYTES - size_bytes
    if not size_bytes or offset < len(_MAGIC):
        raise bad_footer(f"a footer of {size_bytes} bytes in a file of {file_size_bytes}")
    return Span(offset, size_bytes)


def parse_key_values(footer: memoryview) -> dict[bytes, memoryview]:
    """Key-value metadata, from the bytes of a FileMetaData struct; of keys that are there twice the
    last, as for pyarrow. Values are views of the footer.
    """
    cursor = Cursor(footer)
    found: dict[bytes, memoryview] = {}
    for number, kind in iterate_fields(cursor):
        if number != _KEY_VALUES:
            skip_value(cursor, kind)
            continue
        for _ in range(read_count(cursor, kind, frozenset({Kind.STRUCT}))):
            fields = read_struct(cursor, _MOST_PAIR_VALUES).fields
            key, value = fields.get(1), fields.get(2)
            if isinstance(key, memoryview) and isinstance(value, memoryview):
                found[bytes(key)] = value
    return found


def read_count(cursor: Cursor, kind: int, elements: frozenset[Kind]) -> int:
    """Read the header of a list of some kinds: how many elements follow."""
    if kind != Kind.LIST:
        raise bad_footer(f"type {kind} before byte {cursor.at}, where a list was to be")
    header = read_list_header(cursor)
    if header.size and header.kind not in elements:
        raise bad_footer(f"a list of type {header.kind} before byte {cursor.at}")
    return header.size


def bad_footer(why: str) -> FormatError:
    """What is said of a footer that breaks its format."""
    return FormatError("cannot read the footer", why=why)
