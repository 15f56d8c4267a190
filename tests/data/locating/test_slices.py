"""Slices and sums of splits: the rows are those that `datasets` itself would take."""

from __future__ import annotations

from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.data.cells.building import load_or_build
from hffs.data.cells.columns import find_media_column
from hffs.data.locating.local import locate
from hffs.data.locating.slices import find_windows
from hffs.data.metadata import ColumnPath, read_columns, read_rows, read_tables
from hffs.data.shards import Located, Shard, identify, parse_terms, pin_shards
from hffs.data.source import Source, open_source
from hffs.errors import ConfigError

ROWS = {"train": (7, 0, 5), "test": (4,)}
TOTALS = {split: sum(rows) for split, rows in ROWS.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of shards whose rows are numbered through all splits, and some of them empty."""
    root = tmp_path_factory.mktemp("set")
    first = 0
    for split, counts in ROWS.items():
        for number, count in enumerate(counts):
            numbers = list(range(first, first + count))
            images = [{"bytes": b"\xff\xd8\xff%d" % n, "path": None} for n in numbers]
            kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
            table = pa.table({"image": pa.array(images, kind), "n": pa.array(numbers, pa.int64())})
            pq.write_table(table, root / f"{split}-{number}.parquet", row_group_size=3)
            first += count
    return root


def _open(folder: Path, split: str) -> Source:
    return open_source(locate(str(folder), split))


def _expect(split: str) -> list[int]:
    names = {"train": 0, "test": TOTALS["train"]}
    parts = datasets.ReadInstruction.from_spec(split).to_absolute(TOTALS)
    return [names[part.splitname] + row for part in parts for row in range(part.from_, part.to)]


EDGE = st.one_of(
    st.just(""), st.integers(-12, 12).map(str), st.integers(-100, 100).map("{}%".format)
)


@st.composite
def slices(draw: st.DrawFn) -> str:
    split = draw(st.sampled_from(["train", "test"]))
    low, high = draw(EDGE), draw(EDGE)
    if bool(low) and bool(high) and low.endswith("%") != high.endswith("%"):
        high = ""
    return draw(st.sampled_from([split, f"{split}[{low}:{high}]"]))


@given(terms=st.lists(slices(), min_size=1, max_size=3))
def test_rows_are_those_of_datasets(folder: Path, terms: list[str]) -> None:
    split = "+".join(terms)
    try:
        expected = _expect(split)
    except (ValueError, AssertionError):
        with pytest.raises(ConfigError, match="cannot use split"):
            _open(folder, split)
        return
    source = _open(folder, split)
    assert source.rows == len(expected)
    assert read_columns(source, ["n"])["n"].to_pylist() == expected
    tables = read_tables(source, [ColumnPath("n", pa.int64())])
    assert [n for table in tables for n in table["n"].to_pylist()] == expected


@pytest.mark.parametrize("split", ["train[2:9]", "test[1:]+train[:1]", "train[-3:]", "train[9:9]"])
def test_cells_count_from_the_first_row_of_the_slice(
    split: str, folder: Path, tmp_path: Path
) -> None:
    source = _open(folder, split)
    column = find_media_column(source, None)
    steps: list[tuple[int, int]] = []
    index = load_or_build(tmp_path / "index", source, column, lambda *step: steps.append(step))
    assert index.row.tolist() == list(range(len(_expect(split))))
    assert not steps or steps[-1] == (source.rows, source.rows)


def test_rows_of_a_slice_are_read_by_number(folder: Path) -> None:
    source = _open(folder, "train[3:]+test")
    wanted = np.array([0, 5, 8, 12], np.int64)
    found = [n for _, batch in read_rows(source, ["n"], wanted) for n in batch["n"].to_pylist()]
    assert found == [_expect("train[3:]+test")[row] for row in wanted.tolist()]


def test_what_is_kept_of_a_slice_is_kept_apart(folder: Path) -> None:
    splits = ("train", "train[:5]", "train[:6]", "train[:5]+test", "test+train[:5]")
    located = [locate(str(folder), split) for split in splits]
    assert len({identify(each) for each in located}) == len(splits)
    assert len({str(pin_shards(each)) for each in located}) == len(splits)
    assert identify(locate(str(folder), "train")) == identify(locate(str(folder)))


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("train[a:b]", r"cannot use split train\[a:b\]: Unrecognized instruction format"),
        ("train[:50%](pct1_dropremainder)", "less than 100"),
    ],
)
def test_a_slice_that_cannot_be_is_one_line(split: str, message: str, folder: Path) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        _open(folder, split)
    assert "\n" not in str(caught.value)


def test_a_split_may_have_a_dot_in_its_name() -> None:
    shard = Shard(Path("/x"), "x", 1, 1, "parquet")
    (term,) = parse_terms("a.b[1:3]")
    located = Located("x", Path("/"), (shard,), terms=((term, 1),))
    assert find_windows(located, [5]) == ((1, 3),)
