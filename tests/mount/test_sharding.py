"""Several parts of one view, each a mount of its own, through the real command."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.command import Hffs, Mount

pytestmark = pytest.mark.fuse


def test_ranks_share_a_view(photo_parquet: Path, hffs: Hffs, mount: Mount) -> None:
    flags = ["--where", "width >= 300", "--metadata-jsonl"]
    whole = mount(photo_parquet, *flags)
    parts = [mount(photo_parquet, *flags, "--shard", f"{rank}/3") for rank in range(3)]
    names = [{name for name in os.listdir(part) if name != "metadata.jsonl"} for part in parts]
    assert set.union(*names) == set(os.listdir(whole)) - {"metadata.jsonl"}
    assert sum(map(len, names)) == len(set.union(*names))
    for part, own in zip(parts, names, strict=True):
        for name in own:
            assert (part / name).read_bytes() == (whole / name).read_bytes()
            assert (part / name).stat().st_mtime_ns == (whole / name).stat().st_mtime_ns
    lines = [(folder / "metadata.jsonl").read_bytes() for folder in (whole, *parts)]
    assert lines[0] == b"".join(lines[1:])
    told = [hffs.describe(folder) or {} for folder in (whole, *parts)]
    assert len({each["fingerprint"] for each in told}) == 4
    assert told[0]["rows"] == sum(each["rows"] for each in told[1:])


@pytest.mark.parametrize(
    ("shard", "end"),
    [
        ("3/3", (2, "is not RANK/WORLD, with ranks from 0 to WORLD - 1, such as 0/8")),
        ("-1/3", (2, "is not RANK/WORLD")),
        ("0/0", (2, "is not RANK/WORLD")),
        ("1", (2, "is not RANK/WORLD")),
        ("7/1000", (5, "which is less than 1000 parts")),
    ],
)
def test_a_part_that_cannot_be_is_one_line(
    photo_parquet: Path, hffs: Hffs, tmp_path: Path, shard: str, end: tuple[int, str]
) -> None:
    (tmp_path / "mnt").mkdir()
    done = hffs.run("mount", photo_parquet, tmp_path / "mnt", f"--shard={shard}")
    assert (done.returncode, done.stderr.count("\n")) == (end[0], 1)
    assert end[1] in done.stderr
