"""What is told of videos and sounds: against sets whose facts are known."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter

from hffs.config import build_config
from hffs.core.formats import sniff
from hffs.view.inspection.facts import ClipFacts, CountFacts, Inspection, StepFacts
from hffs.view.inspection.gathering import Wanted, inspect_view
from tests.clips import Clip, Sound, encode_clip, encode_sound
from tests.view.conftest import WORKERS, Quiet

Look = Callable[..., Inspection]


@pytest.fixture
def look(tmp_path: Path, watcher: Quiet) -> Look:
    """Inspect a source with some keys."""

    def look_at(source: Path, wanted: Wanted | None = None, **keys: object) -> Inspection:
        environ = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
        flags = {name.replace("__", "."): value for name, value in keys.items()}
        config = build_config(str(source), flags, None, environ)
        return inspect_view(config, watcher, WORKERS, wanted or Wanted())

    return look_at


def _write(path: Path, media: str, files: list[bytes | None], **columns: Any) -> Path:
    cells = [file and {"bytes": file, "path": None} for file in files]
    table = pa.table({media: cells, "caption": [f"c{n}" for n in range(len(files))], **columns})
    pq.write_table(table, path, compression="none", use_dictionary=False)
    return path


FRAMES = (5, 10, 25, 50)


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Four videos at 10 frames a second, one at 25 as WebM, a damaged one, one that is null."""
    files = [encode_clip(Clip("mp4", 64, 48, n, 10, tone=n == 25)) for n in FRAMES]
    files.append(encode_clip(Clip("webm", 32, 32, frames=25, fps=25)))
    return _write(tmp_path / "videos.parquet", "video", [*files, files[0][:300], None])


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    files = [
        encode_sound(Sound("wav", 16_000, 1, 0.5)),
        encode_sound(Sound("flac", 48_000, 2, 2.0)),
    ]
    files.append(encode_sound(Sound("wav", 48_000, 2, 40.0)))
    return _write(tmp_path / "sounds.parquet", "audio", [*files])


def _clips(inspection: Inspection) -> ClipFacts:
    assert inspection.report.clips is not None
    return inspection.report.clips


def _counts(counts: tuple[CountFacts, ...]) -> dict[object, int]:
    return {each.value: each.count for each in counts}


def test_what_is_told_of_videos(look: Look, videos: Path) -> None:
    found = look(videos, dataset_type="video")
    report, clips = found.report, _clips(found)
    assert (report.media, report.images, report.shown) == ("video", 6, 6)
    assert (clips.looked_at, clips.known, clips.sampled) == (6, 5, False)
    duration, frames = clips.duration_s, clips.frames
    assert frames is not None
    assert (duration.looked_at, duration.known, duration.origin) == (6, 5, "headers")
    assert duration.total == pytest.approx(0.5 + 1 + 2.5 + 5 + 1, abs=0.01)
    assert duration.spread is not None
    assert (duration.spread.min, duration.spread.median, duration.spread.max) == (0.5, 1, 5)
    assert (frames.total, frames.known) == (5 + 10 + 25 + 50 + 25, 5)
    assert _counts(clips.fps) == {10: 4, 25: 1}
    assert _counts(clips.video_codecs) == {"h264": 4, "vp8": 1}
    assert _counts(clips.audio_codecs) == {"aac": 1}
    assert _counts(clips.sample_rates) == {48_000: 1}
    assert _counts(clips.channels) == {1: 1}
    sizes = report.sizes
    assert (sizes.looked_at, sizes.known, sizes.origin) == (6, 5, "headers")
    assert [(each.width, each.height, each.count) for each in sizes.common] == [
        (64, 48, 4), (32, 32, 1),
    ]  # fmt: skip


def test_what_is_told_of_sounds(look: Look, sounds: Path) -> None:
    found = look(sounds, dataset_type="audio")
    report, clips = found.report, _clips(found)
    assert (report.media, report.shown, report.sizes.looked_at) == ("audio", 3, 0)
    assert clips.frames is None
    assert clips.duration_s.total == pytest.approx(42.5, abs=0.01)
    assert _counts(clips.audio_codecs) == {"pcm_s16le": 2, "flac": 1}
    assert _counts(clips.sample_rates) == {48_000: 2, 16_000: 1}
    assert (clips.fps, clips.video_codecs) == ((), ())


