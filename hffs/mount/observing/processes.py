"""What the kernel tells of a process in /proc: memory, descriptors, threads, time."""

from __future__ import annotations

import contextlib
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from hffs.data.proc import read_stat, read_status

_CONNECTION = re.compile(r"^fuse_connection:\s*(\d+)", re.MULTILINE)
_TICKS_HZ = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Process:
    """A process as it is now.

    `rss_bytes` counts pages of files that it has mapped, which cost nobody memory; `anon_bytes` is
    what is its own. `open_fds` is None where only its user may count them.
    """

    rss_bytes: int
    anon_bytes: int
    threads: int
    cpu_s: float
    uptime_s: float
    open_fds: int | None


def read_process(pid: int | str) -> Process | None:
    """What a process is now, `self` for this one; None if it has ended."""
    folder = Path("/proc") / str(pid)
    status, stat = read_status(folder / "status"), read_stat(pid)
    if stat is None or "VmRSS" not in status:  # it has ended, if only nobody has reaped it
        return None
    # Fields of proc_pid_stat(5), less pid and name: utime, stime, and the start, after the boot.
    began_s = int(stat[19]) / _TICKS_HZ
    return Process(
        rss_bytes=int(status["VmRSS"][0]) * 1024,
        anon_bytes=int(status["RssAnon"][0]) * 1024,
        threads=int(status["Threads"][0]),
        cpu_s=(int(stat[11]) + int(stat[12])) / _TICKS_HZ,
        uptime_s=max(time.clock_gettime(time.CLOCK_BOOTTIME) - began_s, 0.0),
        open_fds=_count_descriptors(folder),
    )


def _count_descriptors(folder: Path) -> int | None:
    try:
        return len(os.listdir(folder / "fd"))
    except OSError:
        return None


def find_fuse_daemons() -> dict[int, int]:
    """Processes that have a FUSE device open, by the number of its connection, which is the minor
    number of what is mounted; as far as this user may see them, and the kernel tells (Linux 6.11).
    """
    found: dict[int, int] = {}
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdecimal()):
        for connection in _list_connections(Path(f"/proc/{pid}")):
            found.setdefault(connection, pid)  # others may be its children
    return found


def _list_connections(folder: Path) -> list[int]:
    connections = []
    with contextlib.suppress(OSError):  # it is another user's, or has ended
        for name in os.listdir(folder / "fd"):
            if os.readlink(folder / "fd" / name) == "/dev/fuse":
                told = _CONNECTION.search((folder / "fdinfo" / name).read_text())
                connections += [int(told[1])] if told else []
    return connections
