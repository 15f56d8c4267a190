"""Real mounts, made and taken down by the real command."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hffs.mount.mountinfo import read_hffs_mounts
from hffs.mount.preflight import detach
from tests.command import Hffs, Mount
from tests.far_photos import ROWS, shard_of
from tests.hub import HubServer
from tests.hub_store import Repo


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
def far_photos(hub: HubServer, hffs: Hffs, tmp_path: Path) -> Repo:
    """A repository of two shards, and a command that knows its Hub."""
    repo = hub.add("owner/photos")
    repo.write_all(
        {
            "data/train-00000-of-00002.parquet": shard_of(range(ROWS // 2)),
            "data/train-00001-of-00002.parquet": shard_of(range(ROWS // 2, ROWS)),
            "README.md": b"# Photos\n",
        }
    )
    hffs.environ.update(hub.env(tmp_path / "home"))
    return repo


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
