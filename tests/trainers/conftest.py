"""Pictures, videos and sounds that trainers read, as sources to be mounted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trainers.media import Take, list_clips, list_songs, write_takes
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


@pytest.fixture(scope="session")
def clips() -> list[Take]:
    """The rows of `video_source`."""
    return list_clips()


@pytest.fixture(scope="session")
def songs() -> list[Take]:
    """The rows of `audio_source`."""
    return list_songs()


@pytest.fixture(scope="session")
def video_source(clips: list[Take], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of videos."""
    return write_takes(tmp_path_factory.mktemp("clips") / "clips.parquet", "video", clips)


@pytest.fixture(scope="session")
def audio_source(songs: list[Take], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of sounds."""
    return write_takes(tmp_path_factory.mktemp("songs") / "songs.parquet", "audio", songs)
