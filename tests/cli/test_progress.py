"""What a long download says where no bar can be drawn."""

from __future__ import annotations

import sys
import threading
from contextlib import closing

import pytest

from hffs.cli.bars import make_bars
from hffs.cli.progress import DownloadLog, TerminalListener


def test_a_download_is_a_line_now_and_then() -> None:
    log = DownloadLog(100.0)
    total = 4_000_000_000
    assert log.describe("downloading o/n", 1_000_000_000, total, 100.1) is None
    line = log.describe("downloading o/n", 1_500_000_000, total, 110.0)
    assert line == "downloading o/n: 1.5 GB of 4 GB (37 %), 50 MB/s, 50 s left"
    assert log.describe("downloading o/n", 1_600_000_000, total, 119.0) is None
    line = log.describe("downloading o/n", 1_500_000_000, total, 1100.0)
    assert line == "downloading o/n: 1.5 GB of 4 GB (37 %), 500 kB/s, 1 h 23 min left"
    assert log.describe("downloading o/n", total, total, 2000.0) is None


def test_a_download_that_stands_still_says_no_time() -> None:
    log = DownloadLog(0.0)
    assert log.describe("x", 0, 100, 50.0) == "x: 0 B of 100 B (0 %), 0 B/s"


def test_nothing_is_said_of_things_and_of_small_downloads(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with closing(TerminalListener()) as listener:
        listener.progress("finding images", 1, 1_000_000)
        listener.progress("downloading", 1, 1_000, "B")
        listener.progress("downloading", 1, 1_000_000_000, "B")
    assert capsys.readouterr().err == ""


def test_bars_are_drawn_without_a_thread(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A daemon forks after its bars were shown: a thread that draws may hold a lock then."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(threading.Thread, "start", lambda thread: pytest.fail(thread.name))
    monkeypatch.setenv("TERM", "xterm")
    with closing(TerminalListener()) as listener:
        for done in range(1, 1_001):
            listener.progress("finding images", done * 1_000, 1_000_000)
            if done == 1:
                assert "   1000/1000000" in capsys.readouterr().err
        assert "1000000/1000000" in capsys.readouterr().err.rpartition("finding images")[2]


def test_bars_show_things_and_bytes() -> None:
    bars = make_bars()
    bars.add_task("finding", unit="", completed=3, total=10)
    bars.add_task("downloading [red]", unit="B", completed=5_000_000, total=10_000_000)
    bars.add_task("reading", unit="", completed=7, total=None)
    bars.console.file = sys.stdout
    with bars.console.capture() as captured:
        bars.console.print(bars.get_renderable())
    text = captured.get()
    assert "3/10" in text
    assert "7/?" in text
    assert "5.0/10.0 MB" in text
    assert "downloading [red]" in text
