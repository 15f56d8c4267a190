from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.core.thrift import (
    MAX_DEPTH,
    Cursor,
    Kind,
    Struct,
    Value,
    iterate_fields,
    read_struct,
    skip_value,
)
from hffs.errors import FormatError

Field = tuple[int, Value]
"""What the encoder below is given for a field: its compact type and its value."""


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def encode(value: Value, kind: int) -> bytes:
    """Encode one value as the specification says; the type of a list's elements is its first's."""
    if isinstance(value, bool):
        return bytes([1 if value else 2])
    if isinstance(value, float):
        return struct.pack("<d", value)
    if isinstance(value, int):
        return value.to_bytes(1, signed=True) if kind == 3 else varint(value * 2 ^ value >> 63)
    if isinstance(value, memoryview):
        return varint(len(value)) + bytes(value)
    if isinstance(value, Struct):
        return encode_struct(value)
    kind = kind_of(value[0]) if value else 12
    size = bytes([len(value) << 4 | kind]) if len(value) < 15 else b""
    long = b"" if size else bytes([0xF0 | kind]) + varint(len(value))
    return size + long + b"".join(encode(each, kind) for each in value)


def kind_of(value: Value) -> int:
    kinds = {bool: 1, int: 6, float: 7, memoryview: 8, list: 9, Struct: 12}
    return kinds[type(value)]


def encode_struct(value: Struct) -> bytes:
    out, last = b"", 0
    for number, each in value.fields.items():
        kind = 2 if each is False else kind_of(each)
        delta = number - last
        if 0 < delta < 16:
            out += bytes([delta << 4 | kind])
        else:
            out += bytes([kind]) + varint(number * 2 if number >= 0 else -number * 2 - 1)
        out += b"" if isinstance(each, bool) else encode(each, kind)
        last = number
    return out + b"\0"


def read(data: bytes, max_values: int = 1000) -> Struct:
    return read_struct(Cursor(memoryview(data)), max_values)


def leaves() -> st.SearchStrategy[Value]:
    return st.one_of(
        st.booleans(),
        st.integers(-(1 << 63), (1 << 63) - 1),
        st.floats(allow_nan=False),
        st.binary(max_size=20).map(lambda each: memoryview(each)),
    )


def structs(values: st.SearchStrategy[Value]) -> st.SearchStrategy[Value]:
    return st.dictionaries(st.integers(-(1 << 15), (1 << 15) - 1), values, max_size=6).map(Struct)


def nested(values: st.SearchStrategy[Value]) -> st.SearchStrategy[Value]:
    lists = st.one_of(
        st.lists(st.integers(-5, 5), max_size=20),
        st.lists(st.booleans(), max_size=20),
        st.lists(structs(values), max_size=3),
    )
    return st.one_of(lists.map(lambda each: list[Value](each)), structs(values))


@given(structs(st.recursive(leaves(), nested, max_leaves=10)))
def test_what_was_written_is_read(value: Struct) -> None:
    data = encode_struct(value)
    cursor = Cursor(memoryview(data + b"behind"))
    assert read_struct(cursor, 1000) == value
    assert cursor.at == len(data)


@given(structs(st.recursive(leaves(), nested, max_leaves=10)), st.data())
def test_a_struct_that_was_cut_is_refused(value: Struct, draw: st.DataObject) -> None:
    data = encode_struct(value)
    with pytest.raises(FormatError):
        read(data[: draw.draw(st.integers(0, len(data) - 1))])


@given(structs(st.recursive(leaves(), nested, max_leaves=10)))
def test_what_is_skipped_ends_where_it_is_read_to(value: Struct) -> None:
    data = encode_struct(value)
    cursor = Cursor(memoryview(data + b"behind"))
    skip_value(cursor, Kind.STRUCT)
    assert cursor.at == len(data)
    cursor = Cursor(memoryview(data))
    for _, kind in iterate_fields(cursor):
        skip_value(cursor, kind)
    assert cursor.at == len(data)


