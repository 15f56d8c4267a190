from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from hffs.data.cells import decode
from hffs.data.rows import RowStore
from hffs.errors import DataError, FormatError, SourceError, StaleError

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
MAPPED = ["parquet-plain", "arrow-stream", "arrow-file"]
DECODED = ["parquet-dictionary", "parquet-zstd", "arrow-file-zstd", "arrow-stream-lz4"]


def _table(count: int = 10, size: int = 50) -> pa.Table:
    # a pattern that compresses, so that no buffer is kept raw inside a compressed file
    cells = [{"bytes": bytes([n]) * size + b"%d" % n, "path": None} for n in range(count)]
    return pa.table({"image": pa.array(cells, STRUCT)})


def _open(sets: Any, form: str, folder: Path, **options: Any) -> Any:
    path = sets.write(form, _table(), folder / "set")
    return sets.open(path, folder / "cache", **options)


@pytest.mark.parametrize("form", MAPPED)
def test_mapped_bytes_are_slices_of_one_map(form: str, tmp_path: Path, sets: Any) -> None:
    opened = _open(sets, form, tmp_path)
    views = [opened.store.read(cell) for cell in range(10)]
    assert all(view.readonly and view.obj is views[0].obj for view in views)
    assert all(view == opened.store.load(cell) for cell, view in enumerate(views))


@pytest.mark.parametrize("form", [*MAPPED, *DECODED])
def test_bytes_are_read_into_a_buffer_where_they_lie_in_a_file_as_they_are(
    form: str, tmp_path: Path, sets: Any
) -> None:
    store = _open(sets, form, tmp_path).store
    buffer = memoryview(bytearray(100))
    assert (store.read_into(buffer, 3, 0) is None) == (form in DECODED)
    if form in DECODED:
        return
    whole = bytes(store.load(3))
    for start, size in (
        (0, 100),
        (0, 10),
        (7, 20),
        (len(whole) - 1, 100),
        (len(whole), 5),
        (99, 5),
    ):
        buffer[:] = bytes(100)
        expected = whole[start : start + size]
        assert store.read_into(buffer[:size], 3, start) == len(expected)
        assert bytes(buffer) == expected + bytes(100 - len(expected))


@pytest.mark.parametrize("form", DECODED)
def test_decoded_bytes_are_ready_once_one_of_them_was_loaded(
    form: str, tmp_path: Path, sets: Any
) -> None:
    opened = _open(sets, form, tmp_path)
    assert opened.store.read(0) is None
    assert opened.store.load(1) == bytes([1]) * 50 + b"1"
    assert opened.store.read(0) == bytes([0]) * 50 + b"0"


def test_a_group_is_decoded_once_for_all_threads_and_mounts(
    tmp_path: Path, sets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = _open(sets, "parquet-dictionary", tmp_path)
    decoded: list[int] = []
    together = threading.Barrier(8)

    decode_parts = decode.decode_parts

    def count(decoder: Any, column: Any, group: int) -> Any:
        decoded.append(group)
        return decode_parts(decoder, column, group)

    monkeypatch.setattr(decode, "decode_parts", count)

    def load(cell: int) -> bytes:
        together.wait(30)
        return bytes(opened.store.load(cell))

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(load, [0, 1, 2, 0, 1, 2, 0, 1]))
    assert found == [bytes([n % 3]) * 50 + b"%d" % (n % 3) for n in range(8)]
    assert decoded == [0]
    again = RowStore(opened.index, opened.located, opened.cache)
    assert again.load(2) == found[2]
    assert decoded == [0]


def test_a_group_of_many_parts_is_decoded_whole(
    tmp_path: Path, sets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "PART_ROWS", 2)
    opened = _open(sets, "parquet-zstd", tmp_path)  # 4 rows a group
    assert len(opened.index.segments.kind) == 5
    assert opened.store.load(0)[:1] == b"\0"
    monkeypatch.setattr(decode, "decode_parts", None)  # what follows comes from the disk cache
    assert opened.store.load(3) == bytes([3]) * 50 + b"3"


