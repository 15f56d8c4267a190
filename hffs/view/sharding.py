"""One part of a view for each of several ranks: which files it has, cut from those of the whole.

Owns the cut. Invariants: the parts of all ranks are disjoint, together they are the whole view, in
its order; they differ by one image at most; the tiles of an image stay together; a file has the
name, caption and bytes that it has in the whole view.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from hffs.view.layout import Folders, Layout, make_folders
from hffs.view.manifest import CaptionFiles, Files


@dataclass(frozen=True, slots=True)
class Part:
    """The part of `rank`, counted from 0, of `world` ranks."""

    rank: int
    world: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """`RANK/WORLD`, which `hffs.config` has checked.

        >>> Part.parse("3/8")
        Part(rank=3, world=8)
        """
        rank, world = text.split("/")
        return cls(int(rank), int(world))

    def plan_bounds(self, count: int) -> tuple[int, int]:
        """The first of `count` things, and the one behind the last.

        >>> [Part(rank, 3).plan_bounds(8) for rank in range(3)]
        [(0, 2), (2, 5), (5, 8)]
        """
        return count * self.rank // self.world, count * (self.rank + 1) // self.world


def cut_files(files: Files, part: Part, tiles: int) -> Files:
    """The files of a part; each image of the view has `tiles` of them. There may be none.

    `metadata.jsonl` is left out: it is written of what is left.
    """
    first, end = part.plan_bounds(len(files.cells) // tiles)
    chosen = slice(first * tiles, end * tiles)
    return Files(
        cells=files.cells[chosen],
        forms=files.forms[chosen],
        tiles=None if files.tiles is None else files.tiles[chosen],
        layout=_cut_layout(files.layout, chosen),
        captions=None if files.captions is None else _cut_captions(files.captions, first, end),
        metadata=None,
    )


def _cut_layout(layout: Layout, chosen: slice) -> Layout:
    numbers = np.arange(chosen.start, chosen.stop, dtype=np.int64)
    if layout.numbers is not None:
        numbers = np.asarray(layout.numbers[chosen])
    folders = None if layout.folders is None else _cut_folders(layout.folders, chosen)
    return Layout(len(numbers), numbers, folders, layout.width)


def _cut_folders(folders: Folders, chosen: slice) -> Folders:
    """Folders of which nothing is left are not there."""
    used, of = np.unique(folders.of[chosen], return_inverse=True)
    return make_folders([folders.names[number] for number in used], of.astype(np.int32))


def _cut_captions(captions: CaptionFiles, first: int, end: int) -> CaptionFiles:
    start, stop = int(captions.offsets[first]), int(captions.offsets[end])
    offsets = captions.offsets[first : end + 1] - start
    return CaptionFiles(offsets, captions.blob[start:stop], captions.each)
