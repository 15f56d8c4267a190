from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.core.levels import decode_levels, fill_hybrid
from hffs.errors import FormatError
from tests.parquet_bytes import pack, uvarint


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 70), st.integers(0, 255)), min_size=1))
def test_levels_round_trip(runs: list[tuple[bool, int, int]]) -> None:
    maximum = max(value for *_, value in runs) or 1
    levels: list[int] = []
    stream = b""
    for packed, size, value in runs:
        run = [min(maximum, value ^ i & 1) for i in range(size * 8)] if packed else [value] * size
        levels += run
        stream += pack(run, maximum.bit_length()) if packed else uvarint(size << 1) + bytes([value])
    assert decode_levels(memoryview(stream), maximum, len(levels)).tolist() == levels


def test_padding_of_the_last_packed_run_may_be_cut() -> None:
    stream = memoryview(pack([1, 2, 3, 0, 1, 0, 0, 0], 2))
    assert decode_levels(stream[:-1], 3, 4).tolist() == [1, 2, 3, 0]
    with pytest.raises(FormatError):
        decode_levels(stream[:-1], 3, 5)


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (b"", "cut off"),
        (b"\x00\x01", "no levels"),
        (b"\x01", "no levels"),
        (b"\x08", "bytes wanted"),
        (b"\x03", "bytes wanted"),
        (b"\x08\x03", "a level over 2"),
        (b"\xff\xff\xff\xff\xff\x0f", "endless"),
    ],
)
def test_broken_levels_are_refused(stream: bytes, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        decode_levels(memoryview(stream), 2, 4)


@given(
    st.integers(0, 32),
    st.lists(st.tuples(st.booleans(), st.integers(1, 70), st.integers(0, (1 << 32) - 1))),
)
def test_numbers_of_any_width_round_trip(width: int, runs: list[tuple[bool, int, int]]) -> None:
    numbers: list[int] = []
    stream = b""
    for packed, size, value in runs:
        value &= (1 << width) - 1
        run = [value ^ (i & value & 1) for i in range(size * 8)] if packed else [value] * size
        numbers += run
        one = value.to_bytes((width + 7) // 8, "little")
        stream += pack(run, width) if packed else uvarint(size << 1) + one
    out = np.empty(len(numbers), np.uint32)
    fill_hybrid(memoryview(stream), width, out)
    assert out.tolist() == numbers


def test_a_repeated_number_over_its_width_is_refused() -> None:
    with pytest.raises(FormatError, match="a number over 9 bits"):
        fill_hybrid(memoryview(b"\x08\0\2"), 9, np.empty(4, np.uint32))
