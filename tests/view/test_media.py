"""Views of videos and sounds: names, bytes whole and by parts, captions, lyrics."""

from __future__ import annotations

import base64
import io
import json
import os
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from hffs.core.formats import Media, MediaFormat
from hffs.core.inodes import ROOT, Kind, make_inode
from hffs.core.types import Inode, Position
from hffs.data.recent import count_held
from hffs.errors import ConfigError, DataError, MissingError, RenderError, StaleError
from hffs.view.tree import Tree
from tests.view.conftest import OpenTree, Quiet, encode
from tests.view.media import make_media, pack, write_media
from tests.view.portable import facts_of, opened, record

MP4, MOV, WEBM = (make_media(kind) for kind in (MediaFormat.MP4, MediaFormat.MOV, MediaFormat.WEBM))
WAV, MP3, OGG = (make_media(kind) for kind in (MediaFormat.WAV, MediaFormat.MP3, MediaFormat.OGG))
VIDEO, AUDIO = {"dataset_type": "video"}, {"dataset_type": "audio"}


def names(tree: Tree, folder: Inode = ROOT) -> list[str]:
    return [entry.name.decode() for entry in tree.entries(folder, 0)]


def find(tree: Tree, name: str) -> Inode:
    inode = tree.lookup(ROOT, name.encode())
    assert inode is not None, name
    return inode


def read(tree: Tree, name: str, start: int = 0, stop: int = 1 << 40) -> bytes:
    inode = find(tree, name)
    ready = tree.ready(inode)
    if ready is not None:
        return bytes(ready[start:stop])
    return bytes(tree.request_part(inode, start, stop).result(20))


@pytest.mark.parametrize("packed", [False, True])
def test_each_video_has_its_own_extension(
    open_tree: OpenTree, tmp_path: Path, *, packed: bool
) -> None:
    captions = ["a", "b", "c"]
    source = write_media(tmp_path / "a.parquet", "video", [MP4, MOV, WEBM], caption=captions)
    if packed:
        pack(source)
    tree = open_tree(source, **VIDEO)
    assert names(tree) == ["0.mp4", "0.txt", "1.mov", "1.txt", "2.webm", "2.txt"]
    assert [read(tree, name) for name in ("0.mp4", "1.mov", "2.webm")] == [MP4, MOV, WEBM]
    assert [entry.size_bytes for entry in tree.entries(ROOT, 0)] == [1000, 1] * 3
    assert tree.lookup(ROOT, b"0.mov") is None
    assert tree.manifest.info.media == "video"
    assert tree.manifest.info.rendered == 0


def test_what_is_in_no_format_of_the_medium_is_left_out_and_counted(
    open_tree: OpenTree, tmp_path: Path, watcher: Quiet
) -> None:
    cells = [MP4, b"plain words", encode("JPEG"), None, b"", WAV, MOV]
    tree = open_tree(write_media(tmp_path / "a.parquet", "video", cells), **VIDEO)
    assert names(tree) == ["0.mp4", "1.mov"]
    assert dict(tree.manifest.info.dropped) == {
        "bytes in no known format of a video": 3, "null video": 1, "video of no bytes": 1,
    }  # fmt: skip
    assert any("video of no bytes: 1" in notice for notice in watcher.notices)


def test_a_video_is_no_image(open_tree: OpenTree, tmp_path: Path) -> None:
    source = write_media(tmp_path / "a.parquet", "image", [encode("JPEG"), MP4])
    tree = open_tree(source, image_format="source")
    assert names(tree) == ["0.jpg", "1.bin"]


FEATURES = {"clip": "Video", "picture": "Image", "voice": "Audio"}


def _write_several(path: Path, *columns: str) -> Path:
    values = {"clip": MP4, "picture": encode("JPEG"), "voice": WAV}
    table = pa.table({name: [{"bytes": values[name], "path": None}] for name in columns})
    features = {name: {"_type": FEATURES[name]} for name in columns}
    told = json.dumps({"info": {"features": features}})
    pq.write_table(table.replace_schema_metadata({"huggingface": told}), path, compression="none")
    return path