def test_images_have_no_such_facts(look: Look, photo_parquet: Path) -> None:
    report = look(photo_parquet, max_num_samples=2).report
    assert (report.media, report.clips) == ("image", None)


def test_a_sample_is_probed_unless_all_is_asked_for(
    look: Look, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hffs.view.inspection.clips.SAMPLE_CLIPS", 2)
    found = look(videos, dataset_type="video")
    clips, sizes = _clips(found), found.report.sizes
    assert (clips.looked_at, clips.sampled, clips.duration_s.looked_at) == (2, True, 2)
    assert (sizes.looked_at, sizes.sampled) == (2, True)
    found = look(videos, Wanted(all_sizes=True), dataset_type="video")
    assert (_clips(found).looked_at, _clips(found).sampled) == (6, False)
    # A filter that probes leaves nothing to guess.
    found = look(videos, dataset_type="video", video__min_frames=10)
    assert (_clips(found).looked_at, _clips(found).sampled) == (4, False)
    assert found.report.sizes.sampled is False


def test_columns_tell_of_all(look: Look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hffs.view.inspection.clips.SAMPLE_CLIPS", 1)
    files: list[bytes | None] = [encode_clip(Clip("mp4"))] * 3
    columns = {"n": [100, 200, None], "duration": [1.5, 2.5, 3.5], "width": [7, 8, 9]}
    source = _write(tmp_path / "a.parquet", "video", files, **columns)
    found = look(source, dataset_type="video", video__num_frames_column="n")
    clips = _clips(found)
    assert clips.frames is not None
    assert (clips.frames.looked_at, clips.frames.known, clips.frames.origin) == (3, 2, "columns")
    assert (clips.frames.total, clips.duration_s.total) == (300, 7.5)
    assert clips.duration_s.origin == "columns"
    assert (clips.looked_at, clips.sampled) == (1, True)


def _step(inspection: Inspection, name: str) -> StepFacts:
    return next(step for step in inspection.report.removed if step.step == name)


STEPS: list[tuple[dict[str, object], str, str, bool, dict[str, str]]] = [
    ({"video__min_frames": 10}, "min_frames", "fewer than 10 frames", True, {"frames": "5"}),
    ({"video__num_frames": 10}, "min_frames", "fewer than 10 frames", True, {"frames": "5"}),
    ({"video__max_frames": 9}, "max_frames", "more than 9 frames", True, {"frames": "10"}),
    ({"filter_func__min_duration_s": 0.8}, "min_duration_s", "shorter than 0.8 s", True,
     {"duration": "0.5 s"}),
    ({"filter_func__max_duration_s": 4}, "max_duration_s", "longer than 4 s", True,
     {"duration": "5 s"}),
    ({"video__min_frames": 1}, "video could not be probed",
     "its header cannot be read, or tells no frames", False, {"frames": "not known"}),
    ({"filter_func__min_duration_s": 0.1}, "duration is missing",
     "its column is null, or its header tells none", False, {"duration": "not known"}),
    ({"filter_func__min_width": 64}, "min_width", "narrower than 64 px", True, {"size": "32 x 32"}),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "name", "why", "asked", "values"), STEPS)
def test_each_step_says_why_and_on_what(  # noqa: PLR0913 - a case and two fixtures
    look: Look,
    videos: Path,
    keys: dict[str, object],
    name: str,
    why: str,
    asked: bool,
    values: dict[str, str],
) -> None:
    step = _step(look(videos, dataset_type="video", **keys), name)
    assert (step.why, step.asked) == (why, asked)
    assert step.count > 0
    assert step.examples[0].values == values


def test_a_column_of_frames_is_shown(look: Look, tmp_path: Path) -> None:
    files: list[bytes | None] = [encode_clip(Clip("mp4"))] * 2
    source = _write(tmp_path / "a.parquet", "video", files, n=[None, 5])
    keys = {"video__num_frames_column": "n", "video__min_frames": 6}
    found = look(source, dataset_type="video", **keys)
    step = _step(found, "frame count is missing")
    assert (step.why, step.count) == ("its column is null, or has no number above 0", 1)
    assert step.examples[0].values == {"frames": "not known"}
    assert _step(found, "min_frames").examples[0].values == {"frames": "5"}


def test_a_sheet_has_what_plays(look: Look, videos: Path) -> None:
    found = look(videos, Wanted(pictures=9), dataset_type="video", video__min_frames=6)
    assert found.sheet is not None
    names = [(each.name, each.media_type, each.width, each.text) for each in found.sheet.shown]
    assert names == [
        ("0.mp4", "video/mp4", 64, "c1"), ("1.mp4", "video/mp4", 64, "c2"),
        ("2.mp4", "video/mp4", 64, "c3"), ("3.webm", "video/webm", 32, "c4"),
    ]  # fmt: skip
    for picture in found.sheet.shown:
        assert sniff(base64.b64decode(picture.data), "video").extension in picture.name
        assert sniff(base64.b64decode(picture.jpeg)).extension == "jpg"
        assert (picture.problem, picture.seconds > 0.9) == ("", True)
    steps = dict(
        zip((step.step for step in found.report.removed), found.sheet.removed, strict=True)
    )
    (broken,) = steps["video could not be probed"]
    assert (broken.name, broken.data, broken.jpeg) == ("row 5", "", "")
    assert broken.problem
    assert [each.text for each in steps["min_frames"]] == ["frames: 5"]


def test_what_is_on_a_sheet_is_bounded(look: Look, sounds: Path, videos: Path) -> None:
    sheet = look(sounds, Wanted(pictures=3, media_bytes=4_000_000), dataset_type="audio").sheet
    assert sheet is not None
    assert 16_000 < len(base64.b64decode(sheet.shown[0].data)) < 16_100
    assert 400_000 < len(base64.b64decode(sheet.shown[2].data)) <= 500_000
    assert [round(each.seconds, 1) for each in sheet.shown] == [0.5, 2, 40]
    sheet = look(sounds, Wanted(pictures=3, media_bytes=0), dataset_type="audio").sheet
    assert sheet is not None
    assert {(each.data, each.problem) for each in sheet.shown} == {
        ("", "the page has no room for more")
    }
    sheet = look(videos, Wanted(pictures=1, media_bytes=0), dataset_type="video").sheet
    assert sheet is not None
    (picture,) = sheet.shown
    assert (picture.data, picture.media_type, bool(picture.jpeg)) == ("", "", True)


def test_an_inspection_survives_json(look: Look, videos: Path) -> None:
    found = look(videos, Wanted(pictures=9), dataset_type="video", video__min_frames=9)
    text = json.dumps(asdict(found))
    assert TypeAdapter(Inspection).validate_json(text) == found


def test_nothing_left_is_a_report_too(look: Look, videos: Path) -> None:
    found = look(videos, Wanted(pictures=3), dataset_type="video", filter_func__where="false")
    clips = _clips(found)
    assert (clips.looked_at, clips.duration_s.total, clips.duration_s.spread) == (0, 0, None)
    assert found.sheet is not None
    assert len(found.sheet.removed[0]) == 6


@pytest.mark.parametrize(
    ("columns", "counted"),
    [
        ({}, (0, None)),
        ({"lyrics": ["la", "", None]}, (1, "lyrics")),
        ({"norm_lyrics": [None, None, None]}, (0, "norm_lyrics")),
    ],
)
def test_lyrics_are_counted(
    look: Look, tmp_path: Path, columns: dict[str, object], counted: tuple[int, str | None]
) -> None:
    files = [encode_sound(Sound("wav", 16_000, 1, 0.5))] * 3
    typed = {name: pa.array(values, pa.string()) for name, values in columns.items()}
    source = _write(tmp_path / "sounds.parquet", "audio", [*files], **typed)
    report = look(source, dataset_type="audio").report
    assert (report.lyrics_files, report.lyrics_column) == counted
