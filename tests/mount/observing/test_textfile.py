"""The metrics file of a mount, without one."""

from __future__ import annotations

from pathlib import Path

from hffs.mount.observing.textfile import writing
from tests.mount.observing.test_control import _report
from tests.waiting import wait_until


def test_regression_the_file_of_another_mount_is_left_to_it(tmp_path: Path) -> None:
    path = tmp_path / "x.prom"
    with writing(path, _report):
        wait_until(path.exists)
        first = path.stat().st_ino
        with writing(path, _report):
            wait_until(lambda: path.stat().st_ino != first)
            last = path.read_bytes()
            path.rename(tmp_path / "kept")  # as if the first had written last
            path.write_bytes(last)
        assert path.exists()
        path.unlink()
        (tmp_path / "kept").rename(path)
    assert path.exists()
    with writing(path, _report):
        before = path.stat().st_ino
        wait_until(lambda: path.stat().st_ino != before)
    assert not path.exists()