def test_several_media_ask_which(open_tree: OpenTree, tmp_path: Path) -> None:
    source = _write_several(tmp_path / "a.parquet", "picture", "clip")
    with pytest.raises(ConfigError) as caught:
        open_tree(source)
    assert str(caught.value) == (
        f"cannot mount {source}: it has images (picture) and videos (clip); choose one by "
        "--dataset-type image|video"
    )
    assert names(open_tree(source, dataset_type="image")) == ["0.jpg"]
    assert names(open_tree(source, **VIDEO)) == ["0.mp4"]
    assert names(open_tree(source, image_column="picture")) == ["0.jpg"]


def test_another_medium_is_named(open_tree: OpenTree, tmp_path: Path) -> None:
    source = _write_several(tmp_path / "a.parquet", "clip")
    with pytest.raises(DataError) as caught:
        open_tree(source)
    assert str(caught.value) == (
        f"cannot mount {source}: it has no image column, but videos (clip); mount these by "
        "--dataset-type video"
    )
    with pytest.raises(
        ConfigError, match="cannot use audio_column clip: it holds Video, not sounds"
    ):
        open_tree(source, dataset_type="audio", audio_column="clip")


def _write_form(folder: Path, form: str, media: Media, files: list[bytes]) -> Path:
    """The same files in a way that a data set may hold them."""
    path = folder / "set.parquet"
    if form == "names":
        for number, data in enumerate(files):
            (folder / f"{number}.x").write_bytes(data)
        return write_media(path, media, [f"{number}.x" for number in range(len(files))])
    if form == "base64":
        return write_media(path, media, [base64.b64encode(data).decode() for data in files])
    if form in ("stored", "deflated"):
        method = zipfile.ZIP_STORED if form == "stored" else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(folder / "a.zip", "w", method) as archive:
            for number, data in enumerate(files):
                archive.writestr(f"{number}", data)
        return write_media(path, media, [f"zip://{n}::a.zip" for n in range(len(files))])
    if form == "binary":
        table = pa.table({media: pa.array(files, pa.binary())})
        pq.write_table(table, path, compression="none", use_dictionary=False)
        return path
    if form == "lists":
        cells = [[{"bytes": data, "path": None} for data in files], []]
        return write_media(path, media, cells)
    written = write_media(path, media, files)
    return pack(written) if form == "packed" else written


FORMS = ["plain", "packed", "binary", "lists", "names", "base64", "stored", "deflated"]


@pytest.mark.parametrize("form", FORMS)
def test_any_parts_are_the_whole(open_tree: OpenTree, tmp_path: Path, form: str) -> None:
    files = [make_media(MediaFormat.MP4, 70_000, seed) for seed in range(2)] + [MOV]
    tree = open_tree(_write_form(tmp_path, form, "video", files), **VIDEO)
    assert names(tree) == ["0.mp4", "1.mp4", "2.mov"]

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 2), st.lists(st.integers(0, 80_000), max_size=4))
    def check(number: int, cuts: list[int]) -> None:
        name = names(tree)[number]
        edges = [0, *sorted(cuts), 90_000]
        parts = [read(tree, name, a, b) for a, b in pairwise(edges)]
        assert b"".join(parts) == files[number]
        assert [len(p) for p in parts] == [
            max(min(b, len(files[number])) - a, 0) for a, b in pairwise(edges)
        ]

    check()
    for number, name in enumerate(names(tree)):
        assert tree.request_size(find(tree, name)).result(20) == len(files[number])
        assert tree.fetch(find(tree, name)).result(20) == len(files[number])
        assert bytes(tree.request(find(tree, name)).result(20)) == files[number]


def test_a_file_that_changes_is_stale_and_others_are_not(
    open_tree: OpenTree, tmp_path: Path
) -> None:
    tree = open_tree(_write_form(tmp_path, "names", "video", [MP4, MOV]), **VIDEO)
    assert read(tree, "0.mp4", 10, 20) == MP4[10:20]
    (tmp_path / "0.x").write_bytes(MP4 + b"more")
    with pytest.raises(StaleError):
        tree.prepare(find(tree, "0.mp4"))
    with pytest.raises(StaleError):
        read(tree, "0.mp4", 10, 20)
    assert read(tree, "1.mov") == MOV
    (tmp_path / "1.x").unlink()
    with pytest.raises(StaleError, match="removed"):
        read(tree, "1.mov", 0, 5)


