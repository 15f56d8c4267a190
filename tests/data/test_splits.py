"""Splits of files by their names: those of `datasets`, which is asked of empty files."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings

from hffs.data.splits import group_by_split, split_of
from tests.shard_names import shard_names


@pytest.mark.parametrize(
    ("name", "split"),
    {
        "train-00000-of-00002.parquet": "train",
        "data/train-00000-of-00002-0123456789abcdef.parquet": "train",
        "data/extra_1-00000-of-00002.parquet": "extra_1",
        "extra-00000-of-00002.parquet": "train",
        "set-validation.arrow": "validation",
        "parquet-test-00000-of-00003.arrow": "test",
        "val/0.parquet": "validation",
        "training_data/0.parquet": "train",
        "dev.parquet": "validation",
        "Test.parquet": "test",
        "contest.parquet": "train",
        "latest/trainer.parquet": "train",
        "photos.parquet": "train",
    }.items(),
)
def test_split_of_a_name(name: str, split: str) -> None:
    assert split_of(name) == split


def _ask_datasets(names: Sequence[str]) -> dict[str, list[str]]:
    from datasets.data_files import DataFilesDict, get_data_patterns

    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        found = DataFilesDict.from_patterns(get_data_patterns(folder), base_path=folder)
        return {
            split: [str(Path(file).relative_to(folder)) for file in files]
            for split, files in found.items()
        }


@settings(max_examples=60)
@given(names=shard_names(5))
@example(["train-1.parquet", "a-train-0.parquet"])
@example(["a-train/0.parquet", "train/1.parquet", "train-x/2.parquet"])
@example(["dev-0.parquet", "val-1.parquet", "valid.parquet", "test/0.parquet"])
@example(["data/it-00000-of-00001.parquet", "data/train-00000-of-00001-0abc.parquet", "a.parquet"])
@example(["train/training/0.parquet", "test.parquet"])
@example(["part-2.parquet", "part-10.parquet"])
def test_splits_are_those_of_datasets(names: list[str]) -> None:
    folders = {name.rpartition("/")[0] for name in names}
    assume(not any(name in folders for name in names))
    assume(not any(part.startswith((".", "__")) for name in names for part in name.split("/")))
    groups = group_by_split(names)
    if groups is None:
        with pytest.raises(ValueError, match="Split name should match"):
            _ask_datasets(names)
    else:
        assert groups == _ask_datasets(names)
