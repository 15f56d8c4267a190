"""The DreamBooth example of diffusers opens every entry of a mount as an image."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command import Mount
from tests.trainers.driving import drive, find_checkout
from tests.trainers.pictures import RESOLUTION, Picture, check_folder, digest_folder, unchanged

pytestmark = pytest.mark.fuse


def test_every_entry_is_an_image(mount: Mount, source: Path, pictures: list[Picture]) -> None:
    checkout = find_checkout("diffusers")
    # It scales the shorter side: squares alone come out as they are.
    square = (RESOLUTION, RESOLUTION)
    squares = "width = {} AND height = {}".format(*square)
    folder = mount(source, "--for", "diffusers-dreambooth", "--where", squares)
    with unchanged(folder):
        said = drive("diffusers_dreambooth", checkout, folder)
    expected = [picture for picture in pictures if picture.size == square]
    check_folder(folder, expected)
    assert said["items"] == len(expected)
    assert said["pixels"] == said["class_pixels"] == digest_folder(folder)