def test_what_is_decoded_is_kept_on_disk_and_not_decoded_again(
    open_tree: OpenTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [make_media(MediaFormat.MP4, 3 << 20, seed) for seed in range(2)]
    source = _write_form(tmp_path, "base64", "video", files)
    tree = open_tree(source, **VIDEO)
    assert read(tree, "0.mp4", 5, 9) == files[0][5:9]
    again = open_tree(source, **VIDEO)
    monkeypatch.setattr("hffs.data.rows.decode_text", lambda *_: pytest.fail("decoded again"))
    assert read(again, "0.mp4", 1 << 20, 2 << 20) == files[0][1 << 20 : 2 << 20]
    assert read(tree, "0.mp4") == files[0]
    ready = tree.ready(find(tree, "0.mp4"))
    assert ready is not None
    assert count_held(ready) == 0


def test_broken_base64_is_an_error_of_its_own(open_tree: OpenTree, tmp_path: Path) -> None:
    good = base64.b64encode(MP4 * 100).decode()
    bad = good[:50_000] + "*" + good[50_001:]
    source = write_media(tmp_path / "a.parquet", "video", [good, bad], caption=["a", "b"])
    tree = open_tree(source, **VIDEO)
    for _ in range(2):
        with pytest.raises(RenderError, match=r"cannot read 1\.mp4 \(row 1 of "):
            read(tree, "1.mp4", 0, 10)
    assert read(tree, "0.mp4") == MP4 * 100


SONGS: dict[str, Any] = {
    "prompt": ["a song", None, " ", "hymn"],
    "tags": [["pop", "slow"], ["rock"], None, []],
    "lyrics": ["[verse]\r\nla \n\nla", "", None, None],
    "norm_lyrics": ["x", "y", "z", None],
}
SOUNDS = [WAV, MP3, OGG, WAV]


def test_sounds_have_joined_captions_and_lyrics_where_something_is_sung(
    open_tree: OpenTree, tmp_path: Path
) -> None:
    tree = open_tree(write_media(tmp_path / "a.parquet", "audio", SOUNDS, **SONGS), **AUDIO)
    assert names(tree) == [
        "0.wav", "0.txt", "0.lyrics", "1.mp3", "1.txt", "2.wav", "2.txt",
    ]  # fmt: skip
    assert read(tree, "0.txt") == b"a song, pop, slow"
    assert read(tree, "0.lyrics") == b"[verse]\nla\n\nla"
    assert (read(tree, "1.txt"), read(tree, "2.txt")) == (b"rock", b"hymn")
    assert tree.files == 7
    assert tree.manifest.info.lyrics_column == "lyrics"
    for name in (b"1.lyrics", b"2.lyrics", b"0.lyric", b"3.lyrics"):
        assert tree.lookup(ROOT, name) is None
    whole = list(tree.entries(ROOT, 0))
    for number, entry in enumerate(whole):
        assert list(tree.entries(ROOT, entry.next_id)) == whole[number + 1 :]
        assert tree.lookup(ROOT, entry.name) == entry.inode
        assert tree.name(entry.inode) == entry.name.decode()
        assert (
            tree.size_bytes(entry.inode)
            == entry.size_bytes
            == len(read(tree, tree.name(entry.inode)))
        )


def test_a_sound_without_any_caption_is_dropped_unless_told_otherwise(
    open_tree: OpenTree, tmp_path: Path
) -> None:
    source = write_media(tmp_path / "a.parquet", "audio", SOUNDS, **SONGS)
    tree = open_tree(source, **AUDIO, missing_caption="text:music", names="row")
    assert read(tree, "2.txt") == b"music"
    assert read(tree, "2.lyrics") == b"z"
    assert names(tree)[-2:] == ["3.wav", "3.txt"]


@pytest.mark.parametrize(
    ("keys", "columns", "captions"),
    [
        ({}, {"caption": ["c", "d"], "tags": ["t", None]}, ["t", "d"]),
        ({}, {"caption": ["c", "d"]}, ["c", "d"]),
        ({}, {"prompt": ["p", None], "text": ["x", "y"]}, ["p", "y"]),
        ({"audio_caption_fields": ["mood"]},
         {"mood": ["m", None], "caption": ["c", "d"]}, ["m", "d"]),
        ({"caption_column": ["caption"]}, {"caption": ["c", None], "tags": ["t", "u"]}, ["c", "u"]),
        ({"audio_caption_fields": ["a", "b"], "caption_separator": " | "},
         {"a": ["1", "2"], "b": ["3", None]}, ["1 | 3", "2"]),
        ({"fallback_caption_column": "f"}, {"tags": ["t", None], "f": ["e", "g"]}, ["t", "g"]),
    ],
)  # fmt: skip
def test_where_captions_of_sounds_come_from(
    open_tree: OpenTree, tmp_path: Path, keys: dict[str, object], columns: dict[str, list[str]],
    captions: list[str],
) -> None:  # fmt: skip
    source = write_media(tmp_path / "a.parquet", "audio", [WAV, MP3], **columns)
    tree = open_tree(source, **AUDIO, **keys)
    assert [read(tree, f"{number}.txt").decode() for number in range(2)] == captions


@pytest.mark.parametrize(
    ("keys", "columns", "words"),
    [
        ({}, {"norm_lyrics": ["n", None]}, ["n", None]),
        ({"lyrics_column": "lyrics"}, {"norm_lyrics": ["n", None]}, ["n", None]),
        ({"lyrics_column": "w"}, {"w": ["a", None], "norm_lyrics": ["n", "m"]}, ["a", "m"]),
        ({"lyrics_column": "w"}, {"w": ["a", "b"], "lyrics": ["n", "m"]}, ["a", "b"]),
        ({"lyrics_column": "norm_lyrics"}, {"norm_lyrics": ["n", ""]}, ["n", None]),
        ({"lyrics_column": "meta.words"}, {"meta": ['{"words": "j"}', "{}"]}, ["j", None]),
        ({}, {"lyrics": [["one", "two"], []]}, ["one\ntwo", None]),
        ({"images_only": True}, {"lyrics": ["a", "b"]}, [None, None]),
        ({}, {"lyrics": [" \n", ""]}, [None, None]),
    ],
)
def test_where_lyrics_come_from(
    open_tree: OpenTree, tmp_path: Path, keys: dict[str, object], columns: dict[str, list[str]],
    words: list[str | None],
) -> None:  # fmt: skip
    source = write_media(tmp_path / "a.parquet", "audio", [WAV, MP3], tags=["t", "u"], **columns)
    tree = open_tree(source, **AUDIO, **keys)
    for number, text in enumerate(words):
        found = tree.lookup(ROOT, b"%d.lyrics" % number)
        assert (found is None) == (text is None)
        assert text is None or read(tree, f"{number}.lyrics").decode() == text


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"lyrics_column": "wrods"}, "cannot use lyrics_column wrods: there is no such column"),
        ({"audio_caption_fields": ["tgas"]}, "cannot use audio_caption_fields tgas: there is no"),
        ({"audio_column": "adio"}, "cannot use audio_column adio: there is no such column"),
    ],
)
def test_columns_that_are_not_there(
    open_tree: OpenTree, tmp_path: Path, keys: dict[str, object], line: str
) -> None:
    source = write_media(tmp_path / "a.parquet", "audio", [WAV], tags=["t"], words=["w"])
    with pytest.raises(ConfigError) as caught:
        open_tree(source, **AUDIO, **keys)
    assert str(caught.value).startswith(line)


