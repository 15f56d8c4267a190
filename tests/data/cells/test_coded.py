"""Cells as base64 text and as URLs, and columns in which cells of every kind are mixed."""

from __future__ import annotations

import base64
import threading
import warnings
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hffs.data.cells import building as cells
from hffs.data.cells import collecting
from hffs.data.cells import index as cellindex
from hffs.data.cells.building import Coding, SegmentKind
from hffs.data.cells.columns import find_media_column
from hffs.data.fetchers import Fetchers
from hffs.data.locating.local import locate
from hffs.data.source import MediaColumn, open_source
from hffs.errors import FormatError, SourceError

JPEG = b"\xff\xd8\xff" + bytes(range(256)) * 2
PNG = b"\x89PNG\r\n\x1a\n" + b"png" * 100
GIF = b"GIF89a!"
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
FORMS = ["parquet-plain", "parquet-dictionary", "arrow-stream", "arrow-file-zstd"]


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _uri(data: bytes) -> str:
    return f"data:image/png;base64,{_text(data)}"


TEXTS = [
    _text(JPEG),
    _uri(PNG),
    None,
    "",
    _text(GIF).rstrip("="),
    base64.b64encode(PNG, b"-_").decode(),
]
IMAGES = [(0, 0, JPEG), (1, 0, PNG), (4, 0, GIF), (5, 0, PNG)]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]
)
def test_base64_is_decoded_and_its_size_is_known(
    kind: pa.DataType, form: str, tmp_path: Path, sets: Any
) -> None:
    table = pa.table({"image": pa.array(TEXTS, pa.string()).cast(kind)})
    path = sets.write(form, table, tmp_path / "set")
    opened = sets.open(path, tmp_path / "cache")
    assert opened.index.column == MediaColumn("image", "base64")
    assert opened.read_all() == IMAGES
    assert opened.index.format.tolist() == [1, 2, 4, 2]
    assert opened.index.dropped == {cells.NULL: 1, cells.EMPTY_BYTES: 1}
    assert opened.index.segments.coding.tolist() == [Coding.BASE64] * len(
        opened.index.segments.kind
    )
    assert [opened.store.read(cell) for cell in range(4)] == [None] * 4
    for cell in range(4):
        opened.store.check(cell)
    if form in ("parquet-plain", "arrow-stream", "arrow-file") and kind == pa.string():
        assert set(opened.index.segments.kind.tolist()) == {SegmentKind.MAP}
        start, stored = int(opened.index.offset[1]), int(opened.index.stored[1])
        assert path.read_bytes()[start : start + stored] == _text(PNG).encode()


def test_views_and_lists_of_base64_are_read(tmp_path: Path, sets: Any) -> None:
    table = pa.table({"image": pa.array(TEXTS, pa.string_view())})
    path = sets.write("arrow-file", table, tmp_path / "views")
    assert sets.open(path, tmp_path / "cache").read_all() == IMAGES
    table = pa.table({"image": [[_text(JPEG), None, _uri(PNG)], [], None, [_text(GIF)]]})
    for form in FORMS:
        path = sets.write(form, table, tmp_path / form)
        opened = sets.open(path, tmp_path / f"cache-{form}")
        assert opened.read_all() == [(0, 0, JPEG), (0, 2, PNG), (3, 0, GIF)]
        assert opened.index.dropped == {cells.NULL: 1, cells.NO_ITEMS: 2}


