"""How mounts end that do not do so by themselves: each phase has its limit, and leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hffs.mount.layers import find_shown
from hffs.mount.registry import read_start_time, read_state
from tests.command import Hffs, Mount
from tests.mount.lifecycle.frozen import freeze
from tests.waiting import wait_until

pytestmark = pytest.mark.fuse

READERS = 64


def _run(code: str, hffs: Hffs, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=hffs.environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def _try_to_read(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


def test_a_stopped_daemon_is_told_of_and_killed_by_force(
    hffs: Hffs, mount: Mount, photo_parquet: Path
) -> None:
    folder = mount(photo_parquet)
    pid = hffs.pid(folder)
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: read_state(pid) == "T")
    told = hffs.run("umount", folder)
    assert told.returncode == 4
    assert f"its daemon (pid {pid}) is stopped; `kill -CONT {pid}`, or" in told.stderr
    assert told.stderr.count("\n") == 1
    hffs("umount", "--force", folder)
    assert read_start_time(pid) is None
    assert find_shown(str(folder)) is None
    assert hffs.run("umount", folder).returncode == 4  # nothing is there any more


def test_force_ends_the_wait_of_readers_whom_nobody_will_answer(
    hffs: Hffs, photo_parquet: Path, tmp_path: Path
) -> None:
    # The daemon is killed, and a process that it left still has the device: no end in sight.
    folder, left = tmp_path / "mnt", tmp_path / "left"
    folder.mkdir()
    does = f"""
        if os.fork():
            os.kill(os.getpid(), signal.SIGKILL)
        os.setsid()
        Path({str(left)!r}).write_text(str(os.getpid()))"""
    mounted = _run(freeze("read", does=does), hffs, "mount", photo_parquet, folder)
    assert mounted.returncode == 0, mounted.stderr
    files = sorted(folder.glob("*.jpg"))
    with ThreadPoolExecutor(READERS) as pool:
        readers = [pool.submit(_try_to_read, files[n % len(files)]) for n in range(READERS)]
        try:
            wait_until(lambda: left.exists() and left.read_text() != "")
            assert not any(reader.done() for reader in readers)
            hffs("umount", "--force", folder)
            assert not any(reader.result(100) for reader in readers)
        finally:
            os.kill(int(left.read_text()), signal.SIGKILL)
    assert find_shown(str(folder)) is None


@pytest.mark.parametrize("does", ["import trio; await trio.sleep_forever()", "pass"])
def test_a_mount_that_does_not_answer_is_no_mount(
    does: str, hffs: Hffs, photo_parquet: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mnt"
    folder.mkdir()
    code = freeze("getattr", does=does, more="session.START_S = lastresort._END_S = 0.5")
    told = _run(code, hffs, "mount", photo_parquet, folder)
    assert told.returncode == 4
    assert "answer" in told.stderr
    assert told.stderr.count("\n") == 1, told.stderr
    assert find_shown(str(folder)) is None


def test_a_signal_while_it_starts_leaves_nothing(
    hffs: Hffs, photo_parquet: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mnt"
    folder.mkdir()
    does = "import trio; os.kill(os.getpid(), signal.SIGTERM); await trio.sleep_forever()"
    told = _run(freeze("getattr", does=does), hffs, "mount", "-f", photo_parquet, folder)
    assert told.returncode == 0, told.stderr
    assert "SIGTERM: unmounting" in told.stderr
    assert find_shown(str(folder)) is None
