"""Layouts through the kernel: folders, padded names, metadata.jsonl, as trainers read them."""

import json
import os
from pathlib import Path

import pytest
from datasets import load_dataset

from tests.command import Mount
from tests.view.conftest import encode, write_set

pytestmark = pytest.mark.fuse

JPEGS = [encode("JPEG", seed, (20 + seed, 30)) for seed in range(6)]
KINDS = ["dog", "cat", "cat", None, "cat", "dog"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    texts = [f"a caption, number {number}" for number in range(6)]
    return write_set(tmp_path / "a.parquet", JPEGS, caption=texts, kind=KINDS)


def test_folders_are_what_torchvision_walks(mount: Mount, source: Path) -> None:
    folder = mount(source, "--group-by", "kind", "--images-only")
    classes = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    assert classes == ["cat", "dog"]
    found = {
        Path(root, name).relative_to(folder).as_posix(): Path(root, name).read_bytes()
        for name_of_class in classes
        for root, _, names in os.walk(folder / name_of_class, followlinks=True)
        for name in names
    }
    assert found == {
        "dog/0.jpg": JPEGS[0], "cat/1.jpg": JPEGS[1], "cat/2.jpg": JPEGS[2],
        "cat/3.jpg": JPEGS[4], "dog/4.jpg": JPEGS[5],
    }  # fmt: skip
    about = os.stat(folder / "cat")
    assert (about.st_nlink, oct(about.st_mode)) == (2, "0o40555")
    assert os.stat(folder).st_nlink == 4
    assert len({about.st_ino, *(entry.stat().st_ino for entry in os.scandir(folder / "cat"))}) == 4
    for name in ("0.jpg", "bird", "cat/0.jpg", "cat/cat"):
        assert not (folder / name).exists()
    assert os.statvfs(folder).f_files == 5 + 2 + 1


def test_imagefolder_reads_the_metadata(mount: Mount, source: Path, tmp_path: Path) -> None:
    folder = mount(source, "--metadata-jsonl", "--names", "row", "--name-width", "3")
    lines = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    assert [line["file_name"] for line in lines] == [f"{row:03}.jpg" for row in range(6)]
    assert (folder / "metadata.jsonl").stat().st_size == len(
        (folder / "metadata.jsonl").read_bytes()
    )
    rows = load_dataset(
        "imagefolder", data_dir=str(folder), split="train", cache_dir=str(tmp_path / "hf")
    )
    assert rows["text"] == [f"a caption, number {row}" for row in range(6)]
    assert [image.size for image in rows["image"]] == [(20 + row, 30) for row in range(6)]
    assert rows["image_size"] == [[20 + row, 30] for row in range(6)]


def test_a_listing_in_parts_is_whole(mount: Mount, tmp_path: Path) -> None:
    """More names than one reply of the kernel holds, in folders and with metadata behind them."""
    count = 3000
    small = encode("JPEG", 1, (8, 8))
    kinds = ["even" if number % 2 == 0 else "odd" for number in range(count)]
    captions = [f"c{number}" for number in range(count)]
    source = write_set(tmp_path / "b.parquet", [small] * count, caption=captions, kind=kinds)
    folder = mount(source, "--group-by", "kind", "--metadata-jsonl")
    assert sorted(os.listdir(folder)) == ["even", "metadata.jsonl", "odd"]
    listed = set(os.listdir(folder / "odd"))
    assert listed == {f"{n}.{kind}" for n in range(1, count, 2) for kind in ("jpg", "txt")}
    assert (folder / "odd/2999.txt").read_text() == "c2999"
    flat = mount(source, "--metadata-jsonl", "--caption-extension", "caption")
    names = os.listdir(flat)
    assert len(names) == len(set(names)) == 2 * count + 1
    assert names[-1] == "metadata.jsonl"
    assert (flat / "2999.caption").read_text() == "c2999"
