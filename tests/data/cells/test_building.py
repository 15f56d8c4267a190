from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hffs.core.formats import sniff
from hffs.data.cells import building as cells
from hffs.data.cells.building import SegmentKind, load_index, load_or_build
from hffs.data.cells.columns import find_media_column
from hffs.data.folders import seal
from hffs.data.locating.local import locate
from hffs.data.source import MediaColumn, open_source
from hffs.errors import FormatError, StaleError

JPEG = b"\xff\xd8\xff" + b"jpeg" * 20
PNG = b"\x89PNG\r\n\x1a\n" + b"png" * 30
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

VALUES: list[bytes | None] = [
    JPEG,
    PNG,
    None,
    b"",
    b"x",
    JPEG * 3,
    None,
    PNG,
    b"GIF89a",
    JPEG + b"1",
]
LISTS: list[list[bytes | None] | None] = [[JPEG, PNG], [], None, [None], [b""], [b"a", None, b"c"]]


def _structs(values: Sequence[bytes | None]) -> list[dict[str, Any] | None]:
    """Null values both as null cells and as cells of nulls."""
    cells = [{"bytes": value, "path": None} for value in values]
    return [None if n % 5 == 2 and cell["bytes"] is None else cell for n, cell in enumerate(cells)]


def _struct_lists() -> list[list[dict[str, Any] | None] | None]:
    return [None if each is None else _structs(each) for each in LISTS]


