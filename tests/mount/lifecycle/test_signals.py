"""Signals of a mount without one; what they do to mounts is tested with real ones."""

from __future__ import annotations

import signal
import subprocess
import sys

import trio

from hffs.mount.lifecycle.signalqueue import SignalQueue

LATE = """
import os, signal
from hffs.mount.lifecycle.signals import STOPPING, stop_no_more
for number in STOPPING:
    signal.signal(number, lambda *_: None)

class Last:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)

stop_no_more()
import sys
sys.last_of_all = Last()  # taken down after the handlers of signals
"""


def test_regression_what_stops_a_mount_waits_for_no_reload() -> None:
    stopped = []
    queue = SignalQueue(hangup_ends=False, on_stop=lambda: stopped.append(True))
    for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM):
        queue._handle(number, None)

    async def take() -> list[signal.Signals]:
        return [await queue.take() for _ in range(3)]

    assert trio.run(take) == [signal.SIGTERM, signal.SIGHUP, signal.SIGHUP]
    assert stopped == [True]


def test_regression_a_signal_after_the_end_changes_no_exit_code() -> None:
    assert subprocess.run([sys.executable, "-c", LATE], check=False).returncode == 0
