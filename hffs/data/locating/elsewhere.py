"""Which Parquet files a URL stands for, as shards that are read where they lie.

Owns the rules by which `s3://bucket/folder`, a pattern or a file there, or `https://host/file`
becomes the shards of a split. They are those of local files (`hffs.data.locating.local`), for names
and sizes that a store lists: no file is opened but README.md. Invariants: every shard is pinned by
an ETag, or by what else changes with it; the same files give the same order.
"""

from __future__ import annotations

import glob
import posixpath
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from hffs.data.hub.resolution import DataFiles, HubFile
from hffs.data.locating import web
from hffs.data.locating.local import choose_split, describe_files
from hffs.data.remote.files import Range, is_web, split_query
from hffs.data.remote.filesystems import Entry, Store, explain_failure, open_store
from hffs.data.remote.troubles import locating_error, refuse, show, store_errors
from hffs.data.shards import Located, Pin, Shard, make_key, parse_terms, unknown_split
from hffs.data.splits import TRAIN, split_of
from hffs.errors import DataError, SourceError

_SUFFIX = ".parquet"
_README = "README.md"
_FOLDER_METADATA = "metadata.parquet"  # of a folder of images: what it says of them, not a shard
_GIVE = "give data_files, or a pattern"

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Listing:
    """Files below the URL `root`, by their paths there.

    `splits` has those of each split; it is None for files that the user named one by one.
    """

    root: str
    files: tuple[HubFile, ...]
    splits: Mapping[str, Sequence[HubFile]] | None = None


def locate(name: str, split: str = TRAIN, data_files: DataFiles | None = None) -> Located:
    """Find the shards of a source that lies elsewhere; `data_files` are patterns below it.

    Raises SourceError (not there, not reachable, unknown split), AccessError (no credentials, or
    refused), DataError (not Parquet, or nothing that can be read in ranges).
    """
    shown = show(name)
    if "::" in name:
        refuse(name, "chained URLs are not taken", "give the address alone")
    listing = _list_web(name, data_files) if is_web(name) else _list_store(name, data_files)
    terms = parse_terms(split)
    parts = [_choose(shown, listing, term.split) for term in terms]
    shards = [_make_shard(listing.root, file) for part in parts for file in part]
    counts = tuple((term, len(part)) for term, part in zip(terms, parts, strict=True))
    # An ETag says nothing beyond its own address (RFC 9110, 8.8.1): the address is part of the pin.
    made = Pin("parquet parquet", 0, make_key(listing.root))
    pins = (made, *(Pin(shard.name, shard.size_bytes, shard.etag) for shard in shards))
    root = Path(listing.root)  # for messages: there is nothing at it
    return Located(shown, root, tuple(shards), terms=counts, pins=pins, address=f"{listing.root}/")


def find_named(located: Located, names: Iterable[str]) -> list[HubFile]:
    """Those of some files below the address of a source that are there, sorted.

    Raises what `locate` does, and DataError for the web, where nobody tells which there are.
    """
    wanted = set(names)
    root = located.address.rstrip("/")
    if is_web(root):
        why = "its cells name files, of which the web has no list"
        raise DataError(
            "cannot use", located.name, why=why, fix="download it, and mount the folder"
        )
    store = open_store(root)
    folders = sorted({posixpath.dirname(name) for name in wanted})
    paths = [store.path(f"{root}/{folder}".rstrip("/")) for folder in folders]
    entries = [entry for path in paths for entry in _ask(root, partial(store.list_folder, path))]
    found = {file.name: file for file in _below(store, root, entries)}
    return [found[name] for name in sorted(wanted) if name in found]


def _choose(name: str, listing: _Listing, split: str) -> Sequence[HubFile]:
    if listing.splits is None:
        chosen = choose_split(name, [file.name for file in listing.files], split)
        return [file for file in listing.files if chosen in (None, split_of(file.name))]
    if not listing.splits.get(split):
        raise unknown_split(name, split, listing.splits)
    return listing.splits[split]


def _make_shard(root: str, file: HubFile) -> Shard:
    url = f"{root}/{file.name}"
    if not file.size_bytes:
        raise DataError("cannot use", show(url), why="the file is empty")
    if not file.etag:
        raise DataError(
            "cannot use", show(url), why="the store tells nothing that pins its content"
        )
    path = Path(file.name)
    return Shard(path, file.name, file.size_bytes, 0, "parquet", url=url, etag=file.etag)


def _list_web(url: str, data_files: DataFiles | None) -> _Listing:
    """A file, or files that `data_files` names below an address: the web has no listing."""
    place, query = split_query(url)
    if data_files is None:
        root, _, name = place.rpartition("/")
        if not name.lower().endswith(_SUFFIX) or root.endswith("/"):
            fix = "name one file, or the files below it by data_files"
            refuse(url, f"the web lists no folders, and this is no {_SUFFIX} file", fix)
        return _Listing(root, (web.find_file(url, name),))
    root = place.rstrip("/")

    def find(pattern: str) -> list[HubFile]:
        if glob.has_magic(pattern):
            refuse(url, f"the web lists no folders to find {pattern} in", "name each file")
        own = f"{root}/{pattern}"
        return [web.find_file(f"{own}?{query}" if query else own, pattern)]

    return _Listing(root, (), _find_named(url, data_files, find))


