"""A hardened reader of thrift-compact structs, the encoding of every Parquet header.

Owns the wire format (https://github.com/apache/thrift/blob/master/doc/specs/
thrift-compact-protocol.md) as far as Parquet uses it: no maps, sets or UUIDs. Knows nothing of
what a field means: a struct is field numbers and values.

Invariants, whatever the bytes: every failure is a `FormatError`; the work and the memory are
bounded by the caller's `max_values`, not by what the bytes claim; binary values are views of
the input, never copies.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, TypeAlias

from hffs.errors import FormatError

MAX_DEPTH = 32
"""How deep structs and lists may nest; Parquet's own footers stay under 10."""

Value: TypeAlias = "bool | int | float | memoryview | list[Value] | Struct"


class Kind(IntEnum):
    """The type nibble of a field or list header."""

    TRUE = 1
    FALSE = 2
    BYTE = 3
    I16 = 4
    I32 = 5
    I64 = 6
    DOUBLE = 7
    BINARY = 8
    LIST = 9
    STRUCT = 12


# By plain numbers: every page of a file has a header, and members of an enum are slow to look up.
_INTEGER_BITS: dict[int, int] = {Kind.I16.value: 16, Kind.I32.value: 32, Kind.I64.value: 64}
_BOOLEANS: dict[int, bool] = {Kind.TRUE.value: True, Kind.FALSE.value: False}
_SMALL_FIELDS = re.compile(
    b"(?:[%b][\x80-\xff]{0,9}[\x00-\x7f]|[%b])++"
    % tuple(
        b"".join(re.escape(bytes([step << 4 | kind])) for step in range(1, 16) for kind in kinds)
        for kinds in (_INTEGER_BITS, _BOOLEANS)
    )
)
"""Fields next to each other that are integers or booleans: most of a footer, skipped at once."""

_NESTED: dict[int, bool] = {Kind.STRUCT.value: True, Kind.LIST.value: False}


@dataclass(frozen=True, slots=True)
class Struct:
    """Values by field number; the accessors are typed and refuse what they do not expect."""

    fields: dict[int, Value]

    def integer(self, field: int) -> int:
        """Value of a required integer field."""
        value = self.fields.get(field)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        raise _bad(f"field {field} is no integer")

    def optional_integer(self, field: int) -> int | None:
        """Value of an integer field, None where it is absent."""
        return self.integer(field) if field in self.fields else None

    def integers(self, field: int) -> list[int]:
        """Value of a required list of integers."""
        value = self.fields.get(field)
        if isinstance(value, list):
            numbers = [each for each in value if type(each) is int]
            if len(numbers) == len(value):
                return numbers
        raise _bad(f"field {field} is no list of integers")

    def struct(self, field: int) -> Struct:
        """Value of a required struct field."""
        value = self.fields.get(field)
        if isinstance(value, Struct):
            return value
        raise _bad(f"field {field} is no struct")


@dataclass(slots=True)
class Cursor:
    """A place in some bytes that only moves forward and never past their end."""

    data: memoryview
    at: int = 0

    def __post_init__(self) -> None:
        self.data = self.data.cast("B")  # a pyarrow buffer's items are signed

    def take(self, count: int) -> memoryview:
        """View of the next `count` bytes."""
        if not 0 <= count <= len(self.data) - self.at:
            raise _bad(f"{count} bytes wanted at byte {self.at} of {len(self.data)}")
        self.at += count
        return self.data[self.at - count : self.at]

    def byte(self) -> int:
        """The next byte."""
        if self.at >= len(self.data):
            raise _bad(f"cut off at byte {self.at}")
        self.at += 1
        return self.data[self.at - 1]

    def varint(self, bits: int) -> int:
        """Unsigned LEB128 integer of at most `bits` bits."""
        data, at, value = self.data, self.at, 0  # not by `byte`: this is most of a header
        for shift in range(0, bits, 7):
            if at >= len(data):
                raise _bad(f"cut off at byte {at}")
            part = data[at]
            at += 1
            value |= (part & 0x7F) << shift
            if part < 0x80:
                break
        else:
            raise _bad(f"endless integer before byte {at}")
        self.at = at
        if value >> bits:
            raise _bad(f"integer over {bits} bits before byte {self.at}")
        return value

    def signed(self, bits: int) -> int:
        """Signed (zigzag) integer of at most `bits` bits."""
        return _zigzag(self.varint(bits))


class ListHeader(NamedTuple):
    """What a list claims: the kind of all its elements, and how many these are."""

    kind: int
    size: int


def read_struct(cursor: Cursor, max_values: int) -> Struct:
    """Read the struct at the cursor, which is left behind it; `max_values` counts nested ones."""
    return _Reader(cursor, max_values).struct(0)


