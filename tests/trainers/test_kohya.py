"""kohya's sd-scripts read a mount, and cache beside its images, as they do in a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.command import Mount
from tests.trainers.driving import drive, find_checkout
from tests.trainers.pictures import Picture, check_folder, digest_folder, unchanged

pytestmark = pytest.mark.fuse

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(pictures: list[Picture]) -> Run:
    """Run kohya on a folder; checks that each picture was seen as it is, and none was changed."""
    checkout = find_checkout("sd-scripts")
    names = [f"{number:08}.jpg" for number in range(len(pictures))]

    def run_on(folder: Path, *arguments: str) -> dict[str, Any]:
        with unchanged(folder):
            said = drive("kohya", checkout, folder, *arguments)
        assert said["items"] == len(pictures)
        assert said["captions"] == {
            name: picture.caption for name, picture in zip(names, pictures, strict=True)
        }
        check_folder(folder, pictures)
        assert said["pixels"] == digest_folder(folder)
        return said

    return run_on


@pytest.mark.parametrize("cache", ["no", "memory"])
def test_dreambooth_reads_all(run: Run, mount: Mount, source: Path, cache: str) -> None:
    folder = mount(source, "--for", "kohya")
    said = run(folder, "--cache-latents", cache)
    assert said["measured"] == said["items"]
    assert said["encoded"] == (said["items"] if cache == "memory" else 0)


def test_dreambooth_takes_another_extension(run: Run, mount: Mount, source: Path) -> None:
    folder = mount(source, "--for", "kohya", "--caption-extension", "txt")
    run(folder, "--caption-extension", ".txt")


def test_latents_on_disk_are_found_again(
    run: Run, mount: Mount, source: Path, pictures: list[Picture]
) -> None:
    folder = mount(source, "--for", "kohya")
    first = run(folder, "--cache-latents", "disk")
    assert {file.name for file in folder.glob("*.npz")} == {
        f"{number:08}_{width:04}x{height:04}_sd.npz"
        for number, (width, height) in enumerate(picture.size for picture in pictures)
    }
    second = run(folder, "--cache-latents", "disk")
    assert (first["measured"], first["encoded"]) == (len(pictures), len(pictures))
    # The sizes come from the names of the latents: no image is opened.
    assert (second["measured"], second["encoded"]) == (0, 0)


def test_what_is_known_of_images_is_found_again(run: Run, mount: Mount, source: Path) -> None:
    folder = mount(source, "--for", "kohya")
    first = run(folder, "--cache-info")
    assert (folder / "metadata_cache.json").stat().st_size > 0
    second = run(folder, "--cache-info")
    assert (first["measured"], second["measured"]) == (first["items"], 0)


def test_fine_tuning_reads_sizes_from_the_metadata(run: Run, mount: Mount, source: Path) -> None:
    folder = mount(source, "--for", "kohya-finetune")
    assert run(folder, "--metadata")["measured"] == 0


def test_fine_tuning_finds_its_latents_again(run: Run, mount: Mount, source: Path) -> None:
    folder = mount(source, "--for", "kohya-finetune")
    runs = [run(folder, "--metadata", "--cache-latents", "disk") for _ in range(2)]
    assert [said["measured"] for said in runs] == [0, 0]
    assert [said["encoded"] for said in runs] == [runs[0]["items"], 0]
