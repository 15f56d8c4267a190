"""A real user without rights, who mounts through fusermount3, and a Python that one may run."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.command import Hffs

NOBODY = 65534
DEVICE = Path("/dev/fuse")


@dataclass(frozen=True)
class Nobody:
    """A user, by number, with a home folder of its own; its records and caches are there."""

    python: str
    environ: dict[str, str]
    user: int = NOBODY

    @property
    def home(self) -> Path:
        """Where this user may write."""
        return Path(self.environ["HOME"])

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run Python, whatever comes of it."""
        return subprocess.run(
            [self.python, *map(str, arguments)],
            env=self.environ, cwd="/", capture_output=True, text=True, check=False,
            user=self.user, group=self.user, extra_groups=[],
        )  # fmt: skip

    def hffs(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run the command, whatever comes of it."""
        return self.run("-m", "hffs", *arguments)

    def make(self, name: str) -> Path:
        """A new folder of this user's."""
        folder = self.home / name
        folder.mkdir()
        os.chown(folder, self.user, self.user)
        return folder

    def able(self) -> bool:
        """Whether this user can run hffs by this Python at all."""
        try:
            return self.run("-c", "import pyfuse3, hffs.mount.session").returncode == 0
        except PermissionError:
            return False


@contextmanager
def open_nobody(user: int = NOBODY) -> Iterator[Nobody | None]:
    """A user to the end of the block; None where every Python here is closed to others."""
    folders = [str(Path(__file__).parents[2]), *(path for path in sys.path if "packages" in path)]
    with tempfile.TemporaryDirectory() as home:  # pytest's own are closed to others
        os.chown(home, user, user)
        own = {"HOME": home, "PYTHONPATH": os.pathsep.join(folders)}
        environ = Hffs.below(Path(home)).environ | own
        # The interpreter of a virtual environment may be in the home of root.
        found = [Nobody(python, environ, user) for python in (sys.executable, "/usr/bin/python3")]
        yield next((each for each in found if each.able()), None)


@contextmanager
def open_device() -> Iterator[None]:
    """Let anybody open /dev/fuse, as most distributions do; one test at a time."""
    with DEVICE.open("rb") as device:
        fcntl.flock(device, fcntl.LOCK_EX)
        before = DEVICE.stat().st_mode & 0o777
        DEVICE.chmod(0o666)
        try:
            yield
        finally:
            DEVICE.chmod(before)


def with_home_of(one: Nobody, user: int) -> Nobody:
    """Another user, who knows where the first one keeps everything."""
    return replace(one, user=user)
