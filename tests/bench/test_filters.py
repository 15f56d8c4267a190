"""That the benchmark compares like with like; it times nothing."""

from __future__ import annotations

from pathlib import Path

import datasets
import pytest

from tests.bench import filters as bench


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    datasets.disable_progress_bars()
    bench.write_rows(tmp_path, 1000)
    return tmp_path


@pytest.mark.parametrize("name", bench.CASES)
def test_all_contenders_keep_the_same_rows(folder: Path, name: str) -> None:
    case = bench.CASES[name]
    kept = {contender: run(folder, case) for contender, run in bench.CONTENDERS.items()}
    assert len(set(kept.values())) == 1
    assert 0 < kept["hffs, Parquet"] < 1000


def test_a_round_is_timed_and_summed_up(folder: Path) -> None:
    summary = bench.summarize(bench.time_cases(folder, 1))
    assert set(summary) == set(bench.CASES)
    assert summary["where"]["hffs, Parquet"]["times hffs"] == 1


def test_contenders_that_disagree_are_no_comparison(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "CONTENDERS", {"one": lambda *_: 1, "other": lambda *_: 2})
    with pytest.raises(SystemExit, match=r"contenders keep \[1, 2\] rows"):
        bench.time_cases(folder, 1)


def test_whole_processes_filter_too(folder: Path) -> None:
    fresh = bench.time_fresh(folder, 1)
    assert fresh.keys() == bench.CASES.keys()
    for taken in fresh.values():
        assert taken.keys() == {"hffs, Parquet", "Dataset.filter, row by row"}
