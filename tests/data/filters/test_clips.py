"""Limits of frames and durations: from which columns, in which order, what is probed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hffs.core.formats import Media
from hffs.data.filters.clips import clip_steps, read_clips
from hffs.data.filters.selection import (
    DURATION_MISSING,
    FRAMES_MISSING,
    NOT_PROBED,
    SIZE_NOT_MEASURED,
    ClipTerms,
    Filters,
    Measured,
    Probed,
    SizeTerms,
    select,
)
from hffs.data.filters.terms import select_all
from hffs.data.locating.local import locate
from hffs.data.source import Source, open_source
from hffs.errors import ConfigError


def make_source(folder: Path, **columns: Sequence[Any] | pa.Array) -> Source:
    path = folder / "0.parquet"
    pq.write_table(pa.table(columns), path)
    return open_source(locate(str(path)))


class Headers:
    """Frames and durations that are probed, and what was asked for."""

    def __init__(self, frames: Sequence[int] = (), durations: Sequence[float] = ()) -> None:
        count = max(len(frames), len(durations))
        self.frames = np.array(frames or [0] * count, np.int32)
        self.durations = np.array(durations or [0] * count, np.float64)
        self.asked: list[list[int]] = []

    def probe(self, wanted: NDArray[np.bool_]) -> Probed:
        self.asked.append(np.flatnonzero(wanted).tolist())
        frames = np.where(wanted, self.frames, 0)
        nothing = np.zeros(len(wanted), np.int32)
        return Probed(
            width=frames, height=frames, frames=frames,
            duration_s=np.where(wanted, self.durations, 0.0), fps=nothing.astype(np.float64),
            sample_rate=nothing, channels=nothing, video_codec=nothing.astype("S24"),
            audio_codec=nothing.astype("S24"),
        )  # fmt: skip

    def measure(self, wanted: NDArray[np.bool_]) -> Measured:
        return self.probe(wanted).measured()


def never(wanted: NDArray[np.bool_]) -> Any:
    raise AssertionError("nothing should be probed")


def removed(
    source: Source, filters: Filters, headers: Headers | None = None
) -> tuple[list[int], list[tuple[str, int]]]:
    rows = np.arange(source.rows, dtype=np.int64)
    asked = (headers.measure, headers.probe) if headers else (never, never)
    selection = select(source, filters, rows, *asked)
    steps = [(each.step, each.count) for each in selection.removed]
    return np.flatnonzero(selection.keep).tolist(), steps


def filters_of(media: Media = "video", *limits: float | None, **keys: Any) -> Filters:
    return Filters(media=media, clips=ClipTerms(*limits), **keys)


def test_the_documented_example_probes_nothing(tmp_path: Path) -> None:
    source = make_source(tmp_path, frame_count=[99, 100, 125, 500], fps=[24.0, 24, 30, 0])
    filters = filters_of("video", 100, num_frames_column="frame_count", fps_column="fps")
    assert removed(source, filters) == ([1, 2, 3], [(FRAMES_MISSING, 0), ("min_frames", 1)])


LIMITS: list[tuple[tuple[float | None, ...], list[int]]] = [
    ((20, None, None, None), [1, 2]),
    ((None, 20, None, None), [0, 1]),
    ((20, 20, None, None), [1]),
    ((None, None, 2, None), [0, 1]),
    ((None, None, None, 2), [1, 2]),
    ((20, None, 2, None), [1]),
    ((21, None, 3, None), []),
]


@pytest.mark.parametrize(("limits", "rows"), LIMITS)
def test_limits_are_inclusive(
    tmp_path: Path, limits: tuple[float | None, ...], rows: list[int]
) -> None:
    frames, durations = [10, 20, 30], [3.0, 2.0, 1.0]
    told = make_source(tmp_path, n=frames, duration=durations)
    filters = filters_of("video", *limits, num_frames_column="n")
    assert removed(told, filters)[0] == rows
    bare, headers = make_source(tmp_path, name=["a", "b", "c"]), Headers(frames, durations)
    assert removed(bare, filters_of("video", *limits), headers)[0] == rows
    assert headers.asked == [[0, 1, 2]]


def test_steps_have_an_order_and_only_what_is_kept_is_probed_once(tmp_path: Path) -> None:
    source = make_source(tmp_path, good=[False, True, True, True, True, True, True, True])
    frames = [9, 0, 1, 9, 5, 5, 5, 5]
    headers = Headers(frames, [9, 9, 9, 9, 0, 1, 9, 5])
    filters = filters_of("video", 2, 8, 2, 8, where="good")
    assert removed(source, filters, headers) == (
        [7],
        [
            ("where", 1), (NOT_PROBED, 1), ("min_frames", 1), ("max_frames", 1),
            (DURATION_MISSING, 1), ("min_duration_s", 1), ("max_duration_s", 1),
        ],
    )  # fmt: skip
    assert headers.asked == [[1, 2, 3, 4, 5, 6, 7]]


def test_sizes_of_videos_come_before_their_frames(tmp_path: Path) -> None:
    source = make_source(tmp_path, name=["a", "b", "c"])
    filters = filters_of("video", 5, sizes=SizeTerms(min_width=4))
    assert removed(source, filters, Headers([0, 4, 9])) == (
        [2],
        [(SIZE_NOT_MEASURED, 1), ("min_width", 0), (NOT_PROBED, 0), ("min_frames", 1)],
    )


NAN = float("nan")


def test_numbers_that_are_none_leave_a_file_out(tmp_path: Path) -> None:
    numbers = [5.0, None, NAN, 0.0, -1.0, float("inf")]
    source = make_source(tmp_path, n=numbers, duration=numbers)
    kept, steps = removed(source, filters_of("video", 1, num_frames_column="n"))
    assert (kept, steps[0]) == ([0, 5], (FRAMES_MISSING, 4))
    kept, steps = removed(source, filters_of("audio", None, None, 1))
    assert (kept, steps[0]) == ([0], (DURATION_MISSING, 5))


def test_numbers_may_be_in_structs_and_in_json(tmp_path: Path) -> None:
    metas = [{"clip": {"frames": n, "lasts": n / 2}} for n in (1, 2, 3)]
    texts = [json.dumps(meta) for meta in metas]
    source = make_source(tmp_path, meta=metas, text=texts)
    for column in ("meta", "text"):
        named = {
            "num_frames_column": f"{column}.clip.frames", "duration_column": f"{column}.clip.lasts"
        }  # fmt: skip
        assert removed(source, filters_of("video", 2, None, None, 1.0, **named))[0] == [1]


# Which of these a duration is taken from: each source has those before it as well.
SOURCES: list[tuple[dict[str, Any], dict[str, Any], list[float]]] = [
    ({}, {}, [1.5, 2.5]),
    (
        {"n": [10, 20], "rate": [10.0, 5.0]},
        {"num_frames_column": "n", "fps_column": "rate"},
        [1, 4],
    ),
    ({"duration": [5.0, 6.0]}, {}, [5, 6]),
    ({"lasts": [7, 8]}, {"duration_column": "lasts"}, [7, 8]),
]


@pytest.mark.parametrize("count", range(1, len(SOURCES) + 1))
def test_a_duration_comes_from_the_first_that_tells_it(tmp_path: Path, count: int) -> None:
    columns: dict[str, Any] = {"name": ["a", "b"]}
    keys: dict[str, Any] = {}
    for added, named, _ in SOURCES[:count]:
        columns, keys = columns | added, keys | named
    source, headers = make_source(tmp_path, **columns), Headers([1, 1], [1.5, 2.5])
    rows, wanted = np.arange(2), np.ones(2, np.bool_)
    filters = filters_of("video", **keys)
    durations = read_clips(source, filters, rows, wanted, headers.probe).duration_s
    assert durations.tolist() == SOURCES[count - 1][2]
    limited = filters_of("video", None, None, durations[1], **keys)
    assert removed(source, limited, headers)[0] == [1]


def test_a_usual_column_of_other_things_is_passed_over(tmp_path: Path) -> None:
    source, headers = make_source(tmp_path, duration=["long", "short"]), Headers([], [5, 1])
    assert removed(source, filters_of("audio", None, None, 2), headers)[0] == [0]


def test_sounds_have_no_frames_to_ask_for(tmp_path: Path) -> None:
    source = make_source(tmp_path, duration=[1.0, 2.0])
    found = read_clips(source, filters_of("audio"), np.arange(2), np.ones(2, np.bool_), never)
    assert (found.frames.tolist(), found.duration_s.tolist()) == ([0, 0], [1, 2])


REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {"num_frames_column": "name"},
        "cannot use video.num_frames_column name: it holds large_string",
    ),
    ({"num_frames_column": "nmae"}, "video.num_frames_column"),
    ({"duration_column": "name"}, "cannot use duration_column name: it holds large_string"),
    (
        {"num_frames_column": "n", "fps_column": "name"},
        "cannot use video.fps_column name: it holds",
    ),
]


@pytest.mark.parametrize(("keys", "line"), REFUSED)
def test_a_column_that_cannot_be_used_is_refused(
    tmp_path: Path, keys: Mapping[str, Any], line: str
) -> None:
    source = make_source(tmp_path, name=["a"], n=[1])
    with pytest.raises(ConfigError, match=line):
        removed(source, filters_of("video", 1, None, 1, **keys), Headers([1], [1]))


@pytest.mark.parametrize(
    ("limits", "line"),
    [
        ((5, 4), "min_frames 5: it is above max_frames 4, so that no video would be kept"),
        (
            (None, None, 2.5, 2),
            "min_duration_s 2.5: it is above max_duration_s 2, so that no file would be kept",
        ),
    ],
)  # fmt: skip
def test_limits_that_keep_nothing_are_refused(limits: tuple[float | None, ...], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ClipTerms(*limits)
    assert str(caught.value) == f"cannot use {line}"


def test_of_images_nothing_is_probed(tmp_path: Path) -> None:
    source = make_source(tmp_path, name=["a"])
    with pytest.raises(ConfigError, match="the files are no videos and no sounds"):
        select(source, filters_of("image", 1), np.arange(1), never)


limit = st.none() | st.integers(1, 30)


@given(
    clips=st.lists(st.tuples(st.integers(0, 30), st.floats(0, 30))),
    least=st.tuples(limit, limit),
    spare=st.tuples(st.none() | st.integers(0, 20), st.none() | st.integers(0, 20)),
    by_column=st.booleans(),
)
def test_steps_agree_with_a_loop(
    clips: list[tuple[int, float]],
    least: tuple[int | None, int | None],
    spare: tuple[int | None, int | None],
    by_column: bool,
) -> None:
    most = [
        None if more is None else (low or 0) + more for low, more in zip(least, spare, strict=True)
    ]
    terms = ClipTerms(least[0], most[0], least[1], most[1])

    def is_kept(values: tuple[float, float]) -> bool:
        return all(
            (low is None and high is None)
            or (value > 0 and (low or 0) <= value <= (99 if high is None else high))
            for low, value, high in zip(least, values, most, strict=True)
        )

    frames, durations = [int(n) for n, _ in clips], [s for _, s in clips]
    filters = Filters(media="video", clips=terms)
    columns: dict[str, NDArray[Any]] = {}
    if by_column:
        columns = {"frames": np.array(frames, np.int32), "duration_s": np.array(durations)}
    probe = never if by_column else Headers(frames, durations).probe
    chosen = clip_steps(filters, columns, select_all(len(clips)), probe)
    assert chosen.keep.tolist() == [is_kept(each) for each in clips]


@given(frames=st.lists(st.floats(allow_nan=True) | st.integers(-5, 2**40)), data=st.data())
def test_any_numbers_give_durations_that_can_be(frames: list[float], data: st.DataObject) -> None:
    rates = data.draw(st.lists(st.floats(), min_size=len(frames), max_size=len(frames)))
    with TemporaryDirectory() as folder:
        numbers = pa.array([float(n) for n in frames], pa.float64())
        source = make_source(Path(folder), n=numbers, r=pa.array(rates, pa.float64()))
        filters = filters_of("video", num_frames_column="n", fps_column="r")
        wanted = np.ones(len(frames), np.bool_)
        found = read_clips(source, filters, np.arange(len(frames)), wanted, never)
        source_rows = source.rows
    assert len(found.duration_s) == source_rows
    assert (found.frames >= 0).all()
    assert (np.isfinite(found.duration_s) & (found.duration_s >= 0)).all()
