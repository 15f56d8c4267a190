"""Cells of Parquet shards that are read where they lie, beside those of the same shards here."""

from __future__ import annotations

import shutil
import tempfile
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.core.formats import MediaFormat
from hffs.data.cache import DiskCache
from hffs.data.cells.building import load_index, load_or_build
from hffs.data.cells.columns import find_media_column
from hffs.data.cells.listing import Listed, save_listing
from hffs.data.fetchers import Fetchers
from hffs.data.locating.local import locate
from hffs.data.metadata import read_columns
from hffs.data.pages import PageStore
from hffs.data.rows import RowStore
from hffs.data.source import open_source
from hffs.errors import DataError, FormatError, OutageError, SourceError
from tests.ranges import LocalReader, move_away


def _image(seed: int, size: int = 40) -> bytes:
    return b"\xff\xd8\xff" + np.random.default_rng(seed).bytes(size)


class Far:
    """A data set that is read where it lies."""

    def __init__(self, path: Path, folder: Path, column: str | None = None) -> None:
        self.reader = LocalReader()
        self.located = move_away(locate(str(path)))
        self.source = open_source(self.located, self.reader)
        image = find_media_column(self.source, column)
        self.index = load_or_build(folder / "far", self.source, image, lambda done, total: None)
        self.indexed_bytes = self.reader.asked_bytes
        self.cache = DiskCache(folder / "blobs", 1 << 30)
        self.pages = PageStore(self.index, self.located, self.reader, self.cache)
        self.rows = RowStore(
            self.index, self.located, self.cache, fetchers=Fetchers(pages=self.pages)
        )

    def read_all(self) -> list[tuple[int, int, bytes]]:
        data = [bytes(self.rows.load(cell)) for cell in range(len(self.index))]
        return list(zip(self.index.row.tolist(), self.index.item.tolist(), data, strict=True))


WRITERS: dict[str, dict[str, Any]] = {
    "datasets 5": dict(compression="none", use_dictionary=False, write_page_index=True),
    "datasets 4.1": dict(
        compression="snappy", write_page_index=True, dictionary_pagesize_limit=300
    ),
    "datasets 4.0": dict(compression="snappy", row_group_size=7),
    "pyarrow": {},
    "pages v2": dict(data_page_version="2.0", compression="zstd", write_page_index=True),
    "checksums": dict(
        compression="none", use_dictionary=False, write_page_index=True, write_page_checksum=True
    ),
    "gzip": dict(compression="gzip", write_page_index=True, use_dictionary=False),
    "delta": dict(
        use_dictionary=False, column_encoding="DELTA_LENGTH_BYTE_ARRAY", write_page_index=True
    ),
}
"""Layouts of real files, by what writes them."""

TABLES: dict[str, Callable[[int], pa.Table]] = {
    "struct": lambda n: pa.table({"image": [{"bytes": _image(i), "path": None} for i in range(n)]}),
    "binary": lambda n: pa.table({"image": [_image(i) for i in range(n)]}),
    "some null": lambda n: pa.table(
        {"image": [{"bytes": _image(i) if i % 3 else None, "path": None} for i in range(n)]}
    ),
    "null structs": lambda n: pa.table(
        {"image": [{"bytes": _image(i), "path": "x.jpg"} if i % 4 else None for i in range(n)]}
    ),
    "list": lambda n: pa.table(
        {
            "image": [
                [{"bytes": _image(i * 9 + k), "path": None} for k in range(i % 3)] for i in range(n)
            ]
        }
    ),
    "list of binary": lambda n: pa.table(
        {
            "image": [
                None if i % 5 == 4 else [_image(i * 9 + k) for k in range(i % 3)] for i in range(n)
            ]
        }
    ),
}


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("writer", WRITERS)
def test_the_same_cells_as_of_the_file_on_this_host(
    writer: str, kind: str, sets: Any, tmp_path: Path
) -> None:
    options = dict(data_page_size=200, write_batch_size=3, row_group_size=23) | WRITERS[writer]
    if writer == "delta":
        leaf = {"struct": "image.bytes", "some null": "image.bytes", "null structs": "image.bytes"}
        name = leaf.get(kind, "image" if kind == "binary" else None)
        if name is None:
            name = "image.list.element" + ("" if "binary" in kind else ".bytes")
        options["column_encoding"] = {name: "DELTA_LENGTH_BYTE_ARRAY"}
    path = tmp_path / "set.parquet"
    pq.write_table(TABLES[kind](60), path, **options)
    here = sets.open(path, tmp_path / "here")
    far = Far(path, tmp_path)
    assert far.read_all() == here.read_all()
    assert far.index.dropped == here.index.dropped
    assert far.index.far.all()