def test_loads_go_on_when_nothing_stays_open_and_nothing_can_be_kept(
    tmp_path: Path, sets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = _open(sets, "parquet-dictionary", tmp_path, open_bytes=0)
    monkeypatch.setattr(opened.cache, "get", lambda key: None)
    monkeypatch.setattr(opened.cache, "put", lambda key, data: memoryview(data))
    assert opened.read_all() == sets.expect(_table())


@pytest.mark.parametrize("form", ["parquet-plain", "parquet-dictionary"])
def test_a_shard_that_changes_in_place_is_stale(form: str, tmp_path: Path, sets: Any) -> None:
    opened = _open(sets, form, tmp_path)
    path = opened.located.shards[0].path
    opened.store.check(0)
    with path.open("r+b") as file:
        file.write(b"PAR1")
    os.utime(path, ns=(1, 1))
    with pytest.raises(StaleError, match="changed while mounted; mount again"):
        opened.store.check(0)
    if form == "parquet-dictionary":
        with pytest.raises(StaleError):
            opened.store.load(0)
    unopened = RowStore(opened.index, opened.located, opened.cache)
    with pytest.raises(StaleError, match="changed since it was found"):
        unopened.load(0)


def test_a_shard_that_is_replaced_goes_on_as_it_was(tmp_path: Path, sets: Any) -> None:
    opened = _open(sets, "parquet-dictionary", tmp_path)
    path = opened.located.shards[0].path
    opened.store.check(0)
    os.replace(sets.write("parquet-plain", _table(3), tmp_path / "other"), path)
    opened.store.check(0)
    assert opened.read_all() == sets.expect(_table())


def test_files_that_cells_name_are_read_as_they_were_found(tmp_path: Path, sets: Any) -> None:
    image = tmp_path / "a.jpg"
    image.write_bytes(b"first")
    cells = pa.array([{"bytes": None, "path": "a.jpg"}], STRUCT)
    path = sets.write("arrow-stream", pa.table({"image": cells}), tmp_path / "set")
    store = sets.open(path, tmp_path / "cache").store
    assert store.read(0) is None
    store.check(0)
    assert store.load(0) == b"first"
    image.write_bytes(b"other")
    os.utime(image, ns=(1, 1))
    for act in (store.load, store.check):
        with pytest.raises(StaleError, match=r"a\.jpg: it was changed while mounted"):
            act(0)
    image.unlink()
    for act in (store.load, store.check):
        with pytest.raises(StaleError, match=r"a\.jpg: it was removed while mounted"):
            act(0)
    image.symlink_to("/etc/passwd")
    with pytest.raises((SourceError, StaleError)):
        store.load(0)


@pytest.mark.parametrize("form", ["parquet-plain", "parquet-dictionary"])
@pytest.mark.parametrize(("name", "value"), [("offset", -5), ("offset", 1 << 40), ("length", 9999)])
def test_an_index_that_is_wrong_gives_an_error_not_half_an_image(
    form: str, name: str, value: int, tmp_path: Path, sets: Any
) -> None:
    opened = _open(sets, form, tmp_path)
    index = replace(opened.index, **{name: np.full(10, value, np.int64)})
    with pytest.raises(FormatError, match="does not lie in its file"):
        RowStore(index, opened.located, opened.cache).load(0)


def test_a_group_that_decodes_to_something_else_fails_at_once_from_then_on(
    tmp_path: Path, sets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = _open(sets, "parquet-dictionary", tmp_path)
    segments = replace(opened.index.segments, size=opened.index.segments.size + 1)
    store = RowStore(replace(opened.index, segments=segments), opened.located, opened.cache)
    for _ in range(2):
        with pytest.raises(FormatError, match="does not decode to what it did"):
            store.load(0)
        monkeypatch.setattr(decode, "decode_parts", None)


def test_a_group_that_became_shorter_is_an_error(
    tmp_path: Path, sets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = _open(sets, "parquet-dictionary", tmp_path)
    monkeypatch.setattr(decode, "decode_parts", lambda *_: iter(()))
    with pytest.raises(DataError, match="does not decode to what it did"):
        opened.store.load(0)


def test_bytes_outlive_their_store(tmp_path: Path, sets: Any) -> None:
    opened = _open(sets, "parquet-plain", tmp_path)
    view = opened.store.read(4)
    opened.store.close()
    assert view == bytes([4]) * 50 + b"4"
    assert not opened.store._opened._files


@pytest.mark.parametrize("form", ["parquet-plain", *DECODED])
def test_regression_a_shard_cut_short_is_stale_and_its_map_is_not_touched(
    form: str, tmp_path: Path, sets: Any
) -> None:
    table = _table(size=9000)
    path = sets.write(form, table, tmp_path / "set")
    opened = sets.open(path, tmp_path / "cache")
    os.truncate(path, 200)
    for _ in range(2):  # it is not taken for a shard that is broken for good either
        with pytest.raises(StaleError):
            opened.store.copy(5)


def test_a_copy_is_the_same_bytes(tmp_path: Path, sets: Any) -> None:
    for form in (*MAPPED, *DECODED):
        (tmp_path / form).mkdir()
        opened = _open(sets, form, tmp_path / form)
        copies = [opened.store.copy(cell) for cell in range(10)]
        assert copies == [opened.store.load(cell) for cell in range(10)]
