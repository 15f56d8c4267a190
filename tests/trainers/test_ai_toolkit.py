"""ai-toolkit reads a mount with a scratch folder, where it keeps sizes, latents and embeddings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.command import Hffs, Mount
from tests.trainers.driving import drive, find_checkout
from tests.trainers.pictures import Picture, check_folder, digest_folder, unchanged

pytestmark = pytest.mark.fuse

SIZES = ".aitk_size.json"
CACHED = ("--cache-latents-to-disk", "--cache-text-embeddings")


@pytest.fixture(scope="module")
def ai_toolkit() -> Path:
    return find_checkout("ai-toolkit")


def check_all_seen(said: dict[str, Any], folder: Path, pictures: list[Picture]) -> None:
    """Check that each item was seen as it is in the folder, which is as it is in the source."""
    check_folder(folder, pictures)
    assert said["items"] == len(pictures)
    assert said["captions"] == captions_of(pictures)
    assert said["pixels"] == digest_folder(folder)


def captions_of(pictures: list[Picture]) -> dict[str, str]:
    """By name. It splits a caption at commas and joins the parts by comma and space."""
    texts = [", ".join(picture.caption.split(",")) for picture in pictures]
    return {f"{number}.jpg": text for number, text in enumerate(texts)}


def check_cached(first: dict[str, Any], second: dict[str, Any], pictures: list[Picture]) -> None:
    """Check that a first run encoded each item and a second run opened no image."""
    for said in (first, second):
        assert said["texts_of_embeddings"] == captions_of(pictures)
    count = len(pictures)
    assert (first["encoded"], first["encoded_texts"]) == (count, count)
    # Each was opened for its size, and to be encoded.
    assert first["opened_by_scan"] == 2 * count
    assert (second["encoded"], second["encoded_texts"]) == (0, 0)
    assert second["opened_by_scan"] == 0


def test_it_reads_all_and_finds_the_sizes_again(
    ai_toolkit: Path, mount: Mount, source: Path, pictures: list[Picture], tmp_path: Path
) -> None:
    folder = mount(source, "--scratch", tmp_path / "scratch")
    with unchanged(folder):
        first, second = (drive("ai_toolkit", ai_toolkit, folder) for _ in range(2))
    sizes = json.loads((folder / SIZES).read_text())
    assert {name: tuple(size[:2]) for name, size in sizes.items() if name.startswith("/")} == {
        f"/{number}.jpg": picture.size for number, picture in enumerate(pictures)
    }
    for said in (first, second):
        check_all_seen(said, folder, pictures)
        assert said["encoded"] == 0
    assert (first["opened_by_scan"], second["opened_by_scan"]) == (len(pictures), 0)


def test_what_is_cached_is_found_again(
    ai_toolkit: Path, mount: Mount, source: Path, pictures: list[Picture], tmp_path: Path
) -> None:
    folder = mount(source, "--scratch", tmp_path / "scratch")
    with unchanged(folder):
        first, second = (drive("ai_toolkit", ai_toolkit, folder, *CACHED) for _ in range(2))
    for name in ("_latent_cache", "_t_e_cache"):
        assert len(list((folder / name).glob("*.safetensors"))) == len(pictures)
    for said in (first, second):
        check_all_seen(said, folder, pictures)
    check_cached(first, second, pictures)


def test_what_is_cached_outlives_the_mount(  # noqa: PLR0913 - fixtures
    ai_toolkit: Path,
    hffs: Hffs,
    mount: Mount,
    source: Path,
    pictures: list[Picture],
    tmp_path: Path,
) -> None:
    """The sizes are kept with each file's size and mtime, which another mount has to repeat."""
    scratch = tmp_path / "scratch"
    folder = mount(source, "--scratch", scratch)
    first = drive("ai_toolkit", ai_toolkit, folder, *CACHED)
    hffs("umount", folder)
    assert not list(folder.iterdir())
    hffs("mount", source, folder, "--scratch", scratch)
    second = drive("ai_toolkit", ai_toolkit, folder, *CACHED)
    check_all_seen(second, folder, pictures)
    check_cached(first, second, pictures)
