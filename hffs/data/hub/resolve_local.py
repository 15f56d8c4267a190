"""Which files a local path means that only `datasets` understands; nobody is asked.

A folder follows the rules of `datasets` (README.md, folders and names of splits), as does a list of
files given beside it; one file, or a glob, is the split `train`. Of a snapshot in the cache, what
README.md names beyond the request need not be there.
"""

from __future__ import annotations

import glob
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hffs.data.hub import card
from hffs.data.hub.failures import hub_errors
from hffs.data.hub.libraries import set_up_datasets, without_network, without_warnings
from hffs.data.hub.listing import listing_once, replaced
from hffs.data.hub.media import choosing_builder
from hffs.data.hub.resolution import HubFile, Request, Resolution
from hffs.data.hub.resolve import (
    as_data_files,
    chosen_files,
    describe,
    local_file,
)
from hffs.data.shards import unknown_split
from hffs.errors import DataError, SourceError


def resolve_local(request: Request) -> Resolution:
    """Return what an absolute path means; its files are absolute too."""
    with hub_errors(request):
        return _resolve(request, Path(request.name))


def resolve_snapshot(request: Request, folder: Path) -> Resolution:
    """Return what a request means of a repository that is in a folder, as far as it is there."""
    with hub_errors(request), _without_absent(request, folder):
        return _resolve(request, folder)


def _resolve(request: Request, path: Path) -> Resolution:
    with without_warnings(), tempfile.TemporaryDirectory() as scratch:
        set_up_datasets()
        with without_network(), listing_once(), choosing_builder(request.media):
            builder = _open_builder(request, path, scratch)
            files = {
                split: tuple(local_file(os.path.abspath(name)) for name in names)
                for split, names in chosen_files(request, builder).items()
            }
            _require_inside(request, path, files)
            return describe(request, builder, "", files)


@contextmanager
def _without_absent(request: Request, folder: Path) -> Iterator[None]:
    """While this lasts, README.md names to `datasets` what is asked for, and what else is there.

    It would refuse all for a split whose files are not there, or for another configuration's.
    """
    from datasets.utils.metadata import MetadataConfigs

    read = MetadataConfigs.from_dataset_card_data

    def read_asked(card_data: Any) -> Any:
        return _keep_present(read(card_data), request, folder)

    with replaced(MetadataConfigs, "from_dataset_card_data", read_asked):
        yield


def _keep_present(configs: Any, request: Request, folder: Path) -> Any:
    """Of configurations the one that is asked for, of its splits those that are, or are there."""
    from datasets.data_files import sanitize_patterns

    name = request.config or configs.get_default_config_name()
    if request.data_files is not None or name not in configs:
        return configs
    config = dict(configs[name])
    if (named := config.get("data_files")) is not None:
        patterns = sanitize_patterns(named)
        for split in request.splits:
            if split not in patterns:
                raise unknown_split(request.name, split, patterns)
        base = os.path.join(folder, config.get("data_dir") or "")
        config["data_files"] = {
            split: own
            for split, own in patterns.items()
            if split in request.splits or _is_there(own, base)
        }
    return type(configs)({name: config})


def _is_there(patterns: list[str], base: str) -> bool:
    from datasets.data_files import DataFilesList

    try:
        return bool(DataFilesList.from_patterns(patterns, base_path=base))
    except FileNotFoundError:
        return False


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


def _require_inside(request: Request, path: Path, files: Mapping[str, Sequence[HubFile]]) -> None:
    """Refuse what a folder's own README.md was not seen to name, should there be a way to do so."""
    if request.data_files is not None or not path.is_dir():
        return
    start = os.path.join(os.path.abspath(path), "")
    for name in (file.name for own in files.values() for file in own):
        if not name.startswith(start):
            why = f"datasets would read {name[:200]!r}, which is not in it"
            raise DataError("cannot use", request.name, why=why)


def _refuse_urls(given: Any) -> None:
    groups = given.values() if isinstance(given, Mapping) else [given or []]
    for pattern in (pattern for group in groups for pattern in group):
        if "://" in pattern or "::" in pattern:
            fix = "give files of this host"
            raise SourceError("cannot use data_files", repr(pattern), why="it is a URL", fix=fix)
