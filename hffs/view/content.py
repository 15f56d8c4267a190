"""Bytes of a view's images: mapped where they pass through, rendered once where they do not.

Invariants: `ready` never waits, decodes or touches a disk beyond a page fault; everything else
happens on the worker threads of one pool, and a cell that several readers wait for is worked out
once (single flight). What was rendered is kept on disk (`DiskCache`) and, within `_RECENT_BYTES`,
open in memory. A cell that cannot be rendered is logged once and fails from then on at once;
other cells are unharmed.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from hffs.core.formats import ImageFormat
from hffs.core.types import Position, Row
from hffs.data.cache import DiskCache
from hffs.data.cells import CellIndex
from hffs.data.recent import Recent
from hffs.data.rows import RowStore
from hffs.errors import RenderError
from hffs.view import codecs
from hffs.view.manifest import Manifest
from hffs.view.sizes import LearnedSizes

log = logging.getLogger(__name__)

_RECENT_BYTES = 64 * 2**20
_RECENT_IMAGES = 256  # each holds a descriptor: stay far below the usual limit of 1024


@dataclass(frozen=True, slots=True)
class Stores:
    """Where an image's bytes come from and where rendered ones are kept."""

    index: CellIndex
    rows: RowStore
    cache: DiskCache
    sizes: LearnedSizes
    rendering: str
    """Names everything a rendered image depends on besides the cell: prefix of its cache key."""


class Content:
    """The images of one view, by position."""

    def __init__(self, manifest: Manifest, stores: Stores, workers: int) -> None:
        self._info = manifest.info
        self._cell_array = manifest.cells
        self._stores = stores
        self._target = codecs.parse_target(manifest.info.image_format)
        self._cells = manifest.cells.data
        self._lengths = stores.index.length.data
        self._formats = stores.index.format.data
        self._rows = stores.index.row.data
        self._passes = [codecs.passes_through(kind, self._target) for kind in ImageFormat]
        self._extensions = [codecs.extension(kind, self._target) for kind in ImageFormat]
        self._suffixes = [b"." + extension.encode("ascii") for extension in self._extensions]
        self._recent = Recent(_RECENT_BYTES, _RECENT_IMAGES)
        self._failed: dict[int, RenderError] = {}
        self._flights: dict[int, Future[memoryview]] = {}
        self._lock = threading.RLock()  # a flight that ends at once lands while it is being made
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="hffs-render")

    def extension(self, position: Position) -> str:
        """Extension of a position's image, which its bytes agree with."""
        return self._extensions[self._formats[self._cells[position]]]

    def listing(self, position: Position) -> tuple[bytes, int | None]:
        """What a listing shows of an image: the dot and extension, and `size_bytes`."""
        cell = self._cells[position]
        kind = self._formats[cell]
        size = self._lengths[cell] if self._passes[kind] else self._stores.sizes.get(cell)
        return self._suffixes[kind], size

    def row(self, position: Position) -> Row:
        """Row of the source that a position shows."""
        return Row(self._rows[self._cells[position]])

    def size_bytes(self, position: Position) -> int | None:
        """Exact size of an image, None where it was never rendered."""
        cell = self._cells[position]
        if self._passes[self._formats[cell]]:
            length: int = self._lengths[cell]
            return length
        return self._stores.sizes.get(cell)

    def known_bytes(self) -> int:
        """Bytes of all images whose size is known."""
        index = self._stores.index
        passes = np.asarray(self._passes)[index.format[self._cell_array]]
        mapped = int(index.length[self._cell_array[passes]].sum())
        return mapped + self._stores.sizes.total_bytes(self._cell_array[~passes])

    def prepare(self, position: Position) -> None:
        """Refuse a source that changed (StaleError); let the disk fetch the bytes ahead."""
        cell = self._cells[position]
        self._stores.rows.check(cell)
        self._stores.rows.advise(cell)

    def ready(self, position: Position) -> memoryview | None:
        """An image's bytes where they take no waiting."""
        cell = self._cells[position]
        if self._passes[self._formats[cell]]:
            mapped = self._stores.rows.read(cell)
            if mapped is not None:
                return mapped
        return self._recent.get(cell)

    def request(self, position: Position) -> Future[memoryview]:
        """An image's bytes, worked out on a thread; RenderError where that is impossible."""
        cell = self._cells[position]
        with self._lock:
            if cell in self._failed:
                refused: Future[memoryview] = Future()
                refused.set_exception(self._failed[cell])
                return refused
            flight = self._flights.get(cell)
            if flight is None:
                flight = self._flights[cell] = self._pool.submit(self._work, position, cell)
                flight.add_done_callback(lambda _: self._land(cell))
            return flight

    def close(self) -> None:
        """Stop the workers; what they have not begun is dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _land(self, cell: int) -> None:
        with self._lock:
            self._flights.pop(cell, None)

    def _work(self, position: Position, cell: int) -> memoryview:
        if self._passes[self._formats[cell]]:
            return self._load(cell)
        try:
            image = self._render(cell)
        except RenderError as error:
            failure = self._describe(position, error)
            log.error("%s", failure)  # noqa: TRY400 - the line says it all
            with self._lock:
                self._failed[cell] = failure
            raise failure from error
        self._stores.sizes.learn(cell, len(image))
        self._recent.put(cell, image)
        return image

    def _load(self, cell: int) -> memoryview:
        image = self._stores.rows.load(cell)
        if self._stores.rows.read(cell) is None:  # a file of its own: nothing holds it open
            self._recent.put(cell, image)
        return image

    def _render(self, cell: int) -> memoryview:
        key = f"{self._stores.rendering}/{cell}"
        kept = self._stores.cache.get(key)
        if kept is not None:
            return kept
        image = codecs.render(self._stores.rows.load(cell), self._target)
        return self._stores.cache.put(key, image)

    def _describe(self, position: Position, error: RenderError) -> RenderError:
        name = f"{position}.{self.extension(position)}"
        row = f"(row {self.row(position)} of {self._info.source})"
        return RenderError("cannot render", f"{name} {row}", why=error.why or error.what)
