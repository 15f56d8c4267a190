from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hffs.data.columnarrays import read_arrays
from hffs.data.filters.quality import metric_steps, plan_metrics
from hffs.data.locating.local import locate
from hffs.data.source import Source, open_source
from hffs.errors import ConfigError

NAN = float("nan")


def write(path: Path, columns: Mapping[str, object]) -> Source:
    pq.write_table(pa.table(dict(columns)), path)
    return open_source(locate(str(path)))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    structs = [
        {"clip": 0.5, "deep": {"aes": 1, "note": "x"}, "v1.5": 5.0, "tags": [1], "ok": True},
        {"clip": 0.4, "deep": None, "v1.5": 4.0, "tags": [], "ok": False},
        {"clip": None, "deep": {"aes": 9, "note": "x"}, "v1.5": None, "tags": None, "ok": None},
        None,
        {"clip": NAN, "deep": {"aes": None, "note": None}, "v1.5": 6.0, "tags": [], "ok": True},
    ]
    texts = [
        '{"clip": 0.5, "in": {"aes": 1}, "v1.5": 5, "word": "x", "no": null}',
        '{"clip": 0.4, "in": 7, "v1": {"5": 9}}',
        '{"clip": "0.9", "in": {"aes": "9"}, "flag": true}',
        '{"clip": 0.9',
        '{"clip": null, "in": {"aes": 9}}',
    ]
    columns = {
        "image": [b"x"] * 5,
        "quality_assessment": structs,
        "scores": texts,
        "nested": [{"json": text} for text in texts],
        "clip_score": [0.5, 0.4, None, NAN, 0.9],
        "v1.5": [9.0] * 5,
        "text": ["0.5"] * 5,
        "only_own": [1, 2, 3, 4, 5],
    }
    return write(tmp_path_factory.mktemp("quality") / "0.parquet", columns)


def judge(
    source: Source, thresholds: Mapping[str, float], column: str | None = None
) -> dict[str, list[int]]:
    """Rows that each step would remove by itself."""
    metrics = plan_metrics(source, thresholds, column)
    removed: dict[str, list[int]] = {}
    for metric in metrics:
        arrays = read_arrays(source, metric.readers)
        for step, passes in metric_steps(source, metric, arrays):
            removed[step] = np.flatnonzero(~passes).tolist()
    return removed


@pytest.mark.parametrize(
    ("metric", "column", "missing", "low"),
    [
        ("clip", None, [2, 3, 4], [1]),
        ("clip", "quality_assessment", [2, 3, 4], [1]),
        ("deep.aes", None, [1, 3, 4], []),
        ("aes", "quality_assessment.deep", [1, 3, 4], []),
        ("v1.5", None, [2, 3], []),
        ("clip_score", None, [2, 3], [1]),
        ("only_own", None, [], []),
        ("clip", "scores", [2, 3, 4], [1]),
        ("in.aes", "scores", [1, 2, 3], []),
        ("aes", "scores.in", [1, 2, 3], []),
        ("v1.5", "scores", [2, 3, 4], []),
        ("clip", "nested.json", [2, 3, 4], [1]),
        ("clip_score", "scores", [2, 3], [1]),
        ("json.clip", "nested", [2, 3, 4], [1]),
        ("scores.clip", None, [2, 3, 4], [1]),
        ("quality_assessment.clip", None, [2, 3, 4], [1]),
        ("no", "scores", [0, 1, 2, 3, 4], []),
    ],
)
def test_missing_and_low_rows_are_told_apart(
    source: Source, metric: str, column: str | None, missing: list[int], low: list[int]
) -> None:
    removed = judge(source, {metric: 0.5}, column)
    assert list(removed) == [f"{metric} is missing", f"quality_thresholds {metric}"]
    assert removed[f"{metric} is missing"] == missing
    assert removed[f"quality_thresholds {metric}"] == sorted(missing + low)


