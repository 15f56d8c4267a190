"""Bytes of a view's images: mapped where they pass through, rendered once where they do not.

Invariants: `ready` never waits, decodes or touches a disk beyond a page fault; everything else
happens on the worker threads of one pool, and a cell that several readers wait for is worked out
once (single flight). What was rendered is kept (`made`). A cell that cannot be decoded or rendered
is logged once and fails from then on at once; other cells are unharmed. Any other failure is logged
once as well. A cell at a URL is fetched on threads of their own, so that waiting for another host
holds up nobody who does not; whether it is asked for again after a failure is its fetcher's to say.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from mmap import mmap
from typing import TypeAlias, TypeVar

import numpy as np

from hffs.core.formats import MediaFormat
from hffs.core.types import Position, Row
from hffs.data.lookups import CacheFigures
from hffs.errors import DeadlineError, FormatError, HffsError, RenderError, WorkerError
from hffs.view.failures import Failures
from hffs.view.figures import DiskFigures, ViewFigures
from hffs.view.made import Made, Stores
from hffs.view.manifest import Manifest
from hffs.view.parts import Parts, require_format
from hffs.view.pools import Pool, then
from hffs.view.rendering import Rendering, split_forms
from hffs.view.totals import Totals

T = TypeVar("T")

Render: TypeAlias = Callable[[memoryview], Sequence[bytes | bytearray]]
"""Makes the files of an encoded image, one for each tile that is shown; RenderError where that is
impossible, another HffsError where it could not be tried.
"""

FETCHERS = 128
"""Cells elsewhere that are waited for at a time: many more than all hosts are sent, since most may
wait for their turn at one host that is slow, and would keep the others from theirs. One that is in
the cache waits for none of them.
"""


class Content:
    """The images of one view, by position."""

    def __init__(
        self,
        manifest: Manifest,
        stores: Stores,
        rendering: Rendering,
        render: Render,
        workers: int,
    ) -> None:
        self._manifest = manifest
        self._make_files = render
        self._stores = stores
        self._rendering = rendering
        self._cells = manifest.cells.data
        self._forms = manifest.forms.data
        self._tiles = None if manifest.tiles is None else manifest.tiles.data
        self._lengths = stores.index.length.data
        self._rows = stores.index.row.data
        self._passes = rendering.passing()
        self._extensions = rendering.extensions()
        self._suffixes = [b"." + extension.encode("ascii") for extension in self._extensions]
        self._order = {tile: number for number, tile in enumerate(rendering.tiles)}
        self._totals = Totals(manifest, stores.index, rendering, stores.sizes)
        self._made = Made(manifest, stores, rendering)
        self._is_parted = rendering.media != "image"
        self._parts = Parts(stores.rows, stores.sizes)
        self._failures = Failures(stores.rows)
        self._flights: dict[int, Future[list[memoryview]]] = {}
        self._lock = threading.RLock()  # a flight that ends at once lands while it is being made
        self._pool = Pool(workers, thread_name_prefix="hffs-render")
        self._fetchers = Pool(FETCHERS, thread_name_prefix="hffs-fetch")

    def figures(self) -> ViewFigures:
        """What there was to do so far, here and in the layers below."""
        cache, kinds = self._stores.cache, self._stores.cache.lookups.figures()
        found = self._made.on_disk()
        if found != CacheFigures():
            kinds["image"] = kinds.get("image", CacheFigures()) + found
        made = kinds["image"].made if "image" in kinds and not self._is_parted else 0
        return ViewFigures(
            memory=self._made.in_memory(),
            disk=DiskFigures(kinds, cache.evicted, cache.failures),
            rendered=made,
            failures=self._failures.figures(),
            traffic=self._stores.rows.traffic.figures(),
            queues={"render": self._pool.queued, "fetch": self._fetchers.queued},
        )

    @property
    def is_here(self) -> bool:
        """Whether every image lies in a map, to be given as it is or to be rendered."""
        return self._stores.rows.is_mapped

    @property
    def is_at_hand(self) -> bool:
        """Whether every image is a slice of a map: always `ready`, of a size that is known."""
        rendered = self._rendering.count_rendered(self._manifest.forms)
        return not rendered and self.is_here

    def extension(self, position: Position) -> str:
        """Extension of a position's image, which its bytes agree with."""
        return self._extensions[self._forms[position]]

    def listing(self, position: Position) -> tuple[bytes, int | None]:
        """What a listing shows of an image: the dot and extension, and `size_bytes`."""
        form = self._forms[position]
        if self._passes[form]:
            length = self._lengths[self._cells[position]]
            if length >= 0:
                return self._suffixes[form], length
        return self._suffixes[form], self._made.size_bytes(position)

    def find_alike(self, start: int, stop: int) -> tuple[bytes, int]:
        """The dot and extension of the first of some positions, and of how many in a row."""
        forms = self._manifest.forms[start:stop]
        suffix = self._suffixes[forms[0]]
        same = np.array([each == suffix for each in self._suffixes])[forms]
        return suffix, len(forms) if same.all() else int(same.argmin())

    def row(self, position: Position) -> Row:
        """Row of the source that a position shows."""
        return Row(self._rows[self._cells[position]])

    def tile(self, position: Position) -> int | None:
        """Which tile of a composite a position shows, None where images are whole."""
        return None if self._tiles is None else self._tiles[position]

    def size_bytes(self, position: Position) -> int | None:
        """Exact size of an image, None where it was never rendered."""
        return self.listing(position)[1]

    def known_bytes(self) -> int:
        """Bytes of all images whose size is known."""
        return self._totals.known_bytes()

    def prepare(self, position: Position) -> None:
        """Refuse a source that changed (StaleError)."""
        try:
            self._stores.rows.check(self._cells[position])
        except HffsError as error:
            self._tell(position, error)
            raise

    def is_made(self, position: Position) -> bool:
        """Whether an image was rendered here before: it can be, and most often is kept."""
        is_rendered = not self._passes[self._forms[position]]
        is_rendered = is_rendered and not self._stores.rows.is_far(self._cells[position])
        return is_rendered and self._made.size_bytes(position) is not None

    def find_made(self, position: Position) -> memoryview | None:
        """An image that is kept on the disk, for who may wait for that."""
        return self._made.find(position) if self.is_made(position) else None

    def ready(self, position: Position) -> memoryview | None:
        """An image's bytes where they take no waiting."""
        if self._passes[self._forms[position]]:
            try:
                mapped = self._stores.rows.read(self._cells[position])
                if mapped is not None:  # a source may change while a file of it is open
                    self._stores.rows.check(self._cells[position])
            except HffsError as error:
                self._tell(position, error)
                raise
            if mapped is not None:
                return mapped
        return self._made.recent(position)

    def read_into(self, buffer: memoryview, position: Position, start: int) -> int | None:
        """Have a part of an image in a buffer where it lies in a file as it is, and how long that
        part is; else None.
        """
        if not self._passes[self._forms[position]]:
            return None
        try:
            return self._stores.rows.read_into(buffer, self._cells[position], start)
        except HffsError as error:
            self._tell(position, error)
            raise

    def request_size(self, position: Position) -> Future[int]:
        """How many bytes an image has, if that is not known; raises as `request` does."""
        cell = self._cells[position]
        if not self._parts.has(cell):
            return then(self.request(position), len)
        waits = self._stores.rows.waits_for_network(cell)
        return self._submit(waits, partial(self._parts.find_size, cell), position)

    def request_part(self, position: Position, start: int, stop: int) -> Future[memoryview]:
        """The bytes of an image from `start` up to `stop`; raises as `request` does."""
        cell = self._cells[position]
        if not self._parts.has(cell):
            return then(self.request(position), lambda image: image[start:stop])
        waits = self._parts.waits_for_network(cell, start, stop)
        work = partial(self._parts.read, cell, self._find_format(position), start, stop)
        return self._submit(waits, work, position)

    def fetch(self, position: Position) -> Future[int]:
        """Have an image on this host; its size in bytes. Raises as `request` does."""
        cell = self._cells[position]
        if not self._parts.has(cell):
            return then(self.request(position), len)
        work = partial(self._parts.fetch, cell, self._find_format(position))
        return self._submit(True, work, position)

    def _find_format(self, position: Position) -> MediaFormat:
        formats, _ = split_forms(np.array([self._forms[position]], np.uint8))
        return MediaFormat(int(formats[0]))

    def _submit(self, waits: bool, work: Callable[[], T], position: Position) -> Future[T]:
        """Do some work on a part of a file: on a thread that may wait, or on a worker."""
        return (self._fetchers if waits else self._pool).submit(self._attempt, work, position)

    def _attempt(self, work: Callable[[], T], position: Position) -> T:
        """Do some work, if the file is not known to be broken; else, or then, a RenderError."""
        cell = self._cells[position]
        if failure := self._failures.find(cell, partial(self._name, position)):
            raise failure
        try:
            return work()
        except FormatError as error:
            raise self._failures.settle(cell, self._name(position), error) from error
        except HffsError as error:
            self._tell(position, error)
            raise

    def _tell(self, position: Position, error: HffsError) -> None:
        self._failures.tell(self._cells[position], self._name(position), error)

    def request(self, position: Position) -> Future[memoryview]:
        """An image's bytes, worked out on a thread; RenderError where that is impossible."""
        number = 0 if self._tiles is None else self._order[self._tiles[position]]
        return then(self._fly(position), lambda images: images[number])

    def close(self) -> None:
        """Stop the workers; what they have not begun is dropped."""
        self._failures.close()
        self._fetchers.shutdown(wait=False, cancel_futures=True)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _fly(self, position: Position) -> Future[list[memoryview]]:
        """The work on a position's cell, begun if need be: all tiles of it at once."""
        cell = self._cells[position]
        with self._lock:
            if failure := self._failures.find(cell, partial(self._name, position)):
                refused: Future[list[memoryview]] = Future()
                refused.set_exception(failure)
                return refused
            flight = self._flights.get(cell)
            if flight is None:
                rows = self._stores.rows
                if rows.waits_for_network(cell):
                    flight = self._fetchers.submit(self._bring, position, cell)
                elif rows.is_far(cell):
                    flight = self._pool.submit(self._take, position, cell)
                else:
                    flight = self._pool.submit(self._work, position, cell)
                self._flights[cell] = flight
                flight.add_done_callback(lambda _: self._land(cell))
            return flight

    def _land(self, cell: int) -> None:
        with self._lock:
            self._flights.pop(cell, None)

    def _bring(self, position: Position, cell: int) -> list[memoryview]:
        """The work on a cell elsewhere, on a thread that may wait.

        It also waits for the worker, so that no more images lie in memory than there are fetchers.
        """
        kept = self._made.find_all(cell)
        if kept is not None:
            return self._made.publish(cell, kept)
        return self._pool.submit(self._work, position, cell, self._load(position)).result()

    def _take(self, position: Position, cell: int) -> list[memoryview]:
        """The work on a cell elsewhere that was fetched before, on a worker."""
        kept = self._made.find_all(cell)
        if kept is not None:
            return self._made.publish(cell, kept)
        return self._work(position, cell, self._load(position))

    def _load(self, position: Position) -> memoryview:
        """The bytes of a position's cell as they are stored."""
        try:
            return self._stores.rows.copy(self._cells[position])
        except FormatError:
            raise  # the cell itself is broken, which is told where it is kept
        except HffsError as error:
            self._tell(position, error)
            raise

    def _work(
        self, position: Position, cell: int, fetched: memoryview | None = None
    ) -> list[memoryview]:
        images = self._try(position, cell, fetched)
        if isinstance(images, RenderError):
            raise images
        return images

    def _try(
        self, position: Position, cell: int, fetched: memoryview | None
    ) -> list[memoryview] | RenderError:
        """The images of a cell, or why there will never be any, which is kept and logged once.

        It is returned, so that the error that was raised ends here: its frames hold pixels.
        """
        try:
            if self._passes[self._forms[position]]:
                return [self._pass(position, cell, fetched)]
            return self._made.publish(cell, self._render(position, cell, fetched))
        except (RenderError, FormatError) as error:
            return self._failures.settle(cell, self._name(position), error)

    def _pass(self, position: Position, cell: int, fetched: memoryview | None) -> memoryview:
        if fetched is None and (mapped := self._stores.rows.read(cell)) is not None:
            return mapped
        kept = self._made.find_all(cell) if self._is_parted and fetched is None else None
        image = kept[0] if kept else self._load(position) if fetched is None else fetched
        if self._is_parted and self._stores.rows.is_far(cell):
            require_format(image, self._find_format(position))
        if self._stores.rows.read(cell) is None:  # a file of its own: nothing holds it open
            if self._is_parted and not kept:
                image = self._keep(cell, image)
            self._made.hold(cell, image)
        return image

    def _keep(self, cell: int, file: memoryview) -> memoryview:
        """A video or sound that had to be decoded, or fetched whole: mapped from the disk cache,
        since it may be larger than memory should hold.
        """
        self._stores.sizes.learn(cell * self._rendering.slots, len(file))
        if isinstance(file.obj, mmap):
            return file
        return self._stores.cache.put(self._made.keys(cell)[0], file)

    def _render(
        self, position: Position, cell: int, fetched: memoryview | None
    ) -> list[memoryview]:
        """Every tile of a cell that is shown: they share most of the work, and are asked for
        one after the other.
        """
        cache, rendering = self._stores.cache, self._rendering
        kept = None if fetched is not None else self._made.find_all(cell)
        if kept is not None:
            return kept
        data = self._load(position) if fetched is None else fetched
        if fetched is not None and rendering.leaves(data):
            return [data]
        try:
            images = self._make_files(data)
        except (WorkerError, DeadlineError) as error:
            self._tell(position, error)
            raise
        return [
            cache.put(key, image) for key, image in zip(self._made.keys(cell), images, strict=True)
        ]

    def _name(self, position: Position) -> str:
        number = self._manifest.layout.number(position)
        row = f"(row {self.row(position)} of {self._manifest.info.source})"
        return f"{number}.{self.extension(position)} {row}"
