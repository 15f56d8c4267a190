"""The key-value metadata of a Parquet file, as pyarrow writes it and as anything may."""

from __future__ import annotations

from contextlib import suppress

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.core.tails import find_footer, parse_key_values
from hffs.errors import FormatError
from tests.parquet_bytes import thrift


def footer_of(table: pa.Table) -> memoryview:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    file = memoryview(sink.getvalue())
    span = find_footer(file[-100:], len(file))
    return file[span.offset : span.end]


@given(st.dictionaries(st.text(min_size=1).map(str.encode), st.binary(max_size=99), max_size=4))
def test_pairs_are_those_that_were_written(pairs: dict[bytes, bytes]) -> None:
    pairs.pop(b"ARROW:schema", None)
    footer = footer_of(pa.table({"a": [1, 2], "b": ["x", "y"]}).replace_schema_metadata(pairs))
    found = {key: bytes(value) for key, value in parse_key_values(footer).items()}
    assert found.pop(b"ARROW:schema")
    assert found == pairs


@given(st.integers(0, 400), st.integers(0, 255))
def test_any_bytes_are_pairs_or_an_error(at: int, value: int) -> None:
    data = bytearray(footer_of(pa.table({"a": [1]}).replace_schema_metadata({"key": "value"})))
    data[at % len(data)] = value
    for damaged in (data, data[: at % len(data)]):
        with suppress(FormatError):
            parse_key_values(memoryview(bytes(damaged)))


@pytest.mark.parametrize("wrong", [7, [1, 2]])
def test_what_is_no_list_of_pairs_is_an_error(wrong: int | list[int]) -> None:
    with pytest.raises(FormatError, match="cannot read the footer"):
        parse_key_values(memoryview(thrift({5: wrong})))


def test_a_pair_without_a_value_is_none() -> None:
    footer = thrift({5: [{1: b"alone"}, {1: b"key", 2: b"value"}, {1: 7, 2: b"x"}]})
    assert parse_key_values(memoryview(footer)) == {b"key": b"value"}
