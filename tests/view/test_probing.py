"""Videos and sounds are looked at once: what is remembered, what is lost, what is never asked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hffs.core.formats import Media, MediaFormat
from hffs.data.filters.selection import Probed
from hffs.data.rows import RowStore
from hffs.data.source import tell_nobody
from hffs.errors import ConfigError, DataError, FormatError, OutageError, StaleError
from hffs.view import measuring
from hffs.view.codecs import clips
from hffs.view.measuring import Crew, Looking, load_or_measure, load_or_probe
from tests.clips import Clip, Sound, encode_clip, encode_sound
from tests.view.conftest import OpenTree, Quiet, encode, write_set

Files = dict[int, bytes | Exception]


class Rows(RowStore):
    """Videos in memory; remembers which were looked at, and fails where all of one is asked for."""

    def __init__(self, files: Files, media: Media = "video", far: Sequence[int] = ()) -> None:
        self.files, self.media, self.far = files, media, far
        self.looked: list[int] = []

    def is_far(self, cell: int) -> bool:
        return cell in self.far

    def is_parted(self, cell: int) -> bool:
        return True

    def size(self, cell: int) -> int:
        self.looked.append(cell)
        file = self.files[cell]
        if isinstance(file, Exception):
            raise file
        return len(file)

    def load_part(self, cell: int, start: int, stop: int) -> memoryview:
        file = self.files[cell]
        assert isinstance(file, bytes)
        return memoryview(file)[start:stop]

    def load(self, cell: int) -> memoryview:
        raise AssertionError("a part would do")


def some_clips(count: int) -> Files:
    return {
        cell: encode_clip(Clip("mp4", 16 + 2 * cell, 16, frames=5 + cell)) for cell in range(count)
    }


def mask(count: int, *cells: int) -> NDArray[np.bool_]:
    wanted = np.zeros(count, np.bool_)
    wanted[list(cells)] = True
    return wanted


def probe(folder: Path, rows: Rows, wanted: NDArray[np.bool_]) -> Probed:
    kind = MediaFormat.MP4 if rows.media == "video" else MediaFormat.WAV
    formats = np.full(len(wanted), kind, np.uint8)
    return load_or_probe(folder, Crew(rows, Looking(3, tell_nobody)), formats, wanted)


def test_only_what_is_wanted_and_unknown_is_probed(tmp_path: Path) -> None:
    folder = tmp_path / "measured/key"
    rows = Rows(some_clips(5) | {3: b"bad", 4: FormatError("cannot read")})
    first = probe(folder, rows, mask(5, 1, 3))
    assert first.width.tolist() == [0, 18, 0, 0, 0]
    assert first.frames.tolist() == [0, 6, 0, 0, 0]
    assert sorted(rows.looked) == [1, 3]
    second = probe(folder, rows, np.ones(5, np.bool_))
    assert second.frames.tolist() == [5, 6, 7, 0, 0]
    assert second.duration_s.tolist() == pytest.approx([0.5, 0.6, 0.7, 0, 0])
    assert second.video_codec.tolist() == [b"h264"] * 3 + [b""] * 2
    assert sorted(rows.looked) == [0, 1, 2, 3, 4]  # the unreadable ones are known to be that
    again = probe(folder, Rows({}), mask(5, 0, 4))
    kinds = {name: getattr(again, name).dtype for name in ("width", "height", "frames", "channels")}
    assert set(kinds.values()) == {np.dtype(np.int32)}
    assert {again.duration_s.dtype, again.fps.dtype} == {np.dtype(np.float64)}
    for name in ("width", "frames", "duration_s", "fps", "video_codec"):
        assert getattr(again, name).tolist() == getattr(second, name).tolist()
    assert {oct(path.stat().st_mode & 0o777) for path in (folder, folder.parent)} == {"0o700"}


def test_sounds_are_told_by_their_own_columns(tmp_path: Path) -> None:
    files: Files = {
        0: encode_sound(Sound("wav", 8_000, 1, 1.5)), 1: encode_sound(Sound("wav", 48_000, 2, 0.5))
    }  # fmt: skip
    found = probe(tmp_path / "m/k", Rows(files, "audio"), np.ones(2, np.bool_))
    assert found.sample_rate.tolist() == [8_000, 48_000]
    assert found.channels.tolist() == [1, 2]
    assert found.duration_s.tolist() == [1.5, 0.5]
    assert found.audio_codec.tolist() == [b"pcm_s16le"] * 2
    assert found.measured().orientation.tolist() == [0, 0]


def test_images_and_clips_are_remembered_side_by_side(tmp_path: Path) -> None:
    folder = tmp_path / "m/k"

    class Images(Rows):
        def load(self, cell: int) -> memoryview:
            return memoryview(encode("PNG", size=(7, 5)))

    probe(folder, Rows(some_clips(2)), np.ones(2, np.bool_))
    crew = Crew(Images({}), Looking(2, tell_nobody))
    sizes = load_or_measure(folder, crew, np.ones(2, np.bool_))
    assert sizes.width.tolist() == [7, 7]
    assert probe(folder, Rows({}), np.ones(2, np.bool_)).width.tolist() == [16, 18]


def test_what_is_away_is_counted_and_asked_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    away = some_clips(3) | {1: OutageError("cannot fetch", "u")}
    found = probe(tmp_path / "m/k", Rows(away, far=[1, 2]), np.ones(3, np.bool_))
    assert (found.frames.tolist(), found.unsettled) == ([5, 0, 7], 1)
    assert "1 videos could not be fetched; one: cannot fetch u" in caplog.text
    rows = Rows(some_clips(3))
    again = probe(tmp_path / "m/k", rows, np.ones(3, np.bool_))
    assert (again.frames.tolist(), again.unsettled, rows.looked) == ([5, 6, 7], 0, [1])


def test_what_was_kept_before_a_failure_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "PART_CLIPS", 2)
    with pytest.raises(StaleError):
        probe(tmp_path / "m/k", Rows(some_clips(6) | {5: StaleError("gone")}), np.ones(6, np.bool_))
    rest = Rows(some_clips(6))
    assert probe(tmp_path / "m/k", rest, np.ones(6, np.bool_)).frames.tolist() == [*range(5, 11)]
    assert sorted(rest.looked) == [4, 5]


class Killed(Rows):
    """Ends the process at the fourth video."""

    def size(self, cell: int) -> int:
        if cell == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().size(cell)


def test_a_killed_process_loses_a_part_at_most(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.view.test_probing import *;"
        "measuring.PART_CLIPS = 2;"
        "probe(Path(sys.argv[1]), Killed(some_clips(4)), np.ones(4, np.bool_))"
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", code, str(tmp_path / "m/k")]
    assert subprocess.run(command, check=False, cwd=root).returncode == -signal.SIGKILL
    rest = Rows(some_clips(4))
    assert probe(tmp_path / "m/k", rest, np.ones(4, np.bool_)).frames.tolist() == [5, 6, 7, 8]
    assert sorted(rest.looked) == [2, 3]


class Counting:
    """Stands in for probing, and counts."""

    def __init__(self) -> None:
        self.count, self._probe = 0, clips.probe

    def __call__(self, *arguments: Any) -> clips.Probe:
        self.count += 1
        return self._probe(*arguments)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    made = Counting()
    monkeypatch.setattr(clips, "probe", made)
    return made


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Five videos of 5 to 8 frames, the last of which is damaged; and columns that tell."""
    files = [encode_clip(Clip("mp4", 16 + 2 * n, 16, frames=5 + n)) for n in range(4)]
    broken = files[0][:200]
    path = tmp_path / "videos.parquet"
    write_set(
        path, [None] * 5, video=[*files, broken], frame_count=[99, 100, 125, 300, None],
        fps=[24.0, 24.0, 25.0, 10.0, 24.0], caption=[*"abcde"],
    )  # fmt: skip
    return path


