"""The image cells of some consecutive rows of a shard, as those who locate them hand them over.

Owns the form alone, and cutting rows out of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hffs.core.levels import Levels
from hffs.data.remote.files import Range

PathReader = Callable[[NDArray[np.int64]], pa.Array]
"""Paths of some slots of a batch (`hffs.data.arrow.read_paths`), read only when asked for."""


@dataclass(frozen=True, slots=True)
class PartKey:
    """Which part of a shard bytes are decoded from (`decode`), and the size of its blob."""

    group: int
    number: int
    size_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class CellBatch:
    """The slots of some consecutive rows of a shard (`hffs.data.arrow.Slots`), one entry each.

    `rows` (int64) count from the batch's first row, which has `row_count` of them. The bytes of a
    slot lie at `offsets` (int64, `NO_SLOT` for none) of the shard's map, or of a decoded `part`;
    where there are `pages`, an offset is a page of these and a slot in it, as in the index.
    `vacant` marks the slots that stand for a null or empty list. `coded` is there where what lies
    there is base64; then offsets are those of the text, and lengths those of the image.
    """

    row_count: int
    rows: NDArray[np.int64]
    items: NDArray[np.int32]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    formats: NDArray[np.uint8]
    vacant: NDArray[np.bool_]
    read_paths: PathReader
    part: PartKey | None = None
    coded: Coded | None = None
    pages: ChunkPages | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Coded:
    """Of each slot of a batch `stored` (int64), characters of its base64 text, and why it is not
    taken (uint8, `Refusal`): `refused`. One that is refused, or has no text, has a length of 0.
    """

    stored: NDArray[np.int64]
    refused: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class ChunkPages:
    """Where the pages of one column chunk lie in the shard, which is read where it lies.

    Of each page `offsets` and `sizes` (int64, bytes), and `first_rows` (int64), the row of the
    `group` that it begins with; `dictionary` is where another page is that they need, if any.
    With `whole`, nobody knows, and the chunk counts as one page. With `is_text` the values are
    images as base64.
    """

    group: int
    rows: int
    codec: int
    levels: Levels
    dictionary: Range
    whole: bool
    is_text: bool
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    first_rows: NDArray[np.int64]


def cut_rows(batch: CellBatch, start: int, stop: int) -> CellBatch:
    """The rows of a batch from `start` up to `stop`, as far as it has them."""
    start, stop = max(start, 0), min(stop, batch.row_count)
    if start == 0 and stop == batch.row_count:
        return batch
    low, high = (int(place) for place in np.searchsorted(batch.rows, (start, max(start, stop))))

    def read_paths_of(chosen: NDArray[np.int64]) -> pa.Array:
        return batch.read_paths(chosen + low)

    coded = batch.coded
    if coded is not None:
        coded = Coded(coded.stored[low:high], coded.refused[low:high])
    return replace(
        batch,
        row_count=max(stop - start, 0),
        rows=batch.rows[low:high] - start,
        items=batch.items[low:high],
        offsets=batch.offsets[low:high],
        lengths=batch.lengths[low:high],
        formats=batch.formats[low:high],
        vacant=batch.vacant[low:high],
        read_paths=read_paths_of,
        coded=coded,
    )


@dataclass(frozen=True, slots=True, eq=False)
class HeldPaths:
    """Paths of some slots (ascending) of a batch, which its file need not be open for any more."""

    slots: NDArray[np.int64]
    paths: pa.Array

    def __call__(self, chosen: NDArray[np.int64]) -> pa.Array:
        """Paths of slots that are among those that are held."""
        return self.paths.take(pa.array(np.searchsorted(self.slots, chosen)))


def hold_paths(batch: CellBatch, slots: NDArray[np.int64]) -> CellBatch:
    """A batch that can be pickled: of some slots (ascending) it has the paths, of others none."""
    paths = batch.read_paths(slots)
    return replace(batch, read_paths=HeldPaths(slots, pa.concat_arrays([paths])))
