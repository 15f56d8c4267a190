"""What a service manager is told, as messages; whole services are tested through real mounts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hffs.mount.lifecycle.notifying import SILENT, Notifier, TellingListener, start_watchdog
from tests.mount.lifecycle.service import managing
from tests.mount.lifecycle.test_daemon import Heard
from tests.waiting import wait_until


def test_the_environment_names_it_once() -> None:
    with managing() as manager:
        environ = {
            "NOTIFY_SOCKET": manager.address,
            "WATCHDOG_USEC": "30000000",
            "WATCHDOG_PID": str(os.getpid()),
            "HOME": "/root",
        }
        notifier = Notifier.take(environ)
        assert environ == {"HOME": "/root"}
        assert notifier.watchdog_s == 30
        notifier.ready("serving a\nREADY=0")
        notifier.stopping()
        notifier.stopping()
        assert manager.listen() == [
            ["READY=1", f"MAINPID={os.getpid()}", r"STATUS=serving a\nREADY=0"],
            ["STOPPING=1", "STATUS=unmounting"],
        ]


def test_what_is_for_another_process_or_nobody_is_let_be() -> None:
    assert Notifier.take({"WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}).watchdog_s == 0
    assert Notifier.take({"WATCHDOG_USEC": "soon"}).watchdog_s == 0
    Notifier.take({"NOTIFY_SOCKET": "/no/such/socket"}).ready("x")
    Notifier.take({"NOTIFY_SOCKET": "vsock:2:1"}).ready("x")
    SILENT.ready("x")


def test_a_start_tells_how_far_it_is_and_asks_for_time() -> None:
    heard = Heard()
    with managing() as manager:
        listener = TellingListener(heard, Notifier(manager.address))
        listener.progress("downloading", 1, 4, "B")
        listener.progress("downloading", 2, 4, "B")  # too soon to be told again
        listener.notice("no captions")
        listener.starting(30)
        listener.ready()
        assert manager.listen() == [["STATUS=downloading: 25 %", "EXTEND_TIMEOUT_USEC=300000000"]]
    assert (len(heard.bars), heard.notices, heard.is_ready) == (2, ["no captions"], True)


def test_the_watchdog_speaks_while_all_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.mkdir()
    bad.mkdir()
    with managing() as manager:
        stop = start_watchdog(Notifier(manager.address, 0.02), [good, bad])
        try:
            wait_until(lambda: manager.count("WATCHDOG=1") > 1)
            bad.rmdir()
            wait_until(lambda: len(caplog.records) > 0)
            said = manager.count("WATCHDOG=1")
            wait_until(lambda: len(caplog.records) > 3)
            assert manager.count("WATCHDOG=1") == said
            bad.mkdir()
            wait_until(lambda: manager.count("WATCHDOG=1") > said)
            bad.rmdir()
            bad.symlink_to("/proc")  # it answers, and is something else
            wait_until(lambda: "not mounted there any more" in caplog.text)
        finally:
            stop()
    assert "the self-check of" in caplog.text
