"""That the benchmark compares like with like; it times nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import scan as bench


@pytest.mark.fuse
def test_all_contenders_find_the_same_images(tmp_path: Path) -> None:
    result = bench.run(tmp_path, 70, 80, 1)
    assert set(result["folder"]["seconds"]) == {bench.SIZES, "hffs", "hffs, again"}
    assert result["mount"][f"{bench.SIZES} / hffs"] > 0
    assert [again["images"] for again in result["many"]] == [80, 80]


def test_contenders_that_disagree_are_no_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = iter([{"images": 1.0}, {"images": 2.0}, {"images": 2.0}])
    monkeypatch.setattr(bench, "run_fresh", lambda *_: next(found))
    with pytest.raises(SystemExit, match="not the same images"):
        bench.time_round(tmp_path, bench.list_contenders("", tmp_path))


def test_a_checkout_is_taken_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HFFS_TRAINERS", str(tmp_path))
    assert bench.find_kohya() == (bench.STAND_IN, "a stand-in")
    module = tmp_path / "sd-scripts/library/train_util.py"
    module.parent.mkdir(parents=True)
    module.write_text("def glob_images(a): pass\nclass A:\n    def get_image_size(self, b): pass\n")
    source, origin = bench.find_kohya()
    assert origin == "a checkout of sd-scripts"
    assert "def glob_images(a)" in source
    assert "def get_image_size(self, b)" in source
