"""One of several equal parts of a view, for one of several readers that share the whole.

Owns where a part begins and ends, and what of the whole it has. A part is cut out of a view that is
decided: its arrays are slices, nothing is copied, and the files of all parts together are those of
the whole: same names, bytes and times. Invariants: parts are contiguous, disjoint and complete;
their sizes differ by one image at most, and all tiles of an image are in one of them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hffs.errors import DataError
from hffs.view.layout import Layout, make_folders
from hffs.view.manifest import Manifest, TextFiles, make_fingerprint
from hffs.view.rendering import Rendering

_BLOCK_BYTES = 1 << 24
_LINE_END = ord("\n")


class Part(NamedTuple):
    """Which part: `rank` counts from 0, up to `world - 1`."""

    rank: int
    world: int

    def cut(self, count: int) -> slice:
        """The part of so many things.

        >>> [Part(rank, 3).cut(7) for rank in range(3)]
        [slice(0, 2, None), slice(2, 4, None), slice(4, 7, None)]
        """
        return slice(count * self.rank // self.world, count * (self.rank + 1) // self.world)


def parse_part(shard: str) -> Part:
    """The part that a configuration's `shard` means, which is checked by then.

    >>> parse_part("3/8")
    Part(rank=3, world=8)
    """
    rank, world = shard.split("/")
    return Part(int(rank), int(world))


def take_part(whole: Manifest, shard: str, rendering: Rendering) -> Manifest:
    """A part of a view; the only part is the whole.

    Raises DataError where there are more parts than images.
    """
    tiles = len(rendering.tiles)
    part, images = parse_part(shard), whole.positions // tiles
    if part.world == 1:
        return whole
    if part.world > images:
        why = f"the view has {images} images, which is less than {part.world} parts"
        fix = f"use at most {images} parts" if images > 1 else "mount it whole"
        raise DataError("cannot take shard", f"{shard} of {whole.info.source}", why=why, fix=fix)
    chosen = part.cut(images)
    positions = slice(chosen.start * tiles, chosen.stop * tiles)
    forms = whole.forms[positions]
    facts = {"whole": whole.info.fingerprint, "shard": shard}
    info = replace(
        whole.info,
        fingerprint=make_fingerprint(facts, {}),
        positions=len(forms),
        rendered=rendering.count_rendered(forms),
        shard=shard,
        whole=whole.info.fingerprint,
    )
    return Manifest(
        info=info,
        cells=whole.cells[positions],
        forms=forms,
        tiles=None if whole.tiles is None else whole.tiles[positions],
        layout=_cut_layout(whole.layout, positions),
        captions=_cut_texts(whole.captions, chosen),
        lyrics=_cut_texts(whole.lyrics, chosen),
        metadata=None if whole.metadata is None else _cut_lines(whole.metadata, positions),
    )


def _cut_texts(whole: TextFiles | None, chosen: slice) -> TextFiles | None:
    """The texts of some images of a view."""
    if whole is None:
        return None
    return TextFiles(
        whole.offsets[chosen.start : chosen.stop + 1], whole.blob, whole.each, whole.file
    )


def _cut_layout(whole: Layout, positions: slice) -> Layout:
    numbers, folders = whole.numbers, whole.folders
    if folders is not None:
        used, of = np.unique(folders.of[positions], return_inverse=True)
        folders = make_folders([folders.names[each] for each in used], of.astype(np.int32))
    return Layout(
        positions.stop - positions.start,
        None if numbers is None else numbers[positions],
        folders,
        whole.width,
        positions.start,
    )


def _cut_lines(blob: NDArray[np.uint8], lines: slice) -> NDArray[np.uint8]:
    """Some lines of a text, a line for each position."""
    return blob[_find_line(blob, lines.start) : _find_line(blob, lines.stop)]


def _find_line(blob: NDArray[np.uint8], number: int) -> int:
    """Where a line begins, or the text ends."""
    if not number:
        return 0
    passed = 0
    for start in range(0, len(blob), _BLOCK_BYTES):
        ends = np.flatnonzero(blob[start : start + _BLOCK_BYTES] == _LINE_END)
        if passed + len(ends) >= number:
            return start + int(ends[number - passed - 1]) + 1
        passed += len(ends)
    return len(blob)
