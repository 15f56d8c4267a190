"""`hffs log` on files that change under it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hffs.cli.log import _show
from hffs.mount.registry import Record, read_start_time
from tests.waiting import wait_until

PIPED = """
import sys
from hffs.cli.log import _show
from hffs.mount.registry import Record
_show(Record("/mnt/x", 1, 1, "s", "c", "f", 1, sys.argv[1]), 100_000, follow=False)
"""


@pytest.fixture
def daemon() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


def test_regression_what_is_followed_is_found_again_after_a_rotation(
    tmp_path: Path, daemon: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    file, said = tmp_path / "x.log", ""
    file.write_text("one\n")
    started = read_start_time(daemon.pid) or 0
    record = Record("/mnt/x", daemon.pid, started, "s", "c", "f", 1, str(file))
    following = threading.Thread(target=_show, args=(record, 10), kwargs={"follow": True})
    following.start()

    def has_come(line: str) -> bool:
        nonlocal said
        said += capsys.readouterr().out
        return said.endswith(line + "\n")

    try:
        wait_until(lambda: has_come("one"))
        file.rename(tmp_path / "old")
        file.write_text("two\n")
        wait_until(lambda: has_come("two"))
        os.truncate(file, 0)
        wait_until(lambda: has_come("two"))
        file.write_text("3\n")
        wait_until(lambda: has_come("3"))
    finally:
        daemon.kill()
        following.join(100)
    assert said == "one\ntwo\n3\n"


def test_regression_who_reads_may_have_seen_enough(tmp_path: Path) -> None:
    (tmp_path / "x.log").write_text("line\n" * 50_000)
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-c", PIPED, str(tmp_path / "x.log")]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")
