"""That the benchmark does what it says; it times nothing."""

from __future__ import annotations

import mmap
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


def test_what_is_mapped_is_not_cold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "write_text", lambda *_: 1)  # all other tests have things cached
    path = tmp_path / "large"
    path.write_bytes(bytes(4 << 20))
    with pytest.raises(SystemExit, match="large is not cold: 100% of it are in memory"):
        bench.drop_caches(tmp_path)

    def forget() -> float:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return bench.find_cached_share(path)

    assert forget() == 0
    bench.drop_caches(tmp_path)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert sum(mapped[:: mmap.PAGESIZE]) == 0
        assert forget() > 0.9


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