def _open(open_tree: OpenTree, path: Path, **keys: object) -> Mapping[str, int]:
    tree = open_tree(path, dataset_type="video", **{"video_column": "video", **keys})
    info = tree.manifest.info
    return {"shown": info.positions, **dict(info.removed), **dict(info.dropped)}


def test_a_second_decision_probes_nothing(
    open_tree: OpenTree, videos: Path, counting: Counting
) -> None:
    keys = {
        "video__min_frames": 6,
        "filter_func__max_duration_s": 0.7,
        "filter_func__min_width": 18,
    }
    found = _open(open_tree, videos, **keys)
    assert counting.count == 5
    assert found == {
        "shown": 2, "size could not be measured": 1, "min_width": 1, "video could not be probed": 0,
        "min_frames": 0, "duration is missing": 0, "max_duration_s": 1,
    }  # fmt: skip
    assert _open(open_tree, videos, video__max_frames=6)["shown"] == 2
    assert counting.count == 5


def test_the_example_of_simpletuner_probes_nothing(
    open_tree: OpenTree, videos: Path, counting: Counting, tmp_path: Path
) -> None:
    entry = {
        "id": "a", "type": "huggingface", "dataset_type": "video", "dataset_name": str(videos),
        "video_column": "video",
        "huggingface": {"num_frames_column": "frame_count", "fps_column": "fps"},
        "video": {"num_frames": 125, "min_frames": 100},
    }  # fmt: skip
    keys = {
        "video__num_frames_column": "frame_count", "video__fps_column": "fps",
        "video__num_frames": 125,
    }  # fmt: skip
    assert _open(open_tree, videos, video__min_frames=100, **keys)["shown"] == 3
    assert _open(open_tree, videos, **keys)["shown"] == 2  # at least what the trainer takes
    found = _open(open_tree, videos, filter_func__min_duration_s=5, video__min_frames=1, **keys)
    assert (found["shown"], found["frame count is missing"]) == (2, 1)
    file = tmp_path / "loader.json"
    file.write_text(json.dumps([entry]))
    assert open_tree(file).manifest.info.positions == 3
    assert counting.count == 0


