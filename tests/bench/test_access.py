"""That the benchmark does what it says; it times nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.bench import access as bench
from tests.bench.access_folders import make_photos, open_folders


def test_contenders_take_turns_to_be_first() -> None:
    names = ["disk", "hffs", "other"]
    firsts = [bench.turn(names, number)[0] for number in range(4)]
    assert firsts == ["disk", "hffs", "other", "disk"]
    assert all(sorted(bench.turn(names, number)) == names for number in range(4))


def test_figures_are_medians_and_ratios_of_them() -> None:
    figures = {"1 reader, warm": {"ext4": [100.0, 400.0, 200.0], "hffs": [50.0, 10.0, 100.0]}}
    summary = bench.summarize(figures)
    assert summary == {"1 reader, warm": {"ext4": 200, "hffs": 50, "hffs / ext4": 0.25}}
    head, line = bench.render_table(summary).splitlines()
    assert head.split() == ["ext4", "hffs", "hffs", "/", "ext4"]
    assert line.split() == ["1", "reader,", "warm", "200", "50", "0.25"]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of newer Pythons
@pytest.mark.fuse
def test_every_pattern_reads_what_it_counts(tmp_path: Path) -> None:
    photos = make_photos(6)
    names = [f"{number}.jpg" for number in range(6)]
    with open_folders(tmp_path, photos, ["hffs"]) as folders:
        disk, hffs = (bench.Work(folder, names) for folder in folders.values())
        assert [Path(hffs.path(name)).read_bytes() for name in names] == photos
        for name, pattern in bench.PATTERNS.items():
            assert pattern(disk) == pattern(hffs) > 0, name
    assert len(os.listdir(disk.folder)) == 12
