"""A mount as a service: what the manager is told, what signals do, where lines go."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from hffs.mount.layers import find_shown
from hffs.mount.lifecycle.signals import IGNORED
from hffs.mount.registry import read_state
from tests.command import Hffs
from tests.mount.lifecycle.frozen import freeze
from tests.mount.lifecycle.service import foreground, managing
from tests.mount.lifecycle.test_unblocked import full_pipe
from tests.waiting import wait_until

pytestmark = pytest.mark.fuse


def test_a_service_from_its_start_to_its_end(
    hffs: Hffs, photo_parquet: Path, tmp_path: Path
) -> None:
    folder, file = tmp_path / "mnt", tmp_path / "mount.log"
    token = tmp_path / "token"
    token.write_text("hf_secret")
    flags = ("--log", file, "--log-format", "json", "--token-file", token)
    with managing() as manager:
        told = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "200000"}
        with foreground(hffs, photo_parquet, folder, *flags, environ=told) as process:
            wait_until(lambda: manager.count("READY=1") == 1)
            ready = next(message for message in manager.heard if "READY=1" in message)
            assert f"MAINPID={process.pid}" in ready
            files = len(os.listdir(folder))
            assert f"STATUS=serving {files} files of {photo_parquet} on {folder}" in ready
            wait_until(lambda: manager.count("WATCHDOG=1") > 2)

            os.kill(process.pid, signal.SIGSTOP)
            wait_until(lambda: read_state(process.pid) == "T")
            process.send_signal(signal.SIGCONT)
            said = manager.count("WATCHDOG=1")
            wait_until(lambda: manager.count("WATCHDOG=1") > said)

            for number in (*IGNORED, signal.SIGPIPE, signal.SIGXFSZ):
                process.send_signal(number)
            file.rename(tmp_path / "moved.log")
            process.send_signal(signal.SIGHUP)
            wait_until(lambda: manager.count("READY=1") == 2)
            reloading = next(message for message in manager.heard if "RELOADING=1" in message)
            assert reloading[1].startswith("MONOTONIC_USEC=")
            assert (folder / "0.txt").read_bytes()

            process.send_signal(signal.SIGQUIT)
            process.send_signal(signal.SIGTERM)
            _, dumped = process.communicate(timeout=100)
            assert process.returncode == 0
            assert manager.count("STOPPING=1") == 1
            assert manager.heard.index(ready) < manager.heard.index(reloading)
    assert "in _run" in dumped  # what SIGQUIT shows: the stack of the event loop
    assert find_shown(str(folder)) is None
    before, after = (
        [json.loads(line) for line in path.read_text().splitlines()]
        for path in (tmp_path / "moved.log", file)
    )
    assert before[0]["message"].startswith("mounted ")
    assert before[0]["mountpoint"] == str(folder)
    assert [line["message"].split(":")[0] for line in after] == [
        "SIGHUP",
        "SIGTERM",
        f"unmounted {folder}",
    ]
    assert "hf_secret" not in json.dumps([before, after])


def test_a_mount_that_hangs_is_not_said_to_be_alive_and_ends_in_its_time(
    hffs: Hffs, photo_parquet: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mnt"
    folder.mkdir()
    hung = tmp_path / "hung"
    does = f"Path({str(hung)!r}).touch()"
    code = freeze("read", does=does, more="lastresort._END_S = 0.5")
    with managing() as manager:
        told = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "100000"}
        process = subprocess.Popen(
            [sys.executable, "-c", code, "mount", "-f", photo_parquet, folder],
            env=hffs.environ | told,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            wait_until(lambda: manager.count("WATCHDOG=1") > 1)
            reader = subprocess.Popen(["cat", folder / "0.jpg"], stderr=subprocess.PIPE)
            wait_until(hung.exists)
            # The self-check waits as everybody does: through the kernel.
            wait_until(lambda: "request_wait_answer" in _find_wait(process.pid))
            silent_since = manager.count("WATCHDOG=1")
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=100)
            assert manager.count("WATCHDOG=1") == silent_since
            assert reader.wait(100) != 0  # an error rather than a wait without end
            reader.communicate()
        finally:
            process.kill()
            process.communicate()
    assert process.returncode == 4
    assert "did not end within" in said
    assert "in hang" in said  # where it is stuck
    assert find_shown(str(folder)) is None


def _find_wait(pid: int) -> str:
    """Where in the kernel the threads of a process wait."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return " ".join((task / "wchan").read_text() for task in tasks)