def test_an_inode_of_lyrics_that_are_not_there_is_no_file(
    open_tree: OpenTree, tmp_path: Path
) -> None:
    source = write_media(tmp_path / "a.parquet", "audio", [WAV, MP3], tags=["t", "u"])
    tree = open_tree(source, **AUDIO)
    with pytest.raises(MissingError):
        tree.size_bytes(make_inode(Position(0), Kind.LYRICS))


def test_folders_and_parts_have_their_lyrics(open_tree: OpenTree, tmp_path: Path) -> None:
    columns = {"lyrics": ["a", "", "c", "d"], "tags": ["t"] * 4, "genre": ["x", "y", "x", "y"]}
    source = write_media(tmp_path / "a.parquet", "audio", SOUNDS, **columns)
    tree = open_tree(source, **AUDIO, group_by="genre")
    x, y = (tree.lookup(ROOT, name) for name in (b"x", b"y"))
    assert x is not None
    assert y is not None
    assert names(tree, x) == ["0.wav", "0.txt", "0.lyrics", "2.ogg", "2.txt", "2.lyrics"]
    assert names(tree, y) == ["1.mp3", "1.txt", "3.wav", "3.txt", "3.lyrics"]
    part = open_tree(source, **AUDIO, shard="1/2")
    assert names(part) == ["2.ogg", "2.txt", "2.lyrics", "3.wav", "3.txt", "3.lyrics"]
    assert read(part, "3.lyrics") == b"d"


