"""Real mounts, made and taken down by the real command."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

RUN_TIMEOUT_S = 60


@dataclass(frozen=True)
class Hffs:
    """The command line in an environment of its own."""

    environ: dict[str, str]

    def __call__(self, *arguments: str | Path, timeout_s: float = RUN_TIMEOUT_S) -> str:
        """Run a command that has to succeed; its standard output."""
        done = self.run(*arguments, timeout_s=timeout_s)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run(
        self, *arguments: str | Path, timeout_s: float = RUN_TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a command, whatever comes of it."""
        command = [sys.executable, "-m", "hffs", *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, env=self.environ, timeout=timeout_s, check=False
        )

    def log(self) -> str:
        """What all daemons have logged."""
        logs = Path(self.environ["XDG_STATE_HOME"]).glob("hffs/logs/*.log")
        return "".join(path.read_text() for path in logs)


Mount = Callable[..., Path]


@pytest.fixture
def hffs(tmp_path: Path) -> Hffs:
    environ = {
        **os.environ,
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }
    return Hffs(environ)


@pytest.fixture
def mount(hffs: Hffs, tmp_path: Path) -> Iterator[Mount]:
    """Mount a source on a new folder; what is still mounted at the end is taken down."""
    made: list[Path] = []

    def make(source: str | Path, *flags: str | Path) -> Path:
        folder = tmp_path / f"mnt{len(made)}"
        folder.mkdir()
        made.append(folder)
        hffs("mount", source, folder, *flags)
        return folder

    yield make
    for folder in made:
        hffs.run("umount", "--force", folder)
