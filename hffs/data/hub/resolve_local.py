"""Which files a local path means that only `datasets` understands; nobody is asked.

A folder follows the rules of `datasets` (README.md, folders and names of splits), as does a list of
files given beside it; one file, or a glob, is the split `train`.
"""

from __future__ import annotations

import glob
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hffs.data.hub import card
from hffs.data.hub.failures import hub_errors
from hffs.data.hub.libraries import set_up_datasets, without_network, without_warnings
from hffs.data.hub.listing import listing_once
from hffs.data.hub.resolution import Request, Resolution
from hffs.data.hub.resolve import as_data_files, chosen_files, describe, local_file
from hffs.errors import SourceError


def resolve_local(request: Request) -> Resolution:
    """Return what an absolute path means; its files are absolute too."""
    path = Path(request.name)
    with hub_errors(request), without_warnings(), tempfile.TemporaryDirectory() as scratch:
        set_up_datasets()
        with without_network(), listing_once():
            builder = _open_builder(request, path, scratch)
            files = {
                split: tuple(local_file(os.path.abspath(name)) for name in names)
                for split, names in chosen_files(request, builder).items()
            }
            return describe(request, builder, "", files)


def _open_builder(request: Request, path: Path, scratch: str) -> Any:
    from datasets import load_dataset_builder

    given = as_data_files(request)
    _refuse_urls(given)
    if path.is_dir():
        described = [path / name for name in card.NAMES if (path / name).is_file()]
        for file in described:
            card.check_size(request.name, file.name, file.stat().st_size)
        card.check(request.name, described)
        return load_dataset_builder(str(path), request.config, data_files=given, cache_dir=scratch)
    if given is not None:
        fix = "name a folder, or leave data_files out"
        raise SourceError("cannot use data_files with", request.name, why="no folder", fix=fix)
    pattern = glob.escape(str(path)) if path.exists() else str(path)
    if next(glob.iglob(pattern, recursive=True), None) is None:
        fix = "check the path"
        raise SourceError("cannot open", request.name, why="no such file or folder", fix=fix)
    # An empty folder, so that no README.md beside the file has a say.
    empty = Path(scratch, "empty")
    empty.mkdir()
    return load_dataset_builder(
        str(empty), request.config, data_files={"train": [pattern]}, cache_dir=scratch
    )


def _refuse_urls(given: Any) -> None:
    groups = given.values() if isinstance(given, Mapping) else [given or []]
    for pattern in (pattern for group in groups for pattern in group):
        if "://" in pattern or "::" in pattern:
            fix = "give files of this host"
            raise SourceError("cannot use data_files", repr(pattern), why="it is a URL", fix=fix)