def test_metadata_names_sounds_with_captions_and_lyrics(
    open_tree: OpenTree, tmp_path: Path
) -> None:
    source = write_media(
        tmp_path / "a.parquet", "audio", [WAV, MP3], tags=["t", "u"], lyrics=["l", ""]
    )
    tree = open_tree(source, **AUDIO, metadata_jsonl=True)
    lines = list(map(json.loads, read(tree, "metadata.jsonl").splitlines()))
    assert lines == [
        {"file_name": "0.wav", "text": "t", "caption": "t", "lyrics": "l"},
        {"file_name": "1.mp3", "text": "u", "caption": "u", "lyrics": ""},
    ]
    alone = open_tree(source, **AUDIO, metadata_jsonl=True, images_only=True)
    assert names(alone) == ["0.wav", "1.mp3", "metadata.jsonl"]
    assert read(alone, "metadata.jsonl") == read(tree, "metadata.jsonl")


def test_decoded_sounds_become_wavs(open_tree: OpenTree, tmp_path: Path) -> None:
    wave = np.sin(np.arange(400) / 9)
    cells: list[Any] = [
        {"array": wave.tolist(), "sampling_rate": 16_000},
        None,
        {"array": None, "sampling_rate": 16_000},
        {"array": [], "sampling_rate": 16_000},
        {"array": wave.tolist(), "sampling_rate": None},
        {"array": [0.5, None, -0.5], "sampling_rate": 8_000},
    ]
    table = pa.table({"audio": cells, "caption": list("abcdef")})
    for name, chunk in (("a.parquet", 3), ("b.parquet", 100)):
        pq.write_table(table, tmp_path / name, row_group_size=chunk)
        tree = open_tree(tmp_path / name, **AUDIO)
        assert names(tree) == ["0.wav", "0.txt", "1.wav", "1.txt"]
        assert dict(tree.manifest.info.dropped) == {"null sound": 3, "sound of no bytes": 1}
        samples, rate = soundfile.read(io.BytesIO(read(tree, "0.wav")), dtype="float64")
        assert rate == 16_000
        np.testing.assert_array_equal(samples, wave)
        assert tree.size_bytes(find(tree, "0.wav")) == len(read(tree, "0.wav"))
        assert soundfile.read(io.BytesIO(read(tree, "1.wav")))[0].tolist() == [0.5, 0, -0.5]


@pytest.mark.parametrize(("kind", "subtype"), [(pa.int16(), "PCM_16"), (pa.float32(), "FLOAT")])
def test_decoded_sounds_of_several_channels(
    open_tree: OpenTree, tmp_path: Path, kind: pa.DataType, subtype: str
) -> None:
    shape = pa.struct([("array", pa.list_(pa.list_(kind))), ("sampling_rate", pa.int32())])
    channels = [[1, 2, 3], [4, 5, 6]]
    cells = pa.array([{"array": channels, "sampling_rate": 8_000}], shape)
    table = pa.table({"audio": cells})
    with (
        pa.OSFile(str(tmp_path / "a.arrow"), "wb") as file,
        pa.ipc.new_file(file, table.schema) as w,
    ):
        w.write_table(table)
    tree = open_tree(tmp_path / "a.arrow", **AUDIO)
    file = io.BytesIO(read(tree, "0.wav"))
    assert soundfile.info(file).subtype == subtype
    file.seek(0)
    dtype = "int16" if kind == pa.int16() else "float32"
    assert soundfile.read(file, dtype=dtype)[0].T.tolist() == channels


