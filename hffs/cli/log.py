"""`hffs log`: what a mount has logged, and how much it logs from now on."""

from __future__ import annotations

import os
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hffs.cli.untrusted import clean_line
from hffs.errors import MountError

if TYPE_CHECKING:
    from hffs.mount.registry import Record

_POLL_S = 0.2


def log(
    mountpoint: Annotated[Path, typer.Argument(help="A mount of yours.")],
    level: Annotated[
        str | None,
        typer.Option(metavar="LEVEL", help="Log so much: debug, info, warning or error."),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    number: Annotated[
        int | None, typer.Option("-n", min=0, help="How many lines; 10 without --level.")
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
        with open(record.log, encoding="utf-8", errors="replace") as file:
            for line in deque(file, number):
                print(clean_line(line))
            while follow:
                is_over = not _is_alive(record)
                for line in file:
                    print(clean_line(line), flush=True)
                if is_over:
                    return
                time.sleep(_POLL_S)
    except OSError as error:
        why = error.strerror or str(error)
        raise MountError("cannot read the log", record.log, why=why) from error


def _is_alive(record: Record) -> bool:
    from hffs.mount.registry import read_start_time

    return read_start_time(record.pid) == record.started