REFUSED: list[tuple[str, dict[str, object], str]] = [
    ("image", {"video__min_frames": 5}, "cannot use video.min_frames 5: images have no frames; "
     "mount videos by --dataset-type video"),
    ("image", {"filter_func__max_duration_s": 2}, "cannot use max_duration_s 2: images have no "
     "duration; mount videos or sounds by --dataset-type video or audio"),
    ("audio", {"filter_func__min_width": 64}, "cannot use min_width 64: sounds have no size"),
    ("audio", {"filter_func__max_aspect": 1.5}, "cannot use max_aspect 1.5: sounds have no size"),
    ("audio", {"video__max_frames": 9}, "cannot use video.max_frames 9: sounds have no frames; "
     "limit min_duration_s"),
    ("video", {"orientation": "upright"}, "cannot use orientation upright: videos are shown as "
     "they are; leave it out"),
    ("audio", {"composite_image_config__enabled": True, "composite_image_config__image_count": 4},
     "cannot use composite_image_config.image_count 4: sounds are not taken apart"),
    ("video", {"duration_column": "lasts"}, "duration_column"),
    ("video", {"video__fps_column": "rate"}, "video.fps_column"),
    ("video", {"video__num_frames_column": "n"}, "video.num_frames_column"),
]  # fmt: skip


@pytest.mark.parametrize(("media", "keys", "line"), REFUSED)
def test_what_makes_no_sense_is_refused(
    open_tree: OpenTree, videos: Path, media: str, keys: dict[str, object], line: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        open_tree(videos, dataset_type=media, **keys)
    assert str(caught.value) == line or (" " not in line and line in str(caught.value))


def test_the_frames_that_a_trainer_takes_leave_images_alone(
    open_tree: OpenTree, tmp_path: Path
) -> None:
    path = write_set(tmp_path / "a.parquet", [encode("PNG")], caption=["a"])
    tree = open_tree(path, video__num_frames=125, video__num_frames_column="none")
    assert tree.manifest.info.positions == 1


def test_nothing_left_says_why(open_tree: OpenTree, videos: Path, watcher: Quiet) -> None:
    with pytest.raises(DataError, match="video could not be probed: 1, min_frames: 4"):
        _open(open_tree, videos, video__min_frames=500)