SHAPES: dict[str, pa.Array] = {
    "struct": pa.array(_structs(VALUES), STRUCT),
    "struct-large": pa.array(
        _structs(VALUES), pa.struct([("path", pa.string()), ("bytes", pa.large_binary())])
    ),
    "bytes-only": pa.array(
        [{"bytes": value} for value in VALUES], pa.struct([("bytes", pa.binary())])
    ),
    "binary": pa.array(VALUES, pa.binary()),
    "large-binary": pa.array(VALUES, pa.large_binary()),
    "list-binary": pa.array(LISTS, pa.list_(pa.binary())),
    "list-struct": pa.array(_struct_lists(), pa.list_(STRUCT)),
    "large-list-struct": pa.array(_struct_lists(), pa.large_list(STRUCT)),
    "fixed-list": pa.array([[JPEG, PNG], None, [b"", None]], pa.list_(pa.binary(), 2)),
    "dictionary": pa.array(VALUES, pa.binary()).dictionary_encode(),
    "all-null": pa.array([None, None], STRUCT),
    "empty": pa.array([], STRUCT),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_cells_are_what_pyarrow_reads(shape: str, form: str, tmp_path: Path, sets: Any) -> None:
    table = pa.table({"n": range(len(SHAPES[shape])), "image": SHAPES[shape]})
    rows = sets.open(sets.write(form, table, tmp_path / "set"), tmp_path / "cache")
    assert rows.read_all() == sets.expect(table)
    assert rows.steps == [] or rows.steps[-1] == (len(table), len(table))
    formats = [sniff(data) for _, _, data in sets.expect(table)]
    assert rows.index.format.tolist() == formats


@pytest.mark.parametrize("form", ["arrow-stream", "arrow-file", "arrow-file-zstd"])
def test_views_are_read(form: str, tmp_path: Path, sets: Any) -> None:
    long = [None if value is None else value * 2 for value in VALUES]  # short ones lie in the view
    views = pa.struct([("bytes", pa.binary_view()), ("path", pa.string_view())])
    for name, values in {"a": VALUES, "b": long}.items():
        table = pa.table({"image": pa.array([{"bytes": value} for value in values], views)})
        rows = sets.open(sets.write(form, table, tmp_path / name), tmp_path / f"cache-{name}")
        assert rows.read_all() == sets.expect(table)


@pytest.mark.parametrize("form", ["parquet-plain", "arrow-stream", "arrow-file"])
@pytest.mark.parametrize("shape", ["struct", "binary", "large-binary", "list-struct"])
def test_uncompressed_cells_are_mapped(shape: str, form: str, tmp_path: Path, sets: Any) -> None:
    path = sets.write(form, pa.table({"image": SHAPES[shape]}), tmp_path / "set")
    rows = sets.open(path, tmp_path / "cache")
    assert set(rows.index.segments.kind.tolist()) == {SegmentKind.MAP}
    for cell in range(len(rows.index)):
        start = int(rows.index.offset[cell])
        data = rows.store.read(cell)
        assert data is not None
        assert path.read_bytes()[start : start + len(data)] == data


@pytest.mark.parametrize("form", ["parquet-zstd", "parquet-dictionary", "arrow-file-zstd"])
def test_compressed_cells_are_decoded(form: str, tmp_path: Path, sets: Any) -> None:
    table = pa.table({"image": SHAPES["struct"]})
    rows = sets.open(sets.write(form, table, tmp_path / "set"), tmp_path / "cache")
    assert SegmentKind.PART in rows.index.segments.kind.tolist()


@pytest.mark.parametrize("shape", ["struct", "binary", "list-struct", "list-binary"])
def test_what_is_no_image_is_counted(shape: str, form: str, tmp_path: Path, sets: Any) -> None:
    path = sets.write(form, pa.table({"image": SHAPES[shape]}), tmp_path / "set")
    dropped = sets.open(path, tmp_path / "cache").index.dropped
    if shape.startswith("list"):
        assert dropped == {cells.NO_ITEMS: 2, cells.NULL: 2, cells.EMPTY_BYTES: 1}
    else:
        assert dropped == {cells.NULL: 2, cells.EMPTY_BYTES: 1}


def test_rows_run_through_shards_that_are_stored_differently(tmp_path: Path, sets: Any) -> None:
    pieces = [SHAPES["struct"], SHAPES["all-null"], SHAPES["struct"].slice(3, 4)]
    forms = ["parquet-plain", "parquet-zstd", "parquet-dictionary"]
    (tmp_path / "set").mkdir()
    for number, (form, piece) in enumerate(zip(forms, pieces, strict=True)):
        sets.write(form, pa.table({"image": piece}), tmp_path / "set" / f"part-{number}")
    rows = sets.open(tmp_path / "set", tmp_path / "cache")
    assert rows.read_all() == sets.expect(pa.table({"image": pa.chunked_array(pieces)}))
    assert [done for done, _ in rows.steps] == sorted(done for done, _ in rows.steps)


_BLOBS = st.one_of(st.none(), st.binary(max_size=40))
_CELLS = st.one_of(
    st.none(), st.fixed_dictionaries({"bytes": _BLOBS, "path": st.none() | st.just("gone.jpg")})
)
_FORMS = ["parquet-plain", "parquet-dictionary", "arrow-stream", "arrow-file-zstd"]


@settings(max_examples=60)
@given(
    values=st.lists(st.one_of(st.none(), st.lists(_CELLS, max_size=4)), min_size=1, max_size=12),
    chosen=st.sampled_from(_FORMS),
    start=st.integers(0, 3),
)
def test_any_lists_of_cells_are_what_pyarrow_reads(
    values: list[Any], chosen: str, start: int, sets: Any
) -> None:
    table = pa.table({"image": pa.array(values, pa.list_(STRUCT))}).slice(start)
    if not len(table):
        return
    with TemporaryDirectory() as name:
        rows = sets.open(sets.write(chosen, table, Path(name, "set")), Path(name, "cache"))
        found = sets.expect(table)
        assert rows.read_all() == found
        slots = sum(len(cell) if cell else 1 for cell in table["image"].to_pylist())
        assert sum(rows.index.dropped.values()) == slots - len(found)


def test_datasets_save_to_disk_and_to_parquet_are_read(tmp_path: Path, sets: Any) -> None:
    import datasets  # late: it takes seconds

    features = datasets.Features(image=datasets.Image(decode=False), n=datasets.Value("int32"))
    columns = {"image": [{"bytes": JPEG + bytes([n]), "path": None} for n in range(7)]}
    rows = datasets.Dataset.from_dict({**columns, "n": list(range(7))}, features=features)
    expected = [(n, 0, JPEG + bytes([n])) for n in range(7)]
    rows.save_to_disk(str(tmp_path / "saved"), num_shards=2)
    datasets.DatasetDict(train=rows, test=rows.select([3])).save_to_disk(str(tmp_path / "dict"))
    rows.to_parquet(str(tmp_path / "set.parquet"))
    for name in ("saved", "dict", "set.parquet"):
        opened = sets.open(tmp_path / name, tmp_path / f"cache-{name}")
        assert opened.read_all() == expected
        assert opened.read_all() == [(n, 0, rows[n]["image"]["bytes"]) for n in range(7)]


def _set_of_paths(folder: Path) -> pa.Table:
    (folder / "sub").mkdir(parents=True)
    (folder / "a.jpg").write_bytes(JPEG)
    (folder / "sub" / "b.png").write_bytes(PNG)
    (folder / "none.jpg").write_bytes(b"")
    (folder / "link.jpg").symlink_to("a.jpg")
    (folder / "out.jpg").symlink_to("/etc/passwd")
    (folder / "up").symlink_to("..")
    (folder.parent / "secret.jpg").write_bytes(JPEG)
    os.mkfifo(folder / "pipe.jpg")
    paths = [
        "a.jpg",
        "sub/b.png",
        "sub/../a.jpg",
        "link.jpg",
        str(folder / "a.jpg"),
        *("out.jpg", "../secret.jpg", "up/secret.jpg", "/etc/passwd", "sub/.."),
        *("gone.jpg", "gone/a.jpg", "pipe.jpg", "sub", "a\0.jpg", "a.jpg/b"),
        *("ftp://host/a.jpg", "zip://a.jpg::b.zip"),
        *("none.jpg", None, ""),
    ]
    return pa.table({"image": pa.array([{"bytes": None, "path": p} for p in paths], STRUCT)})


_PATH_DROPS = {
    "path outside the data set": 5,
    "file missing": 7,
    "URL that is neither http nor https": 1,
    "empty file": 1,
    "null image": 2,
}


def test_paths_are_served_only_below_the_root(form: str, tmp_path: Path, sets: Any) -> None:
    folder = tmp_path / "set"
    rows = sets.open(sets.write(form, _set_of_paths(folder), folder / "rows"), tmp_path / "cache")
    assert rows.read_all() == [(n, 0, PNG if n == 1 else JPEG) for n in range(5)]
    assert rows.index.format.tolist() == [1, 2, 1, 1, 1]
    assert rows.index.dropped == _PATH_DROPS


def test_string_columns_and_bytes_before_paths(form: str, tmp_path: Path, sets: Any) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEG)
    both = [{"bytes": PNG, "path": "a.jpg"}, {"bytes": None, "path": "a.jpg"}]
    texts = ["a.jpg", "gone.jpg"]
    table = pa.table(
        {
            "image": pa.array(both, STRUCT),
            "file": texts,
            "files": [["a.jpg", "a.jpg"], []],
            "coded": pa.array(texts).dictionary_encode(),
        }
    )
    path = sets.write(form, table, tmp_path / "rows")
    for column, expected in {
        "image": [(0, 0, PNG), (1, 0, JPEG)],
        "file": [(0, 0, JPEG)],
        "files": [(0, 0, JPEG), (0, 1, JPEG)],
        "coded": [(0, 0, JPEG)],
    }.items():
        assert sets.open(path, tmp_path / column, column).read_all() == expected


