"""Parts of values in pages of Parquet shards that are read where they lie."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hffs.core.levels import Levels
from hffs.core.page_values import decode_page
from hffs.data import page_places, pages
from hffs.data.cache import DiskCache
from hffs.data.cells.building import load_or_build
from hffs.data.cells.columns import find_media_column
from hffs.data.cells.index import SLOT_BITS
from hffs.data.locating.local import locate
from hffs.data.page_places import FarPage, ValuePlaces
from hffs.data.pages import PageStore
from hffs.data.remote.files import Range, RangeReader, RemoteFile
from hffs.data.source import open_source
from hffs.errors import FormatError, OutageError, StaleError
from tests.data.far_values import list_bytes, open_fetcher, put_file
from tests.hub import HubServer
from tests.ranges import LocalReader, move_away

MIB = 1 << 20


def _film(seed: int, size: int) -> bytes:
    return b"\0\0\0\x18ftyp" + np.random.default_rng(seed).bytes(size)


FILMS = [_film(n, size) for n, size in enumerate([MIB, 3 * MIB, 900_000, 40, 2 * MIB, MIB])]


class Far:
    """Films in a shard that is read where it lies."""

    def __init__(
        self, folder: Path, cells: Sequence[Any], kind: Any = None, **options: Any
    ) -> None:
        path = folder / "set.parquet"
        if not path.exists():
            table = pa.table({"image": pa.array(cells, kind or pa.binary())})
            # all of them in one page, as is the default of pyarrow where there are few
            plainly = dict(
                compression="none", use_dictionary=False, write_page_index=True,
                data_page_size=1 << 30,
            )  # fmt: skip
            pq.write_table(table, path, **{**plainly, **options})
        self.reader = LocalReader()
        self.located = move_away(locate(str(path)))
        source = open_source(self.located, self.reader)
        column = find_media_column(source, None)
        self.index = load_or_build(folder / "far", source, column, lambda done, total: None)
        self.cache = DiskCache(folder / "blobs", MIB << 10)
        self.reader.asked.clear()
        self.pages = self.open()

    def open(self, reader: RangeReader | None = None) -> PageStore:
        return PageStore(self.index, self.located, reader or self.reader, self.cache)

    @property
    def offsets(self) -> list[int]:
        found: list[int] = self.index.offset.tolist()
        return found

    def asked_bytes(self) -> int:
        return sum(place.size_bytes for _, place in self.reader.asked + self.reader.ahead)


def assert_parts(store: PageStore, offset: int, value: bytes) -> None:
    """Any parts are the whole, in any order, and leave nobody to be asked."""
    assert store.size(offset) == len(value)
    assert store.knows(offset)
    size = len(value)
    for start, stop in [
        (size - 10, size + 10), (0, 9), (size // 3, size // 2), (7, 7), (size, size + 1), (-4, size)
    ]:  # fmt: skip
        part = store.read_part(offset, start, stop)
        assert part == value[max(start, 0) : max(stop, 0)]
        assert store.has_part(offset, start, stop)


STRUCT = pa.struct({"bytes": pa.binary(), "path": pa.string()})
SHAPES: dict[str, tuple[Any, Callable[[], list[Any]]]] = {
    "binary": (pa.binary(), lambda: list(FILMS)),
    "nulls": (pa.binary(), lambda: [None, *FILMS[:3], None, None, *FILMS[3:], None]),
    "struct": (STRUCT, lambda: [{"bytes": film, "path": "a.mp4"} for film in FILMS]),
    "list": (
        pa.list_(pa.binary()),
        lambda: [[FILMS[0], FILMS[1]], [], None, [FILMS[2], FILMS[3], FILMS[4]], [FILMS[5]]],
    ),
}

WRITERS: dict[str, dict[str, Any]] = {
    "v1": {},
    "v2": dict(data_page_version="2.0"),
    "checksums": dict(write_page_checksum=True),
    "small pages": dict(data_page_size=1000, write_batch_size=1),
    "zstd": dict(compression="zstd"),
    "v2 zstd": dict(compression="zstd", data_page_version="2.0"),
    "dictionary": dict(use_dictionary=True, dictionary_pagesize_limit=1 << 30),
    "delta": dict(column_encoding="DELTA_LENGTH_BYTE_ARRAY"),
    "no index": dict(write_page_index=False),
}
PLAIN_WRITERS = ["v1", "v2", "checksums"]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("writer", WRITERS)
def test_any_parts_are_those_of_the_whole(writer: str, shape: str, tmp_path: Path) -> None:
    kind, make = SHAPES[shape]
    options = dict(WRITERS[writer])
    if writer == "delta":
        leaf = {"struct": "image.bytes", "list": "image.list.element"}.get(shape, "image")
        options["column_encoding"] = {leaf: options["column_encoding"]}
    far = Far(tmp_path, make(), kind, **options)
    order = np.random.default_rng(1).permutation(len(FILMS)).tolist()
    for cell in order:
        assert_parts(far.pages, far.offsets[cell], FILMS[cell])
        assert far.pages.read(far.offsets[cell]) == FILMS[cell]
    asked = len(far.reader.asked)
    for cell in order:
        again = far.open()
        assert again.knows(far.offsets[cell])
        assert_parts(again, far.offsets[cell], FILMS[cell])
    assert len(far.reader.asked) == asked


@pytest.mark.parametrize("writer", PLAIN_WRITERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_of_a_large_page_little_is_fetched_for_a_part(
    writer: str, shape: str, tmp_path: Path
) -> None:
    kind, make = SHAPES[shape]
    far = Far(tmp_path, make(), kind, **WRITERS[writer])
    offset = far.offsets[4]
    assert len(far.index.pages) == 1
    assert not far.pages.knows(offset)
    assert not far.pages.has_part(offset, 0, 1)
    assert far.reader.asked == []
    assert far.pages.size(offset) == len(FILMS[4])
    # the first bytes, which hold the length of the first value, and those of four others
    assert [place.size_bytes for _, place in far.reader.asked] == [16 << 10, 4, 4, 4, 4]
    assert far.pages.knows(offset)
    assert not far.pages.has_part(offset, 0, 1)
    assert far.pages.knows(far.offsets[0])
    assert not far.pages.knows(far.offsets[5])
    for start in (0, MIB):
        assert far.pages.read_part(offset, start, start + 1000) == FILMS[4][start : start + 1000]
    assert far.asked_bytes() < 600_000
    assert not far.pages.is_here(offset)


def test_another_mount_walks_over_what_is_kept(tmp_path: Path) -> None:
    far = Far(tmp_path, FILMS)
    far.pages.read_part(far.offsets[2], 0, 10)
    asked = len(far.reader.asked)
    again = far.open()
    assert again.knows(far.offsets[2])
    assert again.has_part(far.offsets[2], 0, 100)
    assert again.knows(far.offsets[1])
    assert not again.has_part(far.offsets[1], 0, 100)
    assert not again.knows(far.offsets[3])
    assert again.read_part(far.offsets[2], 5, 100) == FILMS[2][5:100]
    assert len(far.reader.asked) == asked


def test_of_a_page_that_was_fetched_whole_nothing_is_fetched_again(tmp_path: Path) -> None:
    far = Far(tmp_path, FILMS)
    far.pages.read(far.offsets[0])
    asked = len(far.reader.asked)
    for store in (far.pages, far.open()):
        assert store.knows(far.offsets[1])
        assert store.has_part(far.offsets[1], 0, 3 * MIB)
        assert_parts(store, far.offsets[1], FILMS[1])
    assert len(far.reader.asked) == asked


def test_what_only_the_whole_page_tells_is_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = Far(tmp_path, FILMS, compression="zstd")
    decoded: list[int] = []

    def count(*arguments: Any) -> Any:
        decoded.append(1)
        return decode_page(*arguments)

    monkeypatch.setattr(pages, "decode_page", count)
    offset = far.offsets[1]
    assert not far.pages.knows(offset)
    assert not far.pages.has_part(offset, 0, 10)

    def play(first: int) -> None:
        for start in range(first, len(FILMS[1]), 400_000):
            assert (
                far.pages.read_part(offset, start, start + 1000) == FILMS[1][start : start + 1000]
            )

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(play, range(4)))
    assert len(decoded) == 1
    assert far.open().read_part(offset, 5, 100) == FILMS[1][5:100]  # it is kept by itself
    assert len(decoded) == 1


def test_pages_of_small_values_are_fetched_whole(tmp_path: Path) -> None:
    images = [_film(n, 100_000) for n in range(40)]
    far = Far(tmp_path, images)
    assert far.pages.read_part(far.offsets[30], 5, 10) == images[30][5:10]
    assert [place.size_bytes > 4_000_000 for _, place in far.reader.asked] == [False, True]
    assert far.pages.size(far.offsets[2]) == len(images[2])
    assert len(far.reader.asked) == 2


def test_a_page_that_is_too_large_to_be_fetched_is_read_by_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "_MOST_STORED_BYTES", MIB)
    images = [_film(n, 100_000) for n in range(40)]
    far = Far(tmp_path, images)
    assert far.pages.read_part(far.offsets[30], 5, 10) == images[30][5:10]
    with pytest.raises(FormatError, match=f"is over {MIB}"):
        far.pages.read(far.offsets[30])
    monkeypatch.setattr(page_places, "_MOST_VALUES", 39)
    with pytest.raises(FormatError, match=f"is over {MIB}"):
        far.open().read_part(far.offsets[30], 5, 10)


def test_levels_that_take_more_than_the_first_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(4)
    nulls = [None if rng.random() < 0.5 else b"" for _ in range(300)]
    cells = [FILMS[0], FILMS[1], *nulls, FILMS[2]]
    far = Far(tmp_path, cells)
    monkeypatch.setattr(page_places, "_MEAN_BYTES", 1)
    monkeypatch.setattr(page_places, "_HEADS", (30, 60, 16 << 10))
    films = [cell for cell in cells if cell is not None]
    assert far.pages.read_part(far.offsets[-1], 3, 100) == films[-1][3:100]
    assert [place.size_bytes for _, place in far.reader.asked[:3]] == [30, 60, 16 << 10]
    monkeypatch.setattr(page_places, "_HEADS", (30, 60))
    assert far.open().read_part(far.offsets[1], 3, 100) == FILMS[1][3:100]
    assert far.reader.asked[-1][1].size_bytes > 4_000_000  # its head is never enough


def test_many_threads_walk_a_page_once(tmp_path: Path) -> None:
    far = Far(tmp_path, FILMS)
    barrier = threading.Barrier(8)

    def play(number: int) -> None:
        barrier.wait(10)
        for cell in np.random.default_rng(number).permutation(len(FILMS)).tolist():
            assert far.pages.size(far.offsets[cell]) == len(FILMS[cell])
            assert far.pages.read_part(far.offsets[cell], 20, 99) == FILMS[cell][20:99]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(play, range(8)))
    steps = [place for _, place in far.reader.asked if place.size_bytes == 4]
    assert len(steps) == len(set(steps)) == len(FILMS) - 1


def test_a_walk_goes_on_where_it_was_broken_off(tmp_path: Path) -> None:
    far = Far(tmp_path, FILMS)
    far.pages.size(far.offsets[1])
    asked = len(far.reader.asked)
    far.reader.failing = OutageError("cannot fetch", why="the network is gone")
    with pytest.raises(OutageError):
        far.pages.read_part(far.offsets[4], 0, 10)
    assert far.pages.knows(far.offsets[1])
    assert not far.pages.has_part(far.offsets[1], 0, 10)
    with pytest.raises(OutageError):
        far.pages.read_part(far.offsets[1], 0, 10)
    far.reader.failing = None
    assert far.pages.size(far.offsets[4]) == len(FILMS[4])
    assert len(far.reader.asked) == asked + 2 + 3


def test_errors_name_the_column_and_the_shard(tmp_path: Path) -> None:
    far = Far(tmp_path, [None, *FILMS])
    for offset, why in [(0, "no value in slot 0"), (99, "no value in slot 99")]:
        for ask in (far.pages.size, lambda offset: far.pages.read_part(offset, 0, 1)):
            with pytest.raises(FormatError, match=rf"column image of set\.parquet of .*{why}"):
                ask(offset)
        assert far.pages.knows(offset)
        assert far.pages.has_part(offset, 0, 1)
    with pytest.raises(FormatError, match="page 1 is none of the index"):
        far.pages.size(1 << SLOT_BITS)
    assert far.pages.knows(1 << SLOT_BITS)
    assert far.pages.has_part(1 << SLOT_BITS, 0, 1)


def test_a_value_that_runs_over_its_page_is_refused_and_not_kept(tmp_path: Path) -> None:
    far = Far(tmp_path, FILMS)
    path = tmp_path / "set.parquet"
    raw = bytearray(path.read_bytes())
    second = raw.index(len(FILMS[1]).to_bytes(4, "little") + FILMS[1][:20])
    raw[second + 3] = 0x7F
    path.write_bytes(raw)
    for _ in range(2):
        with pytest.raises(FormatError, match="a value that ends at byte"):
            far.pages.size(far.offsets[1])
        assert not far.pages.knows(far.offsets[1])
    assert far.pages.size(far.offsets[0]) == len(FILMS[0])


class Waiting(LocalReader):
    """Answers when it is told to; `gone` says of what is held that it is, and then has it not."""

    def __init__(self) -> None:
        super().__init__()
        self.asking, self.answer, self.gone = threading.Event(), threading.Event(), False

    def holds(self, file: RemoteFile, place: Range) -> bool:
        return self.gone or super().holds(file, place)

    def submit(self, file: Any, ranges: Sequence[Range], *rest: Any, **options: Any) -> Any:
        if self.gone:
            return [Future[memoryview]() for _ in ranges]
        self.asking.set()
        assert self.answer.wait(10)
        return super().submit(file, ranges, *rest, **options)


def test_nobody_waits_to_know_a_size(tmp_path: Path) -> None:
    far, reader = Far(tmp_path, FILMS), Waiting()
    store = far.open(reader)
    with ThreadPoolExecutor(1) as pool:
        size = pool.submit(store.size, far.offsets[3])
        assert reader.asking.wait(10)
        assert not store.knows(far.offsets[3])
        assert not store.has_part(far.offsets[3], 0, 1)
        reader.answer.set()
        assert size.result(10) == len(FILMS[3])
    assert store.knows(far.offsets[3])


def test_nobody_waits_for_what_is_gone_after_all(tmp_path: Path) -> None:
    far, reader = Far(tmp_path, FILMS), Waiting()
    places = ValuePlaces(reader, 1 << 30)
    start = int(far.index.pages.offset[0])
    span = Range(start, start + int(far.index.pages.size[0]))
    page = FarPage(far.located.shards[0].remote, span, Levels(1, 0), compressed=False)
    reader.gone = True
    assert not places.knows(page, 0)
    reader.gone = False
    assert not places.knows(page, 0)
    reader.answer.set()
    place = places.find(page, 0)
    assert place is not None
    assert place.size_bytes == len(FILMS[0])


def test_a_shard_on_a_hub(hub: HubServer, tmp_path: Path) -> None:
    films = [_film(9, 12 * MIB), _film(8, 6 * MIB)]
    far = Far(tmp_path, films)
    file = put_file(hub, "train.parquet", (tmp_path / "set.parquet").read_bytes())

    def open_pages(reader: RangeReader, etag: str) -> PageStore:
        (shard,) = far.located.shards
        located = replace(far.located, shards=(replace(shard, url=file.url, etag=etag),))
        return PageStore(far.index, located, reader, far.cache)

    hub.clear()
    with open_fetcher(hub, tmp_path / "cache") as reader:
        store = open_pages(reader, file.etag)
        assert store.size(far.offsets[1]) == len(films[1])
        assert store.read_part(far.offsets[1], 0, 1000) == films[1][:1000]
        assert store.read_part(far.offsets[1], 6 * MIB - 9, 9 * MIB) == films[1][6 * MIB - 9 :]
        assert sum(stop + 1 - start for start, stop in list_bytes(hub)) < 600_000
        assert len(list_bytes(hub)) == 4
        hub.clear()
        step = 128 << 10
        starts = range(0, len(films[0]), step)
        parts = [store.read_part(far.offsets[0], start, start + step) for start in starts]
        assert b"".join(parts) == films[0]
        assert sum(stop + 1 - start for start, stop in list_bytes(hub)) == len(films[0])
        assert len(list_bytes(hub)) <= 16
        hub.clear()
        stale = open_pages(reader, "0" * 64)
        with pytest.raises(StaleError, match="it is another file now"):
            stale.read_part(far.offsets[1], 0, 1)
    hub.clear()
    with open_fetcher(hub, tmp_path / "cache", offline=True) as reader:
        store = open_pages(reader, file.etag)
        assert store.read_part(far.offsets[0], 0, 20 * MIB) == films[0]
        assert store.has_part(far.offsets[1], 6 * MIB - 9, 9 * MIB)
        with pytest.raises(OutageError, match="offline"):
            store.read_part(far.offsets[1], 3 * MIB, 3 * MIB + 1)
    assert hub.requests == []


class Escaping(LocalReader):
    """Notes nothing but that no range leaves the page."""

    page = Range(0, 0)

    def submit(self, file: Any, ranges: Sequence[Range], *rest: Any, **options: Any) -> Any:
        for place in ranges:
            assert self.page.start <= place.start < place.stop <= self.page.stop
        return super().submit(file, ranges, *rest, **options)


@settings(max_examples=50)
@given(data=st.data())
def test_damaged_pages_are_read_within_their_bytes_or_refused(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "_PARTED_BYTES", 0)
        patch.setattr(page_places, "_MEAN_BYTES", 0)
        patch.setattr(page_places, "_HEADS", (20, 40, 1000))
        folder = tmp_path_factory.mktemp("damaged")
        films = [None if n % 3 == 1 else _film(n, n * 7) for n in range(12)]
        version = data.draw(st.sampled_from(["1.0", "2.0"]))
        far = Far(folder, films, data_page_version=version)
        start, size = int(far.index.pages.offset[0]), int(far.index.pages.size[0])
        path = folder / "set.parquet"
        raw = bytearray(path.read_bytes())
        for at in data.draw(st.lists(st.integers(start, start + size - 1), max_size=4)):
            raw[at] = data.draw(st.integers(0, 255))
        path.write_bytes(raw)
        reader = Escaping()
        reader.page = Range(start, start + size)
        store = far.open(reader)
        for offset in far.offsets:
            store.knows(offset)
            with suppress(FormatError):
                length = store.size(offset)
                assert len(store.read_part(offset, 0, size)) == length <= size
                assert store.has_part(offset, 0, size)
