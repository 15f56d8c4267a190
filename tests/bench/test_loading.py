"""That the benchmark does what it says; it times nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.bench import loading as bench
from tests.bench.access_folders import make_photos, open_folders


def test_ratios_are_of_the_same_round() -> None:
    figures = {"warm": {"ext4": [100.0, 200.0, 50.0], "hffs": [90.0, 100.0, 50.0]}}
    assert bench.summarize(figures) == {"warm": {"ext4": 100, "hffs": 90, "hffs / ext4": 0.9}}


def test_folders_take_turns_and_are_dropped_from_memory_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    did = list[str]()

    def take(folder: Path) -> float:
        did.append(folder.name)
        return 1.0

    monkeypatch.setattr(bench, "drop_caches", lambda _: did.append("drop"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    folders = {"ext4": tmp_path / "disk", "hffs": tmp_path / "mount"}
    figures = bench.run(folders, 2, take)
    disk, mount = ["drop", "disk", "disk"], ["drop", "mount", "mount"]
    assert did == [*disk, *mount, *mount, *disk]
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert bench.run(folders, 3, take) == {"warm": {"ext4": [1.0] * 3, "hffs": [1.0] * 3}}
    assert figures["cold"] == figures["warm"] == {"ext4": [1.0] * 2, "hffs": [1.0] * 2}


@pytest.mark.fuse
def test_an_epoch_is_loaded_from_the_disk_and_from_a_mount(tmp_path: Path) -> None:
    with open_folders(tmp_path, make_photos(20), ["hffs"]) as folders:
        assert len(folders) == 2
        assert all(bench.load_epoch(folder) > 0 for folder in folders.values())
