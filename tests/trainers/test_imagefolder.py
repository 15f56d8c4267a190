"""The two that are called ImageFolder, of torchvision and of Hugging Face, read a mount."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.command import Mount
from tests.trainers.driving import drive
from tests.trainers.pictures import KINDS, Picture, check_folder, digest_folder, unchanged

pytestmark = pytest.mark.fuse


@pytest.mark.parametrize("flags", [(), ("--for", "imagefolder")], ids=["captions", "recipe"])
def test_torchvision_takes_the_folders_for_classes(
    mount: Mount, source: Path, pictures: list[Picture], flags: tuple[str, ...]
) -> None:
    folder = mount(source, "--group-by", "kind", *flags)
    with unchanged(folder):
        said = drive("torchvision_imagefolder", None, folder)
    assert said["items"] == len(pictures)
    assert said["classes"] == sorted(KINDS)
    assert said["kinds"] == {
        f"{picture.kind}/{number}.jpg": picture.kind for number, picture in enumerate(pictures)
    }
    assert said["pixels"] == digest_folder(folder)


@pytest.mark.parametrize("by", ["data_dir", "data_files"])
def test_hugging_face_reads_captions_from_the_metadata(
    mount: Mount, source: Path, pictures: list[Picture], tmp_path: Path, by: str
) -> None:
    folder = mount(source, "--for", "hf-imagefolder")
    check_folder(folder, pictures)
    runs: list[dict[str, Any]] = []
    for _ in range(2):
        with unchanged(folder):
            runs.append(drive("hf_imagefolder", None, folder, tmp_path / "cache", "--by", by))
    for said in runs:
        assert said["items"] == len(pictures)
        assert said["captions"] == {f"{n}.jpg": p.caption for n, p in enumerate(pictures)}
        assert said["pixels"] == digest_folder(folder)
    assert [said["prepared"] for said in runs] == [len(pictures), 0]
