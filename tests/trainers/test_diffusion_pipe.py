"""diffusion-pipe reads a mount with a scratch folder, where it keeps databases and Arrow files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.command import Hffs, Mount
from tests.trainers.driving import drive, find_checkout
from tests.trainers.pictures import RESOLUTION, Picture, check_folder, digest_folder, unchanged

pytestmark = pytest.mark.fuse

DRIVER = "diffusion_pipe"
SQUARE = (RESOLUTION, RESOLUTION)


@pytest.fixture(scope="module")
def diffusion_pipe() -> Path:
    return find_checkout("diffusion-pipe")


def check_all_seen(said: dict[str, Any], folder: Path, pictures: list[Picture]) -> None:
    """Check that each item was seen as it is in the folder, which is as it is in the source."""
    check_folder(folder, pictures)
    captions = {f"{number}.jpg": picture.caption for number, picture in enumerate(pictures)}
    assert said["items"] == len(pictures)
    assert said["captions"] == said["texts_of_embeddings"] == captions


def check_cached(first: dict[str, Any], second: dict[str, Any], pictures: list[Picture]) -> None:
    """Check that a first run encoded each item, and a second one none."""
    count = len(pictures)
    # Next to the captions it encodes an empty one.
    assert (first["encoded"], first["encoded_texts"]) == (count, count + 1)
    assert (second["encoded"], second["encoded_texts"]) == (0, 0)
    assert second["pixels"] == first["pixels"]


def test_what_is_cached_is_found_again(
    diffusion_pipe: Path, mount: Mount, source: Path, pictures: list[Picture], tmp_path: Path
) -> None:
    folder = mount(source, "--scratch", tmp_path / "scratch")
    with unchanged(folder):
        first, second = (drive(DRIVER, diffusion_pipe, folder) for _ in range(2))
    for said in (first, second):
        check_all_seen(said, folder, pictures)
        assert said["pixels"] == digest_folder(folder)
    check_cached(first, second, pictures)
    cache = folder / "cache" / "test"
    for pattern in ("metadata/**/*.arrow", "cache_*/latents/metadata.db", "cache_*/*/shard_0.bin"):
        assert list(cache.glob(pattern))


def test_buckets_of_aspects_are_trusted(
    diffusion_pipe: Path, mount: Mount, source: Path, pictures: list[Picture], tmp_path: Path
) -> None:
    """As in the trainer's example; what is trusted is mapped into memory as it was written."""
    folder = mount(source, "--scratch", tmp_path / "scratch")
    arguments = ("--ar-buckets", "--trust-cache")
    with unchanged(folder):
        first, second = (drive(DRIVER, diffusion_pipe, folder, *arguments) for _ in range(2))
    files = digest_folder(folder)
    squares = {f"{n}.jpg" for n, picture in enumerate(pictures) if picture.size == SQUARE}
    for said in (first, second):
        check_all_seen(said, folder, pictures)
        assert {name: said["pixels"][name] for name in squares} == {n: files[n] for n in squares}
    check_cached(first, second, pictures)


def test_what_is_cached_outlives_the_mount(  # noqa: PLR0913 - fixtures
    diffusion_pipe: Path,
    hffs: Hffs,
    mount: Mount,
    source: Path,
    pictures: list[Picture],
    tmp_path: Path,
) -> None:
    """The cache is found by the paths of the images, so at the same mountpoint."""
    scratch = tmp_path / "scratch"
    folder = mount(source, "--scratch", scratch)
    first = drive(DRIVER, diffusion_pipe, folder)
    hffs("umount", folder)
    assert not list(folder.iterdir())
    hffs("mount", source, folder, "--scratch", scratch)
    second = drive(DRIVER, diffusion_pipe, folder)
    check_all_seen(second, folder, pictures)
    check_cached(first, second, pictures)