@given(structs(st.recursive(leaves(), nested, max_leaves=10)), st.data())
def test_a_struct_that_was_cut_is_not_skipped(value: Struct, draw: st.DataObject) -> None:
    data = encode_struct(value)
    short = memoryview(data[: draw.draw(st.integers(0, len(data) - 1))])
    with pytest.raises(FormatError):
        skip_value(Cursor(short), Kind.STRUCT)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x1c" * (MAX_DEPTH + 1) + b"\0" * (MAX_DEPTH + 2), "nested deeper"),
        (b"\x19" * 10_000, "nested deeper"),
        (b"\x19\xf5\xff\xff\xff\xff\x0f\0", "cut off|endless"),
        (b"\x19\xf1\xff\xff\xff\xff\x0f\0", "4294967295 bytes wanted"),
        (b"\x15" + b"\x80" * 10 + b"\x01\0", "endless integer"),
        (b"\x1b\x01\x55\0\0\0", "type 11"),
    ],
)
def test_what_is_hostile_is_not_skipped(data: bytes, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        skip_value(Cursor(memoryview(data)), Kind.STRUCT)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(FormatError):
        read(data)


def test_a_byte_is_signed() -> None:
    assert read(b"\x13\xff\0").integer(1) == -1


def test_false_in_a_list_may_be_zero() -> None:
    assert read(b"\x19\x31\x01\x02\x00\0").fields[1] == [True, False, False]


def test_signed_items_of_a_pyarrow_buffer_are_bytes() -> None:
    data = memoryview(b"\x15\x80\x01\0").cast("b")
    assert read_struct(Cursor(data), 10).integer(1) == 64


def test_a_binary_value_is_a_view_of_the_input() -> None:
    data = bytearray(b"\x18\x01a\0")
    value = read_struct(Cursor(memoryview(data)), 10).fields[1]
    data[2] = ord("b")
    assert isinstance(value, memoryview)
    assert bytes(value) == b"b"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "cut off"),
        (b"\x15" + b"\x80" * 9 + b"\x01\0", "endless integer"),
        (b"\x15\xff\xff\xff\xff\x1f\0", "integer over 32 bits"),
        (b"\x18\xff\xff\xff\xff\x0f\0", "4294967295 bytes wanted"),
        (b"\x19\xf5\xff\xff\xff\xff\x0f\0", "a list of 4294967295"),
        (b"\x1b\x01\x55\0\0\0", "type 11"),
        (b"\x1c" * (MAX_DEPTH + 1) + b"\0" * (MAX_DEPTH + 2), "nested deeper"),
        (b"\x19" * 10_000, "nested deeper"),
        (b"\x11" * 1001 + b"\0", "too many values"),
        (b"\x19\xfc\xf4\x03" + b"\x11\0" * 500, "too many values"),
    ],
)
def test_a_hostile_header_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        read(data)


def test_nesting_up_to_the_limit_is_read() -> None:
    read(b"\x1c" * MAX_DEPTH + b"\0" * (MAX_DEPTH + 1))


def test_values_up_to_the_limit_are_read() -> None:
    read(b"\x11" * 1000 + b"\0", max_values=1000)


def test_accessors_refuse_a_missing_field_and_another_type() -> None:
    value = Struct({1: True, 2: 7, 3: Struct({})})
    assert value.integer(2) == 7
    assert value.struct(3) == Struct({})
    for number in (1, 3, 4):
        with pytest.raises(FormatError, match=f"field {number} is no integer"):
            value.integer(number)
    for number in (1, 2, 4):
        with pytest.raises(FormatError, match=f"field {number} is no struct"):
            value.struct(number)


def test_a_cursor_does_not_move_back() -> None:
    with pytest.raises(FormatError):
        Cursor(memoryview(b"abc"), 2).take(-1)