def _plain_set(folder: Path, sets: Any) -> Path:
    path: Path = sets.write("parquet-plain", pa.table({"image": SHAPES["struct"]}), folder / "set")
    return path


def test_a_kept_index_is_used_and_mapped(
    tmp_path: Path, sets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _plain_set(tmp_path, sets)
    first = sets.open(path, tmp_path / "cache")
    monkeypatch.setattr(cells, "build_index", None)
    again = sets.open(path, tmp_path / "cache")
    assert again.read_all() == first.read_all()
    assert again.steps == []
    assert (again.index.identity, again.index.dropped) == (
        first.index.identity,
        first.index.dropped,
    )
    assert isinstance(again.index.row.base, np.memmap)
    assert not again.index.row.flags.writeable


def _damage(folder: Path, how: str) -> None:
    meta = json.loads((folder / "meta.json").read_text())
    without = {name: value for name, value in meta.items() if name != "checksum"}
    if how == "no meta":
        (folder / "meta.json").unlink()
    elif how == "cut meta":
        (folder / "meta.json").write_text("{")
    elif how == "no array":
        (folder / "row.npy").unlink()
    elif how == "cut array":
        os.truncate(folder / "row.npy", 140)
    elif how == "other array":
        np.save(folder / "row.npy", np.zeros(3, np.int16))
    elif how == "pickle":
        np.save(folder / "row.npy", np.array([{}], dtype=object), allow_pickle=True)
    else:
        change: dict[str, dict[str, Any]] = {
            "form": {"arrays": {**meta["arrays"], "row": 3}},
            "empty": {"meta": {}},
        }
        change["version"] = {"version": 0}
        change["shards"] = {"meta": {**meta["meta"], "shards": []}}
        change["column"] = {"meta": {**meta["meta"], "column": {"nome": 1}}}
        (folder / "meta.json").write_text(json.dumps(seal(without | change[how])))


@pytest.mark.parametrize(
    "how",
    [
        "no meta",
        "cut meta",
        "no array",
        "cut array",
        "other array",
        "pickle",
        "form",
        "empty",
        "version",
        "shards",
        "column",
    ],
)
def test_a_damaged_index_is_made_again_with_one_warning(
    how: str, tmp_path: Path, sets: Any, caplog: pytest.LogCaptureFixture
) -> None:
    path = _plain_set(tmp_path, sets)
    expected = sets.open(path, tmp_path / "cache").read_all()
    _damage(tmp_path / "cache" / "index", how)
    assert sets.open(path, tmp_path / "cache").read_all() == expected
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "the index is made again" in caplog.text
    assert sets.open(path, tmp_path / "cache").steps == []


def test_threads_that_make_the_same_index_agree(tmp_path: Path, sets: Any) -> None:
    source = open_source(locate(str(_plain_set(tmp_path, sets))))
    column = find_media_column(source, None)
    together = threading.Barrier(4)
    found: list[list[int]] = []

    def make() -> None:
        def progress(done: int, total: int) -> None:
            together.wait(30)  # all are past the look for a kept index

        index = load_or_build(tmp_path / "index", source, column, progress)
        found.append(index.offset.tolist())

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(each == found[0] for each in found)
    assert [p.name for p in tmp_path.iterdir() if p.is_dir() and "xdg" not in p.name] == ["index"]


def test_an_index_of_changed_files_is_made_again(tmp_path: Path, sets: Any) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEG)
    table = pa.table({"image": pa.array([{"bytes": None, "path": "a.jpg"}], STRUCT)})
    path = sets.write("parquet-plain", table, tmp_path / "set")
    first = sets.open(path, tmp_path / "cache")
    kept = sets.open(path, tmp_path / "cache")
    assert (kept.steps, kept.index.identity) == ([], first.index.identity)
    (tmp_path / "a.jpg").write_bytes(PNG)
    second = sets.open(path, tmp_path / "cache")
    assert second.read_all() == [(0, 0, PNG)]
    assert second.index.identity != first.index.identity
    os.unlink(tmp_path / "a.jpg")
    assert sets.open(path, tmp_path / "cache").read_all() == []
    (tmp_path / "a.jpg").write_bytes(JPEG)
    assert sets.open(path, tmp_path / "cache").read_all() == [(0, 0, JPEG)]


