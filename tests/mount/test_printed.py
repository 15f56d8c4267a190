"""Names of a data set that would move a cursor: nothing of that is printed or logged as it is."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.command import Hffs
from tests.far_photos import photo_of

pytestmark = pytest.mark.fuse

EVIL = "\x1b[2J\u202egpj.exe\x9b31m\rhffs: all is well\n2026 ERROR forged"


def unfit(text: str) -> list[str]:
    """What must not reach a terminal."""
    hidden = ("Cc", "Cf", "Zl", "Zp")
    return [char for char in text if unicodedata.category(char) in hidden and char != "\n"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A data set whose folder, file and columns have such names."""
    folder = tmp_path / EVIL.replace("\n", "\v")
    folder.mkdir()
    path = folder / "a\x1b[1m.parquet"
    images = [{"bytes": photo_of(1), "path": EVIL}, {"bytes": b"\x89PNG\r\n\x1a\n", "path": EVIL}]
    table = pa.table({"image": images, "kind": [EVIL, EVIL], "caption": [EVIL, EVIL]})
    pq.write_table(table, path)
    return path


def test_nothing_that_moves_a_cursor_is_printed(source: Path, hffs: Hffs, tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    refused = hffs.run("--debug", "mount", source, tmp_path / "mnt", "--caption-column", "nothing")
    assert refused.returncode == 2
    assert "Traceback" in refused.stderr
    inspected = hffs.run("inspect", source, "--group-by", "kind")
    assert inspected.returncode == 0
    mounted = hffs.run("mount", source, tmp_path / "mnt", "--group-by", "kind")
    assert mounted.returncode == 0, mounted.stderr
    try:
        listed = hffs.run("ls")
        done = [refused, inspected, mounted, listed]
    finally:
        hffs("umount", "--force", tmp_path / "mnt")
    assert [unfit(each.stdout + each.stderr) for each in done] == [[]] * 4
    assert not any(line.startswith("2026 ERROR") for line in refused.stderr.splitlines())
