"""diffusion-pipe reads a mount as a folder, and keeps databases and Arrow files beside it all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.command import Hffs, Mount
from tests.trainers.driving import drive, find_checkout
from tests.trainers.media import Take, by_name, list_untaken, untouched, write_folder, write_takes
from tests.trainers.pictures import RESOLUTION, Picture, check_folder, digest_folder, unchanged

pytestmark = pytest.mark.fuse

SQUARE = (RESOLUTION, RESOLUTION)

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(pictures: list[Picture]) -> Run:
    """Run diffusion-pipe on a folder; checks that each picture was seen as it is.

    With buckets of aspects those that are square; it cuts the others.
    """
    checkout = find_checkout("diffusion-pipe")
    captions = {f"{number}.jpg": picture.caption for number, picture in enumerate(pictures)}
    squares = {f"{n}.jpg" for n, picture in enumerate(pictures) if picture.size == SQUARE}

    def run_on(folder: Path, *arguments: str) -> dict[str, Any]:
        said = drive("diffusion_pipe", checkout, folder, *arguments)
        check_folder(folder, pictures)
        assert said["items"] == len(pictures)
        assert said["captions"] == said["texts_of_embeddings"] == captions
        files = digest_folder(folder)
        whole = squares if "--ar-buckets" in arguments else files.keys()
        assert {name: said["pixels"][name] for name in whole} == {n: files[n] for n in whole}
        return said

    return run_on


def check_cached(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Check that a first run encoded each item, and a second one none."""
    # Next to the captions it encodes an empty one.
    assert (first["encoded"], first["encoded_texts"]) == (first["items"], first["items"] + 1)
    assert (second["encoded"], second["encoded_texts"]) == (0, 0)
    assert second["pixels"] == first["pixels"]


def test_what_is_cached_is_found_again(run: Run, mount: Mount, source: Path) -> None:
    folder = mount(source, "--for", "diffusion-pipe")
    with unchanged(folder):
        check_cached(run(folder), run(folder))
    cache = folder / "cache" / "test"
    for pattern in ("metadata/**/*.arrow", "cache_*/latents/metadata.db", "cache_*/*/shard_0.bin"):
        assert list(cache.glob(pattern))


def test_buckets_of_aspects_are_trusted(run: Run, mount: Mount, source: Path) -> None:
    """As in the trainer's example; what is trusted is mapped into memory as it was written."""
    folder = mount(source, "--for", "diffusion-pipe")
    arguments = ("--ar-buckets", "--trust-cache")
    with unchanged(folder):
        check_cached(run(folder, *arguments), run(folder, *arguments))


def test_what_is_cached_outlives_the_mount(
    run: Run, hffs: Hffs, mount: Mount, source: Path
) -> None:
    """The cache is found by the paths of the images, so at the same mountpoint."""
    folder = mount(source, "--for", "diffusion-pipe")
    first = run(folder)
    hffs("umount", folder)
    assert not list(folder.iterdir())
    hffs("mount", source, folder, "--for", "diffusion-pipe")
    check_cached(first, run(folder))


def test_it_reads_videos(mount: Mount, clips: list[Take], tmp_path: Path) -> None:
    """Of 33 frames each, in buckets of their own sizes; it opens each three times to measure it."""
    checkout = find_checkout("diffusion-pipe")
    few = clips[:2]  # it scales each frame
    plain = write_folder(tmp_path / "plain", few)
    copied = drive("diffusion_pipe", checkout, plain, "--frames", "33")
    source = write_takes(tmp_path / "clips.parquet", "video", few)
    folder = mount(source, "--for", "diffusion-pipe", "--dataset-type", "video")
    with untouched(folder, few):
        runs = [drive("diffusion_pipe", checkout, folder, "--frames", "33") for _ in range(2)]
    for said in runs:
        assert said["items"] == len(few)
        assert said["captions"] == said["texts_of_embeddings"] == by_name(few, "caption")
        assert said["pixels"] == copied["pixels"]
    check_cached(*runs)
    assert list_untaken("video", runs[0]["extensions"]) == set()
