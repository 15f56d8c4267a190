"""Hugging Face's videofolder and audiofolder read a mount, as do the decoders of videos alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from hffs.core.formats import Media
from tests.clips import Clip, Sound, encode_clip, encode_sound
from tests.command import Mount
from tests.trainers.driving import drive, require_library
from tests.trainers.media import Take, by_name, list_untaken, untouched, write_folder, write_takes

pytestmark = pytest.mark.fuse

ROWS: dict[Media, str] = {"video": "clips", "audio": "songs"}
NEEDED = {"video": (), "audio": ("torchcodec",)}
"""What it imports to prepare a folder, though it decodes nothing then."""

UNTAKEN = {"video": {"flv", "ogv", "webm", "wmv"}, "audio": {"aac", "m4a", "weba"}}
"""Files that it passes over, where there is no metadata that names them."""


@pytest.mark.parametrize("by", ["data_dir", "data_files"])
@pytest.mark.parametrize("media", ROWS)
def test_hugging_face_reads_captions_from_the_metadata(
    mount: Mount, request: pytest.FixtureRequest, tmp_path: Path, media: Media, by: str
) -> None:
    require_library(*NEEDED[media])
    takes: list[Take] = request.getfixturevalue(ROWS[media])
    source = request.getfixturevalue(f"{media}_source")
    folder = mount(source, "--for", "hf-imagefolder", "--dataset-type", media)
    said = drive("hf_media_folder", None, media, folder, tmp_path / "cache", "--by", by)
    assert said["feature"] == media.capitalize()
    assert said["captions"] == by_name(takes, "caption")
    assert list_untaken(media, said["extensions"]) == UNTAKEN[media]


@pytest.mark.parametrize("media", ROWS)
def test_hugging_face_decodes_what_is_on_the_mount(
    mount: Mount, request: pytest.FixtureRequest, tmp_path: Path, media: Media
) -> None:
    """Without metadata there is one column; with it, and with texts, lyrics are another."""
    require_library("torchcodec")
    takes: list[Take] = request.getfixturevalue(ROWS[media])
    plain = write_folder(tmp_path / "plain", takes)
    copied = drive("hf_media_folder", None, media, plain, tmp_path / "c0", "--decode")
    assert copied["columns"] == [media]
    source = request.getfixturevalue(f"{media}_source")
    folder = mount(source, "--dataset-type", media, "--metadata-jsonl")
    with untouched(folder, takes):
        said = drive("hf_media_folder", None, media, folder, tmp_path / "c1", "--decode")
    assert said["contents"] == copied["contents"]
    assert said["contents"].keys() == by_name(takes, "file").keys()
    lyrics = ["lyrics"] if media == "audio" else []
    assert said["columns"] == sorted([media, "caption", "text", *lyrics])


def test_a_folder_without_metadata_is_a_column_of_videos(
    mount: Mount, video_source: Path, clips: list[Take], tmp_path: Path
) -> None:
    folder = mount(video_source, "--dataset-type", "video")
    said = drive("hf_media_folder", None, "video", folder, tmp_path / "cache")
    assert (said["columns"], said["names"]) == (["video"], list(by_name(clips, "file")))


@pytest.mark.parametrize("flags", [(), ("--metadata-jsonl",)], ids=["bare", "named"])
@pytest.mark.parametrize("media", ROWS)
def test_extensions_that_it_does_not_know_need_metadata(
    mount: Mount, tmp_path: Path, media: Media, flags: tuple[str, ...]
) -> None:
    require_library(*NEEDED[media])
    made = {
        "video": {"mp4": encode_clip(Clip("mp4")), "webm": encode_clip(Clip("webm"))},
        "audio": {"wav": encode_sound(Sound("wav")), "m4a": encode_sound(Sound("m4a"))},
    }
    files = [tmp_path / f"made.{extension}" for extension in made[media]]
    for file, data in zip(files, made[media].values(), strict=True):
        file.write_bytes(data)
    source = write_takes(tmp_path / "set.parquet", media, [Take(f, f.name, 0) for f in files])
    folder = mount(source, "--dataset-type", media, *flags)
    said = drive("hf_media_folder", None, media, folder, tmp_path / "cache")
    names = [f"{number}{file.suffix}" for number, file in enumerate(files)]
    assert said["names"] == (names if flags else names[:1])


@pytest.mark.parametrize("library", ["torchcodec.decoders", "decord", "cv2"])
def test_decoders_find_each_frame(
    mount: Mount, video_source: Path, clips: list[Take], tmp_path: Path, library: str
) -> None:
    require_library(library.partition(".")[0])
    there = drive("decoders", None, library, write_folder(tmp_path / "plain", clips))
    folder = mount(video_source, "--dataset-type", "video")
    with untouched(folder, clips):
        here = drive("decoders", None, library, folder)
    assert here.keys() == by_name(clips, "file").keys()
    assert here == there
    assert all(len(set(frames)) == len(frames) for frames in here.values())
