"""Nothing stays mounted after a test; a repository whose files are read where they lie."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hffs.mount.layers import read_shown
from tests.command import Hffs
from tests.far_photos import ROWS, shard_of
from tests.hub import HubServer
from tests.hub_store import Repo
from tests.mixed_photos import Mixed, mount_mixed


@pytest.fixture(autouse=True)
def _leave_no_mount(tmp_path: Path) -> Iterator[None]:
    """What a failed test leaves mounted would stop pytest from removing its folders."""
    yield
    for shown in read_shown():
        if Path(shown.mountpoint).is_relative_to(tmp_path):
            shown.detach(lazy=True)


@pytest.fixture
def hold_open() -> Iterator[Callable[[Path], None]]:
    """Keep a file open to the end of the test, where its mount may be gone."""
    held = list[int]()
    yield lambda path: held.append(os.open(path, os.O_RDONLY))
    for descriptor in held:
        with contextlib.suppress(OSError):  # a mount that is gone says so to who closes its files
            os.close(descriptor)


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


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mixed]:
    """A mounted set of files of every kind."""
    mounted = mount_mixed(tmp_path_factory.mktemp("mixed"))
    yield mounted
    mounted.hffs("umount", "--force", mounted.folder)
