from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from hffs.data.prepare.paths import shorten_cells, shorten_path

CELL = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.mark.parametrize(
    ("path", "short"),
    [
        ("/data/cats/1.jpg", "cats/1.jpg"),
        ("/database/1.jpg", "/database/1.jpg"),
        ("1.jpg", "1.jpg"),
        ("zip://a/1.jpg::/data/x.zip", "zip://a/1.jpg::x.zip"),
        ("zip://a::/data/1.jpg::/data/x.zip", "zip://a::/data/1.jpg::x.zip"),
        ("zip:///data/1.jpg::/other/x.zip", "zip:///data/1.jpg::/other/x.zip"),
        ("", ""),
    ],
)
def test_a_path_below_the_root_is_relative_to_it(path: str, short: str) -> None:
    assert shorten_path(path, Path("/data")) == short


def test_paths_of_cells_are_shortened_at_any_depth_and_nothing_else_is() -> None:
    cells = [{"bytes": None, "path": "/data/1.jpg"}, None, {"bytes": b"x", "path": None}]
    columns = {
        "image": pa.array(cells, CELL),
        "images": pa.array([cells, None, []], pa.list_(CELL)),
        "nested": pa.array([{"a": cells[0]}, None, {"a": None}], pa.struct([("a", CELL)])),
        "text": pa.array(["/data/1.jpg", None, ""]),
    }
    batch = shorten_cells(pa.RecordBatch.from_pydict(columns).slice(0, 3), Path("/data"))
    short = [{"bytes": None, "path": "1.jpg"}, None, {"bytes": b"x", "path": None}]
    assert batch.to_pydict() == {
        "image": short,
        "images": [short, None, []],
        "nested": [{"a": short[0]}, None, {"a": None}],
        "text": ["/data/1.jpg", None, ""],
    }


def test_a_slice_of_a_batch_keeps_its_rows() -> None:
    cells = [None, *({"bytes": None, "path": f"/data/{n}.jpg"} for n in range(4)), None]
    lists = [None if cell is None else [cell] for cell in cells]
    batch = pa.RecordBatch.from_pydict(
        {"images": pa.array(lists, pa.list_(CELL)), "image": pa.array(cells, CELL)}
    )
    short = shorten_cells(batch.slice(3, 3), Path("/data")).to_pydict()
    expected = [{"bytes": None, "path": "2.jpg"}, {"bytes": None, "path": "3.jpg"}]
    assert short == {"images": [*([cell] for cell in expected), None], "image": [*expected, None]}
