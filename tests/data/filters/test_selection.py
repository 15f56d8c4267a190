from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hffs.data.arrow import open_table
from hffs.data.filters.selection import (
    SIZE_MISSING,
    SIZE_NOT_MEASURED,
    SMALLER_THAN_GRID,
    Filters,
    Measured,
    Removed,
    Selection,
    Shape,
    Sizes,
    SizeTerms,
    read_sizes,
    select,
)
from hffs.data.filters.sizes import limit_steps
from hffs.data.filters.terms import select_all
from hffs.data.locating.local import locate
from hffs.data.source import Source, open_source
from hffs.errors import ConfigError


def make_source(folder: Path, **columns: Sequence[Any] | pa.Array) -> Source:
    path = folder / "0.parquet"
    pq.write_table(pa.table(columns), path)
    return open_source(locate(str(path)))


def each_row(source: Source) -> NDArray[np.int64]:
    return np.arange(source.rows, dtype=np.int64)


def never(wanted: NDArray[np.bool_]) -> Measured:
    raise AssertionError("no image should be measured")


class Headers:
    """Sizes that are measured, and what was asked for."""

    def __init__(
        self, widths: list[int], heights: list[int], orientations: list[int] | None = None
    ) -> None:
        turns = orientations or [1] * len(widths)
        self.sizes = np.array([widths, heights, turns], np.int32)
        self.asked: list[list[int]] = []

    def __call__(self, wanted: NDArray[np.bool_]) -> Measured:
        self.asked.append(np.flatnonzero(wanted).tolist())
        width, height, turn = np.where(wanted, self.sizes, 0)
        return Measured(width, height, turn.astype(np.uint8))


def kept(source: Source, filters: Filters, measure: Headers | None = None) -> list[int]:
    selection = select(source, filters, each_row(source), measure or never)
    return np.flatnonzero(selection.keep).tolist()


def refusal(source: Source, filters: Filters) -> str:
    with pytest.raises(ConfigError) as caught:
        select(source, filters, each_row(source), never)
    return str(caught.value)


def test_without_filters_every_cell_is_kept(tmp_path: Path) -> None:
    source = make_source(tmp_path, width=[1, None], height=[1, 1])
    selection = select(source, Filters(), each_row(source), never)
    assert selection.keep.tolist() == [True, True]
    assert selection.removed == ()


def test_steps_have_an_order_and_count_only_what_earlier_steps_kept(tmp_path: Path) -> None:
    source = make_source(
        tmp_path,
        good=[False, True, True, True, True, True, True, True],
        width=[1, 0, 10, 90, 90, 500, 60, 50],
        height=[1, 50, 10, 10, 90, 90, 20, 50],
    )
    terms = SizeTerms(50, 20, max_width=100, max_height=80, min_aspect=0.9, max_aspect=2)
    selection = select(source, Filters("good", terms), each_row(source), never)
    assert selection.removed == (
        Removed("where", 1),
        Removed(SIZE_MISSING, 1),
        Removed("min_width", 1),
        Removed("min_height", 1),
        Removed("max_width", 1),
        Removed("max_height", 1),
        Removed("min_aspect", 0),
        Removed("max_aspect", 1),
    )
    assert selection.keep.tolist() == [False] * 7 + [True]


@pytest.mark.parametrize(
    ("terms", "rows"),
    [
        (SizeTerms(min_width=200), [1, 2]),
        (SizeTerms(max_width=200), [0, 1]),
        (SizeTerms(min_height=200), [0, 1]),
        (SizeTerms(max_height=200), [1, 2]),
        (SizeTerms(min_aspect=1), [1, 2]),
        (SizeTerms(max_aspect=1), [0, 1]),
        (SizeTerms(min_aspect=1, max_aspect=1), [1]),
        (SizeTerms(min_width=201, max_width=299), []),
    ],
)
def test_limits_are_inclusive(tmp_path: Path, terms: SizeTerms, rows: list[int]) -> None:
    sizes = {"width": [100, 200, 300], "height": [300, 200, 100]}
    assert kept(make_source(tmp_path, **sizes), Filters(sizes=terms)) == rows
    measured = Headers(sizes["width"], sizes["height"])
    bare = make_source(tmp_path, name=["a", "b", "c"])
    assert kept(bare, Filters(sizes=terms), measured) == rows
    assert len(measured.asked) == 1


