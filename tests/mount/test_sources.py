"""Every form in which a local data set may be stored, through a real mount."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hffs.view import codecs
from tests.command import Hffs, Mount

pytestmark = pytest.mark.fuse


def _encode(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (30, 40 + seed, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


IMAGES = [_encode(seed) for seed in range(6)]
CELLS = [{"bytes": image, "path": None} for image in IMAGES]
ROWS = {"image": CELLS, "meta": [{"caption": f"nested {i}"} for i in range(6)]}
FLAGS = ("--caption-column", "meta.caption")


def _dataset() -> datasets.Dataset:
    features = datasets.Features(
        {"image": datasets.Image(), "meta": {"caption": datasets.Value("string")}}
    )
    return datasets.Dataset.from_dict(ROWS, features=features)


def _saved_by_datasets(folder: Path) -> Path:
    datasets.DatasetDict({"train": _dataset(), "test": _dataset().select([0])}).save_to_disk(
        folder / "saved"
    )
    return folder / "saved"


def _parquet_by_datasets(folder: Path) -> Path:
    _dataset().to_parquet(folder / "a.parquet")
    return folder / "a.parquet"


def _arrow_stream(folder: Path) -> Path:
    _dataset().save_to_disk(folder / "saved")
    (path,) = (folder / "saved").glob("*.arrow")
    return path.rename(folder / "stream.arrow")


def _arrow_file(folder: Path) -> Path:
    table = pa.table(ROWS)
    with pa.ipc.new_file(folder / "file.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return folder / "file.arrow"


def _shards_as_on_the_hub(folder: Path) -> Path:
    (folder / "set/data").mkdir(parents=True)
    table = pa.table(ROWS)
    for k in range(3):
        name = f"set/data/train-{k:05}-of-00003.parquet"
        pq.write_table(table.slice(2 * k, 2), folder / name, compression="snappy")
    pq.write_table(table.slice(0, 1), folder / "set/data/test-00000-of-00001.parquet")
    return folder / "set"


def _glob(folder: Path) -> Path:
    return _shards_as_on_the_hub(folder) / "data" / "train-*.parquet"


def _plain_binary(folder: Path) -> Path:
    table = pa.table({"image": pa.array(IMAGES, pa.large_binary()), "meta": ROWS["meta"]})
    pq.write_table(table, folder / "a.parquet", compression="zstd", row_group_size=2)
    return folder / "a.parquet"


@pytest.mark.parametrize(
    "store",
    [
        _saved_by_datasets, _parquet_by_datasets, _arrow_stream, _arrow_file,
        _shards_as_on_the_hub, _glob, _plain_binary,
    ],
)  # fmt: skip
def test_the_files_are_the_rows(
    mount: Mount, hffs: Hffs, tmp_path: Path, store: Callable[[Path], Path]
) -> None:
    source = store(tmp_path)
    for _ in range(2):  # decided anew, then opened as it was decided
        folder = mount(source, *FLAGS)
        assert [(folder / f"{i}.jpg").read_bytes() for i in range(6)] == IMAGES
        assert [(folder / f"{i}.txt").read_text() for i in range(6)] == [
            f"nested {i}" for i in range(6)
        ]
        assert len(list(folder.iterdir())) == 12
        hffs("umount", folder)


def test_a_split_is_chosen(mount: Mount, tmp_path: Path) -> None:
    folder = mount(_shards_as_on_the_hub(tmp_path), *FLAGS, "--split", "test")
    assert len(list(folder.iterdir())) == 2


JSON = """
[
  {
    "id": "photos", "type": "huggingface", "dataset_name": "SOURCE",
    "caption_strategy": "huggingface", "metadata_backend": "huggingface",
    "huggingface": {"caption_column": "meta.caption", "filter_func": {"min_width": 42}},
    "resolution": 1024, "resolution_type": "pixel", "cache_dir": "CACHE"
  },
  {"id": "text", "dataset_type": "text_embeds", "type": "local", "default": true,
   "cache_dir": "CACHE/text"}
]
"""
TOML = """
dataset_name = "SOURCE"
caption_column = "meta.caption"
cache_dir = "CACHE"
[filter_func]
min_width = 42
"""


@pytest.mark.parametrize(("name", "text"), [("dataloader.json", JSON), ("photos.toml", TOML)])
def test_a_config_file_is_mounted(
    mount: Mount, hffs: Hffs, tmp_path: Path, name: str, text: str
) -> None:
    source = _parquet_by_datasets(tmp_path)
    text = text.replace("SOURCE", str(source)).replace("CACHE", str(tmp_path / "own"))
    (tmp_path / name).write_text(text)
    folder = mount(tmp_path / name, "--max-width", "44")
    shown = [(folder / f"{i}.jpg").read_bytes() for i in range(len(list(folder.glob("*.jpg"))))]
    assert shown == IMAGES[2:5]
    assert (tmp_path / "own/store").is_dir()
    line = hffs.describe(folder)
    assert line is not None
    assert line["rows"] == 3


def test_keys_of_trainers_are_ignored_with_one_line(hffs: Hffs, tmp_path: Path) -> None:
    source = _parquet_by_datasets(tmp_path)
    entry = {"dataset_name": str(source), "caption_column": "meta.caption",
             "caption_strategy": "huggingface", "vae_batch_size": 4}  # fmt: skip
    (tmp_path / "a.json").write_text(json.dumps(entry))
    (tmp_path / "mnt").mkdir()
    done = hffs.run("mount", tmp_path / "a.json", tmp_path / "mnt")
    hffs("umount", "--force", tmp_path / "mnt")
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert "caption_strategy, vae_batch_size" in line


@pytest.mark.parametrize("fixture", ["photo_parquet", "photo_parquet_snappy"])
def test_real_photos_are_the_source_or_its_documented_rendering(
    mount: Mount, photos: list[tuple[str, bytes]], fixture: str, request: pytest.FixtureRequest
) -> None:
    folder = mount(request.getfixturevalue(fixture))
    assert len(photos) > 20
    for index, (name, data) in enumerate(photos):
        expected = data if name.endswith(".jpg") else codecs.render(data, "jpg")[0]
        path = folder / f"{index}.jpg"
        assert path.stat().st_size == len(expected), name
        assert path.read_bytes() == expected, name
