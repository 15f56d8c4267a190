"""Where a contender of the benchmark of remote mode runs: a Hub behind a line, and fresh caches.

Owns the line, the caches and the commands; what is compared is in `tests/bench/remote.py`.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from subprocess import CompletedProcess, run
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.bench.machine import LeftOutError
from tests.bench.remote_filter import REPO
from tests.bench.remote_memory import MARK
from tests.command import Hffs
from tests.hub import HubServer

LONG_S = 3600
"""No contender takes longer; a benchmark that hangs is found in the end."""
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Link:
    """What lies between a host and the Hub. Connections are free: no handshake is waited for."""

    latency_s: float = 0.0
    bytes_per_s: float | None = None

    def __str__(self) -> str:
        rate = f", {self.bytes_per_s / 125_000:.0f} Mbit/s" if self.bytes_per_s else ""
        return f"{1000 * self.latency_s:.0f} ms{rate}"


@dataclass(frozen=True, slots=True)
class Cost:
    """What something took, by the log of the Hub and the clock."""

    bytes: int
    """Of all bodies, listings of the repository and errors too."""
    requests: int
    seconds: float


class LinkedHub(HubServer):
    """A Hub behind one line, whose rate all answers share."""

    def __init__(self) -> None:
        super().__init__()
        self._line = threading.Lock()
        self._free_at = 0.0

    def use(self, link: Link) -> None:
        """From now on lie behind another line."""
        self.latency_s, self.bytes_per_s = link.latency_s, link.bytes_per_s

    def _transmit(self, count: int) -> None:
        if not self.bytes_per_s:
            return
        with self._line:
            now = time.monotonic()
            self._free_at = max(now, self._free_at) + count / self.bytes_per_s
            wait_s = self._free_at - now
        self._pause(wait_s)


def spend(hub: HubServer, work: Callable[[], _T]) -> tuple[Cost, _T]:
    """What work costs, and what comes of it; nobody else may ask the Hub meanwhile."""
    hub.clear()
    started = time.perf_counter()
    made = work()
    spent = time.perf_counter() - started
    requests = hub.requests
    return Cost(sum(each.sent_bytes for each in requests), len(requests), spent), made


@dataclass(frozen=True, slots=True)
class Epoch:
    """An epoch that was read, and what was fetched for it."""

    files: int
    read_bytes: int
    fetched_bytes: int
    requests: int
    seconds: float

    def told(self) -> dict[str, float]:
        """All of it, with the ratios that it is for."""
        return asdict(self) | {
            "files_per_s": self.files / self.seconds,
            "fetched / read": self.fetched_bytes / self.read_bytes,
        }


class Home:
    """Fresh caches of one contender; when left they are gone, and so is its mount."""

    def __init__(self, hub: HubServer, mark: str = "") -> None:
        self._hub = hub
        self.folder = Path(tempfile.mkdtemp(prefix="hffs-bench-"))
        self.mountpoint = self.folder / "mnt"
        self.mountpoint.mkdir()
        self.hffs = Hffs.below(self.folder, forks=False)
        self.hffs.environ.update(hub.env(self.folder / "hf"))
        self.hffs.environ.update({MARK: mark, "PYTHONWARNINGS": "ignore"})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.mountpoint.is_mount():
            self.hffs.run("umount", "--force", self.mountpoint)
        shutil.rmtree(self.folder)

    def mount(self, *flags: str) -> None:
        """Mount the data set. Raises LeftOutError with what hffs says instead."""
        _check(self.hffs.run("mount", REPO, self.mountpoint, *flags, timeout_s=LONG_S))

    def umount(self) -> None:
        self.hffs("umount", self.mountpoint)

    def warm(self) -> None:
        """Fill the caches of the mount. Raises LeftOutError."""
        _check(self.hffs.run("warm", self.mountpoint, timeout_s=LONG_S))

    def python(self, module: str, *arguments: str) -> str:
        """Run a module in a process of its own; what it prints. Raises LeftOutError."""
        command = [sys.executable, "-m", module, *arguments]
        environ = self.hffs.environ
        return _check(
            run(
                command,
                env=environ,
                capture_output=True,
                text=True,
                timeout=LONG_S,
                check=False,
                cwd=Path(__file__).parents[2],
            )
        ).strip()

    def read(self, names: Sequence[str], readers: int = 8) -> Epoch:
        """Read images with their captions in an order, shared between some processes.

        What is fetched counts from when the Hub's log was last cleared, which waits for what is
        under way: who fetches ahead from its start must not be given that time. Raises
        LeftOutError with the daemon's word where a file cannot be read.
        """
        file = self.folder / "names.txt"
        file.write_text("".join(f"{name}\n" for name in names))
        arguments = (str(self.mountpoint), str(file), "--readers", str(readers))
        try:
            told: dict[str, Any] = json.loads(self.python("tests.bench.remote_readers", *arguments))
        except LeftOutError as error:
            logged = self.hffs.log().splitlines()[-1:]
            raise LeftOutError("; ".join([str(error), *logged])) from error
        requests = self._hub.requests
        fetched = sum(each.sent_bytes for each in requests)
        return Epoch(told["files"], told["bytes"], fetched, len(requests), told["seconds"])


def _check(done: CompletedProcess[str]) -> str:
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no word"]
        raised = [line for line in lines if re.match(r"[\w.]+(Error|Exception): ", line)]
        raise LeftOutError((raised or lines)[-1])
    return done.stdout