limits = st.none() | st.integers(1, 60)


@given(
    sizes=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60))),
    least=st.tuples(limits, limits),
    most=st.tuples(limits, limits),
)
def test_limits_agree_with_a_loop(
    sizes: list[tuple[int, int]],
    least: tuple[int | None, int | None],
    most: tuple[int | None, int | None],
) -> None:
    def is_within(values: tuple[int, int]) -> bool:
        ranges = zip(least, values, most, strict=True)
        return all((low or 0) <= value <= (high or 99) for low, value, high in ranges)

    names = ("min_width", "min_height", "max_width", "max_height")
    terms = {n: float(v) for n, v in zip(names, (*least, *most), strict=True) if v is not None}
    array = np.array(sizes, np.int32).reshape(-1, 2)
    keep = np.ones(len(sizes), np.bool_)
    for _, passes in limit_steps(terms, array[:, 0], array[:, 1]):
        keep &= passes
    assert keep.tolist() == [is_within(size) for size in sizes]


def test_a_row_may_have_several_images_or_none(tmp_path: Path) -> None:
    source = make_source(tmp_path, width=[10, 20, 30], height=[1, 1, 1], n=[1, 2, 3])
    cells = np.array([0, 0, 2, 2, 2], np.int64)
    selection = select(source, Filters("n < 3", SizeTerms(min_width=10)), cells, never)
    assert selection.keep.tolist() == [True, True, False, False, False]
    assert selection.removed[0] == Removed("where", 3)
    none = select(source, Filters("n < 3", SizeTerms(min_width=10)), cells[:0], never)
    assert len(none.keep) == 0


def test_sizes_that_no_image_has_are_removed_and_counted_apart(tmp_path: Path) -> None:
    nan = float("nan")
    source = make_source(
        tmp_path, width=[5.0, None, nan, 0.0, -5.0, 5.0], height=[5, 5, 5, 5, 5, None]
    )
    filters = Filters(sizes=SizeTerms(max_aspect=1))
    selection = select(source, filters, each_row(source), never)
    assert selection.keep.tolist() == [True] + [False] * 5
    assert selection.removed == (Removed(SIZE_MISSING, 5), Removed("max_aspect", 0))
    only_width = select(source, Filters(sizes=SizeTerms(min_width=1)), each_row(source), never)
    assert only_width.removed[0] == Removed(SIZE_MISSING, 4)


def test_images_that_could_not_be_measured_are_counted_apart(tmp_path: Path) -> None:
    source = make_source(tmp_path, name=["a", "b", "c"])
    measured = Headers([0, 10, 20], [0, 10, 40])
    filters = Filters(sizes=SizeTerms(min_width=10, min_aspect=1))
    selection = select(source, filters, each_row(source), measured)
    assert selection.keep.tolist() == [False, True, False]
    assert selection.removed == (
        Removed(SIZE_NOT_MEASURED, 1),
        Removed("min_width", 0),
        Removed("min_aspect", 1),
    )
    assert len(measured.asked) == 1


@pytest.mark.parametrize(
    "columns",
    [
        {"height": [1, 1]},
        {"width": ["1", "1"], "height": [1, 1]},
        {"width": [[1], [1]]},
        {"Width": [1, 1], "Height": [1, 1]},
    ],
)
def test_a_dimension_is_measured_where_no_column_of_numbers_has_its_name(
    tmp_path: Path, columns: dict[str, list[Any]]
) -> None:
    source = make_source(tmp_path, **columns)
    measured = Headers([10, 20], [10, 20])
    assert kept(source, Filters(sizes=SizeTerms(min_width=20)), measured) == [1]
    assert len(measured.asked) == 1


