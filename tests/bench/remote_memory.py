"""What the processes of a command take, from /proc, as long as somebody watches."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

INTERVAL_S = 0.02
MARK = "HFFS_BENCH_MARK"
"""The variable by which processes are known: a fork has it too, whoever its parent is by then."""


@dataclass(frozen=True, slots=True)
class Peak:
    """The most that a process had resident: all of it, and what it shares with no file."""

    resident_bytes: int
    anonymous_bytes: int
    """As often as it was looked at; the kernel keeps no peak of this one."""


class Watch:
    """Peaks of all processes that have a mark in their environment, while entered."""

    def __init__(self, mark: str) -> None:
        self._mark = f"{MARK}={mark}".encode()
        self._known: dict[int, bool] = {}
        self._peaks: dict[int, Peak] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def look(self) -> dict[int, Peak]:
        """Look once more; the peaks by process id, in the order in which processes came."""
        for pid in self._find():
            with contextlib.suppress(OSError):  # it may have ended just now
                status = Path(f"/proc/{pid}/status").read_text()
                anonymous = _parse_bytes(status, "RssAnon")
                before = self._peaks.get(pid, Peak(0, 0))
                now = Peak(_parse_bytes(status, "VmHWM"), anonymous)
                self._peaks[pid] = Peak(
                    max(before.resident_bytes, now.resident_bytes),
                    max(before.anonymous_bytes, now.anonymous_bytes),
                )
        return self._peaks

    def _watch(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            self.look()

    def _find(self) -> Iterator[int]:
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            pid = int(entry.name)
            if pid not in self._known:
                try:
                    self._known[pid] = self._mark in (entry / "environ").read_bytes()
                except OSError:  # of somebody else, or gone
                    continue
            if self._known[pid]:
                yield pid


def _parse_bytes(status: str, name: str) -> int:
    """A line of /proc/PID/status; 0 for a process that ends and has no memory any more."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
    return 1024 * int(found[1]) if found else 0
