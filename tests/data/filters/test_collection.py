from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.data.columnarrays import read_arrays
from hffs.data.filters.collection import _matcher, collection_reader
from hffs.data.locating.local import locate
from hffs.data.source import Source, open_source
from hffs.errors import ConfigError

FEATURES = {
    "kind": {"names": ["cat", "dog", "5"], "_type": "ClassLabel"},
    "kinds": {"feature": {"names": ["cat", "dog"], "_type": "ClassLabel"}, "_type": "List"},
}


@pytest.fixture(params=["parquet", "arrow"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    texts = ['{"in": {"c": "art"}}', '{"in": {"c": ["map", 5]}}', '{"in": {"c": 5}}', "{", None]
    table = pa.table(
        {
            "image": [b"x"] * 5,
            "collection": ["art", "map", None, "art", "scan"],
            "coded": pa.array(["art", "map", None, "art", "scan"]).dictionary_encode(),
            "number": pa.array([1, 5, None, 5, 255], pa.uint8()),
            "kind": [0, 1, None, -1, 2],
            "kinds": [[0, 1], [], None, [1], [-1]],
            "tags": [["art"], ["map", "art"], None, [], [None, "scan"]],
            "meta": [{"c": c, "a.b": c} for c in ("art", "map", None, "x", "art")],
            "json": texts,
            "a.b": ["art"] + [""] * 4,
            "score": [0.5] * 5,
            "flag": [True] * 5,
            "none": pa.nulls(5),
        }
    ).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": FEATURES}})})
    path = tmp_path / f"0.{request.param}"
    if request.param == "parquet":
        pq.write_table(table, path, row_group_size=2)
    else:
        with pa.ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    return open_source(locate(str(path)))


def kept(source: Source, wanted: tuple[str | int, ...], column: str) -> list[int]:
    ((found,),) = read_arrays(source, [collection_reader(source, wanted, column)])
    assert found.dtype == np.bool_
    assert len(found) == source.rows
    return np.flatnonzero(found).tolist()


@pytest.mark.parametrize(
    ("column", "wanted", "rows"),
    [
        ("collection", ("art",), [0, 3]),
        ("collection", ("art", "scan", "nosuch"), [0, 3, 4]),
        ("collection", ("ART",), []),
        ("coded", ("art", "map"), [0, 1, 3]),
        ("number", (5,), [1, 3]),
        ("number", (5, 255, 256, -1, 2**60), [1, 3, 4]),
        ("number", ("5",), [1, 3]),
        ("kind", ("cat", "dog"), [0, 1]),
        ("kind", (0, 2), [0, 4]),
        ("kind", ("5",), [4]),
        ("kind", ("1",), [1]),
        ("kinds", ("dog",), [0, 3]),
        ("tags", ("art",), [0, 1]),
        ("tags", ("scan", "map"), [1, 4]),
        ("meta.c", ("art",), [0, 4]),
        ("meta.a.b", ("map",), [1]),
        ("a.b", ("art",), [0]),
        ("json.in.c", ("art",), [0]),
        ("json.in.c", (5,), [1, 2]),
        ("json.in.c", ("5",), [1, 2]),
        ("json.in.c", ("map", "art"), [0, 1]),
        ("json.nosuch", ("art",), []),
        ("none", ("art", 5), []),
    ],
)
def test_rows_with_a_wanted_value(
    source: Source, column: str, wanted: tuple[str | int, ...], rows: list[int]
) -> None:
    assert kept(source, wanted, column) == rows


@pytest.mark.parametrize(
    ("column", "wanted", "message"),
    [
        ("collection", 5, 'collection 5: it is a number, and collection holds text; write it as "'),
        ("tags", 5, "it is a number, and tags holds text"),
        ("number", "art", "collection art: it is text, and number holds whole numbers"),
        ("number", "05", "collection 05: it is text"),
        ("number", "9" * 5000, "it is text"),
        ("kind", "cta", "kind has no such class; did you mean cat? classes: cat, dog, 5"),
        ("kinds", "x", "kinds has no such class; classes: cat, dog"),
        ("score", 5, "collection_column score: it leads to double; name a column of text"),
        ("flag", 1, "collection_column flag: it leads to bool"),
        ("meta", "art", "collection_column meta: it leads to struct"),
        ("number.x", 5, "collection_column number.x: it leads to uint8"),
        ("tags.x", "x", "collection_column tags.x: it leads to large_list"),
        ("colection", "art", "there is no such column; did you mean collection?"),
        ("meta.d", "art", "there is no such field"),
        ("image", "art", "it holds binary data"),
    ],
)
def test_what_no_row_could_have_is_one_clear_line(
    source: Source, column: str, wanted: str | int, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        collection_reader(source, (wanted,), column)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


words = st.sampled_from(["a", "b", "", "é", None])


@given(rows=st.lists(st.none() | st.lists(words)), wanted=st.sets(st.sampled_from(["a", "é", "c"])))
def test_lists_agree_with_a_loop(rows: list[Any], wanted: set[str]) -> None:
    array = pa.array(rows, pa.large_list(pa.large_string()))
    match = _matcher(pa.array(sorted(wanted), pa.large_string()))
    expected = [row is not None and not wanted.isdisjoint(row) for row in rows]
    for start in range(min(3, len(rows) + 1)):
        (found,) = match(pa.chunked_array([array[:start], array[start:]]))
        assert found.tolist() == expected
    coded = pa.array([row[0] if row else None for row in rows], pa.large_string())
    (found,) = match(pa.chunked_array([coded.dictionary_encode()[1:]]))
    assert found.tolist() == [bool(row) and row[0] in wanted for row in rows[1:]]


def test_a_null_list_has_none_of_the_items_below_it() -> None:
    lists = pa.LargeListArray.from_arrays(
        pa.array([0, 1, 2], pa.int64()), pa.array(["a", "a"]), mask=pa.array([True, False])
    )
    (found,) = _matcher(pa.array(["a"]))(pa.chunked_array([lists]))
    assert found.tolist() == [False, True]