def test_a_column_that_has_the_dimensions_name_is_taken_also_alone(tmp_path: Path) -> None:
    source = make_source(tmp_path, width=[10, 20])
    assert kept(source, Filters(sizes=SizeTerms(min_width=20))) == [1]


def test_named_columns_and_struct_fields(tmp_path: Path) -> None:
    size = pa.array([{"w": 5, "h": 9}, {"w": None, "h": 9}, None, {"w": 8, "h": 9}])
    source = make_source(tmp_path, size=size, height=[1, 1, 1, 1])
    named = Filters(sizes=SizeTerms(min_width=5, max_aspect=0.6), width_column="size.w")
    assert kept(source, named) == []
    both = Filters(None, named.sizes, "size.w", "size.h")
    assert kept(source, both) == [0]
    measured = Headers([100] * 4, [9, 9, 9, 4])
    other = Filters(sizes=SizeTerms(max_height=4), width_column="size.w", height_column=None)
    assert kept(make_source(tmp_path, size=size), other, measured) == [3]


def test_a_named_column_and_measured_sizes_are_counted_apart(tmp_path: Path) -> None:
    source = make_source(tmp_path, w=[5, None, 5])
    filters = Filters(sizes=SizeTerms(min_aspect=0.5), width_column="w")
    measured = Headers([9, 9, 0], [10, 10, 0])
    selection = select(source, filters, each_row(source), measured)
    assert selection.keep.tolist() == [True, False, False]
    assert selection.removed[:2] == (Removed(SIZE_MISSING, 1), Removed(SIZE_NOT_MEASURED, 1))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("text", "cannot use width_column text: it holds large_string; name a column of numbers"),
        ("meta", "cannot use width_column meta: it holds struct"),
        ("meta.s", "cannot use width_column meta.s: it holds large_string"),
        ("meta.x", "cannot use width_column meta.x: there is no such field"),
        ("n.x", "cannot use width_column n.x: it holds int64"),
        ("widht", "there is no such column; did you mean width?"),
        ("image", "cannot use width_column image: it holds binary data"),
    ],
)
def test_a_column_that_cannot_be_a_width(tmp_path: Path, path: str, message: str) -> None:
    source = make_source(
        tmp_path, image=[b"x"], text=["7"], n=[1], meta=[{"s": "7"}], width=[1], height=[1]
    )
    assert message in refusal(source, Filters(sizes=SizeTerms(min_width=1), width_column=path))


def test_a_column_that_no_term_needs_is_not_looked_at(tmp_path: Path) -> None:
    source = make_source(tmp_path, w=[1, 2])
    filters = Filters(sizes=SizeTerms(min_width=2), width_column="w", height_column="nowhere")
    assert kept(source, filters) == [1]


@pytest.mark.parametrize("of", ["width", "height", "aspect"])
def test_a_minimum_above_its_maximum_is_refused(of: str) -> None:
    with pytest.raises(ConfigError, match=f"cannot use min_{of} 3: it is above max_{of} 2"):
        SizeTerms(**{f"min_{of}": 3, f"max_{of}": 2})
    assert SizeTerms(**{f"min_{of}": 2, f"max_{of}": 2}).set_limits()


