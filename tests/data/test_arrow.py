from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.data.arrow import (
    NO_SLOT,
    Slots,
    count_batches,
    find_bytes,
    find_slots,
    open_table,
    read_batch,
    read_paths,
    read_schema,
)
from hffs.data.mapped import open_mapped
from hffs.errors import FormatError, SourceError

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
ARROW = ["arrow-stream", "arrow-file", "arrow-stream-lz4", "arrow-file-zstd"]


WITHOUT_PANDAS = """
import sys
import pyarrow as pa
from hffs.data.arrow import do_without_pandas
do_without_pandas()
assert pa.array(["a", None]).fill_null("b").to_pylist() == ["a", "b"]
assert "pandas" not in sys.modules
import pandas
assert pandas.Series([1]).sum() == 1
do_without_pandas()
assert sys.modules["pandas"] is pandas
"""


def test_pyarrow_does_without_pandas_that_others_may_import() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_PANDAS], check=True)


def _table() -> pa.Table:
    cells = pa.array([{"bytes": b"x" * 5000 + b"%d" % n, "path": None} for n in range(9)], STRUCT)
    return pa.table({"image": cells, "n": range(9), "text": [f"text {n}" for n in range(9)]})


@pytest.mark.parametrize("form", ARROW)
def test_a_table_is_what_was_written(form: str, tmp_path: Path, sets: Any) -> None:
    path = sets.write(form, _table(), tmp_path / "set")
    assert open_table(path).equals(_table())
    assert open_table(path, ["text", "n"]).equals(_table().select(["text", "n"]))
    assert open_table(path, ["n"]).column_names == ["n"]


@pytest.mark.parametrize("form", ["arrow-stream", "arrow-file"])
def test_a_table_of_no_rows(form: str, tmp_path: Path, sets: Any) -> None:
    path = sets.write(form, _table().slice(0, 0), tmp_path / "set")
    assert open_table(path, ["n"]).num_rows == 0
    assert open_table(path).schema == _table().schema


def test_a_table_is_mapped_not_read(tmp_path: Path, sets: Any) -> None:
    path = sets.write("arrow-stream", _table(), tmp_path / "set")
    before = pa.total_allocated_bytes()
    table = open_table(path)
    assert pa.total_allocated_bytes() == before
    assert table["n"].to_pylist() == list(range(9))


def test_a_column_that_is_not_there(tmp_path: Path, sets: Any) -> None:
    path = sets.write("arrow-file", _table(), tmp_path / "set")
    with pytest.raises(KeyError, match="nope"):
        open_table(path, ["n", "nope"])
    with pytest.raises(ValueError, match="at least one column"):
        open_table(path, [])
    with pytest.raises(SourceError):
        open_table(tmp_path / "gone.arrow")


def test_texts_that_lead_out_of_their_buffer_are_refused(tmp_path: Path) -> None:
    table = pa.table({"text": ["a" * 50, "b" * 50], "deep": [[{"t": "c"}], []]})
    for name in ("text", "deep"):
        path = tmp_path / f"{name}.arrow"
        with pa.ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table)
        data = path.read_bytes()
        good = np.array([0, 50, 100] if name == "text" else [0, 1, 1], np.int32).tobytes()
        path.write_bytes(data.replace(good, np.array([0, 1 << 30, 100], np.int32).tobytes(), 1))
        assert path.read_bytes() != data
        with pytest.raises(FormatError, match=r"cannot read .*arrow: "):
            open_table(path, [name])


def test_columns_of_any_type_are_read(tmp_path: Path, sets: Any) -> None:
    columns = {
        "large": pa.array(["a", None], pa.large_string()),
        "coded": pa.array(["a", "b"]).dictionary_encode(),
        "deep": pa.array([{"a": [{"b": "c"}]}, None]),
        "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int8())),
        "many": pa.array([["a"], None], pa.large_list(pa.string())),
        "none": pa.nulls(2),
        "real": pa.array([1.5, None]),
    }
    path = sets.write("arrow-stream", pa.table(columns), tmp_path / "set")
    assert open_table(path, list(columns)).to_pydict() == pa.table(columns).to_pydict()