def test_the_index_of_a_plain_column_takes_no_page(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    images = [{"bytes": _image(n, 30_000), "path": None} for n in range(100)]
    pq.write_table(pa.table({"image": images}), path, data_page_size=50_000, write_batch_size=1,
                   **WRITERS["datasets 5"])  # fmt: skip
    far = Far(path, tmp_path)
    assert far.indexed_bytes <= 1 << 16
    far.reader.asked.clear()
    assert bytes(far.rows.load(50)) == images[50]["bytes"]
    assert 30_000 < far.reader.asked_bytes < 100_000
    again = far.reader.asked_bytes
    assert bytes(far.rows.load(50)) == images[50]["bytes"]
    assert far.reader.asked_bytes == again


def test_rows_of_a_chunk_without_index_are_kept_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    pq.write_table(TABLES["struct"](30), path, **WRITERS["datasets 4.0"])
    far = Far(path, tmp_path)
    assert far.index.chunks.whole.all()
    assert bytes(far.rows.load(8)) == _image(8)
    far.reader.failing = OutageError("cannot fetch", why="the network is gone")
    assert bytes(far.rows.load(13)) == _image(13)
    with pytest.raises(OutageError):
        far.rows.load(14)
    far.reader.failing = None
    assert bytes(far.rows.load(14)) == _image(14)


def test_a_chunk_without_index_is_fetched_ahead_once(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    pq.write_table(TABLES["struct"](7), path, **WRITERS["datasets 4.0"])
    far = Far(path, tmp_path)
    for _ in range(2):
        far.reader.asked.clear()
        for done in far.pages.begin([0]):
            done.result(10)
    assert far.reader.asked == []
    assert far.read_all() == [(number, 0, _image(number)) for number in range(7)]
    assert far.reader.asked == []


def test_images_as_base64(sets: Any, tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    texts = [b64encode(_image(n)).decode() for n in range(20)]
    texts[3] = "data:image/jpeg;base64," + texts[3]
    texts[7] = texts[7][:-5] + "!" + texts[7][-4:]
    texts[9] = ""
    pq.write_table(pa.table({"image_base64": texts}), path, write_page_index=True)
    far = Far(path, tmp_path)
    for cell in range(20):
        if cell in (7, 9):
            with pytest.raises(FormatError, match=f"cannot decode the image of row {cell} of"):
                far.rows.load(cell)
        else:
            assert bytes(far.rows.load(cell)) == _image(cell)


def test_a_value_without_bytes_is_seen_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    pq.write_table(pa.table({"image": [_image(0), b""]}), path, write_page_index=True)
    far = Far(path, tmp_path)
    assert len(far.index) == 2
    with pytest.raises(
        FormatError, match=r"cannot decode the image of row 1 of .*: it has no bytes"
    ):
        far.rows.load(1)


def test_names_instead_of_images_are_read_at_once(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    urls = [f"https://example.org/{n}.jpg" for n in range(5)]
    pq.write_table(pa.table({"image_url": urls}), path)
    far = Far(path, tmp_path)
    assert [far.index.urls.name(n).decode() for n in range(5)] == urls
    assert not len(far.index.pages)


@pytest.mark.parametrize("writer", ["datasets 5", "datasets 4.0"])
def test_a_slice_reads_only_its_own_row_groups(writer: str, tmp_path: Path) -> None:
    path = tmp_path / "set-train.parquet"
    table = TABLES["struct"](60).append_column("n", pa.array(range(60)))
    pq.write_table(table, path, **{**WRITERS[writer], "row_group_size": 10})
    reader = LocalReader()
    source = open_source(move_away(locate(str(path), "train[25:38]")), reader)
    assert read_columns(source, ["n"])["n"].to_pylist() == list(range(25, 38))
    column = find_media_column(source, None)
    index = load_or_build(tmp_path / "far", source, column, lambda done, total: None)
    cache = DiskCache(tmp_path / "blobs", 1 << 30)
    pages = PageStore(index, source, reader, cache)
    rows = RowStore(index, source, cache, fetchers=Fetchers(pages=pages))
    assert [bytes(rows.load(cell)) for cell in range(13)] == [_image(n) for n in range(25, 38)]


IMAGES = st.one_of(st.none(), st.binary(min_size=1, max_size=60))
CELLS = st.one_of(
    st.none(), st.builds(lambda data, path: {"bytes": data, "path": path}, IMAGES, st.none())
)


@given(
    cells=st.lists(CELLS, min_size=1, max_size=40),
    listed=st.booleans(),
    options=st.fixed_dictionaries(
        {
            "use_dictionary": st.booleans(),
            "data_page_version": st.sampled_from(["1.0", "2.0"]),
            "data_page_size": st.sampled_from([40, 100, 10_000]),
            "write_batch_size": st.sampled_from([1, 3, 100]),
            "row_group_size": st.sampled_from([1, 4, 100]),
            "write_page_index": st.booleans(),
            "write_page_checksum": st.booleans(),
            "compression": st.sampled_from(["none", "snappy", "zstd", "gzip", "brotli", "lz4"]),
        }
    ),
)
def test_any_file_gives_what_it_gives_here(
    cells: list[Any], listed: bool, options: dict[str, Any], sets: Any
) -> None:
    """Pages of at least 40 bytes: of smaller ones pyarrow loses rows that are null."""
    folder = Path(tempfile.mkdtemp())
    try:
        _compare(cells, folder, options, sets, listed=listed)
    finally:
        shutil.rmtree(folder)


def _compare(
    cells: list[Any], folder: Path, options: dict[str, Any], sets: Any, *, listed: bool
) -> None:
    kind: Any = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    values: list[Any] = cells
    if listed:
        kind = pa.list_(kind)
        values = [
            cells[at : at + n % 4] if n % 5 else None for n, at in enumerate(range(len(cells)))
        ]
    path = folder / "set.parquet"
    pq.write_table(pa.table({"image": pa.array(values, kind)}), path, **options)
    here = sets.open(path, folder / "here")
    far = Far(path, folder)
    assert far.read_all() == here.read_all()
    assert far.index.dropped == here.index.dropped


@given(data=st.data())
def test_damaged_files_give_what_they_hold_or_an_error(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Footers are left whole: pyarrow ends the process over some broken ones, which is a child."""
    folder = tmp_path_factory.mktemp("damaged")
    path = folder / "set.parquet"
    writer = data.draw(st.sampled_from(["datasets 5", "datasets 4.1", "pages v2", "checksums"]))
    kind = data.draw(st.sampled_from(["struct", "some null", "list"]))
    pq.write_table(TABLES[kind](30), path, **{**WRITERS[writer], "data_page_size": 300})
    raw = bytearray(path.read_bytes())
    end = len(raw) - 8 - int.from_bytes(raw[-8:-4], "little")
    for at in data.draw(st.lists(st.integers(4, end - 1), min_size=1, max_size=5)):
        raw[at] = data.draw(st.integers(0, 255))
    path.write_bytes(raw)
    try:
        far = Far(path, folder)
    except (DataError, SourceError):
        return
    for cell in range(len(far.index)):
        with suppress(DataError, SourceError):
            assert len(far.rows.load(cell)) > 0


@pytest.mark.parametrize("writer", ["datasets 5", "datasets 4.0"])
def test_what_was_fetched_waits_for_nobody(writer: str, tmp_path: Path) -> None:
    pq.write_table(TABLES["binary"](30), tmp_path / "set.parquet", **WRITERS[writer])
    far = Far(tmp_path / "set.parquet", tmp_path)
    assert far.rows.waits_for_network(3)
    far.rows.load(3)
    assert not far.rows.waits_for_network(3)
    again = PageStore(far.index, far.located, far.reader, far.cache)
    assert again.is_here(int(far.index.offset[3]))


def test_regression_paths_without_rows_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    pq.write_table(TABLES["some null"](30), path, **{**WRITERS["pages v2"], "data_page_size": 300})
    chunk = pq.read_metadata(path).row_group(0).column(1)
    assert chunk.path_in_schema == "image.path"
    raw = bytearray(path.read_bytes())
    raw[chunk.data_page_offset + 1] = 1  # a page of another kind, which is passed over
    path.write_bytes(raw)
    with pytest.raises(FormatError, match="its paths have no rows"):
        Far(path, tmp_path)


def test_files_that_cells_name_are_cells_where_a_listing_has_them(tmp_path: Path) -> None:
    names = ["a.jpg", "sub/b.PNG", "c.bin", "gone.jpg", "../out.jpg", "none.jpg", None]
    pq.write_table(pa.table({"image_path": names}), tmp_path / "set.parquet")
    files = [
        Listed(b"a.jpg", 5, b"1"), Listed(b"sub/b.PNG", 6, b"2"), Listed(b"c.bin", 7, b"3"),
        Listed(b"none.jpg", 0, b"4"),
    ]  # fmt: skip
    save_listing(tmp_path / "listing", files)
    located = replace(locate(str(tmp_path / "set.parquet")), listing=tmp_path / "listing")
    source = open_source(located)
    column = find_media_column(source, None)
    for _ in range(2):  # made, then loaded
        index = load_or_build(tmp_path / "far", source, column, lambda done, total: None)
        assert index.row.tolist() == [0, 1, 2]
        assert index.length.tolist() == [5, 6, -1]
        assert index.format.tolist() == [MediaFormat.JPEG, MediaFormat.PNG, MediaFormat.UNKNOWN]
        assert [index.far_files.name(n) for n in range(3)] == [b"a.jpg", b"sub/b.PNG", b"c.bin"]
        assert [index.far_files.etags.name(n) for n in range(3)] == [b"1", b"2", b"3"]
        assert index.far.all()
        dropped = {"file missing": 1, "path outside the data set": 1, "empty file": 1}
        assert index.dropped == dropped | {"null image": 1}
    assert load_index(tmp_path / "far", located) is not None  # nothing is missing but for good
    cache = DiskCache(tmp_path / "blobs", 1 << 30)
    rows = RowStore(index, located, cache)
    assert rows.is_far(0)
    assert not rows.waits_for_network(0)
    with pytest.raises(SourceError, match="nothing here may ask another host"):
        rows.load(0)
    assert rows.read(0) is None


def test_claims_of_large_pages_are_refused_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "set.parquet"
    pq.write_table(TABLES["struct"](30), path, **WRITERS["datasets 5"])
    far = Far(path, tmp_path)
    monkeypatch.setattr("hffs.data.pages._MOST_STORED_BYTES", 10)
    asked = len(far.reader.asked)
    with pytest.raises(FormatError, match=r"a page of .* bytes is over 10"):
        far.rows.load(0)
    assert far.pages.begin([0]) == []
    assert len(far.reader.asked) == asked
    monkeypatch.setattr("hffs.data.remote.parquet._MOST_BYTES", 10)
    with pytest.raises(FormatError, match="bytes at once are over 10"):
        Far(path, tmp_path / "other")


@pytest.mark.parametrize("most", [1, 1 << 20])
def test_long_columns_are_read_piece_by_piece(
    most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hffs.data.remote.parquet._BYTES_AHEAD", most)
    monkeypatch.setattr("hffs.data.metadata.FETCH_BYTES", 10_000)
    texts = [f"{number} {'x' * 1000}" for number in range(300)]
    for name in ("0", "1"):
        pq.write_table(pa.table({"t": texts}), tmp_path / f"{name}.parquet", compression="none",
                       use_dictionary=False)  # fmt: skip
    reader = LocalReader()
    source = open_source(move_away(locate(str(tmp_path))), reader)
    assert read_columns(source, ["t"])["t"].to_pylist() == texts * 2
