"""`hffs log`: what a mount has logged, and how much it logs from now on."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

from hffs.cli.commands import Argument, Option
from hffs.cli.streams import end_output
from hffs.cli.untrusted import clean_line
from hffs.errors import MountError

if TYPE_CHECKING:
    from hffs.mount.registry import Record

_POLL_S = 0.2


def log(
    mountpoint: Annotated[Path, Argument(help="A mount of yours.")],
    level: Annotated[
        str | None,
        Option(metavar="LEVEL", help="Log so much: debug, info, warning or error."),
    ] = None,
    follow: Annotated[bool, Option("--follow", "-f", help="Go on with what comes.")] = False,
    number: Annotated[
        int | None, Option("-n", min=0, help="How many lines; 10 without --level.")
    ] = None,
) -> None:
    """Show the last lines of a mount's log, or change how much it logs while it serves."""
    record = _find_record(mountpoint)
    if level is not None:
        _set_level(record, level)
    if level is None or follow or number is not None:
        _show(record, 10 if number is None else number, follow=follow)


def _find_record(mountpoint: Path) -> Record:
    from hffs.mount.registry import find_registry

    place = os.path.realpath(mountpoint)
    record = find_registry(os.environ).find(place)
    if record is None:
        why, fix = "no mount of yours is there", "see `hffs ls`"
        raise MountError("cannot find the log of", place, why=why, fix=fix)
    return record


def _set_level(record: Record, level: str) -> None:
    from hffs.mount.observing.asking import ask_level

    if record.socket is None:
        why, fix = "it has no control socket (its log says why)", "mount it again"
        raise MountError("cannot set the log level of", record.mountpoint, why=why, fix=fix)
    ask_level(Path(record.socket), level)


def _show(record: Record, number: int, *, follow: bool) -> None:
    if record.log is None:
        why = "it logs to the terminal, or to who has started it"
        raise MountError("cannot show the log of", record.mountpoint, why=why)
    try:
        with _open(record.log) as file:
            for line in deque(file, number):
                print(clean_line(line))
            sys.stdout.flush()
            if not follow or not _follow(file, record):
                return
        while True:  # it was moved away, and is made anew
            with _open(record.log) as file:
                if not _follow(file, record):
                    return
    except BrokenPipeError:  # who read it has seen enough
        end_output()
    except OSError as error:
        why = error.strerror or str(error)
        raise MountError("cannot read the log", record.log, why=why) from error


def _open(log: str) -> TextIO:
    return open(log, encoding="utf-8", errors="replace")


def _follow(file: TextIO, record: Record) -> bool:
    """Show what comes in a file; whether there is another one by now, else its daemon has ended."""
    while True:
        is_over, is_replaced = not _is_alive(record), _is_replaced(file, record.log or "")
        for line in file:
            print(clean_line(line), flush=True)
        if is_over or is_replaced:
            return is_replaced
        time.sleep(_POLL_S)


def _is_replaced(file: TextIO, log: str) -> bool:
    """Whether a log has its name no more, or has been cut off (logrotate's `copytruncate`)."""
    opened = os.fstat(file.fileno())
    try:
        there = os.stat(log)
    except FileNotFoundError:  # until its daemon is told
        return False
    return not os.path.samestat(opened, there) or there.st_size < file.buffer.tell()


def _is_alive(record: Record) -> bool:
    from hffs.mount.registry import read_start_time

    return read_start_time(record.pid) == record.started
