"""Sources of the Hub that are read where they lie: shards, and files that cells name.

Owns for which formats that is possible, and what of them has to be downloaded all the same: what
tells of images (a CSV file, the metadata of a folder), never an image, video or sound. Of Parquet
files it is the ends that are read, which deciding a view finds in the disk cache again.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from hffs.data.cache import DiskCache
from hffs.data.cells.columns import find_media_column
from hffs.data.cells.listing import Listed, save_listing
from hffs.data.hub.media import FOLDERS, METADATA_NAMES
from hffs.data.hub.plain import has_features
from hffs.data.hub.resolution import HubFile, Request, Resolution
from hffs.data.locating.record import Wanted
from hffs.data.prepare.fartars import open_far_tars, refuse_packed
from hffs.data.prepare.tars import Tar
from hffs.data.remote.files import RangeReader, RemoteFile, make_hub_url
from hffs.data.remote.opening import open_fetcher
from hffs.data.shards import Located, Shard, make_key
from hffs.data.source import open_shards, open_source
from hffs.data.watcher import Watcher
from hffs.errors import DataError

_TARS = "webdataset"
_TABLES = ("csv", "json", "text")
_FORMATS = "Parquet, webdataset, folders of images, videos or sounds, CSV and JSON"


def list_needed(resolution: Resolution, files: Sequence[HubFile]) -> list[HubFile]:
    """The files that have to be on this host; DataError for a format that is not read elsewhere."""
    if any(file.name.lower().endswith(".zip") for file in files):
        raise _refuse(resolution, "its files are in zip archives")
    if resolution.format == "parquet":
        return []
    if resolution.format == _TARS:
        packed = [file.name for file in files if not file.name.lower().endswith(".tar")]
        if packed:
            raise refuse_packed(f"{packed[0]} of {resolution.name}")
        return []
    if resolution.format in _TABLES:
        return list(files)
    if resolution.format in FOLDERS:
        told = resolution.options.get("metadata_filenames") or METADATA_NAMES
        return [file for file in files if os.path.basename(file.name) in told]
    raise _refuse(resolution, f"its files are {resolution.format}")


def _refuse(resolution: Resolution, why: str) -> DataError:
    why = f"{why}; read where they lie are {_FORMATS}"
    return DataError("cannot stream", resolution.name, why=why, fix="leave --streaming out")


def name_shards(resolution: Resolution, split: str) -> Iterator[Shard]:
    """The Parquet files of a split as shards that are read where they lie."""
    for file in resolution.files[split]:
        far, path = _name_file(resolution, file)
        yield Shard(path, file.name, far.size_bytes, 0, "parquet", far.url, far.etag)


def _name_file(resolution: Resolution, file: HubFile) -> tuple[RemoteFile, Path]:
    """A file where it lies, and what messages call it."""
    name, commit = resolution.name, resolution.commit
    far = RemoteFile(make_hub_url(name, commit, file.name), file.etag, file.size_bytes)
    return far, Path(f"{name}@{commit[:12]}") / file.name


@contextmanager
def open_tars(
    wanted: Wanted, resolution: Resolution, split: str, store: Path
) -> Iterator[Sequence[Tar] | None]:
    """The tars of a split, to be read where they lie; None of a format that has none."""
    if resolution.format != _TARS:
        yield None
        return
    files = []
    for file in resolution.files[split]:
        far, path = _name_file(resolution, file)
        files.append((far, str(path), file.name))
    cache = _open_cache(store)
    with open_far_tars(files, _open_reader(wanted, cache), cache) as tars:
        yield tars


def tell_features(wanted: Wanted, located: Located, store: Path, watcher: Watcher) -> bool:
    """Whether all shards tell the features of their columns; else README.md has a say."""
    count = len(located.shards)
    with closing(_open_reader(wanted, _open_cache(store))) as reader:
        for number, file in open_shards(located, reader, range(count)):
            watcher.progress("reading footers", number + 1, count, "fetched")
            if not has_features(file.open_native()):
                return False
    return True


def list_named(
    wanted: Wanted, located: Located, store: Path, find: Callable[[set[str]], list[HubFile]]
) -> Located:
    """The source with a listing of the files that cells of its image column name, if they do.

    `find` tells which of them there are.
    """
    from hffs.data.locating.named import list_names

    with closing(_open_reader(wanted, _open_cache(store))) as reader:
        source = open_source(located, reader)
        images = find_media_column(source, wanted.column, wanted.media)
        if all(shard.is_remote for shard in located.shards) and images.kind != "path":
            return located  # cells of its shards have bytes
        names = list_names(source, images)
    files = find(names)
    listed = [Listed(os.fsencode(f.name), f.size_bytes, f.etag.encode()) for f in files]
    facts = [[file.name, file.size_bytes, file.etag] for file in files]
    folder = store / "listings" / make_key(located.address, facts)
    save_listing(folder, listed)
    return replace(located, listing=folder)


def find_on_hub(request: Request, resolution: Resolution, names: set[str]) -> list[HubFile]:
    """Those of some files that a repository has."""
    from hffs.data.hub.resolve import find_files

    known = {file.name: file for split in resolution.files.values() for file in split}
    asked = sorted(name for name in names if name not in known)
    found = find_files(request, resolution.commit, asked) if asked else []
    return [known[name] for name in sorted(names) if name in known] + found


def _open_cache(store: Path) -> DiskCache:
    # Whoever puts more into the cache keeps it under its limit.
    return DiskCache(store / "blobs", sys.maxsize)


def _open_reader(wanted: Wanted, cache: DiskCache) -> RangeReader:
    request = wanted.request
    return open_fetcher(cache, request.name, request.token_file, offline=False)
