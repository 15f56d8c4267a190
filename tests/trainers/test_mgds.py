"""OneTrainer, whose data sets are those of mgds, reads a mount and caches elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.command import Hffs, Mount
from tests.trainers.driving import drive, find_checkout
from tests.trainers.media import Take, by_name, list_untaken, untouched, write_folder
from tests.trainers.pictures import RESOLUTION, Picture, check_folder, digest_folder, unchanged

pytestmark = pytest.mark.fuse

SQUARE = (RESOLUTION, RESOLUTION)
"""The pictures that it cuts to none of its own shapes."""

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(pictures: list[Picture], tmp_path: Path) -> Run:
    """Run OneTrainer on a folder; checks that each picture was seen as it is, and none changed."""
    checkout = find_checkout("OneTrainer")
    find_checkout("mgds")  # beside it
    captions = {f"{number}.jpg": picture.caption for number, picture in enumerate(pictures)}
    squares = {f"{n}.jpg" for n, picture in enumerate(pictures) if picture.size == SQUARE}

    def run_on(folder: Path, *arguments: str) -> dict[str, Any]:
        with unchanged(folder):
            cache = ("--cache-dir", tmp_path / "cache-of-latents")
            said = drive("onetrainer", checkout, folder, *cache, *arguments)
        check_folder(folder, pictures)
        assert said["items"] == len(pictures)
        assert said["captions"] == said["texts_of_tokens"] == captions
        assert said["latents"].keys() == captions.keys()
        files = digest_folder(folder)
        assert {name: said["latents"][name] for name in squares} == {n: files[n] for n in squares}
        # Where it read images at all: none once they are cached.
        assert said["pixels"] in (files, {})
        return said

    return run_on


def check_cached(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Check that a first run encoded each item, and a second one read no image."""
    assert (first["encoded"], first["encoded_texts"]) == (first["items"], first["items"])
    assert len(first["pixels"]) == first["items"]
    assert (second["encoded"], second["encoded_texts"], second["pixels"]) == (0, 0, {})
    assert second["latents"] == first["latents"]


def test_what_is_cached_is_found_again(run: Run, mount: Mount, source: Path) -> None:
    folder = mount(source, "--for", "onetrainer")
    first, second = run(folder), run(folder)
    check_cached(first, second)
    assert first["masks"] == second["masks"] == {}


def test_it_reads_all_without_a_cache(run: Run, mount: Mount, source: Path) -> None:
    assert run(mount(source, "--for", "onetrainer"), "--no-latent-caching")["pixels"]


def test_what_is_cached_outlives_the_mount(
    run: Run, hffs: Hffs, mount: Mount, source: Path
) -> None:
    """The cache is found by the path, and by the number of an image among the sorted names."""
    folder = mount(source, "--for", "onetrainer")
    first = run(folder)
    hffs("umount", folder)
    hffs("mount", source, folder, "--for", "onetrainer")
    check_cached(first, run(folder))


def test_masks_are_those_of_the_scratch_folder(
    run: Run, mount: Mount, source: Path, pictures: list[Picture], tmp_path: Path
) -> None:
    """Where there is none, all of an image counts; no mask is taken for an image."""
    folder = mount(source, "--for", "onetrainer", "--scratch", tmp_path / "scratch")
    masked = (1, 10)
    for number in masked:
        mask = Image.new("L", pictures[number].size, 51)
        mask.save(folder / f"{number}-masklabel.png")
    said = run(folder, "--masked-training")
    assert said["masks"] == {
        f"{number}.jpg": 0.2 if number in masked else 1 for number in range(len(pictures))
    }


def test_it_reads_videos(
    mount: Mount, video_source: Path, clips: list[Take], tmp_path: Path
) -> None:
    """It seeks in each video, to a place that its seed decides, and decodes from there."""
    checkout = find_checkout("OneTrainer")
    find_checkout("mgds")
    copied = drive("onetrainer_media", checkout, write_folder(tmp_path / "plain", clips))
    folder = mount(video_source, "--for", "onetrainer", "--dataset-type", "video")
    with untouched(folder, clips):
        said = drive("onetrainer_media", checkout, folder)
    assert said["items"] == len(clips)
    assert said["captions"] == by_name(clips, "caption")
    assert said["contents"] == copied["contents"]
    assert list_untaken("video", said["extensions"]) == {"ogv"}