def test_regression_nobody_reads_what_it_says_and_it_ends_all_the_same(
    hffs: Hffs, photo_parquet: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mnt"
    folder.mkdir()
    with full_pipe() as full:
        command = [sys.executable, "-m", "hffs", "mount", "-f", str(photo_parquet), str(folder)]
        process = subprocess.Popen(command, env=hffs.environ, stderr=full, start_new_session=True)
        try:
            wait_until(lambda: hffs.describe(folder) is not None)
            for _ in range(200):
                process.send_signal(signal.SIGHUP)
            assert (folder / "0.txt").read_bytes()
            process.send_signal(signal.SIGTERM)
            assert process.wait(15) == 0  # else by its last resort, if at all
        finally:
            process.kill()
            process.wait()
            hffs.run("umount", "--force", folder)


def test_a_record_that_cannot_be_kept_is_one_line(
    hffs: Hffs, photo_parquet: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mnt"
    folder.mkdir()
    more = (
        "from hffs.mount import registry; registry.write_json = "
        "lambda *_: os.write(os.open('/dev/full', os.O_WRONLY), b'.')"
    )
    done = subprocess.run(
        [sys.executable, "-c", freeze("unlink", more=more), "mount", photo_parquet, folder],
        env=hffs.environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 4
    assert done.stderr.startswith("hffs: cannot write the record ")
    assert "No space left on device; make room" in done.stderr
    assert done.stderr.count("\n") == 1
    assert find_shown(str(folder)) is None


def test_a_mount_ends_with_its_terminal(hffs: Hffs, photo_parquet: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mnt"
    folder.mkdir()
    pid, terminal = pty.fork()
    if pid == 0:
        command = [sys.executable, "-m", "hffs", "mount", "-f", str(photo_parquet), str(folder)]
        os.execve(sys.executable, command, hffs.environ)  # noqa: S606 - no shell is wanted
    try:
        wait_until(lambda: hffs.describe(folder) is not None)
        os.close(terminal)
        status = os.waitpid(pid, 0)[1]
        assert os.waitstatus_to_exitcode(status) == 0
        assert find_shown(str(folder)) is None
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_several_entries_are_one_service(hffs: Hffs, photo_parquet: Path, tmp_path: Path) -> None:
    entries = [{"id": name, "dataset_name": str(photo_parquet)} for name in ("art", "cats")]
    config, folder = tmp_path / "loader.json", tmp_path / "mnt"
    config.write_text(json.dumps(entries))
    with managing() as manager:
        told = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "200000"}
        folder.mkdir()
        process = subprocess.Popen(
            [sys.executable, "-m", "hffs", "mount", "-f", config, folder],
            env=hffs.environ | told,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            wait_until(lambda: manager.count("READY=1") == 1 or process.poll() is not None)
            assert manager.count(f"STATUS=serving 2 mounts in {folder}") == 1
            assert manager.count(f"MAINPID={process.pid}") == 1
            wait_until(lambda: manager.count("WATCHDOG=1") > 1)
            for number in (*IGNORED, signal.SIGQUIT):
                process.send_signal(number)
            process.send_signal(signal.SIGHUP)
            wait_until(lambda: manager.count("READY=1") == 2)
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=100)
        finally:
            process.kill()
            process.communicate()
        assert manager.count("STOPPING=1") == 1
    assert process.returncode == 0, said
    assert said.count("SIGHUP: ") == 2  # once by each
    assert os.listdir(folder) == []
