"""The examples of docs/bucketing.md: commands on a real mount, and its Python in a process."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hffs.cli.demo import build_photo_set, find_photos
from tests.command import Hffs
from tests.documents import read_examples, run_example

pytestmark = pytest.mark.fuse

DOCUMENT = Path(__file__).parents[2] / "docs/bucketing.md"


def read_blocks(language: str) -> list[str]:
    pattern = rf"^```{language}\n(.*?)^```"
    return re.findall(pattern, DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with the data set, the pictures and the mount point of the document."""
    photos = find_photos()
    (tmp_path / "art").mkdir()
    (tmp_path / "mnt").mkdir()
    build_photo_set(photos[:12], tmp_path)
    for photo in photos[12:]:
        (tmp_path / "art" / photo.name).write_bytes(photo.read_bytes())
    return tmp_path


def put(text: str, place: Path) -> str:
    """A text of the document with the paths of the test."""
    return text.replace("/mnt/photos", f"{place}/mnt").replace('"/data/', f'"{place}/')


@contextmanager
def mounted(hffs: Hffs, source: str, place: Path) -> Iterator[None]:
    hffs("mount", source, place / "mnt")
    try:
        yield
    finally:
        hffs("umount", place / "mnt")


def run_python(text: str, hffs: Hffs, place: Path) -> str:
    (place / "script.py").write_text(put(text, place))
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=place, env=hffs.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_command_holds(hffs: Hffs, place: Path) -> None:
    examples = read_examples(DOCUMENT)
    assert len(examples) >= 3
    places = {"/mnt/photos": place / "mnt", "/data/photos.parquet": place / "photos.parquet"}
    for example in examples:
        shown = run_example(example, hffs, places)
        assert example.is_met_by(shown), f"$ {example.command}\n{shown}"


def test_a_loop_over_buckets_runs(hffs: Hffs, place: Path) -> None:
    first, _ = read_blocks("python")
    with mounted(hffs, f"{place}/photos.parquet", place):
        shown = run_python(
            f"{first}\n        print(*images.shape, len(captions), *conditions.shape)\n",
            hffs,
            place,
        )
    lines = [line.split() for line in shown.splitlines()]
    assert len(lines) >= 2 * 6
    for line in lines:
        count, channels, height, width, texts, rows, numbers = map(int, line)
        assert (count, channels, texts, rows, numbers) == (2, 3, 2, 2, 6)
        assert height % 32 == width % 32 == 0


def test_a_mix_of_a_mount_and_a_folder_runs(hffs: Hffs, place: Path) -> None:
    config = read_blocks("json")[-1]
    (place / "loader.json").write_text(put(config, place))
    _, second = read_blocks("python")
    with mounted(hffs, f"{place}/loader.json", place):
        shown = run_python(f"{second}\nprint(taken, state['batches_done'])\n", hffs, place)
    assert re.fullmatch(r"\{'photos': \d+, 'art': \d+\} \d+\n", shown)
    photos, art, done = map(int, re.findall(r"\d+", shown))
    assert photos >= 6  # each photo is in a batch
    assert art >= 4
    assert photos + art == done