def test_samples_that_are_no_sound_are_left_out_and_harm_no_other(
    open_tree: OpenTree, tmp_path: Path
) -> None:
    cells = [
        {"array": [[1], [2, 3]], "sampling_rate": 8_000},
        {"array": [[1, 2], [3, 1 << 40]], "sampling_rate": 8_000},
        {"array": [[1, 2], [3, 4]], "sampling_rate": 8_000},
        {"array": [[1, 2]], "sampling_rate": 1 << 40},
    ]
    pq.write_table(pa.table({"audio": cells}), tmp_path / "a.parquet")
    tree = open_tree(tmp_path / "a.parquet", **AUDIO)
    assert names(tree) == ["0.wav"]
    assert dict(tree.manifest.info.dropped) == {"bytes in no known format of a sound": 3}
    deep = [{"array": [[[1]]], "sampling_rate": 8_000}]
    pq.write_table(pa.table({"audio": deep}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match="bytes in no known format of a sound: 1"):
        open_tree(tmp_path / "b.parquet", **AUDIO)


@pytest.mark.parametrize("words", [[{"t": "la"}] * 2, [1.5, 2.0], [[["la"]], [["lu"]]]])
def test_lyrics_that_are_no_text(open_tree: OpenTree, tmp_path: Path, words: list[object]) -> None:
    columns = {"tags": ["t", "u"], "lyrics": words}
    source = write_media(tmp_path / "a.parquet", "audio", [WAV, MP3], **columns)
    assert names(open_tree(source, **AUDIO)) == ["0.wav", "0.txt", "1.mp3", "1.txt"]
    with pytest.raises(ConfigError, match="cannot use lyrics_column lyrics: it leads to "):
        open_tree(source, **AUDIO, lyrics_column="lyrics")


def test_files_of_every_kind_are_read_into_a_buffer_or_not_at_all(
    open_tree: OpenTree, tmp_path: Path
) -> None:
    columns = {"tags": ["a song", "b"], "lyrics": ["la la", None]}
    source = write_media(tmp_path / "a.parquet", "audio", [WAV, MP3], **columns)
    tree = open_tree(source, **AUDIO, metadata_jsonl=True, lyrics_column="lyrics")
    buffer = memoryview(bytearray(1 << 20))
    for name in ("0.wav", "1.mp3", "0.txt", "1.txt", "0.lyrics"):
        whole = read(tree, name)
        assert tree.read_into(buffer, find(tree, name), 0) == len(whole)
        assert buffer[: len(whole)] == whole
        assert tree.read_into(buffer[:3], find(tree, name), len(whole) - 1) == 1
        assert buffer[:1] == whole[-1:]
        assert tree.read_into(buffer, find(tree, name), len(whole) + 5) == 0
    assert tree.read_into(buffer, find(tree, "metadata.jsonl"), 0) is None
    assert read(tree, "metadata.jsonl").startswith(b'{"file_name": "0.wav"')


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("media", ["video", "audio"])
def test_a_recorded_view_is_the_same(tmp_path: Path, form: str, media: Media) -> None:
    files = [MP4, MOV] if media == "video" else [WAV, OGG]
    folder = tmp_path / "set"
    folder.mkdir()
    source = _write_form(folder, form, media, files)
    if form != "lists":
        table = pq.read_table(source)
        table = table.append_column("lyrics", pa.array(["la la", ""]))
        table = table.append_column("caption", pa.array(["a", "b"]))
        pq.write_table(table, source, compression="none", use_dictionary=False)
    keys = {"dataset_type": media}
    view = tmp_path / "v.parquet"
    record(source, view, tmp_path / "here", keys)
    with opened(view, tmp_path / "here") as tree:
        expected = facts_of(tree)
        has_lyrics = media == "audio" and form != "lists"
        assert (b"0.lyrics" in {entry.name for entry in tree.entries(ROOT, 0)}) == has_lyrics
    with opened(view, tmp_path / "there") as tree:
        assert facts_of(tree) == expected
        assert tree.manifest.info.media == media


def test_keys_of_other_media_are_told_of(
    open_tree: OpenTree, tmp_path: Path, watcher: Quiet
) -> None:
    source = write_media(tmp_path / "a.parquet", "video", [MP4], caption=["a"])
    open_tree(source, **VIDEO, image_format="png", lyrics_column="x")
    assert "image_format, lyrics_column have no effect: dataset_type is video" in watcher.notices


def test_what_images_become_is_no_part_of_a_view_of_videos(
    open_tree: OpenTree, tmp_path: Path
) -> None:
    source = write_media(tmp_path / "a.parquet", "video", [MP4], caption=["a"])
    plain, png = open_tree(source, **VIDEO), open_tree(source, **VIDEO, image_format="png")
    assert plain.manifest.info.fingerprint == png.manifest.info.fingerprint
    assert os.path.splitext(names(png)[0])[1] == ".mp4"