def test_broken_base64_is_counted_or_an_error_of_its_cell(
    form: str, tmp_path: Path, sets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "MOST_CODED_BYTES", 10_000)
    broken = _text(JPEG)[:200] + "*" + _text(JPEG)[201:]
    texts = [_text(JPEG), _uri(PNG), "a.jpg", "data:image/png,x", _text(JPEG) + "\n", broken]
    texts += [base64.encodebytes(JPEG).decode(), _text(JPEG)[:-3], _text(JPEG * 30), _text(GIF)]
    path = sets.write(form, pa.table({"image": texts}), tmp_path / "set")
    opened = sets.open(path, tmp_path / "cache")
    assert opened.index.row.tolist() == [0, 1, 5, 9]
    assert [opened.store.load(cell) for cell in (0, 1, 3)] == [JPEG, PNG, GIF]
    with pytest.raises(FormatError, match=r"cannot decode the image of row 5 of .*only base64"):
        opened.store.load(2)
    assert opened.index.dropped == {
        collecting.NOT_BASE64: 3,
        collecting.BLANKS: 2,
        "image too large to be decoded": 1,
    }


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([_text(JPEG), "a.jpg"], "base64"),
        ([None, "", _uri(PNG)], "base64"),
        (["a.jpg", "b.jpg", _text(JPEG)], "path"),
        (["abcd", "QUJD"], "path"),
        (["https://host/a.jpg"], "path"),
        ([None, None], "path"),
        ([], "path"),
        ([None] * 40 + [_text(JPEG)], "path"),
    ],
)
def test_the_first_values_tell_base64_from_names(
    values: list[str | None], kind: str, form: str, tmp_path: Path, sets: Any
) -> None:
    table = pa.table({"x": pa.array(values, pa.string())})
    source = open_source(locate(str(sets.write(form, table, tmp_path / "set"))))
    assert find_media_column(source, "x").kind == kind


def test_a_shard_without_values_leaves_it_to_the_next(tmp_path: Path, sets: Any) -> None:
    (tmp_path / "set").mkdir()
    for number, values in enumerate([[], [None], [_text(JPEG)]]):
        table = pa.table({"image": pa.array(values, pa.string())})
        sets.write("parquet-plain", table, tmp_path / "set" / f"part-{number}")
    opened = sets.open(tmp_path / "set", tmp_path / "cache")
    assert opened.read_all() == [(1, 0, JPEG)]


class Web:
    """What would be fetched, and what was asked for."""

    def __init__(self, images: dict[str, bytes]) -> None:
        self._images = images
        self.asked: list[str] = []
        self.kept: set[str] = set()
        self._lock = threading.Lock()

    def is_here(self, url: str) -> bool:
        return url in self.kept

    def read(self, url: str) -> memoryview:
        with self._lock:
            self.asked.append(url)
        if url not in self._images:
            raise SourceError("cannot fetch", url, why="no such image")
        return memoryview(self._images[url])


def test_urls_are_left_to_their_reader(form: str, tmp_path: Path, sets: Any) -> None:
    good = ["https://host/a.jpg", "HTTP://host/caf\u00e9.png?x=zip://y::z"]
    bad = ["https://", "https:///a.jpg", "https://host/\x00", "https://host/a\nb", "ftp://host/a"]
    bad += ["file:///etc/passwd", f"https://host/{'x' * 9000}", "s3://bucket/a.jpg"]
    table = pa.table({"image": [*good, " https://host/a.jpg", *bad, good[0], "gone.jpg"]})
    web = Web({good[0]: JPEG, good[1]: PNG})
    path = sets.write(form, table, tmp_path / "set")
    opened = sets.open(path, tmp_path / "cache", fetchers=Fetchers(urls=web))
    index, store = opened.index, opened.store
    assert index.row.tolist() == [0, 1, 3 + len(bad)]
    assert index.length.tolist() == [-1] * 3
    assert index.format.tolist() == [0] * 3
    assert index.stored.tolist() == []
    assert index.dropped == {
        collecting.BAD_URL: 5,
        "URL that is neither http nor https": 3,
        "file missing": 2,
    }
    for cell in range(3):
        assert store.is_far(cell)
        assert store.waits_for_network(cell)
        assert store.read(cell) is None
        store.check(cell)
    store.pin()
    assert web.asked == []
    web.kept.add(good[1])
    assert [store.waits_for_network(cell) for cell in range(3)] == [True, False, True]
    assert [store.load(cell) for cell in range(3)] == [JPEG, PNG, JPEG]
    assert web.asked == [*good, good[0]]


def test_what_the_reader_of_urls_raises_passes_through(tmp_path: Path, sets: Any) -> None:
    path = sets.write("arrow-file", pa.table({"url": ["https://host/a.jpg"]}), tmp_path / "set")
    opened = sets.open(path, tmp_path / "cache", fetchers=Fetchers(urls=Web({})))
    with pytest.raises(SourceError, match=r"cannot fetch https://host/a.jpg: no such image"):
        opened.store.load(0)
    alone = sets.open(path, tmp_path / "cache")
    with pytest.raises(SourceError, match=r"cannot fetch https://host/a.jpg: nothing here may"):
        alone.store.load(0)


