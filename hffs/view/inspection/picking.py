"""Which few of many images are looked at more closely.

Owns spreading them evenly, and what that may cost: an image of a compressed row group takes all of
the group to decode, one that is not on this host all of its page to fetch, so few of either are
touched where there are many.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hffs.core.sampling import sample_rows
from hffs.data.cells.index import SLOT_BITS, CellIndex, SegmentKind

MOST_GROUPS = 24
"""Compressed row groups, or pages elsewhere, that one pick touches at most."""

_SEED = 0


def spread(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` of the numbers below `count`, ascending, at even distances."""
    picked: NDArray[np.int64] = np.arange(min(count, most), dtype=np.int64)
    return picked * count // max(len(picked), 1)


def pick_spread(index: CellIndex, cells: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Places in `cells` of some that are spread evenly, ascending."""
    cheap = _find_cheap(index, cells, most)
    return cheap[spread(len(cheap), most)]


def pick_sample(index: CellIndex, cells: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Places in `cells` of a sample that is drawn evenly, the same each time; ascending."""
    cheap = _find_cheap(index, cells, most)
    return cheap[sample_rows(np.arange(len(cheap)), most, _SEED)]


def _find_cheap(index: CellIndex, cells: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Places of all cells, or of those in a few of the row groups where these are compressed, or
    of the pages where these have to be fetched.
    """
    groups = _number_groups(index)[index.segment[cells]]
    paged = index.segments.kind[index.segment[cells]] == SegmentKind.PAGES
    groups = np.where(paged, index.offset[cells] >> SLOT_BITS, groups)
    places = np.arange(len(cells))
    used = np.unique(groups[groups >= 0])
    if len(used) <= MOST_GROUPS or most <= MOST_GROUPS:
        return places
    chosen = used[spread(len(used), MOST_GROUPS)]
    return places[(groups < 0) | np.isin(groups, chosen)]


def _number_groups(index: CellIndex) -> NDArray[np.int64]:
    """For each segment the number of its row group, -1 where it is not compressed."""
    segments = index.segments
    most = int(segments.group.max(initial=0)) + 1
    numbers = segments.shard.astype(np.int64) * most + segments.group
    return np.where(segments.kind == SegmentKind.PART, numbers, -1)
