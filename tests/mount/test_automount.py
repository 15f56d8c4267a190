"""A mount that is made when somebody opens its folder, which the kernel has wait meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hffs.mount.registry import Registry, read_start_time
from tests.command import Hffs
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.fuse,
    pytest.mark.skipif(os.geteuid() != 0, reason="takes root to make namespaces"),
    pytest.mark.skipif(
        "\tautofs\n" not in Path("/proc/filesystems").read_text(), reason="no autofs in the kernel"
    ),
]


def test_regression_an_automount_does_not_wait_for_itself(
    photo_parquet: Path, hffs: Hffs, tmp_path: Path
) -> None:
    (tmp_path / "mnt").mkdir()
    command = [sys.executable, "-m", "hffs"]
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "-m", "tests.mount.automount", tmp_path / "mnt",
         *command, "mount", photo_parquet, tmp_path / "mnt"],
        env=hffs.environ, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "0.jpg\n0.txt\n1.jpg\n" in done.stdout
    # Nobody outside of its namespace sees this mount: its daemon is asked to end.
    (record,) = Registry(Path(hffs.environ["XDG_STATE_HOME"], "hffs")).all()
    os.kill(record.pid, signal.SIGTERM)
    wait_until(lambda: read_start_time(record.pid) is None)