def test_thresholds_are_inclusive_and_keep_their_order(source: Source) -> None:
    assert judge(source, {"only_own": 3, "clip": 0.4}) == {
        "only_own is missing": [],
        "quality_thresholds only_own": [0, 1],
        "clip is missing": [2, 3, 4],
        "quality_thresholds clip": [2, 3, 4],
    }


@pytest.mark.parametrize(
    ("metric", "column", "message"),
    [
        (
            "clpi",
            None,
            "quality_thresholds clpi: there is no such metric; did you mean clip? field",
        ),
        ("zzz", None, "fields of quality_assessment: clip, deep.aes, deep.note, v1.5, tags, ok; "),
        ("zzz", None, "columns: quality_assessment, scores, nested, clip_score"),
        ("zzz", "scores", "zzz: no row has it in the JSON texts of scores; columns: quality"),
        ("deep.note", None, "quality_assessment.deep.note: it leads to large_string; name a"),
        ("deep", None, "it leads to struct"),
        ("tags", None, "it leads to large_list"),
        ("ok", None, "it leads to bool"),
        ("text", None, "quality_thresholds text: it leads to large_string"),
        ("clip.x", None, "quality_assessment.clip.x: it leads to double"),
        ("word", "scores", "quality_thresholds word: scores.word is a number in no row; name a"),
        ("flag", "scores", "scores.flag is a number in no row"),
        ("clip", "score", "quality_column score: there is no such column; did you mean scores?"),
        ("clip", "only_own", "quality_column only_own: it leads to int64; name a struct or JSON"),
        ("clip", "image", "quality_column image: it holds binary data"),
        ("image", None, "quality_thresholds image: there is no such metric"),
    ],
)
def test_a_metric_that_cannot_be_is_one_clear_line(
    source: Source, metric: str, column: str | None, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        judge(source, {metric: 0.5}, column)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_usual_column_need_not_be_there_nor_hold_metrics(tmp_path: Path) -> None:
    bare = write(tmp_path / "0.parquet", {"clip": [1.0, 0.0]})
    assert judge(bare, {"clip": 0.5})["quality_thresholds clip"] == [1]
    single = write(tmp_path / "1.parquet", {"quality_assessment": [1.0, 0.0]})
    assert judge(single, {"quality_assessment": 0.5})["quality_assessment is missing"] == []
    with pytest.raises(ConfigError, match=r"there is no such metric; columns: clip"):
        judge(bare, {"deep.aes": 1})
    with pytest.raises(ConfigError, match=r"quality_column quality_assessment: there is no such"):
        judge(bare, {"clip": 0.5}, "quality_assessment")


def test_the_usual_column_may_be_json(tmp_path: Path) -> None:
    texts = ['{"clip": 1}', '{"clip": 0}', "[]"]
    source = write(tmp_path / "0.parquet", {"quality_assessment": texts, "own": [3, 2, 1]})
    assert judge(source, {"clip": 0.5, "own": 2}) == {
        "clip is missing": [2],
        "quality_thresholds clip": [1, 2],
        "own is missing": [],
        "quality_thresholds own": [2],
    }


def test_no_thresholds_look_at_no_column(tmp_path: Path) -> None:
    source = write(tmp_path / "0.parquet", {"n": [1]})
    assert plan_metrics(source, {}, "nosuch") == []


def test_a_source_without_rows_has_any_metric_in_json(tmp_path: Path) -> None:
    source = write(tmp_path / "0.parquet", {"scores": pa.array([], pa.string())})
    assert judge(source, {"clip": 1}, "scores") == {
        "clip is missing": [],
        "quality_thresholds clip": [],
    }


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64()])
def test_regression_a_minimum_is_reached_in_the_precision_of_its_column(
    tmp_path: Path, kind: pa.DataType
) -> None:
    scores = pa.array(np.array([0.7, 0.69, 0.71], kind.to_pandas_dtype()), kind)
    source = write(tmp_path / "0.parquet", {"score": scores})
    assert judge(source, {"score": 0.7})["quality_thresholds score"] == [1]
