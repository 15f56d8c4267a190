import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hffs.data import groups
from hffs.data.groups import read_groups
from hffs.data.locating.local import locate
from hffs.data.metadata import find_column, label_names
from hffs.data.source import Source, open_source
from hffs.errors import ConfigError


def make_source(folder: Path, **columns: Sequence[Any] | pa.Array) -> Source:
    path = folder / "0.parquet"
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return open_source(locate(str(path)))


def read(source: Source, column: str) -> list[str | None]:
    """The label of each row."""
    found = read_groups(source, column)
    assert list(found.labels) == sorted(set(found.labels))
    return [found.labels[code] if code >= 0 else None for code in found.codes]


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (["dog", "cat", None, "dog", ""], ["dog", "cat", None, "dog", ""]),
        ([3, 1, None], ["3", "1", None]),
        ([True, False, None], ["true", "false", None]),
        (pa.array(["b", None, "a"]).dictionary_encode(), ["b", None, "a"]),
        (pa.array([None, None], pa.string()), [None, None]),
    ],
)
def test_labels_of_rows(
    tmp_path: Path, values: Sequence[Any] | pa.Array, labels: list[str | None]
) -> None:
    assert read(make_source(tmp_path, label=values), "label") == labels


def test_class_labels_are_named(tmp_path: Path) -> None:
    path = tmp_path / "0.parquet"
    features = datasets.Features(label=datasets.ClassLabel(names=["cat", "dog"]))
    datasets.Dataset.from_dict({"label": [1, 0, -1, None]}, features=features).to_parquet(path)
    assert read(open_source(locate(str(path))), "label") == ["dog", "cat", None, None]


@pytest.mark.parametrize("values", [["a", "b"], [True, False], [0.5, 1.0]])
def test_regression_a_class_label_without_numbers_is_none(
    tmp_path: Path, values: Sequence[Any]
) -> None:
    path = tmp_path / "0.parquet"
    feature = {"names": ["cat", "dog"], "_type": "ClassLabel"}
    text = json.dumps({"info": {"features": {"label": feature}}})
    table = pa.table({"label": values}).replace_schema_metadata({"huggingface": text})
    pq.write_table(table, path)
    source = open_source(locate(str(path)))
    assert label_names(source.schema, find_column(source, "label", "key")) is None


def test_regression_a_name_of_a_class_may_be_half_a_surrogate_pair(tmp_path: Path) -> None:
    path = tmp_path / "0.parquet"
    feature = {"names": ["\ud800", "dog"], "_type": "ClassLabel"}
    text = json.dumps({"info": {"features": {"label": feature}}})
    pq.write_table(pa.table({"label": [0, 1]}).replace_schema_metadata({"huggingface": text}), path)
    assert read(open_source(locate(str(path))), "label") == ["\ufffd", "dog"]


def test_regression_texts_that_are_no_utf8_and_read_alike_are_one_label(tmp_path: Path) -> None:
    broken = pa.array([b"\xff", b"\xfe", b"ok"], pa.binary()).view(pa.string())
    assert read(make_source(tmp_path, label=broken), "label") == ["\ufffd", "\ufffd", "ok"]


def test_a_field_of_a_struct_can_group(tmp_path: Path) -> None:
    source = make_source(tmp_path, meta=[{"kind": "a"}, None, {"kind": "b"}])
    assert read(source, "meta.kind") == ["a", None, "b"]


@pytest.mark.parametrize(
    ("values", "path", "why"),
    [
        ([0.5], "label", "it holds double"),
        ([["a"]], "label", "it holds large_list"),
        ([{"a": 1}], "label", "it holds struct"),
        (["{}"], "label.a", "it holds large_string"),
        ([b"x"], "label", "it holds binary data"),
        (["a"], "lable", "did you mean label"),
    ],
)
def test_columns_that_cannot_group(
    tmp_path: Path, values: Sequence[Any], path: str, why: str
) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        read(make_source(tmp_path, label=values), path)
    assert str(caught.value).startswith("cannot use group_by")


def test_a_column_of_too_many_values_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "MAX_GROUPS", 2)
    with pytest.raises(ConfigError, match="it has 3 values, and a view at most 2 folders"):
        read(make_source(tmp_path, label=["a", "b", "c"]), "label")
