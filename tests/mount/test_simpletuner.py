"""The configurations that SimpleTuner documents, unchanged, over data sets with their columns.

Keys and values are those of documentation/HUGGINGFACE_DATASETS.md in
https://github.com/bghira/SimpleTuner. As its users do, hffs is started in the folder that
`cache_dir` and, where the data set is local, `dataset_name` are relative to.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.clips import find_clips, find_recordings
from tests.command import Mount

pytestmark = pytest.mark.fuse

BASIC = """{
  "id": "my-hf-dataset", "type": "huggingface", "dataset_name": "username/dataset-name",
  "split": "train", "caption_strategy": "huggingface", "metadata_backend": "huggingface",
  "caption_column": "text", "image_column": "image", "cache_dir": "cache/my-hf-dataset"
}"""
ONE_CAPTION = '{"caption_column": "caption"}'
SEVERAL_CAPTIONS = '{"caption_column": ["short_caption", "detailed_caption", "tags"]}'
NESTED = '{"caption_column": "metadata.caption", "fallback_caption_column": "basic_caption"}'
ADVANCED = """{"huggingface": {
  "caption_column": "caption", "fallback_caption_column": "description",
  "description_column": "detailed_description", "width_column": "width", "height_column": "height"
}}"""
QUALITY = """{"huggingface": {"filter_func": {
  "quality_thresholds": {"clip_score": 0.3, "aesthetic_score": 5.0, "resolution": 0.8},
  "quality_column": "quality_assessment"
}}}"""
COLLECTION = """{"huggingface": {"filter_func": {
  "collection": ["photo", "artwork"], "min_width": 512, "min_height": 512
}}}"""
COMPOSITE = """{"huggingface": {"composite_image_config": {
  "enabled": true, "image_count": 4, "select_index": 0
}}}"""
PHOTOS = """{
  "id": "aesthetic-photos", "type": "huggingface",
  "dataset_name": "aesthetic-foundation/aesthetic-photos", "split": "train",
  "caption_strategy": "huggingface", "metadata_backend": "huggingface",
  "caption_column": "caption", "image_column": "image", "resolution": 1024,
  "resolution_type": "pixel", "minimum_image_size": 512, "cache_dir": "cache/aesthetic-photos"
}"""
ART = """{
  "id": "high-quality-art", "type": "huggingface", "dataset_name": "example/art-dataset",
  "caption_strategy": "huggingface", "metadata_backend": "huggingface",
  "huggingface": {
    "caption_column": ["title", "description", "tags"], "fallback_caption_column": "filename",
    "width_column": "original_width", "height_column": "original_height",
    "filter_func": {
      "quality_thresholds": {"aesthetic_score": 6.0, "technical_quality": 0.8},
      "min_width": 768, "min_height": 768
    }
  },
  "resolution": 1024, "resolution_type": "pixel_area", "crop": true, "crop_aspect": "square"
}"""
SEVERAL_SETS = """[
  {"id": "hf-dataset", "type": "huggingface", "dataset_name": "laion/laion-art",
   "probability": 0.7},
  {"id": "local-dataset", "type": "local", "instance_data_dir": "/path/to/local/data",
   "probability": 0.3}
]"""
VIDEO = """{
  "id": "video-dataset", "type": "huggingface", "dataset_type": "video",
  "dataset_name": "example/video-clips", "caption_strategy": "huggingface",
  "metadata_backend": "huggingface",
  "huggingface": {
    "caption_column": "description", "num_frames_column": "frame_count", "fps_column": "fps"
  },
  "video": {"num_frames": 125, "min_frames": 100}, "resolution": 480, "resolution_type": "pixel"
}"""
AUDIO = """{
  "id": "audio-dataset", "type": "huggingface", "dataset_type": "audio",
  "dataset_name": "my-audio-data", "audio_column": "audio",
  "config": {"audio_caption_fields": ["tags"], "lyrics_column": "lyrics"}
}"""


@dataclass(frozen=True, slots=True)
class Case:
    """A configuration, a data set for it, and what is mounted: size of each image and caption."""

    name: str
    config: str
    sizes: Sequence[tuple[int, int]]
    columns: Mapping[str, Sequence[object]]
    shown: Sequence[tuple[tuple[int, int], str]]


CASES = [
    Case(
        "basic",
        BASIC,
        [(40, 30), (30, 40), (50, 50)],
        {"text": ["a cat", "a dog", None]},
        [((40, 30), "a cat"), ((30, 40), "a dog")],
    ),
    Case(
        "one caption",
        ONE_CAPTION,
        [(40, 30), (30, 40)],
        {"text": ["no", "no"], "caption": ["a cat", "a dog\nin snow"]},
        [((40, 30), "a cat"), ((30, 40), "a dog in snow")],
    ),
    Case(
        "several captions",
        SEVERAL_CAPTIONS,
        [(40, 30), (30, 40)],
        {
            "short_caption": ["cat", None],
            "detailed_caption": ["a cat on a mat", "a dog in snow"],
            "tags": ["fur, mat", ""],
        },
        [((40, 30), "cat\na cat on a mat\nfur, mat"), ((30, 40), "a dog in snow")],
    ),
    Case(
        "nested",
        NESTED,
        [(40, 30), (30, 40), (50, 50)],
        {
            "metadata": [{"caption": "a cat"}, {"caption": None}, None],
            "basic_caption": ["cat", "dog", None],
        },
        [((40, 30), "a cat"), ((30, 40), "dog")],
    ),
    Case(
        "nested in JSON",
        NESTED,
        [(40, 30), (30, 40)],
        {"metadata": ['{"caption": "a cat"}', "{}"], "basic_caption": ["cat", "dog"]},
        [((40, 30), "a cat"), ((30, 40), "dog")],
    ),
    Case(
        "advanced",
        ADVANCED,
        [(40, 30), (30, 40), (50, 50)],
        {
            "caption": ["a cat", " ", None],
            "description": ["cat", "a dog", None],
            "detailed_description": [{"main_subject": "a", "text": "bird"}] * 3,
            "width": [40, 30, 50],
            "height": [30, 40, 50],
        },
        [((40, 30), "a cat"), ((30, 40), "a dog"), ((50, 50), "a bird")],
    ),
    Case(
        "quality",
        QUALITY,
        [(40, 30), (30, 40), (50, 50), (60, 50)],
        {
            "text": ["a", "b", "c", "d"],
            "quality_assessment": [
                {"clip_score": 0.3, "aesthetic_score": 5.0, "resolution": 0.8},
                {"clip_score": 0.29, "aesthetic_score": 9.0, "resolution": 1.0},
                {"clip_score": 0.5, "aesthetic_score": None, "resolution": 1.0},
                {"clip_score": 0.4, "aesthetic_score": 6.5, "resolution": 0.9},
            ],
        },
        [((40, 30), "a"), ((60, 50), "d")],
    ),
    Case(
        "collection",
        COLLECTION,
        [(512, 512), (600, 511), (520, 600), (900, 900)],
        {"text": list("abcd"), "collection": ["photo", "photo", "artwork", "scan"]},
        [((512, 512), "a"), ((520, 600), "c")],
    ),
    Case(
        "composite",
        COMPOSITE,
        [(64, 64), (129, 65), (160, 40)],
        {"text": list("abc")},
        [((32, 32), "a"), ((64, 32), "b"), ((40, 40), "c")],
    ),
    Case(
        "photos",
        PHOTOS,
        [(40, 30), (700, 600)],
        {"caption": ["small ones are the trainer's to leave out", "a road"]},
        [((40, 30), "small ones are the trainer's to leave out"), ((700, 600), "a road")],
    ),
    Case(
        "art",
        ART,
        [(40, 30), (30, 40), (50, 50), (60, 50), (70, 50)],
        {
            "title": ["Road", None, "Low", "Small", " "],
            "description": ["a wet road", "", "x", "y", None],
            "tags": [["wet", "grey"], ["oil"], ["x"], ["y"], []],
            "filename": ["1.jpg", "2.jpg", "3.jpg", "4.jpg", "five.jpg"],
            "original_width": [800, 768, 800, 767, 900],
            "original_height": [800, 768, 800, 900, 900],
            "quality_assessment": [
                {"aesthetic_score": 6.0, "technical_quality": 0.8},
                {"aesthetic_score": 7.5, "technical_quality": 0.9},
                {"aesthetic_score": 5.9, "technical_quality": 0.9},
                {"aesthetic_score": 7.0, "technical_quality": 0.9},
                {"aesthetic_score": 9.0, "technical_quality": 1.0},
            ],
        },
        [((40, 30), "Road\na wet road\nwet\ngrey"), ((30, 40), "oil"), ((70, 50), "five.jpg")],
    ),
    Case(
        "several sets",
        SEVERAL_SETS,
        [(40, 30), (30, 40)],
        {"caption": ["a cat", "a dog"]},
        [((40, 30), "a cat"), ((30, 40), "a dog")],
    ),
]


def complete(config: str) -> str:
    """A fragment in the place where it belongs in the basic configuration, which it goes over."""
    given = json.loads(config)
    if isinstance(given, list) or "dataset_name" in given:
        return config
    merged = json.loads(BASIC) | given
    for name in given.get("huggingface", {}):
        merged.pop(name, None)
    return json.dumps(merged)


def write_set(case: Case, config: str) -> None:
    """Make the data set that a configuration names, below the folder in which we are."""
    entries: Any = json.loads(config)
    entry = entries[0] if isinstance(entries, list) else entries
    place = Path(entry["dataset_name"])
    place.mkdir(parents=True)
    cells = [{"bytes": encode(*size), "path": None} for size in case.sizes]
    pq.write_table(pa.table({"image": cells, **case.columns}), place / "train.parquet")


def encode(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(file, "JPEG")
    return file.getvalue()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_documented_configuration_is_mounted_unchanged(
    mount: Mount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    monkeypatch.chdir(tmp_path)
    config = complete(case.config)
    write_set(case, config)
    Path("multidatabackend.json").write_text(config, encoding="utf-8")
    folder = mount("multidatabackend.json")
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(f"{n}.{kind}" for n in range(len(case.shown)) for kind in ("jpg", "txt"))
    found = [
        (measure(folder / f"{n}.jpg"), (folder / f"{n}.txt").read_text())
        for n in range(len(case.shown))
    ]
    assert found == list(case.shown)
    if "cache_dir" in config:
        assert Path(json.loads(config)["cache_dir"], "store").is_dir()


def measure(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        image.load()
        return image.size


def write_media_set(config: str, column: str, files: Sequence[Path], **columns: object) -> None:
    """As `write_set`, of videos or sounds, as `datasets` writes them."""
    place = Path(json.loads(config)["dataset_name"])
    place.mkdir(parents=True)
    cells = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    features = {column: {"_type": column.capitalize()}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pa.table({column: cells, **columns}).replace_schema_metadata(metadata)
    pq.write_table(table, place / "train.parquet", compression="none")
    Path("multidatabackend.json").write_text(config, encoding="utf-8")


def test_the_documented_videos_are_mounted_unchanged(
    mount: Mount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    clips = find_clips()
    files = [clips[name] for name in ("bigbuckbunny.mp4", "bikes.mp4", "movie-hello.mp4")]
    columns = {"description": ["a rabbit", "bikes", "hello"], "frame_count": [100, 99, 208]}
    write_media_set(VIDEO, "video", files, fps=[25.0] * 3, **columns)
    folder = mount("multidatabackend.json")
    assert sorted(os.listdir(folder)) == ["0.mp4", "0.txt", "1.mp4", "1.txt"]
    assert (folder / "0.mp4").read_bytes() == files[0].read_bytes()
    assert (folder / "1.mp4").read_bytes() == files[2].read_bytes()
    assert [(folder / f"{n}.txt").read_text() for n in range(2)] == ["a rabbit", "hello"]


def test_videos_of_no_column_of_frames_are_probed_for_them(
    mount: Mount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = json.loads(VIDEO)
    del config["huggingface"]["num_frames_column"], config["huggingface"]["fps_column"]
    clips = find_clips()
    names = ("bigbuckbunny.mp4", "VID_20191220_170832.mp4", "movie-hello.avi")  # 132, 48, 209
    files = [clips[name] for name in names]
    write_media_set(json.dumps(config), "video", files, description=["a", "b", "c"])
    folder = mount("multidatabackend.json")
    assert sorted(os.listdir(folder)) == ["0.mp4", "0.txt", "1.avi", "1.txt"]
    assert (folder / "1.txt").read_text() == "c"


def test_the_documented_sounds_are_mounted_unchanged(
    mount: Mount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recordings = find_recordings()
    files = [recordings[name] for name in ("debian.wav", "debian.mp3", "debian.ogg")]
    columns = {"tags": ["spoken", "loud", "soft"], "lyrics": ["De-\nbian", "", None]}
    write_media_set(AUDIO, "audio", files, **columns)
    folder = mount("multidatabackend.json")
    assert sorted(os.listdir(folder)) == [
        "0.lyrics", "0.txt", "0.wav", "1.mp3", "1.txt", "2.ogg", "2.txt",
    ]  # fmt: skip
    for number, file in enumerate(files):
        assert (folder / f"{number}{file.suffix}").read_bytes() == file.read_bytes()
    assert (folder / "0.lyrics").read_text() == "De-\nbian"
    assert (folder / "0.txt").read_text() == "spoken"
