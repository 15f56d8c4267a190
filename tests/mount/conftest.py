"""Real mounts, made and taken down by the real command."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hffs.mount.mountinfo import read_hffs_mounts
from hffs.mount.preflight import detach
from tests.command import Hffs, Mount


@pytest.fixture(autouse=True)
def _leave_no_mount(tmp_path: Path) -> Iterator[None]:
    """What a failed test leaves mounted would stop pytest from removing its folders."""
    yield
    for mounted in read_hffs_mounts():
        if Path(mounted.mountpoint).is_relative_to(tmp_path):
            detach(Path(mounted.mountpoint))


@pytest.fixture
def hffs(tmp_path: Path) -> Hffs:
    return Hffs.below(tmp_path)


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
