"""Rendered images that are there already: on the disk, in memory, and the sizes of all of them.

Owns what they are kept under: *slots*, which number all that can be rendered of a source. Must not
know how an image is rendered, nor who waits for it. Thread-safe.
"""

from __future__ import annotations

from dataclasses import dataclass

from hffs.core.types import Position
from hffs.data.cache import DiskCache
from hffs.data.cells.index import CellIndex
from hffs.data.lookups import CacheFigures
from hffs.data.recent import Recent, count_held
from hffs.data.rows import RowStore
from hffs.data.tally import Tally
from hffs.errors import RenderError
from hffs.view.manifest import Manifest
from hffs.view.rendering import Rendering
from hffs.view.sizes import LearnedSizes

_RECENT_BYTES = 64 * 2**20
_RECENT_IMAGES = 256  # each holds a descriptor: stay far below the usual limit of 1024


@dataclass(frozen=True, slots=True)
class Stores:
    """Where an image's bytes come from and where rendered ones are kept."""

    index: CellIndex
    rows: RowStore
    cache: DiskCache
    sizes: LearnedSizes
    prefix: str
    """Of the cache keys of rendered images: everything that they depend on besides their slot."""


class Made:
    """The rendered images of one view."""

    def __init__(self, manifest: Manifest, stores: Stores, rendering: Rendering) -> None:
        self._source = manifest.info.source
        self._cells = manifest.cells.data
        self._tiles = None if manifest.tiles is None else manifest.tiles.data
        self._slots, self._shown = rendering.slots, rendering.tiles
        self._sizes, self._cache, self._prefix = stores.sizes, stores.cache, stores.prefix
        self._recent = Recent[memoryview](_RECENT_BYTES, _RECENT_IMAGES, count_held)
        self._in_memory, self._not_in_memory = Tally(), Tally()
        self._on_disk, self._not_on_disk = Tally(), Tally()

    def in_memory(self) -> CacheFigures:
        """How often an image was found in memory, and was not."""
        return CacheFigures(self._in_memory.total, self._not_in_memory.total)

    def on_disk(self) -> CacheFigures:
        """How often `find` found one, and did not."""
        return CacheFigures(self._on_disk.total, self._not_on_disk.total)

    def size_bytes(self, position: Position) -> int | None:
        """Exact size of a position's image, None where it was never rendered."""
        return self._sizes.get(self.slot(position))

    def recent(self, position: Position) -> memoryview | None:
        """A position's image if it is in memory. One thread asks."""
        image = self._recent.get(self.slot(position))
        (self._not_in_memory if image is None else self._in_memory).add()
        return image

    def find(self, position: Position) -> memoryview | None:
        """A position's image from the disk, which is looked at. One thread asks."""
        slot = self.slot(position)
        image = self._cache.peek(self._key(slot))
        if image is None or len(image) != self._sizes.get(slot):
            self._not_on_disk.add()
            return None
        self._on_disk.add()
        self._recent.put(slot, image)
        return image

    def find_all(self, cell: int) -> list[memoryview] | None:
        """Every tile of a cell that is shown, if all are on the disk."""
        kept = [image for key in self.keys(cell) if (image := self._cache.get(key)) is not None]
        return kept if len(kept) == len(self._shown) else None

    def publish(self, cell: int, images: list[memoryview]) -> list[memoryview]:
        """Make the files of a cell known, now that they are there.

        RenderError where one has another size than was told before: whoever was told it would read
        it cut short, or padded.
        """
        for slot, image in zip(self.slots(cell), images, strict=True):
            told = self._sizes.get(slot)
            if told not in (None, len(image)):
                why = f"it has {len(image)} bytes, and had {told} when that was recorded"
                raise RenderError("cannot render", self._source, why=why)
            self._sizes.learn(slot, len(image))
            self._recent.put(slot, image)
        return images

    def hold(self, cell: int, image: memoryview) -> None:
        """Have an image that passes through in memory."""
        self._recent.put(cell * self._slots, image)

    def slot(self, position: Position) -> int:
        """Number of an image among all that can be rendered of the source."""
        slot: int = self._cells[position] * self._slots
        return slot if self._tiles is None else slot + self._tiles[position]

    def slots(self, cell: int) -> list[int]:
        """Slots of the tiles of a cell that are shown; of a whole image there is one."""
        return [cell * self._slots + tile for tile in self._shown]

    def keys(self, cell: int) -> list[str]:
        """What the tiles of a cell that are shown are kept under."""
        return [self._key(slot) for slot in self.slots(cell)]

    def _key(self, slot: int) -> str:
        return f"{self._prefix}/{slot}"
