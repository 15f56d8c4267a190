"""The files of a view without a mount: read by their names, in any process and on any host.

Owns carrying a recorded view and what of a configuration a host needs to open it, and answering
reads as the mount does: the same bytes, and its errno where there are none. Must not know who
reads. Invariants: nothing is decided where it is opened; what is pickled holds no token, only where
one lies.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hffs.config import Config
from hffs.config.recorded import RecordedConfig, restore_config
from hffs.core.inodes import ROOT
from hffs.core.types import Inode
from hffs.data.viewfile.header import SUFFIX, read_header
from hffs.data.watcher import Unit
from hffs.errors import DataError, FormatError, HffsError
from hffs.view.opening import open_view
from hffs.view.tree import Tree

_OF_HOST = frozenset(
    ["cache_dir", "cache_size", "num_proc", "offline", "token_file", "allow_http_urls",
     "allow_private_urls", "shard"]
)  # fmt: skip
"""Keys that a view file never has, and that are the same wherever the view is opened."""


class _Silent:
    """A watcher of work that nobody waits for."""

    def progress(self, what: str, done: int, total: int, unit: Unit = "") -> None:
        """Nobody is told."""

    def notice(self, text: str) -> None:
        """It was told where the view was decided."""


@dataclass(frozen=True, slots=True)
class ViewFiles:
    """The files of an open view; any thread may ask."""

    tree: Tree

    def read(self, name: str) -> bytes:
        """All of a file, by its path below the root of a mount of the view.

        Raises FileNotFoundError for no name of the view, DataError, and OSError for what else a
        read of the mount would fail with.
        """
        inode = self._find(name)
        try:
            self.tree.prepare(inode)
            ready = self.tree.ready(inode)
            return bytes(self.tree.request(inode).result() if ready is None else ready)
        except DataError:
            raise
        except HffsError as error:
            raise OSError(error.errno, str(error)) from error

    def _find(self, name: str) -> Inode:
        inode = ROOT
        for part in os.fsencode(name).split(b"/"):
            inside = self.tree.lookup(inode, part) if self.tree.is_folder(inode) else None
            if inside is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
            inode = inside
        if self.tree.is_folder(inode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
        return inode


@dataclass(frozen=True, slots=True)
class OpenViewFiles:
    """Opens the files of a view, on this or another host: it is pickled.

    `view` is what `hffs view` writes, `host` the configuration of a host that has nothing of the
    view, `place` where the source lies, None for where the view says.
    """

    view: bytes
    host: Config
    place: str | None

    @classmethod
    def of(cls, config: Config, view: bytes) -> OpenViewFiles:
        """What opens the view of a configuration, which was recorded of it."""
        values = config.model_dump(include=set(_OF_HOST & config.model_fields_set))
        values |= {"id": config.id, "cache_dir": config.cache_dir, "dataset_name": "view"}
        is_as_recorded = isinstance(config, RecordedConfig) and not config.is_placed
        place = None if is_as_recorded else config.dataset_name
        return cls(view, Config.model_validate(values), place)

    @contextmanager
    def __call__(self) -> Iterator[ViewFiles]:
        """The files, open to the end of the block; raises as `hffs.view.opening.open_view`."""
        with tempfile.TemporaryDirectory(prefix="hffs-view-") as folder:
            path = Path(folder) / f"view{SUFFIX}"
            path.write_bytes(self.view)
            with open_view(self._restore(path), _Silent(), self._count_workers()) as tree:
                yield ViewFiles(tree)

    def _restore(self, path: Path) -> Config:
        found = read_header(path)
        if found is None:
            raise FormatError("cannot use view", self.host.id, why="it is no view file")
        here = self.host.model_copy(update={"dataset_name": str(path)})
        return restore_config(found[0].config, here, self.place, found[1])

    def _count_workers(self) -> int:
        return self.host.num_proc or len(os.sched_getaffinity(0))
