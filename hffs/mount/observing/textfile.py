"""Metrics in a file, for the textfile collector of Prometheus's node_exporter.

Owns the file: written anew every `EACH_S`, whole or not at all, removed at the end. It is readable
by all who may enter its folder, since who collects it is another user.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hffs.data.folders import replace_file
from hffs.errors import UsageError
from hffs.mount.observing.reporting import Report

log = logging.getLogger(__name__)

EACH_S = 15.0
SUFFIX = ".prom"


def check_textfile(path: Path) -> None:
    """UsageError where metrics cannot be written to a file, or nobody would collect it."""
    if path.suffix != SUFFIX:
        why = f"its name does not end in {SUFFIX}"
        raise UsageError("cannot use --metrics-file", str(path), why=why, fix="give it that end")
    if not os.access(path.parent, os.W_OK | os.X_OK) or path.is_dir():
        why, fix = "no file can be written there", "choose a folder that you may write to"
        raise UsageError("cannot use --metrics-file", str(path), why=why, fix=fix)


def name_textfile(path: Path, entry: str) -> Path:
    """The file of one of several entries."""
    return path.with_name(f"{path.stem}-{entry}{SUFFIX}")


@contextmanager
def writing(path: Path, report: Callable[[], Report]) -> Iterator[None]:
    """Keep a file up to date to the end of the block."""
    ended = threading.Event()
    written = deque[os.stat_result](maxlen=1)
    thread = threading.Thread(
        target=_write_often, args=(path, report, written, ended), name="hffs-metrics", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with suppress(OSError):
            if written and os.path.samestat(written[0], path.lstat()):  # else it is another's
                path.unlink()


def _write_often(
    path: Path,
    report: Callable[[], Report],
    written: deque[os.stat_result],
    ended: threading.Event,
) -> None:
    from hffs.mount.observing.exposition import expose

    is_failing = False
    while True:
        try:
            with replace_file(path) as file:
                file.write(expose(report()))
                os.fchmod(file.fileno(), 0o644)
                written.append(os.fstat(file.fileno()))
            is_failing = False
        except OSError as error:
            if not is_failing:
                why = error.strerror or str(error)
                log.warning("cannot write the metrics to %s: %s; trying again", path, why)
            is_failing = True
        if ended.wait(EACH_S):
            return
