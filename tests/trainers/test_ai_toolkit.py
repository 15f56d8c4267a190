"""ai-toolkit reads a mount as a folder, and keeps sizes, latents and embeddings beside it all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hffs.core.formats import Media
from tests.command import Hffs, Mount
from tests.trainers.driving import drive, find_checkout, require_library
from tests.trainers.media import Take, by_name, list_untaken, untouched, write_folder
from tests.trainers.pictures import Picture, check_folder, digest_folder, unchanged

pytestmark = pytest.mark.fuse

CACHED = ("--cache-latents-to-disk", "--cache-text-embeddings")

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(pictures: list[Picture]) -> Run:
    """Run ai-toolkit on a folder; checks that each picture was seen as it is."""
    checkout = find_checkout("ai-toolkit")
    # It splits a caption at commas, and joins the parts by a comma and a blank.
    texts = [", ".join(picture.caption.split(",")) for picture in pictures]
    captions = {f"{number}.jpg": text for number, text in enumerate(texts)}

    def run_on(folder: Path, *arguments: str) -> dict[str, Any]:
        said = drive("ai_toolkit", checkout, folder, *arguments)
        check_folder(folder, pictures)
        assert said["items"] == len(pictures)
        assert said["captions"] == captions
        embedded = captions if "--cache-text-embeddings" in arguments else dict.fromkeys(captions)
        assert said["texts_of_embeddings"] == embedded
        assert said["pixels"] == digest_folder(folder)
        return said

    return run_on


def counts(said: dict[str, Any]) -> tuple[int, int, int]:
    """Images and texts that were encoded, and images opened before the first batch."""
    return said["encoded"], said["encoded_texts"], said["opened_by_scan"]


def test_it_reads_all_and_finds_the_sizes_again(
    run: Run, mount: Mount, source: Path, pictures: list[Picture]
) -> None:
    folder = mount(source, "--for", "ai-toolkit")
    with unchanged(folder):
        first, second = run(folder), run(folder)
    sizes = json.loads((folder / ".aitk_size.json").read_text())
    assert {name: tuple(size[:2]) for name, size in sizes.items() if name.startswith("/")} == {
        f"/{number}.jpg": picture.size for number, picture in enumerate(pictures)
    }
    assert counts(first) == (0, 0, len(pictures))
    assert counts(second) == (0, 0, 0)


def test_what_is_cached_is_found_again(
    run: Run, mount: Mount, source: Path, pictures: list[Picture]
) -> None:
    folder = mount(source, "--for", "ai-toolkit")
    count = len(pictures)
    with unchanged(folder):
        # Each image is opened for its size, and to be encoded.
        assert counts(run(folder, *CACHED)) == (count, count, 2 * count)
        for name in ("_latent_cache", "_t_e_cache"):
            assert len(list((folder / name).glob("*.safetensors"))) == count
        assert counts(run(folder, *CACHED)) == (0, 0, 0)


def test_what_is_cached_outlives_the_mount(
    run: Run, hffs: Hffs, mount: Mount, source: Path, pictures: list[Picture]
) -> None:
    """The sizes are kept with each file's size and mtime, which another mount has to repeat."""
    folder = mount(source, "--for", "ai-toolkit")
    assert counts(run(folder, *CACHED))[:2] == (len(pictures), len(pictures))
    hffs("umount", folder)
    assert not list(folder.iterdir())
    hffs("mount", source, folder, "--for", "ai-toolkit")
    assert counts(run(folder, *CACHED)) == (0, 0, 0)


@pytest.mark.parametrize("media", ["video", "audio"])
def test_it_reads_videos_and_sounds(
    mount: Mount, request: pytest.FixtureRequest, tmp_path: Path, media: Media
) -> None:
    """By OpenCV and by torchaudio; what it found of videos it keeps beside them."""
    checkout = find_checkout("ai-toolkit")
    require_library("cv2", "torchaudio", "torchcodec")
    takes: list[Take] = request.getfixturevalue("clips" if media == "video" else "songs")
    options = ("--num-frames", "33") if media == "video" else ("--audio",)
    copied = drive("ai_toolkit", checkout, write_folder(tmp_path / "plain", takes), *options)
    source = request.getfixturevalue(f"{media}_source")
    folder = mount(source, "--for", "ai-toolkit", "--dataset-type", media)
    with untouched(folder, takes):
        said = drive("ai_toolkit", checkout, folder, *options)
    assert said["items"] == len(takes)
    captions = {name: str(text) for name, text in by_name(takes, "caption").items()}
    assert said["captions"] == {n: ", ".join(text.split(",")) for n, text in captions.items()}
    assert said["pixels"] == copied["pixels"]
    sizes = json.loads((folder / ".aitk_size.json").read_text())
    found = {name: known[3] for name, known in sizes.items() if name.startswith("/")}
    lengths = {f"/{name}": length for name, length in by_name(takes, "length").items()}
    assert found == (lengths if media == "video" else {})


def test_what_it_takes_for_videos_and_sounds(mount: Mount, video_source: Path) -> None:
    checkout = find_checkout("ai-toolkit")
    require_library("torchaudio")
    folder = mount(video_source, "--for", "ai-toolkit", "--dataset-type", "video")
    taken = drive("ai_toolkit", checkout, folder, "--num-frames", "2")["extensions"]
    assert list_untaken("video", taken["video"]) == {"mpeg", "ogv"}
    assert list_untaken("audio", taken["audio"]) == {"aiff", "opus", "weba"}
