"""Picking a few images: evenly, and without decoding more than a few row groups."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.data.cells.building import CellIndex, load_or_build
from hffs.data.cells.columns import find_media_column
from hffs.data.locating.local import locate
from hffs.data.source import open_source
from hffs.view.inspection.picking import MOST_GROUPS, pick_sample, pick_spread, spread

ROWS = 400
GROUP_ROWS = 4


@pytest.fixture(params=["none", "snappy"])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> CellIndex:
    path = tmp_path / "set.parquet"
    cells = [{"bytes": b"\xff\xd8\xff image %d" % row, "path": None} for row in range(ROWS)]
    options = {"compression": request.param, "use_dictionary": False}
    pq.write_table(pa.table({"image": cells}), path, row_group_size=GROUP_ROWS, **options)
    source = open_source(locate(str(path), "train"))
    column = find_media_column(source, None)
    return load_or_build(tmp_path / "index", source, column, lambda done, total: None)


@given(st.integers(0, 10**7), st.integers(0, 100))
def test_numbers_that_are_spread_are_different_and_within(count: int, most: int) -> None:
    numbers = spread(count, most).tolist()
    assert len(numbers) == min(count, most)
    assert numbers == sorted(set(numbers))
    assert all(0 <= number < count for number in numbers)
    steps = np.diff(numbers)
    assert not len(steps) or steps.max() - steps.min() <= 1


@pytest.mark.parametrize("pick", [pick_spread, pick_sample])
def test_as_many_as_asked_for_are_picked_of_a_few_groups(
    index: CellIndex,
    pick: type(pick_spread),  # type: ignore[valid-type] # both are called alike
) -> None:
    cells = np.arange(10, ROWS, 2)
    places = pick(index, cells, 40)
    assert len(set(places.tolist())) == 40
    assert places.tolist() == sorted(places.tolist())
    rows = index.row[cells[places]]
    assert rows.max() > ROWS * 0.9
    assert rows.min() < ROWS * 0.1
    groups = set((rows // GROUP_ROWS).tolist())
    is_compressed = len(index.segments.kind) > 1
    assert len(groups) <= MOST_GROUPS if is_compressed else len(groups) > MOST_GROUPS


def test_few_are_picked_of_all_groups(index: CellIndex) -> None:
    places = pick_spread(index, np.arange(ROWS), 10)
    assert places.tolist() == list(range(0, ROWS, ROWS // 10))


def test_a_sample_is_the_same_each_time(index: CellIndex) -> None:
    cells = np.arange(ROWS)
    assert np.array_equal(pick_sample(index, cells, 50), pick_sample(index, cells, 50))
    assert (
        pick_sample(index, cells, ROWS).tolist() == cells.tolist() or len(index.segments.kind) > 1
    )
    assert len(pick_sample(index, cells[:0], 50)) == 0
