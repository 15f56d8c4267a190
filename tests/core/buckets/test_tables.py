import numpy as np
import pytest

from hffs.core.buckets import assign
from tests.core.buckets.tables import Table, read_tables

TABLES = read_tables()


def test_there_are_tables_of_each_generator() -> None:
    assert {table.spec.generator for table in TABLES} == {"aspect", "grid", "list", "free"}
    assert all(len(table.buckets) == len(table.sizes) > 100 for table in TABLES)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_buckets_are_those_of_the_trainer(table: Table) -> None:
    made = assign(table.sizes, table.spec, np.arange(len(table.sizes), dtype=np.uint64))
    assert made.image.tolist() == list(range(len(table.sizes)))
    assert made.sizes[made.bucket].tolist() == table.buckets.tolist()
    if table.resized is None:
        return
    # SimpleTuner cuts squares of 768 pixels also out of images that are 704 high; see below.
    covered = np.all(table.resized >= table.buckets, axis=1)
    assert covered.mean() > 0.5
    assert made.resized[covered].tolist() == table.resized[covered].tolist()
    if table.crops is not None:
        assert made.crop[covered].tolist() == table.crops[covered].tolist()


@pytest.mark.parametrize(
    "table", [t for t in TABLES if t.resized is not None], ids=lambda table: table.name
)
def test_where_a_trainer_cuts_past_the_border_the_image_is_enlarged_in_proportion(
    table: Table,
) -> None:
    made = assign(table.sizes, table.spec, np.arange(len(table.sizes), dtype=np.uint64))
    assert table.resized is not None
    short = (table.resized < table.buckets).any(axis=1)
    assert (made.resized >= table.buckets).all()
    scales = made.resized[short] / table.resized[short]
    np.testing.assert_allclose(scales[:, 0], scales[:, 1], rtol=0.005)
    # By no more than is needed, but for rounding.
    slack = (made.resized[short] - table.buckets[short]).min(axis=1)
    assert (slack <= 1).all()
