"""How much the suite measures, and how often: in full, and quickly."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tests.bench.access_folders import OPENERS


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured, and how often."""

    folders: tuple[str, ...]
    """Kinds of folders that photos are read from, besides the plain one."""
    files: int
    files_rounds: int
    epoch_files: int
    epoch_rounds: int
    epochs_of_ours: bool
    """Whether the loader of `hffs.train` has its turn too."""
    first_rows: int
    first_kilobytes: int
    first_rounds: int
    filter_rows: int
    filter_rounds: int
    names: int
    names_rounds: int
    memory_rows: tuple[int, ...]
    remote_rows: int
    remote_peers: tuple[str, ...] | None
    """Which of the peers; all of them if None."""
    remote_rounds: int
    tile_rounds: int
    latency_rounds: int
    scan_images: int
    scan_rounds: int
    start_rounds: int

    def with_rounds(self, rounds: int) -> Sizes:
        """The same with so many rounds of everything."""
        names = [name for name in self.__slots__ if name.endswith("_rounds")]
        given: dict[str, Any] = dict.fromkeys(names, rounds)
        return replace(self, **given)


FULL = Sizes(
    folders=tuple(OPENERS), files=2000, files_rounds=5,
    epoch_files=1000, epoch_rounds=7, epochs_of_ours=True,
    first_rows=100_000, first_kilobytes=16, first_rounds=2,
    filter_rows=1_000_000, filter_rounds=9,
    names=1_000_000, names_rounds=3,
    memory_rows=(10_000, 100_000, 1_000_000, 10_000_000),
    remote_rows=4000, remote_peers=None, remote_rounds=1,
    tile_rounds=40, latency_rounds=3,
    scan_images=10_000, scan_rounds=3,
    start_rounds=5,
)  # fmt: skip
QUICK = Sizes(
    folders=tuple(OPENERS), files=300, files_rounds=1,
    epoch_files=200, epoch_rounds=1, epochs_of_ours=False,
    first_rows=5000, first_kilobytes=16, first_rounds=1,
    filter_rows=100_000, filter_rounds=1,
    names=100_000, names_rounds=1,
    memory_rows=(100_000,),
    remote_rows=400, remote_peers=("datasets, streaming, filter", "pyarrow, row group"),
    remote_rounds=1,
    tile_rounds=5, latency_rounds=1,
    scan_images=1000, scan_rounds=1,
    start_rounds=2,
)  # fmt: skip