def test_texts_need_not_be_utf8(tmp_path: Path) -> None:
    raw = pa.array([b"caf\xe9"]).view(pa.string())
    with pa.ipc.new_stream(tmp_path / "a.arrow", pa.schema([("t", pa.string())])) as writer:
        writer.write_table(pa.table({"t": raw}))
    assert open_table(tmp_path / "a.arrow", ["t"])["t"].cast(pa.binary()).to_pylist() == [
        b"caf\xe9"
    ]


def test_batches_of_a_file_are_read_in_any_order(tmp_path: Path, sets: Any) -> None:
    with open_mapped(sets.write("arrow-file", _table(), tmp_path / "set")) as file:
        assert read_schema(file) == _table().schema
        assert count_batches(file) == 3
        assert read_batch(file, 2).column(1).to_pylist() == [6, 7, 8]
        with pytest.raises(FormatError):
            read_batch(file, 3)


_BLOBS = st.one_of(st.none(), st.binary(max_size=9))
_CELLS = st.one_of(
    st.none(), st.fixed_dictionaries({"bytes": _BLOBS, "path": st.none() | st.text(max_size=3)})
)
_LISTS = st.one_of(st.none(), st.lists(_CELLS, max_size=3))


def _bytes_of(slots: Slots) -> list[bytes | None]:
    places = find_bytes(slots)
    data = places.data.to_pybytes()
    ranges = zip(places.offsets.tolist(), places.lengths.tolist(), strict=True)
    return [None if start == NO_SLOT else data[start : start + size] for start, size in ranges]


@given(values=st.lists(_LISTS, max_size=8), start=st.integers(0, 4), stop=st.integers(0, 8))
def test_slots_of_lists_are_their_elements(values: list[Any], start: int, stop: int) -> None:
    for kind in (pa.list_(STRUCT), pa.large_list(STRUCT)):
        cells = pa.array(values, kind)[start:stop]
        slots = find_slots("x", cells, is_list=True)
        flat = [
            (row, item, element or {"bytes": None, "path": None}, bool(cell))
            for row, cell in enumerate(cells.to_pylist())
            for item, element in enumerate(cell or [None])
        ]
        assert slots.rows.tolist() == [row for row, _, _, _ in flat]
        assert slots.items.tolist() == [item for _, item, _, _ in flat]
        assert (slots.index != NO_SLOT).tolist() == [filled for _, _, _, filled in flat]
        assert _bytes_of(slots) == [element["bytes"] for _, _, element, _ in flat]
        paths = read_paths(slots, np.arange(len(flat))).to_pylist()
        texts = [element["path"] for _, _, element, _ in flat]
        assert paths == [None if text is None else text.encode() for text in texts]


@given(values=st.lists(_BLOBS, max_size=8), start=st.integers(0, 4), stop=st.integers(0, 8))
def test_bytes_of_plain_columns(values: list[bytes | None], start: int, stop: int) -> None:
    for kind in (pa.binary(), pa.large_binary()):
        cells = pa.array(values, kind)[start:stop]
        assert _bytes_of(find_slots("x", cells, is_list=False)) == cells.to_pylist()


def _spoil(offsets: list[int], kind: pa.DataType, children: list[pa.Array]) -> pa.Array:
    """An array of two values whose offsets are changed behind pyarrow's back."""
    kept = np.array([0, 2, 4], np.int32)
    buffers = [None, pa.py_buffer(kept), *([] if children else [pa.py_buffer(b"four")])]
    array = pa.Array.from_buffers(kind, 2, buffers, children=children)
    kept[:] = offsets
    return array


@pytest.mark.parametrize(
    "offsets", [[0, 9, 4], [-4, 0, 4], [0, 3, 5], [4, 2, 4], [1 << 30, 3, 4], [0, -1, 4]]
)
def test_offsets_out_of_range_are_refused(offsets: list[int]) -> None:
    values = [pa.array([0] * 4, pa.int8())]
    for cells in (_spoil(offsets, pa.binary(), []), _spoil(offsets, pa.list_(pa.int8()), values)):
        with pytest.raises(FormatError, match="cannot read column x: "):
            find_bytes(find_slots("column x", cells, is_list=pa.types.is_list(cells.type)))
    paths = _spoil(offsets, pa.string(), [])
    with pytest.raises(FormatError, match="cannot read column x: "):
        read_paths(find_slots("column x", paths, is_list=False), np.arange(2))
