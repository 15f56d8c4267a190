"""The shared fixtures are what they say: what is built on them is worth no more than they are."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from hffs.core.formats import sniff
from tests.clips import Clip, Sound, encode_clip, encode_sound, tell_format

MARKED = """
import pytest
@pytest.mark.fuse
def test_mounts(): pass
def test_does_not(): pass
"""


def _run_marked(folder: Path, required: str) -> str:
    """Run a marked and an unmarked test where fusermount3 cannot be found."""
    (folder / "conftest.py").write_bytes(Path(__file__).with_name("conftest.py").read_bytes())
    (folder / "test_marked.py").write_text(MARKED)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = fuse\n")
    environ = os.environ | {"PATH": str(folder), "HFFS_REQUIRE_FUSE": required}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize(("required", "outcome"), [("", "1 passed, 1 skipped"), ("1", "1 error")])
def test_a_fuse_test_skips_without_fuse_unless_it_is_required(
    tmp_path: Path, required: str, outcome: str
) -> None:
    assert outcome in _run_marked(tmp_path, required)


def test_each_test_has_xdg_folders_of_its_own(tmp_path: Path) -> None:
    assert Path(os.environ["XDG_CACHE_HOME"]).parent == tmp_path
    assert Path(os.environ["XDG_STATE_HOME"]).parent == tmp_path


def test_the_photos_are_many_and_of_several_modes(photos: list[tuple[str, bytes]]) -> None:
    opened = [Image.open(io.BytesIO(data)) for _, data in photos]
    assert len(opened) >= 20
    assert {"PNG", "JPEG"} == {image.format for image in opened}
    assert {"L", "RGB", "RGBA"} <= {image.mode for image in opened}


def test_the_videos_and_sounds_are_of_several_formats(
    clips: dict[str, Path], recordings: dict[str, Path]
) -> None:
    assert {tell_format(path).name for path in clips.values()} == {"MP4", "AVI", "MPEG", "OGV"}
    assert {tell_format(path).name for path in recordings.values()} == {"MP3", "OGG", "WAV"}
    assert len(clips) >= 8
    assert len(recordings) >= 20


def test_what_is_encoded_is_what_it_is_called() -> None:
    for kind in ("mp4", "mov", "mkv", "webm", "avi", "mpeg", "flv", "wmv"):
        made = sniff(encode_clip(Clip(kind, fps=25)), "video")
        assert made.extension == kind
    for kind in ("wav", "flac", "mp3", "ogg", "opus", "m4a", "aac", "aiff"):
        assert sniff(encode_sound(Sound(kind)), "audio").extension == kind


def test_the_datasets_parquet_can_be_mapped_and_the_other_cannot(
    photo_parquet: Path, photo_parquet_snappy: Path
) -> None:
    ours = pq.ParquetFile(photo_parquet).metadata.row_group(0).column(0)
    assert (ours.path_in_schema, ours.compression) == ("image.bytes", "UNCOMPRESSED")
    assert "RLE_DICTIONARY" not in ours.encodings
    assert ours.has_offset_index
    theirs = pq.ParquetFile(photo_parquet_snappy).metadata
    assert theirs.num_row_groups > 1
    assert theirs.row_group(0).column(0).compression == "SNAPPY"
    assert theirs.row_group(0).column(0).has_dictionary_page


def test_both_parquets_hold_the_photos_unchanged(
    photos: list[tuple[str, bytes]], photo_parquet: Path, photo_parquet_snappy: Path
) -> None:
    for path in (photo_parquet, photo_parquet_snappy):
        cells = pq.read_table(path)["image"].to_pylist()
        assert [(cell["path"], cell["bytes"]) for cell in cells] == photos
        assert b"huggingface" in pq.read_schema(path).metadata
