"""What workers of an engine do of deciding a view: find the cells of shards, look at headers.

Owns what a worker is given, and putting answers in order. Must not know who the workers are. They
open the source themselves, as it was located: files have to be where they are here, or be read
where they lie; and what is kept in `cache_dir` serves all that share it. Invariant: an index and a
view are the same, byte for byte, as without an engine.

Calling a function of the user's, and terms on columns, are left to this host: of metadata alone,
which are read faster than they could be handed round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hffs.config import Config
from hffs.data.cache import DiskCache
from hffs.data.cells.batches import CellBatch, hold_paths
from hffs.data.cells.building import load_or_build, read_shards
from hffs.data.cells.collecting import find_named
from hffs.data.cells.index import CellIndex
from hffs.data.engines import Engine, Needs
from hffs.data.mediacolumn import MediaColumn
from hffs.data.source import Source, tell_nobody
from hffs.errors import StaleError
from hffs.view.heads import learn_formats
from hffs.view.measuring import Looked, Share, look_at
from hffs.view.places import Places, find_places
from hffs.view.reading import open_reader, open_rows

_SHARDS_AT_ONCE = 4
"""Of a task: while one is read, the next are on their way."""

_CELLS_AT_ONCE = 4096
"""Of a task: a second of work, where images are not fetched."""

T = TypeVar("T")

_Numbered = tuple[int, T]
_Batches = list[tuple[int, CellBatch]]


@dataclass(frozen=True, slots=True)
class Opening:
    """How a worker opens a source; it is pickled."""

    config: Config
    source: Source

    @classmethod
    def of(cls, config: Config, source: Source) -> Opening:
        """Without what is open here."""
        return cls(config, replace(source, reader=None))

    @contextmanager
    def open(self) -> Iterator[tuple[Places, Source]]:
        """The source, and where this host keeps what is known of it."""
        places = find_places(self.config, self.source)
        with open_reader(self.config, places) as reader:
            yield places, replace(self.source, reader=reader)


@dataclass(frozen=True, slots=True)
class Sharing:
    """Work on a source, for the workers of an engine."""

    engine: Engine
    opening: Opening

    def read_shards(
        self, source: Source, column: MediaColumn, numbers: Sequence[int]
    ) -> Iterator[tuple[int, CellBatch]]:
        """As `hffs.data.cells.building.read_shards`, in the same order."""
        starts = range(0, len(numbers), _SHARDS_AT_ONCE)
        tasks = [
            (task, numbers[start : start + _SHARDS_AT_ONCE]) for task, start in enumerate(starts)
        ]
        make = partial(make_finder, self.opening, column)
        for batches in put_in_order(self.engine.run(make, tasks, Needs())):
            yield from batches

    def share_looks(self, index: CellIndex) -> Share:
        """Has cells of an index looked at."""
        make = partial(make_looker, self.opening, index.column, index.identity)

        def share(cells: NDArray[np.int64]) -> Iterator[Looked]:
            starts = range(0, len(cells), _CELLS_AT_ONCE)
            tasks = [cells[start : start + _CELLS_AT_ONCE] for start in starts]
            return self.engine.run(make, tasks, Needs())

        return share


def put_in_order(results: Iterable[_Numbered[T]]) -> Iterator[T]:
    """Results by their numbers, from 0 on; those that come too early are held."""
    early = dict[int, T]()
    following = 0
    for number, result in results:
        early[number] = result
        while following in early:
            yield early.pop(following)
            following += 1


def make_finder(
    opening: Opening, column: MediaColumn, device: str
) -> Callable[[Iterable[_Numbered[Sequence[int]]]], Iterator[_Numbered[_Batches]]]:
    """A worker that finds the cells of shards."""

    def find(tasks: Iterable[_Numbered[Sequence[int]]]) -> Iterator[_Numbered[_Batches]]:
        with opening.open() as (_, source):
            for task, numbers in tasks:
                batches = read_shards(source, column, numbers)
                yield task, [(number, _hold(batch, column)) for number, batch in batches]

    return find


def _hold(batch: CellBatch, column: MediaColumn) -> CellBatch:
    return hold_paths(batch, find_named(batch, column.media))


def make_looker(
    opening: Opening, column: MediaColumn, identity: str, device: str
) -> Callable[[Iterable[NDArray[np.int64]]], Iterator[Looked]]:
    """A worker that looks at the headers of cells of an index, which is found here or made."""

    def look(tasks: Iterable[NDArray[np.int64]]) -> Iterator[Looked]:
        from hffs.view.codecs import silence_warnings

        silence_warnings()
        config = opening.config
        with opening.open() as (places, source):
            index = load_or_build(places.index(column), source, column, tell_nobody)
            if index.identity != identity:
                why = "a worker found other images in it than this host"
                fix = "let all hosts share its files, or its cache_dir"
                raise StaleError("cannot measure", source.name, why=why, fix=fix)
            index = learn_formats(config, places, index, tell_nobody)
            cache = DiskCache(places.blobs, config.cache_size)
            with open_rows(config, places, index, cache) as rows:
                for cells in tasks:
                    yield look_at(rows, index.format, cells)

    return look
