"""SimpleTuner reads a mount of videos, and one of sounds with lyrics, as a local folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command import Mount
from tests.trainers.driving import drive, find_checkout, require_library
from tests.trainers.media import Take, by_name, list_untaken, untouched, write_folder

pytestmark = pytest.mark.fuse

DEFAULT_FAMILIES = ("ace_step", "minimaxmusic")


def test_videos_are_measured_and_read(
    mount: Mount, video_source: Path, clips: list[Take], tmp_path: Path
) -> None:
    checkout = find_checkout("SimpleTuner")
    require_library("torchaudio")
    plain = write_folder(tmp_path / "plain", clips)
    copied = drive("simpletuner_media", checkout, plain, "video")
    folder = mount(video_source, "--for", "simpletuner", "--dataset-type", "video")
    with untouched(folder, clips):
        runs = [drive("simpletuner_media", checkout, folder, "video") for _ in range(2)]
    for said in runs:
        assert said["items"] == len(clips)
        assert said["captions"] == by_name(clips, "caption")
        assert said["known"] == {
            name: {"original_size": list(take.size), "num_frames": take.length}
            for name, take in zip(by_name(clips, "file"), clips, strict=True)
        }
        assert said["contents"] == copied["contents"]
        assert said["buckets"] == copied["buckets"]
    # ffprobe measures: no file is read whole for that.
    assert runs[0]["read_whole"] == []
    assert list_untaken("video", runs[0]["extensions"]) == set()


@pytest.mark.parametrize("family", DEFAULT_FAMILIES)
def test_sounds_are_read_with_the_lyrics_beside_them(
    mount: Mount, audio_source: Path, songs: list[Take], tmp_path: Path, family: str
) -> None:
    checkout = find_checkout("SimpleTuner")
    require_library("torchaudio", "torchcodec")
    plain = write_folder(tmp_path / "plain", songs)
    copied = drive("simpletuner_media", checkout, plain, "audio", "--family", family)
    folder = mount(audio_source, "--for", "simpletuner", "--dataset-type", "audio")
    with untouched(folder, songs):
        said = drive("simpletuner_media", checkout, folder, "audio", "--family", family)
    assert said["items"] == len(songs)
    assert said["captions"] == by_name(songs, "caption")
    assert {name: about.get("lyrics") for name, about in said["known"].items()} == by_name(
        songs, "lyrics"
    )
    assert {name: about["num_samples"] for name, about in said["known"].items()} == by_name(
        songs, "length"
    )
    assert said["contents"] == copied["contents"]
    assert said["buckets"] == copied["buckets"]
    assert list_untaken("audio", said["extensions"]) == {"weba"}


@pytest.mark.parametrize("form", [None, "{filename}.lyrics", "{stem}.lyrics", "{name}.lyrics"])
def test_other_models_take_lyrics_where_they_are_told_to(
    mount: Mount, audio_source: Path, songs: list[Take], form: str | None
) -> None:
    """What is called {filename} is the stem; {name} would be of 0.wav.lyrics."""
    checkout = find_checkout("SimpleTuner")
    require_library("torchaudio", "torchcodec")
    folder = mount(audio_source, "--for", "simpletuner", "--dataset-type", "audio")
    given = ("--lyrics-format", form) if form else ()
    said = drive("simpletuner_media", checkout, folder, "audio", *given)
    found = {name: about.get("lyrics") for name, about in said["known"].items()}
    is_found = form in ("{filename}.lyrics", "{stem}.lyrics")
    lyrics = by_name(songs, "lyrics")
    assert found == (lyrics if is_found else dict.fromkeys(lyrics))
