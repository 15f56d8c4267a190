from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.view.codecs.ranges import RangeFile

steps = st.lists(
    st.tuples(st.just("read"), st.integers(-1, 40), st.just(0))
    | st.tuples(st.just("seek"), st.integers(0, 60), st.just(io.SEEK_SET))
    | st.tuples(st.just("seek"), st.integers(0, 20), st.sampled_from([io.SEEK_CUR, io.SEEK_END]))
)


@given(data=st.binary(max_size=50), steps=steps)
def test_a_range_file_reads_as_any_file(data: bytes, steps: list[tuple[str, int, int]]) -> None:
    asked: list[tuple[int, int]] = []

    def read(start: int, stop: int) -> memoryview:
        asked.append((start, stop))
        return memoryview(data)[start:stop]

    file, plain = RangeFile(len(data), read), io.BytesIO(data)
    for step, number, whence in steps:
        if step == "read":
            assert file.read(number) == plain.read(number)
        else:
            assert file.seek(number, whence) == plain.seek(number, whence)
        assert file.tell() == plain.tell()
    assert all(0 <= start < stop <= len(data) for start, stop in asked)


def test_nothing_is_before_the_start() -> None:
    file = RangeFile.over(b"abc")
    assert (file.readable(), file.seekable()) == (True, True)
    with pytest.raises(ValueError, match="before the start"):
        file.seek(-1)
    with pytest.raises(ValueError, match="before the start"):
        file.seek(-4, io.SEEK_END)
