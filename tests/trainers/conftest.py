"""Pictures that trainers read, as a source to be mounted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trainers.pictures import Picture, cut_pictures, write_pictures

COUNT = 24
"""Enough for numbers of one and two digits, of which one begins the other."""


@pytest.fixture(scope="session")
def pictures(photos: list[tuple[str, bytes]]) -> list[Picture]:
    """The rows of `source`."""
    return cut_pictures(photos, COUNT)


@pytest.fixture(scope="session")
def source(pictures: list[Picture], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of pictures, every fourth a PNG that is rendered to JPEG."""
    return write_pictures(tmp_path_factory.mktemp("pictures") / "pictures.parquet", pictures)