def test_duckdb_is_loaded_only_for_a_condition() -> None:
    code = "import sys, hffs.data.filters.selection; sys.exit('duckdb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_step_in_order_and_each_cell_says_which_removed_it(tmp_path: Path) -> None:
    nan = float("nan")
    source = make_source(
        tmp_path,
        collection=["art", "art", "art", "map", "art", "art", "art", "art"],
        q=[{"clip": clip} for clip in (None, 0.1, 0.9, 0.9, nan, 0.9, 0.9, 0.9)],
        good=[True, True, False, True, True, True, True, True],
        width=[9, 9, 9, 9, 9, 0, 1, 9],
        height=[9] * 8,
    )
    filters = Filters(
        where="good",
        sizes=SizeTerms(min_width=5),
        collection=("art",),
        quality_thresholds={"clip": 0.5},
        quality_column="q",
    )
    selection = select(source, filters, each_row(source), never)
    assert selection.steps == (
        "collection", "clip is missing", "quality_thresholds clip", "where", SIZE_MISSING,
        "min_width",
    )  # fmt: skip
    assert selection.reasons.tolist() == [2, 3, 4, 1, 2, 5, 6, 0]
    assert [step.count for step in selection.removed] == [1, 2, 1, 1, 1, 1]
    assert selection.keep.tolist() == [False] * 7 + [True]


steps = st.lists(st.lists(st.booleans(), min_size=5, max_size=5), max_size=6)


@given(steps=steps)
def test_a_selection_agrees_with_a_loop(steps: list[list[bool]]) -> None:
    chosen = select_all(5)
    for number, passes in enumerate(steps):
        chosen = chosen.after(str(number), np.array(passes))
    first = [
        next((n for n, passes in enumerate(steps, 1) if not passes[cell]), 0) for cell in range(5)
    ]
    assert chosen.reasons.tolist() == first
    assert chosen.keep.tolist() == [reason == 0 for reason in first]
    assert [step.count for step in chosen.removed] == [
        first.count(n) for n in range(1, len(steps) + 1)
    ]


def test_more_steps_than_reasons_can_say_are_refused() -> None:
    full = Selection(np.zeros(1, np.uint8), tuple("s" * 255))
    with pytest.raises(ConfigError, match="more than 255 steps"):
        full.after("one more", np.ones(1, np.bool_))


def test_only_images_that_are_still_kept_are_measured(tmp_path: Path) -> None:
    source = make_source(tmp_path, good=[True, False, True], w=[5, 5, None])
    headers = Headers([10, 10, 10], [10, 20, 30])
    filters = Filters("good", SizeTerms(min_height=5), width_column="w")
    assert kept(source, filters, headers) == [0, 2]
    assert headers.asked == [[0, 2]]
    both = Filters("good", SizeTerms(min_aspect=0.1), width_column="w")
    assert kept(source, both, headers) == [0]
    assert headers.asked[1:] == [[0]]


@pytest.mark.parametrize("column", ["size.w", "json.w", "json.in.w", "json.w.x"])
def test_sizes_in_structs_and_json(tmp_path: Path, column: str) -> None:
    texts = ['{"w": 5, "in": {"w": 5}, "w.x": 5}', None, "{", '{"w": "7"}', '{"w": 9, "in": []}']
    texts[4] = '{"w": 9.0, "in": {"w": 9}, "w.x": 9}'
    widths = [{"w": w} for w in (5, None, 0, -1, 9)]
    source = make_source(tmp_path, size=widths, json=texts, height=[3] * 5)
    filters = Filters(sizes=SizeTerms(min_aspect=2), width_column=column)
    selection = select(source, filters, each_row(source), never)
    assert selection.keep.tolist() == [False] * 4 + [True]
    assert selection.removed == (Removed(SIZE_MISSING, 3), Removed("min_aspect", 1))


def turn_upright(
    width: NDArray[np.int32], height: NDArray[np.int32], orientation: NDArray[np.uint8]
) -> Sizes:
    turned = orientation >= 5
    return np.where(turned, height, width), np.where(turned, width, height)