def _list_store(url: str, data_files: DataFiles | None) -> _Listing:
    store = open_store(url)
    place = url.rstrip("/")
    is_bucket = "/" not in place.partition("://")[2]
    if data_files is not None:
        return _Listing(place, (), _find_named(url, data_files, lambda p: _match(store, place, p)))
    if glob.has_magic(place):
        return _list_pattern(store, place)
    if url.endswith("/") or is_bucket:
        return _list_folder(store, place)
    entry = _ask(url, lambda: store.look(store.path(url)))
    if entry is None:
        return _list_folder(store, place)
    if not url.lower().endswith(_SUFFIX):
        raise _no_parquet(url, [url])
    root, _, name = url.rpartition("/")
    return _Listing(root, (HubFile(name, entry.size_bytes, entry.tag),))


def _list_pattern(store: Store, pattern: str) -> _Listing:
    root = pattern
    while glob.has_magic(root):
        root = root.rpartition("/")[0]
    if root.endswith(("://", ":/", ":")):
        refuse(pattern, "a bucket is named, not matched", "check the address")
    files = _match(store, root, pattern[len(root) + 1 :])
    return _Listing(root, tuple(sorted(files, key=lambda file: file.name)))


def _list_folder(store: Store, root: str) -> _Listing:
    entries = _ask(root, lambda: store.find(store.path(root)))
    listed = _keep_visible(_below(store, root, entries), ("__",))
    files = sorted((file for file in listed if _is_parquet(file)), key=lambda file: file.name)
    if not listed:
        refuse(root, "nothing is there", "check the address")
    if all(PurePosixPath(file.name).name == _FOLDER_METADATA for file in files):
        raise _no_parquet(root, [file.name for file in listed])
    described = _read_card(store, root, [file for file in listed if file.name == _README])
    from hffs.data.hub.plain import find_splits

    splits = None if described is None else find_splits(described, files)
    if splits is None:
        why = f"its {_README} or its names tell of splits in a way that is not understood"
        raise DataError("cannot use", show(root), why=why, fix=_GIVE)
    return _Listing(root, tuple(files), splits)


def _find_named(
    url: str, data_files: DataFiles, find: Callable[[str], list[HubFile]]
) -> dict[str, list[HubFile]]:
    """Files of each split that `data_files` names, pattern by pattern, as `datasets` has them."""
    named = data_files if isinstance(data_files, Mapping) else {TRAIN: data_files}
    found: dict[str, list[HubFile]] = {}
    for split, patterns in named.items():
        for pattern in patterns:
            if "://" in pattern or "::" in pattern or ".." in pattern.split("/"):
                why, fix = f"data_files has {pattern!r}", "give paths below it"
                raise SourceError("cannot use", show(url), why=why, fix=fix)
            files = sorted(find(pattern.lstrip("/")), key=lambda file: file.name)
            found.setdefault(split, []).extend(files)
    return found


def _match(store: Store, root: str, pattern: str) -> list[HubFile]:
    """Parquet files that match a pattern below a folder. Raises if there is none."""
    url = f"{root}/{pattern}"
    entries = _ask(url, lambda: store.glob(store.path(url)))
    listed = _keep_visible(_below(store, root, entries))
    if not listed:
        refuse(url, "no file matches", "check the address, or data_files")
    files = [file for file in listed if _is_parquet(file)]
    if not files:
        raise _no_parquet(url, [file.name for file in listed])
    return files


def _below(store: Store, root: str, entries: Iterable[Entry]) -> list[HubFile]:
    start = store.path(root).rstrip("/") + "/"
    return [
        HubFile(entry.path[len(start) :], entry.size_bytes, entry.tag)
        for entry in entries
        if entry.path.startswith(start)
    ]


def _keep_visible(files: Iterable[HubFile], hidden: tuple[str, ...] = ()) -> list[HubFile]:
    """Those that are not hidden, as of local files; so nothing is outside by a `..` in its key."""

    def is_visible(name: str) -> bool:
        *folders, last = name.split("/")
        starts = (".", *hidden)
        return not last.startswith(".") and not any(each.startswith(starts) for each in folders)

    return [file for file in files if is_visible(file.name)]


def _is_parquet(file: HubFile) -> bool:
    return file.name.lower().endswith(_SUFFIX)


def _read_card(store: Store, root: str, files: Sequence[HubFile]) -> dict[str, Any] | None:
    """What README.md says, by the rules for one of the Hub; None where these are not enough."""
    if not files:
        return {}
    import yaml

    from hffs.data.hub import card
    from hffs.data.hub.plain import parse_card

    (file,) = files
    card.check_size(show(root), file.name, file.size_bytes)
    url = f"{root}/{_README}"
    part = Range(0, file.size_bytes)
    text = _ask(url, lambda: store.read(store.path(url), part, file.etag)) if part.stop else b""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, _README)
        path.write_bytes(text)
        try:
            return parse_card(show(root), path)
        except yaml.YAMLError:
            return None


def _ask(url: str, question: Callable[[], _T]) -> _T:
    """What a store answers. Raises what `locate` does where it does not."""
    try:
        return question()
    except store_errors() as error:
        raise locating_error(explain_failure(error, url), url) from error


def _no_parquet(url: str, names: Sequence[str]) -> DataError:
    why = f"no Parquet file here ({describe_files(names)})"
    fix = "other formats are read on this host: copy it here"
    return DataError("cannot use", show(url), why=why, fix=fix)
