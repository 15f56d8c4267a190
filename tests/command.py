"""The real command, as tests start it: everything that it keeps goes to folders of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests import preloaded

RUN_TIMEOUT_S = 60

NO_HUB = "http://127.0.0.1:9"
"""The Hub of tests that start none: nobody listens there."""


@dataclass(frozen=True)
class Hffs:
    """The command line in an environment of its own."""

    environ: dict[str, str]
    forks: bool = True
    """Whether it may begin with all modules loaded; figures of memory and of time must not."""

    @classmethod
    def below(cls, folder: Path, *, forks: bool = True) -> Self:
        """A command whose caches and records are in a folder; started anywhere, it is this code."""
        own = {"XDG_CACHE_HOME": str(folder / "cache"), "XDG_STATE_HOME": str(folder / "state")}
        own |= {"HF_HOME": str(folder / "hf"), "HF_ENDPOINT": NO_HUB}
        return cls(os.environ | own | {"PYTHONPATH": str(Path(__file__).parents[1])}, forks)

    def __call__(self, *arguments: str | Path, timeout_s: float = RUN_TIMEOUT_S) -> str:
        """Run a command that has to succeed; its standard output."""
        done = self.run(*arguments, timeout_s=timeout_s)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run(
        self, *arguments: str | Path, timeout_s: float = RUN_TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a command, whatever comes of it."""
        if self.forks and preloaded.is_alike(self.environ):
            return preloaded.run(list(map(str, arguments)), self.environ, timeout_s)
        command = [sys.executable, "-m", "hffs", *map(str, arguments)]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=self.environ,
            timeout=timeout_s,
            check=False,
        )

    def describe(self, folder: Path) -> dict[str, Any] | None:
        """What `hffs ls` says of the mount on a folder; other tests may have mounts of theirs."""
        lines: list[dict[str, Any]] = json.loads(self("ls", "--json", folder))
        return lines[0] if lines else None

    def pid(self, folder: Path) -> int:
        """Process id of the daemon of the mount on a folder."""
        described = self.describe(folder)
        assert described is not None
        pid: int = described["pid"]
        return pid

    def log(self) -> str:
        """What all daemons have logged."""
        logs = Path(self.environ["XDG_STATE_HOME"]).glob("hffs/logs/*.log")
        return "".join(path.read_text() for path in logs)


Mount = Callable[..., Path]
"""Mount a source with some flags on a new folder, which is returned."""
