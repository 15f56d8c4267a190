"""A decision on disk: keeping it, and finding it again if it still holds.

Owns the form of a kept manifest. Invariant: what is found again is what was decided, over the same
index, or nothing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from numpy.typing import NDArray

from hffs.data.arrays import Stored, load_kept, remove_arrays, save_arrays
from hffs.data.cells import CellIndex, load_index
from hffs.data.source import ImageColumn
from hffs.view.manifest import CaptionFiles, Manifest, ViewInfo
from hffs.view.places import Places


@dataclass(frozen=True, slots=True)
class Decided:
    """A view's manifest, with the index that its cells are numbers of."""

    manifest: Manifest
    index: CellIndex


def keep(places: Places, manifest: Manifest, index: CellIndex) -> Decided:
    """Keep a decision; what is returned is mapped from the disk, as it will be next time."""
    arrays: dict[str, NDArray[Any]] = {"cells": manifest.cells}
    if manifest.captions is not None:
        arrays["caption_offsets"] = manifest.captions.offsets
        arrays["captions"] = manifest.captions.blob
    meta = {"info": manifest.summary(), "column": asdict(index.column)}
    stored = save_arrays(places.view, Stored(arrays, meta))
    return Decided(_restore(stored, manifest.info), index)


def reopen(places: Places) -> Decided | None:
    """The view as it was decided before, if that still holds."""
    stored = load_kept(places.view)
    if stored is None:
        return None
    try:
        info = ViewInfo.parse(stored.meta["info"])
        column = ImageColumn(**stored.meta["column"])
    except (KeyError, TypeError, ValueError):  # another release kept it
        remove_arrays(places.view)
        return None
    index = load_index(places.index(column), places.located)
    if index is None or index.identity != info.identity:
        remove_arrays(places.view)
        return None
    return Decided(_restore(stored, info), index)


def _restore(stored: Stored, info: ViewInfo) -> Manifest:
    """A manifest from the arrays that keep it."""
    arrays = stored.arrays
    captions = None
    if "captions" in arrays:
        captions = CaptionFiles(arrays["caption_offsets"], arrays["captions"])
    return Manifest(info, arrays["cells"], captions)