def quarter(width: NDArray[np.int32], height: NDArray[np.int32], _: NDArray[np.uint8]) -> Sizes:
    fits = (width >= 2) & (height >= 2)
    return np.where(fits, width // 2, 0), np.where(fits, height // 2, 0)


def test_limits_are_on_what_a_shape_makes_of_sizes(tmp_path: Path) -> None:
    source = make_source(tmp_path, n=[1, 2, 3])
    headers = Headers([10, 10, 0], [20, 20, 0], [1, 6, 0])
    upright = Filters(sizes=SizeTerms(min_width=15), shape=turn_upright)
    assert kept(source, upright, headers) == [1]
    columns = make_source(tmp_path, width=[10, 20], height=[20, 10])
    assert kept(columns, upright) == [1]
    half = make_source(tmp_path, width=[10, 20])
    assert kept(half, upright, Headers([9, 9], [30, 30], [6, 6])) == [1]


@pytest.mark.parametrize("shape", [None, turn_upright])
def test_regression_what_no_column_tells_is_measured_as_it_is_displayed(
    tmp_path: Path, shape: Shape | None
) -> None:
    source = make_source(tmp_path, width=[9, 30])
    headers = Headers([30, 30], [9, 9], [6, 1])
    assert kept(source, Filters(sizes=SizeTerms(max_aspect=0.5), shape=shape), headers) == [0]
    wanted = np.ones(2, np.bool_)
    sizes = read_sizes(source, Filters(shape=shape), each_row(source), wanted, headers)
    assert [size.tolist() for size in sizes] == [[9, 30], [30, 9]]


def test_a_composite_smaller_than_its_grid_is_a_step_of_its_own(tmp_path: Path) -> None:
    source = make_source(tmp_path, width=[10, 1, None, 6], height=[10, 10, 10, 1])
    composite = Filters(shape=quarter, composite=True)
    selection = select(source, composite, each_row(source), never)
    assert selection.reasons.tolist() == [0, 2, 1, 2]
    assert selection.steps == (SIZE_MISSING, SMALLER_THAN_GRID)
    bare = make_source(tmp_path, n=[1, 2, 3])
    limited = Filters("n < 3", SizeTerms(max_width=5), shape=quarter, composite=True)
    headers = Headers([10, 12, 10], [10, 10, 10])
    selection = select(bare, limited, each_row(bare), headers)
    assert selection.removed == (
        Removed("where", 1),
        Removed(SIZE_NOT_MEASURED, 0),
        Removed(SMALLER_THAN_GRID, 0),
        Removed("max_width", 1),
    )
    assert headers.asked == [[0, 1]]


def test_sizes_are_read_without_limits(tmp_path: Path) -> None:
    cells, all_cells = np.array([0, 0, 2], np.int64), np.ones(3, np.bool_)
    source = make_source(tmp_path, width=[10, 20, None], height=[7, 8, 9])
    assert [size.tolist() for size in read_sizes(source, Filters(), cells, all_cells, never)] == [
        [10, 10, 0], [7, 7, 9],
    ]  # fmt: skip
    halved = read_sizes(source, Filters(shape=quarter), cells, all_cells, never)
    assert [size.tolist() for size in halved] == [[5, 5, 0], [3, 3, 0]]
    bare = make_source(tmp_path, n=[1, 2, 3])
    headers = Headers([10, 12, 14], [20, 22, 24], [6, 6, 1])
    wanted = np.array([True, False, True])
    sizes = read_sizes(bare, Filters(shape=turn_upright), each_row(bare), wanted, headers)
    assert [size.tolist() for size in sizes] == [[20, 0, 14], [10, 0, 24]]
    assert headers.asked == [[0, 2]]
    assert sizes[0].dtype == sizes[1].dtype == np.int32


def test_huge_and_broken_numbers_are_no_crash(tmp_path: Path) -> None:
    inf = float("inf")
    source = make_source(tmp_path, width=[1e300, inf, -inf, 0.5, 7.9], height=[1.0] * 5)
    assert kept(source, Filters(sizes=SizeTerms(min_width=8))) == [0, 1]
    assert kept(source, Filters(sizes=SizeTerms(min_width=7))) == [0, 1, 4]


FILTERS = {
    "collection": Filters(collection=("art",)),
    "class": Filters(collection=(1, 2), collection_column="number"),
    "quality struct": Filters(quality_thresholds={"clip": 0.5}),
    "quality JSON": Filters(quality_thresholds={"clip": 0.5}, quality_column="json"),
    "quality column": Filters(quality_thresholds={"number": 1}),
    "where": Filters(where="number > 3 AND quality_assessment.clip > 0.5 AND json->>'clip' != '1'"),
    "sizes": Filters(sizes=SizeTerms(min_width=5, max_aspect=2)),
    "sizes in JSON": Filters(sizes=SizeTerms(min_width=5), width_column="json.w"),
    "all": Filters(
        where="number < 60",
        sizes=SizeTerms(min_width=5),
        collection=("art",),
        quality_thresholds={"clip": 0.5},
    ),
}
IMAGE_BYTES, IMAGE_ROWS = 1 << 20, 64


@dataclass(frozen=True, slots=True)
class Taken:
    """Bytes that some step read from files, and pages of maps and memory that it touched."""

    read: int
    touched: int
    kept: int = 0


@pytest.fixture(scope="module", params=["parquet", "arrow"])
def taken(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Taken]:
    """What each of FILTERS takes of a file with images, and what reading these takes."""
    path = _write_images(tmp_path_factory.mktemp("images") / f"0.{request.param}")
    # In a process of its own: memory that earlier tests freed is still held here, and used again.
    with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
        return fresh.submit(_take, path).result()


@pytest.mark.parametrize("name", FILTERS)
def test_image_bytes_are_never_read(taken: dict[str, Taken], name: str) -> None:
    assert 0 < taken[name].kept < IMAGE_ROWS
    assert max(taken[name].read, taken[name].touched) < IMAGE_ROWS * IMAGE_BYTES // 4


def test_bytes_that_are_read_would_be_noticed(taken: dict[str, Taken]) -> None:
    images = taken["images"]
    assert max(images.read, images.touched) > IMAGE_ROWS * IMAGE_BYTES // 2


def _take(path: Path) -> dict[str, Taken]:
    source = open_source(locate(str(path)))
    taken = {name: _take_by_filter(source, filters) for name, filters in FILTERS.items()}
    return taken | {"images": _taking(lambda: _read_images(source))}


def _take_by_filter(source: Source, filters: Filters) -> Taken:
    def run() -> int:
        return int(np.count_nonzero(select(source, filters, each_row(source), never).keep))

    run()  # loads DuckDB, if that is needed
    return _taking(run)


def _read_images(source: Source) -> int:
    (shard,) = source.shards
    if shard.layout == "parquet":
        images = pq.read_table(shard.path, columns=["image"])["image"]
    else:
        images = open_table(shard.path)["image"]
    parts = [chunk.field("bytes") for chunk in images.chunks]
    return sum(pc.sum(pc.count_substring(part, b"a")).as_py() > 0 for part in parts)


def _taking(step: Callable[[], int]) -> Taken:
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins again at what is held now
    read, held = _bytes_read(), _highest_memory()
    kept = step()
    return Taken(_bytes_read() - read, _highest_memory() - held, kept)


def _bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


def _highest_memory() -> int:
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) << 10


def _write_images(path: Path) -> Path:
    rng = np.random.default_rng(0)
    count = IMAGE_ROWS
    table = pa.table(
        {
            "number": range(count),
            "image": [{"bytes": rng.bytes(IMAGE_BYTES), "path": None} for _ in range(count)],
            "collection": ["art", "map"] * (count // 2),
            "quality_assessment": [{"clip": n / count, "aes": 1.0} for n in range(count)],
            "json": [f'{{"clip": {n}, "w": {n}}}' for n in range(count)],
            "width": range(count),
            "height": [5] * count,
        }
    )
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=4, compression="none", use_dictionary=["json"])
    else:
        with pa.ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=4)
    return path
