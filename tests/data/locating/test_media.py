"""Every way in which files of this host may hold videos or sounds, down to their cells."""

from __future__ import annotations

import gc
import io
import json
import os
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from hffs.config import build_config
from hffs.core.formats import Media
from hffs.data.fetchers import Fetchers
from hffs.data.locating.acquiring import acquire
from hffs.data.locating.record import Wanted, find_source, find_store, name_source
from hffs.data.metadata import read_columns
from hffs.data.shards import Located
from hffs.data.source import open_source
from hffs.errors import DataError
from tests.data.media import Cell, Silent, expect, make_clip, make_clips, read_cells

# The builders of datasets leave files of metadata open.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


@pytest.fixture(autouse=True)
def _collect() -> Iterator[None]:
    """Have them closed here, not in the middle of another test."""
    yield
    gc.collect()


def _write(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def _want(source: Path, folder: Path, media: Media, **keys: object) -> tuple[Wanted, Path]:
    environ = os.environ | {"XDG_CACHE_HOME": str(folder)}
    config = build_config(str(source), keys, None, environ)
    wanted = name_source(config)
    return replace(wanted, request=replace(wanted.request, media=media)), find_store(config)


def _locate(source: Path, folder: Path, media: Media, **keys: object) -> Located:
    wanted, store = _want(source, folder, media, **keys)
    return find_source(wanted, store) or acquire(wanted, store, Silent())


def _read(
    source: Path, folder: Path, media: Media, column: str | None = None, **keys: object
) -> tuple[list[Cell], dict[str, int]]:
    wanted, _ = _want(source, folder, media, **keys)
    located = _locate(source, folder, media, **keys)
    return read_cells(located, replace(wanted, column=column), folder / f"read-{media}")


def _values(located: Located, name: str) -> list[object]:
    return list(read_columns(open_source(located), [name])[name].to_pylist())


CLIPS: dict[Media, tuple[tuple[str, str], ...]] = {
    "video": (
        ("a/0.mp4", "MP4"),
        ("a/1.MOV", "MOV"),
        ("a/2.webm", "WEBM"),
        ("a/3.mkv", "MKV"),
        ("b/4.avi", "AVI"),
        ("b/5.m4v", "MP4"),
    ),
    "audio": (
        ("a/0.wav", "WAV"),
        ("a/1.FLAC", "FLAC"),
        ("a/2.mp3", "MP3"),
        ("a/3.m4a", "M4A"),
        ("b/4.opus", "OPUS"),
        ("b/5.ogg", "OGG"),
    ),
}
MEDIA = list(CLIPS)


@pytest.mark.parametrize("media", MEDIA)
def test_a_folder_of_classes(tmp_path: Path, media: Media) -> None:
    files = make_clips(*(name for name, _ in CLIPS[media]))
    source = _write(tmp_path / "set", files)
    assert _read(source, tmp_path, media) == (expect(files, *CLIPS[media]), {})
    located = _locate(source, tmp_path, media)
    assert _values(located, "label") == [0, 0, 0, 0, 1, 1]
    features = json.loads(open_source(located).schema.metadata[b"huggingface"])["info"]["features"]
    assert features["label"]["names"] == ["a", "b"]
    assert features[media]["_type"] == media.title()
    assert sum(shard.size_bytes for shard in located.shards) < 5000, "nothing is copied"


@pytest.mark.parametrize("media", MEDIA)
def test_splits_of_a_folder_have_the_classes_of_all(tmp_path: Path, media: Media) -> None:
    end = {"video": "mp4", "audio": "wav"}[media]
    names = (f"train/x/0.{end}", f"train/y/1.{end}", f"test/y/2.{end}")
    source = _write(tmp_path / "set", files := make_clips(*names))
    cells, _ = _read(source, tmp_path, media, split="test")
    assert [cell.data for cell in cells] == [files[names[2]]]
    assert _values(_locate(source, tmp_path, media, split="test"), "label") == [1]


def test_labels_can_be_dropped(tmp_path: Path) -> None:
    card = b"---\nconfigs:\n- config_name: default\n  drop_labels: true\n---\n"
    files = make_clips("x/0.mp4", "y/1.mp4")
    source = _write(tmp_path / "set", files | {"README.md": card})
    cells, _ = _read(source, tmp_path, "video")
    assert [cell.data for cell in cells] == list(files.values())
    assert "label" not in open_source(_locate(source, tmp_path, "video")).schema.names


def _metadata(form: str, name: str, files: list[str]) -> dict[str, bytes]:
    """What is said of files, the last first."""
    rows = [{name: file, "caption": f"of {file}"} for file in reversed(files)]
    if form == "jsonl":
        text = "".join(json.dumps(row) + "\n" for row in rows)
        return {"metadata.jsonl": text.encode()}
    out = io.BytesIO()
    if form == "csv":
        pa.csv.write_csv(pa.Table.from_pylist(rows), out)
    else:
        pq.write_table(pa.Table.from_pylist(rows), out)
    return {f"metadata.{form}": out.getvalue()}


@pytest.mark.parametrize("media", MEDIA)
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("key", ["file_name", "{}_file_name"])
def test_metadata_of_a_folder(tmp_path: Path, media: Media, form: str, key: str) -> None:
    files = make_clips(*(name for name, _ in CLIPS[media]))
    source = _write(tmp_path / "set", files | _metadata(form, key.format(media), list(files)))
    assert _read(source, tmp_path, media) == (expect(files, *reversed(CLIPS[media])), {})
    captions = _values(_locate(source, tmp_path, media), "caption")
    assert captions == [f"of {name}" for name in reversed(files)]


def test_several_files_of_a_row(tmp_path: Path) -> None:
    files = make_clips("0.mp4", "1.mp4", "2.mp4")
    rows = [{"file_names": ["0.mp4", "1.mp4"]}, {"file_names": ["2.mp4"]}]
    told = "".join(json.dumps(row) + "\n" for row in rows).encode()
    source = _write(tmp_path / "set", files | {"metadata.jsonl": told})
    cells, dropped = _read(source, tmp_path, "video")
    assert [(cell.row, cell.item, cell.data) for cell in cells] == [
        (0, 0, files["0.mp4"]), (0, 1, files["1.mp4"]), (1, 0, files["2.mp4"]),
    ]  # fmt: skip
    assert not dropped


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("media", MEDIA)
def test_a_zip_of_a_folder(tmp_path: Path, media: Media, method: int) -> None:
    files = make_clips(*(name for name, _ in CLIPS[media]))
    (tmp_path / "set").mkdir()
    with zipfile.ZipFile(tmp_path / "set/train.zip", "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    cells, dropped = _read(tmp_path / "set", tmp_path, media)
    assert ([cell.data for cell in cells], dropped) == (list(files.values()), {})
    assert [cell.format for cell in cells] == [kind for _, kind in CLIPS[media]]


MIXED = ("0.mp4", "1.webm", "2.wav", "3.m4a", "4.jpg", "5.png")


@pytest.mark.parametrize("more", ["mp4", "jpg", "wav"])
@pytest.mark.parametrize(
    ("media", "named"),
    [
        ("image", [("4.jpg", "JPEG"), ("5.png", "PNG")]),
        ("video", [("0.mp4", "MP4"), ("1.webm", "WEBM")]),
        ("audio", [("2.wav", "WAV"), ("3.m4a", "M4A")]),
    ],
)
def test_a_folder_of_several_media_is_one_of_the_medium_that_is_asked_for(
    tmp_path: Path, media: Media, named: list[tuple[str, str]], more: str
) -> None:
    """Whatever most of its files are."""
    files = make_clips(*MIXED, *(f"z{number}.{more}" for number in range(5)))
    source = _write(tmp_path / "set", files)
    kinds = {"mp4": "MP4", "jpg": "JPEG", "wav": "WAV"}
    if any(name.endswith(more) for name, _ in named):
        named = [*named, *((f"z{number}.{more}", kinds[more]) for number in range(5))]
    assert _read(source, tmp_path, media) == (expect(files, *named), {})


def test_splits_that_are_mostly_of_other_media(tmp_path: Path) -> None:
    files = make_clips("train/0.mp4", "train/1.jpg", "train/2.jpg", "test/3.mp4", "test/4.wav")
    source = _write(tmp_path / "set", files)
    cells, dropped = _read(source, tmp_path, "video", split="train+test")
    assert [cell.data for cell in cells] == [files["train/0.mp4"], files["test/3.mp4"]]
    assert not dropped


def test_a_folder_of_videos_and_a_text_beside_each(tmp_path: Path) -> None:
    """There are as many texts as videos, and `datasets` would take the texts for the rows."""
    files = make_clips("0.mp4", "1.mp4")
    source = _write(tmp_path / "set", files | {"0.txt": b"a", "1.txt": b"b"})
    cells, dropped = _read(source, tmp_path, "video")
    assert ([cell.data for cell in cells], dropped) == (list(files.values()), {})


def test_a_configuration_that_names_files_of_several_media(tmp_path: Path) -> None:
    card = b"---\nconfigs:\n- config_name: one\n  data_files: part/*\n- config_name: two\n---\n"
    files = make_clips("part/0.mp4", "part/1.jpg", "part/2.jpg", "rest/3.mp4")
    source = _write(tmp_path / "set", files | {"README.md": card})
    cells, dropped = _read(source, tmp_path, "video", config_name="one")
    assert ([cell.data for cell in cells], dropped) == ([files["part/0.mp4"]], {})
    pins = _locate(source, tmp_path, "video", config_name="one").pins
    assert [pin.name for pin in pins[1:]] == ["part/0.mp4"], "others are none of its files"


@pytest.mark.parametrize(
    ("names", "media", "why"),
    [
        (["0.mp4"], "image", "it holds videos, no images; mount these by --dataset-type video"),
        (["0.mp3"], "image", "it holds sounds, no images; mount these by --dataset-type audio"),
        (["0.jpg"], "video", "it holds images, no videos; mount these by --dataset-type image"),
        (["0.mp4"], "audio", "it holds videos, no sounds; mount these by --dataset-type video"),
    ],
)
def test_a_folder_without_the_medium_is_refused(
    tmp_path: Path, names: list[str], media: Media, why: str
) -> None:
    source = _write(tmp_path / "set", make_clips(*names))
    with pytest.raises(DataError) as caught:
        _locate(source, tmp_path, media)
    assert str(caught.value) == f"cannot use {source}: {why}"


@pytest.mark.parametrize("media", MEDIA)
def test_nothing_that_decodes_is_loaded(
    tmp_path: Path, media: Media, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("torchcodec", "torch", "soundfile", "av"):
        monkeypatch.delitem(sys.modules, name, raising=False)  # torch is not imported twice
    source = _write(tmp_path / "set", make_clips(*(name for name, _ in CLIPS[media])))
    _locate(source, tmp_path, media)
    assert not {"torchcodec", "torch", "soundfile", "av"} & sys.modules.keys()


def test_files_of_a_folder_are_not_looked_at_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _write(tmp_path / "set", make_clips("0.mp4", "1.wav"))
    looked: list[str] = []
    monkeypatch.setattr(
        "hffs.data.locating.record._pin_path", lambda path: looked.append(path.name)
    )
    from hffs.data.locating.record import pin_files

    pin_files(str(source))
    assert looked == ["set"]


def _make_tar(path: Path, members: Mapping[str, bytes], mode: str) -> Path:
    path.parent.mkdir(parents=True)
    with tarfile.open(path, f"w:{mode}") as tar:  # type: ignore[call-overload]  # any mode
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path.parent


def _samples() -> dict[str, bytes]:
    """Samples of a video, a sound and an image each, the second of other extensions."""
    return make_clips("0.mp4", "0.wav", "0.jpg") | {"0.txt": b"zero", "0.json": b'{"n": 0}'} | (
        make_clips("1.webm", "1.flac", "1.png") | {"1.txt": b"one", "1.json": b'{"n": 1}'}
    )  # fmt: skip


@pytest.mark.parametrize(("end", "mode"), [("tar", ""), ("tar.gz", "gz")])
@pytest.mark.parametrize(
    ("media", "named"),
    [
        ("image", [("0.jpg", "JPEG"), ("1.png", "PNG")]),
        ("video", [("0.mp4", "MP4"), ("1.webm", "WEBM")]),
        ("audio", [("0.wav", "WAV"), ("1.flac", "FLAC")]),
    ],
)
def test_tars_of_samples(
    tmp_path: Path, media: Media, named: list[tuple[str, str]], end: str, mode: str
) -> None:
    members = _samples()
    source = _make_tar(tmp_path / f"set/a.{end}", members, mode)
    assert _read(source, tmp_path, media) == (expect(members, *named), {})
    located = _locate(source, tmp_path, media)
    assert _values(located, "txt") == ["zero", "one"]
    names = open_source(located).schema.names
    assert names == ["video", "audio", "image", "txt", "json", "__key__", "__url__"]


def test_one_table_of_tars_is_for_all_media(tmp_path: Path) -> None:
    source = _make_tar(tmp_path / "set/a.tar", _samples(), "")
    shards = {media: _locate(source, tmp_path, media).shards for media in CLIPS}
    assert shards["video"] == shards["audio"]


def test_a_member_that_is_not_what_it_is_called_is_left_out(tmp_path: Path) -> None:
    members = {"0.mp4": b"no video" * 20, **make_clips("1.mp4")}
    source = _make_tar(tmp_path / "set/a.tar", members, "")
    cells, dropped = _read(source, tmp_path, "video")
    assert [cell.data for cell in cells] == [members["1.mp4"]]
    assert dropped == {"bytes in no known format of a video": 1}


def _table(form: str, rows: list[dict[str, object]], path: Path) -> Path:
    path = path.with_suffix(f".{form}")
    path.parent.mkdir(parents=True, exist_ok=True)
    if form == "csv":
        pa.csv.write_csv(pa.Table.from_pylist(rows), path)
    elif form == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("media", MEDIA)
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("column", ["file_name", "path", "{}", "{}_path", "other"])
def test_tables_that_name_files(tmp_path: Path, media: Media, form: str, column: str) -> None:
    files = make_clips(*(name for name, _ in CLIPS[media]))
    _write(tmp_path / "set", files)
    name = column.format(media)
    rows: list[dict[str, object]] = [{name: file, "caption": "x"} for file in files]
    table = _table(form, rows, tmp_path / "set/rows")
    chosen = name if column == "other" else None
    assert _read(table, tmp_path, media, chosen) == (expect(files, *CLIPS[media]), {})


@pytest.mark.parametrize("media", MEDIA)
def test_tables_that_name_members_and_urls_and_files_that_are_none(
    tmp_path: Path, media: Media
) -> None:
    end = {"video": "mp4", "audio": "wav"}[media]
    files = make_clips(f"in.{end}")
    (tmp_path / "set").mkdir()
    with zipfile.ZipFile(tmp_path / "set/clips.zip", "w") as archive:
        archive.writestr(f"in.{end}", files[f"in.{end}"])
    (tmp_path / "set/note.txt").write_text("no clip")
    cells = [f"zip://in.{end}::clips.zip", "missing.mp4", "note.txt", "https://h/no-extension"]
    table = _table("csv", [{media: cell} for cell in cells], tmp_path / "set/rows")
    found, dropped = _read(table, tmp_path, media)
    assert [cell.data for cell in found] == list(files.values())
    noun = {"video": "video", "audio": "sound"}[media]
    assert dropped == {
        "file missing": 1,
        f"bytes in no known format of a {noun}": 1,
        f"name that tells no format of a {noun}": 1,
    }


class _Urls:
    """Who gets what is at URLs."""

    def read(self, url: str) -> memoryview:
        """See `UrlReader`."""
        return memoryview(make_clip(url.partition("?")[0].rpartition(".")[2]))

    def is_here(self, url: str) -> bool:
        """See `UrlReader`."""
        return True


@pytest.mark.parametrize("media", MEDIA)
def test_columns_of_urls(tmp_path: Path, media: Media) -> None:
    ends = {"video": ("mp4", "webm"), "audio": ("wav", "mp3")}[media]
    urls = [f"https://example.org/a.{end}?b.jpg" for end in ends]
    table = _table("parquet", [{f"{media}_url": url} for url in urls], tmp_path / "set/rows")
    wanted, store = _want(table, tmp_path, media)
    located = find_source(wanted, store)
    assert located is not None
    cells, dropped = read_cells(located, wanted, tmp_path, Fetchers(_Urls()))
    assert [(cell.format, cell.length, cell.data) for cell in cells] == [
        (end.upper(), -1, make_clip(end)) for end in ends
    ]
    assert not dropped


CELL = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def _features(column: str, media: Media, *, listed: bool = False) -> dict[bytes, bytes]:
    feature: dict[str, object] = {"_type": media.title()}
    if listed:
        feature = {"_type": "List", "feature": feature}
    return {b"huggingface": json.dumps({"info": {"features": {column: feature}}}).encode()}


@pytest.mark.parametrize("media", MEDIA)
@pytest.mark.parametrize("form", ["parquet", "zstd", "arrow"])
def test_tables_that_hold_them(tmp_path: Path, media: Media, form: str) -> None:
    """Bytes, and a name beside no bytes, in a column that only its feature tells of."""
    files = make_clips(*(name for name, _ in CLIPS[media]))
    _write(tmp_path / "set", {name: files[name] for name, _ in CLIPS[media][:1]})
    first, *others = ({"bytes": files[name], "path": name} for name, _ in CLIPS[media])
    cells = [first | {"bytes": None}, *others]
    schema = pa.schema([("thing", CELL)], _features("thing", media))
    table = pa.table({"thing": pa.array(cells, CELL)}, schema)
    path = tmp_path / ("set/rows.arrow" if form == "arrow" else "set/rows.parquet")
    if form == "arrow":
        with pa.ipc.new_stream(path, schema) as writer:
            writer.write_table(table)
    else:
        pq.write_table(table, path, compression="zstd" if form == "zstd" else "none")
    assert _read(path, tmp_path, media) == (expect(files, *CLIPS[media]), {})


@pytest.mark.parametrize("media", MEDIA)
def test_lists_bytes_and_base64(tmp_path: Path, media: Media) -> None:
    import base64

    files = make_clips(*(name for name, _ in CLIPS[media]))
    data = list(files.values())
    plain = pa.table({"thing": data})
    lists = pa.table({media: pa.array([data[:2], [], data[2:]], pa.list_(pa.binary()))})
    texts = pa.table({media: [base64.b64encode(each).decode() for each in data]})
    for name, table in (("plain", plain), ("lists", lists), ("texts", texts)):
        path = tmp_path / name / "rows.parquet"
        path.parent.mkdir()
        pq.write_table(table, path)
        cells, _ = _read(path, path.parent, media)
        assert [cell.data for cell in cells] == data, name
        assert [cell.format for cell in cells] == [kind for _, kind in CLIPS[media]], name


def test_a_view_has_one_medium_of_what_a_column_holds(tmp_path: Path) -> None:
    data = [make_clip("mp4"), make_clip("jpg"), make_clip("wav")]
    pq.write_table(pa.table({"thing": data}), tmp_path / "rows.parquet")
    for media, row, noun in (("video", 0, "video"), ("audio", 2, "sound")):
        cells, dropped = _read(tmp_path / "rows.parquet", tmp_path, media)  # type: ignore[arg-type]  # of a literal
        kept = [cell.row for cell in cells if cell.format != "M4A"]
        assert kept == [row]
        assert dropped == {f"bytes in no known format of a {noun}": 3 - len(cells)}


def test_files_by_split_that_are_named_one_by_one(tmp_path: Path) -> None:
    files = make_clips("x.mp4", "y.webm", "z.jpg")
    source = _write(tmp_path / "set", files)
    keys: dict[str, Any] = {"data_files": {"train": ["x.*"], "val": ["y.*", "z.*"]}, "split": "val"}
    cells, dropped = _read(source, tmp_path, "video", None, **keys)
    assert ([cell.data for cell in cells], dropped) == ([files["y.webm"]], {})


@pytest.mark.parametrize("source", ["set/0.mp4", "set/*.webm"])
def test_a_file_or_a_pattern(tmp_path: Path, source: str) -> None:
    files = make_clips("0.mp4", "1.webm", "2.jpg")
    _write(tmp_path / "set", files)
    cells, _ = _read(tmp_path / source, tmp_path, "video")
    assert [cell.data for cell in cells] == [files[source[4:].replace("*", "1")]]
