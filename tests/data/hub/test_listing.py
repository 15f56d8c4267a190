"""Patterns in a folder that is listed once give what `datasets` gives by itself."""

from __future__ import annotations

import os
from pathlib import Path

import datasets.data_files
import datasets.load
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hffs.data.hub.listing import listing_once

FOLDERS = ("", "train", "test", "my train", "a-test/cat", "__deep__", ".hidden", "train/x [1]")
NAMES = (
    "0.jpg", "1.JPG", "train.jpg", "train-1.jpg", "x_test.png", "val é#.jpg", ".y.jpg", "README.md",
    "__z.jpg", "metadata.csv", "a.tar.gz", "none", "b.jsonl", "data-00000-of-00001.parquet",
)  # fmt: skip
PATTERNS = [
    "**", "**/*", "*.jpg", "**/*.jpg", "train/**", "**/x [[]1]/*", "none", "**/README.md",
    "**/.*", "__deep__/**", "**/[!t]*", "train/0.jpg", "a//**", "./**",
]  # fmt: skip
EXTENSIONS = [None, [".jpg", ".csv"], [".gz"]]


def _resolve(pattern: str, base: Path, extensions: list[str] | None) -> list[str] | None:
    try:
        return list(datasets.data_files.resolve_pattern(pattern, str(base), extensions))
    except FileNotFoundError:
        return None


def _patterns(base: Path) -> dict[str, list[str]] | None:
    try:
        return dict(datasets.data_files.get_data_patterns(str(base)))
    except FileNotFoundError:
        return None


@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.sets(st.tuples(st.sampled_from(FOLDERS), st.sampled_from(NAMES)), max_size=12),
    st.sampled_from(EXTENSIONS),
)
def test_files_are_those_of_datasets(
    tmp_path_factory: pytest.TempPathFactory,
    files: set[tuple[str, str]],
    extensions: list[str] | None,
) -> None:
    base = tmp_path_factory.mktemp("set")
    for folder, name in files:
        (base / folder).mkdir(parents=True, exist_ok=True)
        (base / folder / name).write_bytes(b"")
    os.symlink(base, base / "linked folder")
    os.symlink(base / "0.jpg", base / "train link.jpg")
    expected = {pattern: _resolve(pattern, base, extensions) for pattern in PATTERNS}
    splits = _patterns(base)
    with listing_once():
        found = {pattern: _resolve(pattern, base, extensions) for pattern in PATTERNS}
        assert _patterns(base) == splits
    assert found == expected


def test_a_folder_is_listed_once(tmp_path: Path) -> None:
    (tmp_path / "0.jpg").write_bytes(b"")
    with listing_once():
        assert _resolve("**", tmp_path, None) == [f"{tmp_path}/0.jpg"]
        (tmp_path / "1.jpg").write_bytes(b"")
        assert _resolve("**/*", tmp_path, None) == [f"{tmp_path}/0.jpg"]
    assert _resolve("**", tmp_path, None) == [f"{tmp_path}/0.jpg", f"{tmp_path}/1.jpg"]


@pytest.mark.parametrize("path", ["/a/b.tar.gz", "zip://a/b.jpg::/c.zip", "hf://datasets/a/b/c.d"])
def test_names_are_found_as_by_datasets(path: str) -> None:
    expected = datasets.load.xbasename(path)
    with listing_once():
        assert datasets.load.xbasename(path) == expected


def test_regression_a_folder_with_brackets_in_its_name(tmp_path: Path) -> None:
    base = tmp_path / "set [1]"
    base.mkdir()
    (base / "0.jpg").write_bytes(b"")
    assert _resolve("**", base, None) is None  # a pattern itself, to datasets
    with listing_once():
        assert _resolve("**", base, None) == [f"{base}/0.jpg"]
