"""Every way in which a repository of the Hub may hold videos or sounds, downloaded and streamed."""

from __future__ import annotations

import base64
import io
import json
import tarfile
import zipfile
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hffs.core.formats import Media
from tests.data.hub.conftest import Asker
from tests.data.media import Cell, as_cells, expect, make_clips
from tests.hub import HubServer

CLIPS: dict[Media, tuple[tuple[str, str], ...]] = {
    "video": (("a/0.mp4", "MP4"), ("a/1.MOV", "MOV"), ("b/2.webm", "WEBM"), ("b/3.mkv", "MKV")),
    "audio": (("a/0.wav", "WAV"), ("a/1.FLAC", "FLAC"), ("b/2.mp3", "MP3"), ("b/3.m4a", "M4A")),
}
EVERY = [(media, streaming) for media in CLIPS for streaming in (False, True)]
every_way = pytest.mark.parametrize(("media", "streaming"), EVERY)


def _name(media: Media, form: str, streaming: bool) -> str:
    """A repository of its own for each test, as a snapshot stays."""
    return f"{media}/{form}-{'far' if streaming else 'here'}"


def _read(
    asker: Asker, name: str, media: Media, **keys: object
) -> tuple[list[Cell], dict[str, int]]:
    found = asker("read_media", name, media=media, keys=keys)
    return as_cells(found["cells"]), found["dropped"]


def _fetched(site: HubServer) -> set[str]:
    return {each.path.rpartition("/")[2] for each in site.requests if "/resolve/" in each.path}


@every_way
def test_a_folder_of_classes(site: HubServer, asker: Asker, media: Media, streaming: bool) -> None:
    files = make_clips(*(name for name, _ in CLIPS[media]))
    name = _name(media, "classes", streaming)
    site.add(name).write_all(files | make_clips("a/x.jpg"))
    assert _read(asker, name, media, streaming=streaming) == (expect(files, *CLIPS[media]), {})
    assert "x.jpg" not in _fetched(site), "what is of another medium is not fetched"


@every_way
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_metadata_of_a_folder(
    site: HubServer, asker: Asker, media: Media, streaming: bool, form: str
) -> None:
    files = make_clips(*(name for name, _ in CLIPS[media]))
    rows = [{"file_name": file, "caption": "x"} for file in reversed(files)]
    out = io.BytesIO()
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), out)
    elif form == "csv":
        out.write(
            "\n".join(["file_name,caption", *(f"{file},x" for file in reversed(files))]).encode()
        )
    else:
        out.write("".join(json.dumps(row) + "\n" for row in rows).encode())
    name = _name(media, form, streaming)
    site.add(name).write_all(files | {f"metadata.{form}": out.getvalue()})
    cells, dropped = _read(asker, name, media, streaming=streaming)
    assert (cells, dropped) == (expect(files, *reversed(CLIPS[media])), {})


def test_offline_a_folder_is_the_same(site: HubServer, asker: Asker) -> None:
    files = make_clips(*(name for name, _ in CLIPS["video"]))
    site.add("video/offline").write_all(files)
    online = _read(asker, "video/offline", "video")
    site.clear()
    assert _read(asker, "video/offline", "video", offline=True) == online
    assert site.requests == []


def test_mostly_others(site: HubServer, asker: Asker) -> None:
    files = make_clips("0.mp4", "1.jpg", "2.jpg", "3.wav", "4.wav", "5.wav")
    site.add("video/few").write_all(files)
    for media, names in (("video", ["0.mp4"]), ("image", ["1.jpg", "2.jpg"])):
        cells, dropped = _read(asker, "video/few", media)  # type: ignore[arg-type]  # of literals
        assert ([cell.data for cell in cells], dropped) == ([files[each] for each in names], {})
    site.add("video/none").write_all(make_clips("1.jpg"))
    kind, line = asker.refusal("read_media", "video/none", media="video", keys={})
    assert (kind, "it holds images, no videos" in line) == ("DataError", True), line


def _pack(members: dict[str, bytes], mode: str = "") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{mode}") as tar:  # type: ignore[call-overload]  # any
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


SAMPLES = {
    **make_clips("0.mp4", "0.wav"),
    "0.txt": b"zero",
    **make_clips("1.webm", "1.m4a"),
    "1.txt": b"one",
    "1.json": b"{}",
}


@every_way
def test_tars_of_samples(site: HubServer, asker: Asker, media: Media, streaming: bool) -> None:
    named = {
        "video": [("0.mp4", "MP4"), ("1.webm", "WEBM")],
        "audio": [("0.wav", "WAV"), ("1.m4a", "M4A")],
        "image": [],
    }[media]
    name = _name(media, "tars", streaming)
    site.add(name).write("train-0.tar", _pack(SAMPLES))
    assert _read(asker, name, media, streaming=streaming) == (expect(SAMPLES, *named), {})


def test_large_members_of_tars_are_not_fetched_for_the_table(site: HubServer, asker: Asker) -> None:
    members = {f"{number}.mp4": b"\0\0\0\x20ftypisom" + bytes(1 << 20) for number in range(5)}
    site.add("video/large").write("train-0.tar", _pack(members))
    asker("acquire", "video/large", media="video", keys={"streaming": True})
    sent = sum(each.sent_bytes for each in site.requests if each.method == "GET")
    assert sent < 1 << 20


@every_way
def test_a_table_that_names_files(
    site: HubServer, asker: Asker, media: Media, streaming: bool
) -> None:
    files = make_clips(*(name for name, _ in CLIPS[media]))
    table = "".join(json.dumps({media: file, "caption": "x"}) + "\n" for file in files).encode()
    name = _name(media, "named", streaming)
    site.add(name).write_all(files | {"rows.jsonl": table})
    keys: dict[str, Any] = {"streaming": streaming, "data_files": ["rows.jsonl"]}
    assert _read(asker, name, media, **keys) == (expect(files, *CLIPS[media]), {})


@every_way
@pytest.mark.parametrize("form", ["struct", "binary", "base64", "list"])
def test_parquet(site: HubServer, asker: Asker, media: Media, streaming: bool, form: str) -> None:
    data = list(make_clips(*(name for name, _ in CLIPS[media])).values())
    columns: dict[str, list[Any]] = {
        "struct": [{"bytes": each, "path": None} for each in data],
        "binary": data,
        "base64": [base64.b64encode(each).decode() for each in data],
        "list": [[each] for each in data],
    }
    out = io.BytesIO()
    pq.write_table(pa.table({media: columns[form]}), out, write_page_index=True)
    name = _name(media, form, streaming)
    site.add(name).write("data/train-00000-of-00001.parquet", out.getvalue())
    cells, _ = _read(asker, name, media, streaming=streaming)
    assert [cell.data for cell in cells] == data
    # pages that nobody has fetched do not tell
    told = ["UNKNOWN"] * len(data) if streaming else [kind for _, kind in CLIPS[media]]
    assert [cell.format for cell in cells] == told


def test_a_zip_is_downloaded(site: HubServer, asker: Asker) -> None:
    files = make_clips(*(name for name, _ in CLIPS["audio"]))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    site.add("audio/zip").write("train.zip", out.getvalue())
    cells, dropped = _read(asker, "audio/zip", "audio")
    assert ([cell.data for cell in cells], dropped) == (list(files.values()), {})
