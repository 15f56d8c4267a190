"""Filters of a configuration, from its keys to the files of a view."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hffs.errors import ConfigError
from tests.view.conftest import OpenTree, encode, write_set

KEYS = {
    "collection": ["art"],
    "quality_thresholds": {"clip": 0.5},
    "min_width": 20,
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    images = [encode("PNG", seed=n, size=(10 * n + 10, 20)) for n in range(6)]
    return write_set(
        tmp_path / "set.parquet",
        images,
        caption=[f"caption {n}" for n in range(6)],
        collection=["art", "art", "map", "art", "art", "art"],
        quality_assessment=[{"clip": c} for c in (0.9, 0.9, 0.9, None, 0.1, 0.5)],
        scores=[json.dumps({"aes": n, "size": {"w": n}}) for n in range(6)],
    )


def test_steps_are_counted_and_files_keep_their_order(open_tree: OpenTree, source: Path) -> None:
    tree = open_tree(source, **{f"filter_func__{name}": value for name, value in KEYS.items()})
    assert tree.manifest.cells.tolist() == [1, 5]
    assert tree.manifest.info.removed == (
        ("collection", 1),
        ("clip is missing", 1),
        ("quality_thresholds clip", 1),
        ("min_width", 1),
    )


@pytest.mark.parametrize("form", ["json", "toml"])
def test_the_same_from_a_file(open_tree: OpenTree, source: Path, form: str) -> None:
    path = source.with_suffix(f".{form}")
    if form == "json":
        path.write_text(json.dumps({"dataset_name": str(source), "filter_func": KEYS}))
    else:
        path.write_text(
            f'dataset_name = "{source}"\n[filter_func]\ncollection = "art"\nmin_width = 20\n'
            "[filter_func.quality_thresholds]\nclip = 0.5\n"
        )
    assert open_tree(path).manifest.cells.tolist() == [1, 5]


def test_metrics_and_sizes_in_json(open_tree: OpenTree, source: Path) -> None:
    tree = open_tree(
        source,
        filter_func__quality_thresholds={"aes": 2},
        filter_func__quality_column="scores",
        filter_func__max_width=4,
        width_column="scores.size.w",
    )
    assert tree.manifest.cells.tolist() == [2, 3, 4]


def test_only_a_quality_column_that_was_named_has_to_exist(
    open_tree: OpenTree, tmp_path: Path
) -> None:
    source = write_set(tmp_path / "b.parquet", [encode("PNG")], caption=["a"], clip=[1.0])
    assert open_tree(source, filter_func__quality_thresholds={"clip": 1}).positions == 1
    with pytest.raises(ConfigError, match=r"^cannot use quality_column quality_assessment: "):
        open_tree(
            source,
            filter_func__quality_thresholds={"clip": 0.9},
            filter_func__quality_column="quality_assessment",
        )
