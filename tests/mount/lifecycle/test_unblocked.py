"""What is written where nobody reads: lost, and no reason to wait."""

from __future__ import annotations

import fcntl
import logging
import os
import pty
import socket
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from hffs.mount.lifecycle import unblocked
from hffs.mount.lifecycle.logs import _DescriptorHandler
from hffs.mount.lifecycle.unblocked import open_for_dump, write_unblocked


@contextmanager
def full_pipe() -> Iterator[int]:
    """A pipe that takes not one byte more."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writing, b"." * 4096)
    yield writing
    os.close(reading)
    os.close(writing)


@contextmanager
def _stopped_terminal() -> Iterator[int]:
    ours, theirs = pty.openpty()
    termios.tcflow(theirs, termios.TCOOFF)  # as Ctrl-S does
    yield theirs
    termios.tcflow(theirs, termios.TCOON)
    os.close(ours)
    os.close(theirs)


@contextmanager
def _full_socket() -> Iterator[int]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                theirs.send(b"." * 4096)
        theirs.setblocking(True)
        yield theirs.fileno()


def _ends(work: Callable[[], None]) -> bool:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(10)
    return not thread.is_alive()


@pytest.mark.parametrize("make", [full_pipe, _stopped_terminal, _full_socket])
def test_regression_a_line_that_is_not_taken_is_lost_at_once(
    make: Callable[[], Iterator[int]],
) -> None:
    record = logging.makeLogRecord({"msg": "x" * 200})
    with make() as descriptor:  # type: ignore[attr-defined] # they are managers
        assert _ends(lambda: _DescriptorHandler(descriptor).emit(record))
        dump = open_for_dump(descriptor)
        assert _ends(lambda: _try(lambda: os.write(dump, b"x" * 200)))
        os.close(dump)


def _try(write: Callable[[], object]) -> None:
    with suppress(OSError):
        write()


def test_what_cannot_be_opened_again_is_written_to_where_it_takes_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(descriptor: int) -> int:
        raise PermissionError

    monkeypatch.setattr(unblocked, "open_unblocked", refuse)
    reading, writing = os.pipe()
    write_unblocked(writing, b"taken")
    assert os.read(reading, 10) == b"taken"
    with full_pipe() as full:
        assert _ends(lambda: write_unblocked(full, b"lost"))
    for descriptor in (reading, writing):
        os.close(descriptor)


def test_what_is_open_is_left_as_it_is(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    write_unblocked(writing, b"one\n")
    assert os.read(reading, 10) == b"one\n"
    assert os.get_blocking(writing)
    for descriptor in (reading, writing):
        os.close(descriptor)
    with open(tmp_path / "log", "wb", buffering=0) as file:  # without O_APPEND, as `2> log` is
        file.write(b"shell\n")
        write_unblocked(file.fileno(), b"hffs\n")
        file.write(b"shell\n")
    assert (tmp_path / "log").read_text() == "shell\nhffs\nshell\n"


STUCK = """
import logging, sys
from pathlib import Path
from hffs.mount.lifecycle.lastresort import LastResort
logging.basicConfig()
logging.getLogger().handlers[0].acquire()  # by a thread that waits for its own line, say
resort = LastResort(Path("/no/mount"), ())
import threading
thread = threading.Thread(target=resort._end)
thread.start()
thread.join()
"""


def test_regression_the_last_resort_waits_for_nobody_who_reads_what_it_says() -> None:
    with full_pipe() as full:
        done = subprocess.run([sys.executable, "-c", STUCK], stderr=full, timeout=60, check=False)
    assert done.returncode == 4
