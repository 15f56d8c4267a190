"""A decision on disk: keeping it, and finding it again if it still holds.

Owns the form of a kept manifest. Invariant: what is found again is what was decided, over the same
index, or nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hffs.config import Config
from hffs.config.recorded import RecordedConfig
from hffs.data.arrays import Stored, array_path, load_kept, save_arrays
from hffs.data.cells.index import CellIndex
from hffs.data.cells.keeping import load_index
from hffs.data.folders import remove_whole
from hffs.data.mapped import open_mapped
from hffs.data.mediacolumn import MediaColumn
from hffs.errors import SourceError
from hffs.view.layout import Folders, Layout
from hffs.view.manifest import Files, Manifest, TextFiles, ViewInfo, make_fingerprint
from hffs.view.places import Places
from hffs.view.rendering import Rendering

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Decided:
    """A view's manifest, with the index that its cells are numbers of."""

    manifest: Manifest
    index: CellIndex


def keep(places: Places, info: ViewInfo, files: Files, index: CellIndex) -> Decided:
    """Keep a decision; what is returned is mapped from the disk, as it will be next time."""
    arrays = name_arrays(files)
    meta = {"info": asdict(info), "column": asdict(index.column)}
    stored = save_arrays(places.view, Stored(arrays, meta))
    return Decided(_restore(stored.arrays, info, places.view), index)


def reopen(places: Places) -> Decided | None:
    """The view as it was decided before, if that still holds."""
    stored = load_kept(places.view)
    if stored is None:
        return None
    try:
        info = ViewInfo.parse(stored.meta["info"])
        column = MediaColumn(**stored.meta["column"])
        manifest = _restore(stored.arrays, info, places.view)
    except (KeyError, TypeError, ValueError, SourceError):  # another release kept it, or took it
        remove_whole(places.view)
        return None
    index = load_index(places.index(column), places.located)
    if index is None or index.identity != places.identify(info.identity):
        remove_whole(places.view)
        return None
    return Decided(manifest, index)


def is_lasting(config: Config, decided: Decided | None) -> bool:
    """Whether what was decided before would not be decided otherwise now."""
    if isinstance(config, RecordedConfig):
        return decided is not None
    if decided is None or config.filter_func.python is not None:
        return False  # nothing tells whether the function of a filter has changed
    return not decided.manifest.info.unsettled  # images that could not be fetched may be there now


def fingerprint_files(files: Files, rendering: Rendering, identity: str, extension: str) -> str:
    """The fingerprint of a view's files, over an index of some identity.

    `extension` is that of caption files, empty where there are none.
    """
    facts = {
        "identity": identity,
        "target": rendering.target,
        "captions": extension,
        "width": str(files.layout.padding),
    }
    if rendering.count_rendered(files.forms):
        facts["encoder"] = rendering.identity
    return make_fingerprint(facts, name_arrays(files))


def name_arrays(files: Files) -> dict[str, NDArray[Any]]:
    """All arrays of a view by the names under which they are kept."""
    layout, folders = files.layout, files.layout.folders
    captions, lyrics = files.captions, files.lyrics
    arrays: dict[str, NDArray[Any] | None] = {
        "cells": files.cells,
        "forms": files.forms,
        "tiles": files.tiles,
        "numbers": layout.numbers,
        "captions": None if captions is None else captions.blob,
        "caption_offsets": None if captions is None else captions.offsets,
        "lyrics": None if lyrics is None else lyrics.blob,
        "lyrics_offsets": None if lyrics is None else lyrics.offsets,
        "metadata": files.metadata,
    }
    if folders is not None:
        names = json.dumps(folders.names).encode()
        arrays |= {
            "folder_of": folders.of,
            "folder_members": folders.members,
            "folder_starts": folders.starts,
            "folder_names": np.frombuffer(names, np.uint8),
        }
    return {name: array for name, array in arrays.items() if array is not None}


def _restore(arrays: Arrays, info: ViewInfo, folder: Path) -> Manifest:
    """A manifest from the arrays that keep it, which were loaded from a folder."""
    folders = None
    if "folder_of" in arrays:
        folders = Folders(
            tuple(json.loads(arrays["folder_names"].tobytes())),
            arrays["folder_of"],
            arrays["folder_members"],
            arrays["folder_starts"],
        )
    cells = arrays["cells"]
    captions, lyrics = (
        _restore_texts(arrays[offsets], arrays[blob], len(cells), array_path(folder, blob))
        if offsets in arrays
        else None
        for offsets, blob in (("caption_offsets", "captions"), ("lyrics_offsets", "lyrics"))
    )
    return Manifest(
        info=info,
        cells=cells,
        forms=arrays["forms"],
        tiles=arrays.get("tiles"),
        layout=Layout(len(cells), arrays.get("numbers"), folders, info.name_width),
        captions=captions,
        metadata=arrays.get("metadata"),
        lyrics=lyrics,
    )


def _restore_texts(
    offsets: NDArray[Any], blob: NDArray[Any], positions: int, path: Path
) -> TextFiles:
    file = open_mapped(path)
    file.close_unused()
    return TextFiles(offsets, blob, positions // (len(offsets) - 1), file)