def test_other_urls_are_another_source(tmp_path: Path, sets: Any) -> None:
    identities = set()
    for number, url in enumerate(["https://host/a", "https://host/b"]):
        path = sets.write("arrow-file", pa.table({"url": [url]}), tmp_path / f"{number}")
        identities.add(sets.open(path, tmp_path / f"cache-{number}").index.identity)
    assert len(identities) == 2


KINDS = ["bytes", "file", "stored", "deflated", "tar", "url", "null", "missing"]


@settings(max_examples=40)
@given(
    images=st.lists(
        st.tuples(st.sampled_from(KINDS), st.binary(min_size=1, max_size=50)), max_size=12
    ),
    form=st.sampled_from(FORMS),
)
def test_mixed_columns_are_the_bytes_that_were_put_in(
    images: list[tuple[str, bytes]], form: str, sets: Any
) -> None:
    with TemporaryDirectory() as name, warnings.catch_warnings():
        folder = Path(name)
        web: dict[str, bytes] = {}
        written = [_put(folder, web, row, *image) for row, image in enumerate(images)]
        table = pa.table({"image": pa.array(written, STRUCT)})
        path = sets.write(form, table, folder / "rows")
        opened = sets.open(path, folder / "cache", fetchers=Fetchers(urls=Web(web)))
        found = [bytes(opened.store.load(cell)) for cell in range(len(opened.index))]
        kept = [(n, kind, data) for n, (kind, data) in enumerate(images) if kind not in KINDS[-2:]]
        assert opened.index.row.tolist() == [row for row, _, _ in kept]
        assert found == [data for _, _, data in kept]
        sizes = [-1 if kind == "url" else len(data) for _, kind, data in kept]
        assert opened.index.length.tolist() == sizes
        waiting = [opened.store.waits_for_network(cell) for cell in range(len(found))]
        assert waiting == [kind == "url" for _, kind, _ in kept]
        assert sum(opened.index.dropped.values()) == len(images) - len(kept)
        assert bool(len(opened.index.stored)) == any(kind == "deflated" for _, kind, _ in kept)


def _put(
    folder: Path, web: dict[str, bytes], row: int, kind: str, data: bytes
) -> dict[str, bytes | str | None]:
    """The cell of a row, with what it names beside it."""
    path: str | None = f"{row}.img"
    if kind == "file":
        (folder / f"{row}.img").write_bytes(data)
    elif kind in ("stored", "deflated"):
        method = zipfile.ZIP_STORED if kind == "stored" else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(folder / "all.zip", "a") as archive:
            archive.writestr(f"{row}.img", data, method)
        path = f"zip://{row}.img::all.zip"
    elif kind == "tar":
        with (folder / "all.tar").open("ab") as file:
            path = f"tar://{file.tell()}:{len(data)}::all.tar"
            file.write(data)
    elif kind == "url":
        path = f"https://host/{row}"
        web[path] = data
    elif kind == "null":
        path = None
    return {"bytes": data if kind == "bytes" else None, "path": path}


@settings(max_examples=40)
@given(
    images=st.lists(st.binary(max_size=60).map(lambda tail: GIF + tail), min_size=1, max_size=12),
    form=st.sampled_from(FORMS),
    encode=st.sampled_from([_text, _uri, lambda data: base64.b64encode(data, b"-_").decode()]),
)
def test_base64_is_the_bytes_that_were_put_in(
    images: list[bytes], form: str, encode: Any, sets: Any
) -> None:
    with TemporaryDirectory() as name:
        table = pa.table({"image": [encode(image) for image in images]})
        opened = sets.open(sets.write(form, table, Path(name, "set")), Path(name, "cache"))
        assert opened.read_all() == [(row, 0, image) for row, image in enumerate(images)]


def test_codings_and_kinds_keep_their_numbers() -> None:
    assert [kind.name for kind in SegmentKind] == [
        "MAP",
        "PART",
        "FILES",
        "CONTAINER",
        "URLS",
        "PAGES",
        "FAR_FILES",
    ]
    assert [coding.name for coding in cellindex.Coding] == ["RAW", "BASE64", "DEFLATE"]