def test_an_index_is_not_taken_for_another_column(tmp_path: Path, sets: Any) -> None:
    table = pa.table({"image": SHAPES["binary"], "other": SHAPES["binary"]})
    source = open_source(locate(str(sets.write("arrow-file", table, tmp_path / "set"))))
    first = load_or_build(tmp_path / "i", source, MediaColumn("image", "binary"), lambda *_: None)
    other = load_or_build(tmp_path / "i", source, MediaColumn("other", "binary"), lambda *_: None)
    assert other.column.name == "other"
    assert first.offset.tolist() != other.offset.tolist()
    kept = load_index(tmp_path / "i", source)
    assert kept is not None
    assert kept.column == other.column


def test_a_shard_that_changed_since_it_was_located_is_stale(tmp_path: Path, sets: Any) -> None:
    path = _plain_set(tmp_path, sets)
    located = locate(str(path))
    source = open_source(located)
    os.utime(path, ns=(1, 1))
    for act in (
        lambda: open_source(located),
        lambda: load_or_build(
            tmp_path / "index", source, MediaColumn("image", "struct"), lambda *_: None
        ),
    ):
        with pytest.raises(StaleError, match="changed since it was found; try again"):
            act()


def test_broken_pages_are_a_format_error(tmp_path: Path, sets: Any) -> None:
    for form in ("parquet-plain", "parquet-dictionary"):
        path = sets.write(form, pa.table({"image": SHAPES["struct"]}), tmp_path / form)
        data = bytearray(path.read_bytes())
        offset = pq.read_metadata(path).row_group(1).column(0).data_page_offset
        data[offset : offset + 24] = b"\xff" * 24
        path.write_bytes(data)
        source = open_source(locate(str(path)))
        with pytest.raises(FormatError, match=r"image.* of .*set\.parquet|image.* of .*\.parquet"):
            load_or_build(tmp_path / "i", source, MediaColumn("image", "struct"), lambda *_: None)
        assert not (tmp_path / "i").exists()
