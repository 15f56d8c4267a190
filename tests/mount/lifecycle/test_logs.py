"""Log lines: how they look, where they go, and that they harm nobody."""

from __future__ import annotations

import io
import json
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from hffs.errors import MountError, UsageError
from hffs.mount.lifecycle import logs
from hffs.mount.lifecycle.logs import LogPlan, check_log, reopen_logs, set_level, start_logging

log = logging.getLogger("hffs.test")

FORGED = "0.jpg\n2026-01-01 00:00:00,000 ERROR forged\x1b[2J\u202e"


@pytest.fixture(autouse=True)
def _keep_logging() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("hffs")
    before = (root.handlers[:], root.level, ours.level)
    yield
    for handler in set(root.handlers) - set(before[0]):
        handler.close()
    root.handlers[:], root.level = before[0], before[1]
    ours.setLevel(before[2])


def _fail(text: str) -> None:
    try:
        raise ValueError(text)
    except ValueError:
        log.exception("cannot render %s", text)


def test_a_name_cannot_forge_a_line(tmp_path: Path) -> None:
    file = tmp_path / "log"
    start_logging(LogPlan(file), "100%s art")
    _fail(FORGED)
    first, *others = file.read_text().splitlines()
    assert r"ERROR 100%s art: cannot render 0.jpg\n2026-01-01" in first
    assert all(line.startswith("    ") for line in others)
    assert not {"\x1b", "\u202e"} & set(file.read_text())
    assert file.stat().st_mode & 0o777 == 0o600


def test_json_is_an_object_a_line(tmp_path: Path) -> None:
    file = tmp_path / "log"
    start_logging(LogPlan(file, "json", mountpoint="/mnt/x"))
    _fail(FORGED)
    log.info("caption %s", "\udc80")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["message"] for line in lines] == [f"cannot render {FORGED}", "caption \udc80"]
    assert lines[0]["exception"].startswith("Traceback")
    assert lines[0].keys() - {"exception"} == lines[1].keys()
    assert {**lines[1], "ts": ""} == {
        "ts": "", "level": "info", "logger": "hffs.test",
        "message": "caption \udc80", "mountpoint": "/mnt/x",
    }  # fmt: skip
    assert lines[1]["ts"].endswith("+00:00")


def test_a_file_that_was_moved_is_made_anew(tmp_path: Path) -> None:
    file = tmp_path / "log"
    start_logging(LogPlan(file))
    log.info("one")
    file.rename(tmp_path / "old")
    log.info("two")
    reopen_logs()
    log.info("three")
    file.rename(tmp_path / "older")
    file.mkdir()  # what cannot be opened is told, and changes nothing
    reopen_logs()
    log.info("four")
    assert "one" in (tmp_path / "old").read_text().splitlines()[0]
    said = (tmp_path / "older").read_text().splitlines()
    assert [line.split(" ", 3)[2:] for line in said] == [
        ["INFO", "three"],
        ["WARNING", f"cannot write the log {file}: Is a directory"],
        ["INFO", "four"],
    ]


def test_a_disk_that_is_full_loses_lines_and_no_more(tmp_path: Path) -> None:
    start_logging(LogPlan(tmp_path / "log"))
    handler = logging.getLogger().handlers[0]
    assert isinstance(handler, logs._FileHandler)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, handler._descriptor)
    os.close(full)
    log.error("lost")


@pytest.mark.parametrize(("to", "constant"), [("journald", "_JOURNAL"), ("syslog", "_SYSLOG")])
def test_a_socket_gets_a_datagram_a_record(
    to: str, constant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = os.path.relpath(tmp_path / "socket")  # of which the kernel takes 107 bytes
    monkeypatch.setattr(logs, constant, path)
    with pytest.raises(UsageError, match="nobody listens"):
        check_log(LogPlan(to))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(path)
        check_log(LogPlan(to))
        start_logging(LogPlan(to, mountpoint="/mnt/x"))
        log.warning("look at %s", FORGED)
        _fail("x")
        first, second = daemon.recv(1 << 16), daemon.recv(1 << 16)
    log.error("nobody listens any more")
    if to == "syslog":
        assert first.startswith(b"<28>hffs[%d]: look at 0.jpg\\n2026" % os.getpid())
        assert b"\n" not in second
    else:
        fields = first.decode().splitlines()
        assert fields[0].startswith(r"MESSAGE=look at 0.jpg\n2026")
        assert fields[1:] == [
            "PRIORITY=4", "SYSLOG_IDENTIFIER=hffs", "LOGGER=hffs.test", "HFFS_MOUNTPOINT=/mnt/x",
        ]  # fmt: skip
        stream = io.BytesIO(second)
        assert stream.readline() == b"MESSAGE\n"
        text = stream.read(int.from_bytes(stream.read(8), "little")).decode()
        assert text.startswith("cannot render x\n    Traceback (most recent call last):\n")
        assert stream.readline() == b"\n"
        assert stream.readline() == b"PRIORITY=3\n"


def test_a_service_tells_the_journal_how_much_a_line_matters(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    found = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
    start_logging(LogPlan())
    _fail("x")
    log.info("fine")
    said = capfd.readouterr().err.splitlines()
    assert said[0] == "<3>cannot render x"
    assert said[1] == "<3>    Traceback (most recent call last):"
    assert said[-1] == "<6>fine"


def test_the_level_can_be_changed(tmp_path: Path) -> None:
    file = tmp_path / "log"
    start_logging(LogPlan(file))
    set_level("warning")
    log.info("not this")
    set_level("DEBUG")
    log.debug("this")
    assert [line.split(" ", 3)[3] for line in file.read_text().splitlines()] == ["this"]
    with pytest.raises(UsageError, match="none of debug, info"):
        set_level("loud\n")


def test_what_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "else")
    for name, why in (("pipe", "No such"), ("link", "a symbolic link"), ("no/log", "No such")):
        with pytest.raises(MountError, match=f"cannot write the log.*{why}"):
            check_log(LogPlan(tmp_path / name))
