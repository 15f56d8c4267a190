from __future__ import annotations

import io
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.data.prepare.shapes import Shape

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 70), 1 << 70)
    | st.integers(-9, 9)
    | st.floats(allow_nan=False)
    | st.text(st.characters(), max_size=3)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "\ud800", ""]), inner, max_size=3)
    ),
    max_leaves=8,
)
# values that are much alike, as those of a data set are
alike = st.fixed_dictionaries(
    {"n": st.integers(0, 9) | st.floats(0, 1), "t": st.text("ab", max_size=2) | st.none()},
    optional={"l": st.lists(st.integers(0, 9), max_size=2)},
)


def type_of(items: list[object]) -> pa.DataType | None:
    shape = Shape()
    for item in items:
        shape.add(item)
    return shape.arrow_type()


@given(st.lists(values, max_size=5))
def test_a_type_that_is_found_holds_every_value_and_is_written(items: list[object]) -> None:
    kind = type_of(items)
    if kind is not None:
        table = pa.table({"c": pa.array(items, kind)})
        file = io.BytesIO()
        pq.write_table(table, file)
        assert pq.read_table(file).equals(table)


@given(st.lists(alike, min_size=1, max_size=5))
def test_it_is_the_type_that_pyarrow_infers(items: list[object]) -> None:
    found = type_of(items)
    assert found is not None
    inferred = pa.infer_type(items)
    assert {f.name: f.type for f in found} == {f.name: f.type for f in inferred}


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([], pa.null()),
        ([None], pa.null()),
        ([1, None, 2], pa.int64()),
        ([1, 2.5], pa.float64()),
        ([(1 << 63) - 1], pa.int64()),
        ([math.inf], pa.float64()),
        ([[], [None]], pa.list_(pa.null())),
        ([{"a": 1}, {"b": "x"}], pa.struct([("a", pa.int64()), ("b", pa.string())])),
        ([1, "x"], None),
        ([True, 1], None),
        ([1, [1]], None),
        ([{"a": 1}, {"a": "x"}], None),
        ([{}], None),
        ([{"a": {}}], None),
        ([1 << 63], None),
        ([(1 << 53) + 1, 0.5], None),
        (["\ud800"], None),
        ([{"\ud800": 1}], None),
    ],
)
def test_how_values_join(items: list[object], expected: pa.DataType | None) -> None:
    assert type_of(items) == expected


def test_keys_that_are_data_have_no_type() -> None:
    assert type_of([{f"id{n}": 1} for n in range(1000)]) is None
    assert type_of([{"a": {f"id{n}": 1}} for n in range(1000)]) is None


def test_depth_is_bounded() -> None:
    value: object = 1
    for _ in range(200):
        value = [value]
    assert type_of([value]) is None