def iterate_fields(cursor: Cursor) -> Iterator[tuple[int, int]]:
    """Number and kind of each field of the struct at the cursor.

    Before it goes on, the value has to be read or skipped. A boolean is its kind: it has no bytes.
    """
    number = 0
    while header := cursor.byte():
        delta = header >> 4
        number = number + delta if delta else _zigzag(cursor.varint(16))
        yield number, header & 15


def read_list_header(cursor: Cursor) -> ListHeader:
    """Read what the list at the cursor claims; its elements follow."""
    header = cursor.byte()
    count = header >> 4
    return ListHeader(header & 15, cursor.varint(32) if count == 15 else count)


def skip_value(cursor: Cursor, kind: int, depth: int = 0) -> None:
    """Move the cursor behind a value that is not wanted, in half the time of `read_struct`.

    The work is linear in the bytes, as every value that is not a field's boolean has one at least.
    `depth` is how deep the value is nested in what is skipped.
    """
    if bits := _INTEGER_BITS.get(kind):
        cursor.varint(bits)
    elif kind in _NESTED:
        if depth == MAX_DEPTH:
            raise _bad(f"nested deeper than {MAX_DEPTH}")
        if _NESTED[kind]:
            _skip_fields(cursor, depth + 1)
        else:
            _skip_elements(cursor, depth + 1)
    elif kind not in _BOOLEANS:
        _read_scalar(cursor, kind)


def _skip_fields(cursor: Cursor, depth: int) -> None:
    while True:
        if small := _SMALL_FIELDS.match(cursor.data, cursor.at):
            cursor.at = small.end()
        header = cursor.byte()
        if not header:
            return
        if header < 16:  # the number is not a step from the one before, but written out
            cursor.varint(16)
        skip_value(cursor, header & 15, depth)


def _skip_elements(cursor: Cursor, depth: int) -> None:
    kind, count = read_list_header(cursor)
    if kind in _BOOLEANS:
        cursor.take(count)
        return
    for _ in range(count):
        skip_value(cursor, kind, depth)


@dataclass(slots=True)
class _Reader:
    cursor: Cursor
    values_left: int

    def struct(self, depth: int) -> Struct:
        fields: dict[int, Value] = {}
        for number, kind in iterate_fields(self.cursor):
            if kind in _BOOLEANS:  # the only values that live in the field header
                self._count()
                fields[number] = _BOOLEANS[kind]
            else:
                fields[number] = self._value(kind, depth)
        return Struct(fields)

    def _value(self, kind: int, depth: int) -> Value:
        self._count()
        if bits := _INTEGER_BITS.get(kind):
            return _zigzag(self.cursor.varint(bits))
        if kind in _NESTED:
            if depth == MAX_DEPTH:
                raise _bad(f"nested deeper than {MAX_DEPTH}")
            return self.struct(depth + 1) if _NESTED[kind] else self._list(depth + 1)
        return _read_scalar(self.cursor, kind)

    def _list(self, depth: int) -> list[Value]:
        kind, count = read_list_header(self.cursor)
        if count > self.values_left:
            raise _bad(f"a list of {count} before byte {self.cursor.at}")
        return [self._value(kind, depth) for _ in range(count)]

    def _count(self) -> None:
        self.values_left -= 1
        if self.values_left < 0:
            raise _bad("too many values")


def _read_scalar(cursor: Cursor, kind: int) -> Value:
    if read := _SCALARS.get(kind):
        return read(cursor)
    raise _bad(f"type {kind} before byte {cursor.at}, which Parquet does not use")


def _read_bool(cursor: Cursor) -> bool:
    """Element of a list of booleans: false is 2 by the specification, 0 from some writers."""
    return cursor.byte() == Kind.TRUE


def _read_byte(cursor: Cursor) -> int:
    return int.from_bytes(cursor.take(1), signed=True)


def _read_double(cursor: Cursor) -> float:
    value: float = struct.unpack("<d", cursor.take(8))[0]
    return value


def _read_binary(cursor: Cursor) -> memoryview:
    return cursor.take(cursor.varint(32))


_SCALARS: dict[int, Callable[[Cursor], Value]] = {
    Kind.TRUE.value: _read_bool,
    Kind.FALSE.value: _read_bool,
    Kind.BYTE.value: _read_byte,
    Kind.DOUBLE.value: _read_double,
    Kind.BINARY.value: _read_binary,
}


def _zigzag(raw: int) -> int:
    return (raw >> 1) ^ -(raw & 1)


def _bad(why: str) -> FormatError:
    return FormatError("cannot read a thrift header", why=why)
