"""OneTrainer, whose data sets are those of mgds, reads a mount and caches elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.command import Hffs, Mount
from tests.trainers.driving import drive, find_checkout
from tests.trainers.pictures import (
    RESOLUTION,
    Picture,
    check_folder,
    digest_folder,
    unchanged,
)

pytestmark = pytest.mark.fuse

SQUARE = (RESOLUTION, RESOLUTION)
"""What is cut to none of its shapes; it has others than those of the pictures that are not."""


@pytest.fixture(scope="module")
def onetrainer() -> Path:
    """The checkout beside which there is one of mgds."""
    find_checkout("mgds")
    return find_checkout("OneTrainer")


def check_all_seen(said: dict[str, Any], folder: Path, pictures: list[Picture]) -> None:
    """Check that each item was seen as it is in the folder, which is as it is in the source."""
    check_folder(folder, pictures)
    captions = {f"{number}.jpg": picture.caption for number, picture in enumerate(pictures)}
    assert said["items"] == len(pictures)
    assert said["captions"] == said["texts_of_tokens"] == captions
    assert said["latents"].keys() == captions.keys()
    files = digest_folder(folder)
    squares = {f"{n}.jpg" for n, picture in enumerate(pictures) if picture.size == SQUARE}
    assert {name: said["latents"][name] for name in squares} == {n: files[n] for n in squares}


def check_cached(first: dict[str, Any], second: dict[str, Any], folder: Path) -> None:
    """Check that a first run encoded each item and a second run loaded no image."""
    files = digest_folder(folder)
    assert (first["encoded"], first["encoded_texts"]) == (len(files), len(files))
    assert first["pixels"] == files
    assert (second["encoded"], second["encoded_texts"], second["pixels"]) == (0, 0, {})
    assert second["latents"] == first["latents"]


def test_it_reads_all_and_finds_its_cache_again(
    onetrainer: Path, mount: Mount, source: Path, pictures: list[Picture], tmp_path: Path
) -> None:
    folder = mount(source)
    cache = ("--cache-dir", tmp_path / "cache")
    with unchanged(folder):
        first, second = (drive("onetrainer", onetrainer, folder, *cache) for _ in range(2))
    for said in (first, second):
        check_all_seen(said, folder, pictures)
        assert not said["masks"]
    check_cached(first, second, folder)


def test_it_reads_all_without_a_cache(
    onetrainer: Path, mount: Mount, source: Path, pictures: list[Picture]
) -> None:
    folder = mount(source)
    said = drive("onetrainer", onetrainer, folder, "--no-latent-caching")
    check_all_seen(said, folder, pictures)
    assert said["pixels"] == digest_folder(folder)


def test_what_is_cached_outlives_the_mount(  # noqa: PLR0913 - fixtures
    onetrainer: Path,
    hffs: Hffs,
    mount: Mount,
    source: Path,
    pictures: list[Picture],
    tmp_path: Path,
) -> None:
    """The cache is found by the path, and by the number of an image among the sorted names."""
    folder = mount(source)
    cache = ("--cache-dir", tmp_path / "cache")
    first = drive("onetrainer", onetrainer, folder, *cache)
    hffs("umount", folder)
    hffs("mount", source, folder)
    second = drive("onetrainer", onetrainer, folder, *cache)
    check_all_seen(second, folder, pictures)
    check_cached(first, second, folder)


def test_masks_are_those_of_the_scratch_folder(
    onetrainer: Path, mount: Mount, source: Path, pictures: list[Picture], tmp_path: Path
) -> None:
    """Where there is none, all of an image counts; no mask is taken for an image."""
    folder = mount(source, "--scratch", tmp_path / "scratch")
    masked = {f"{number}.jpg": Image.new("L", pictures[number].size, 51) for number in (1, 10)}
    with unchanged(folder):
        for name, mask in masked.items():
            mask.save(folder / f"{Path(name).stem}-masklabel.png")
        said = drive("onetrainer", onetrainer, folder, "--masked-training")
    check_all_seen(said, folder, pictures)
    assert said["masks"] == {name: 0.2 if name in masked else 1 for name in said["captions"]}
