"""Getting the source of a view that was recorded: the files that it needs, if they are the same.

Owns what makes files of this host, the Hub or a store the same as those that were recorded. Nothing
is decided and no row is looked at. What a view file says is not trusted: names stay below the place
that the source is at, and what is there is served only where all that was recorded of it agrees.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from hffs.data.cells.index import TextTable
from hffs.data.digesting import digest_ends, digest_files
from hffs.data.hub.cached import is_plain, is_whole, repository_folder, snapshot_folder
from hffs.data.hub.messages import refuse_offline
from hffs.data.hub.resolution import HubFile, Request
from hffs.data.locating.local import find_base, is_glob
from hffs.data.locating.record import (
    Record,
    ViewSeal,
    Wanted,
    is_prepared,
    keep_acquired,
    pin_files,
)
from hffs.data.locating.recording import find_outside
from hffs.data.remote.files import is_web, make_hub_url
from hffs.data.shards import Located, Pin, Shard, os_error
from hffs.data.viewfile.file import ViewFile, open_view_file
from hffs.data.viewfile.header import CHOOSE, COPY, differs, refuse
from hffs.data.viewfile.sources import RecordedShard, read_shards
from hffs.data.watcher import Watcher
from hffs.errors import ConfigError, SourceError

_MOST_PINS = 1000
_WORKERS = 8
_WHAT = {"local": "on a host", "hub": "on the Hub", "elsewhere": "in a store, or on the web"}

GetWhole = Callable[[Wanted], Located]
"""Gets a source of this host or the Hub as it is now, all of it."""


def acquire_recorded(
    wanted: Wanted, seal: ViewSeal, store: Path, watcher: Watcher, get_whole: GetWhole
) -> Located:
    """Get the files of a recorded view to this host and keep the record of it.

    Raises StaleError where the source is another one now, and as `acquire` and `open_view_file` do.
    """
    with open_view_file(seal.file, seal.seal, store) as file:
        _require_place(wanted, file)
        shards = read_shards(file)
        is_made = any(shard.is_made for shard in shards)
        # Before any is read; of others each file is looked at when the record is.
        pin = pin_files(wanted.request.name) if is_made and wanted.is_local else ""
        if is_made:
            located = _make_tables(wanted, file, shards, store, get_whole)
        else:
            located = _acquire(wanted, file, shards, watcher)
    keep_acquired(wanted, store, Record(located, pin))
    return located


def _require_place(wanted: Wanted, file: ViewFile) -> None:
    """Refuse a source of another kind than the one that was recorded, and one that is not there."""
    name, origin = wanted.request.name, file.header.origin
    is_placed = wanted.recorded is not None and wanted.recorded.is_placed
    outside = find_outside(wanted.request)
    if outside is not None:
        raise refuse(file.path, f"its data_files name {outside!r}, outside of its source")
    if origin.kind == "local" and not wanted.is_elsewhere:
        if not is_placed and not os.path.isabs(name):
            raise refuse(file.path, f"it names no whole path, {name!r}")
        _require_there(name, is_file=origin.is_file)
    is_own = wanted.is_local if origin.kind == "local" else not wanted.is_local
    if not is_own or (origin.kind == "elsewhere") != wanted.is_elsewhere:
        why = f"{file.path} was recorded of a data set {_WHAT[origin.kind]}"
        raise ConfigError("cannot use", name, why=why, fix="name one of that kind")


def _require_there(name: str, *, is_file: bool) -> None:
    path = os.path.expanduser(name)
    if is_glob(name) or (os.path.isfile(path) if is_file else os.path.isdir(path)):
        return
    kind = "file" if is_file else "folder"
    why = f"it is no {kind}" if os.path.exists(path) else f"no such {kind}"
    fix = "say where the source is on this host: --dataset-name PATH"
    raise SourceError("cannot open", name, why=why, fix=fix)


def _acquire(
    wanted: Wanted, file: ViewFile, shards: Sequence[RecordedShard], watcher: Watcher
) -> Located:
    if wanted.is_local:
        return _find_local(wanted, file, shards, watcher)
    if wanted.is_elsewhere:
        return _find_elsewhere(wanted, file, shards)
    return _find_on_hub(wanted, file, shards, watcher)


def _make_tables(
    wanted: Wanted,
    file: ViewFile,
    shards: Sequence[RecordedShard],
    store: Path,
    get_whole: GetWhole,
) -> Located:
    """A source whose images lie in a table that hffs makes: it is made here too, and compared."""
    commit = file.header.origin.commit
    request = replace(wanted.request, revision=commit or wanted.request.revision)
    whole = get_whole(replace(wanted, request=request, recorded=None))
    known = {shard.name: shard for shard in whole.shards}
    made = {name for name, shard in known.items() if is_prepared(shard.path.parent, store)}
    chosen = []
    for shard in shards:
        own = known.get(shard.name)
        if own is None or (shard.name in made) != shard.is_made:
            raise differs(file.path, shard.name, "is not among its files any more")
        if shard.is_made:
            (digest,) = digest_files([own.path], 1, lambda done, total: None)
            if digest.hex() != shard.digest:
                why = "came out otherwise, by another release of hffs or pyarrow, or of other files"
                raise differs(file.path, "the table of its images", why)
        chosen.append(own)
    return replace(whole, shards=tuple(chosen), terms=(), pins=whole.pins[:1], listing=None)


def _find_local(
    wanted: Wanted, file: ViewFile, shards: Sequence[RecordedShard], watcher: Watcher
) -> Located:
    name, origin = wanted.request.name, file.header.origin
    path = Path(os.path.abspath(os.path.expanduser(name)))
    if origin.inner and not is_plain(origin.inner):
        raise refuse(file.path, f"it names a folder outside its source, {origin.inner!r}")
    root = find_base(name) / origin.inner
    is_one = origin.is_file and len(shards) == 1 and path.is_file()
    paths = [path if is_one else root / shard.name for shard in shards]
    found = [_look(file.path, path, shard) for path, shard in zip(paths, shards, strict=True)]
    others = [
        (path, shard)
        for path, shard, here in zip(paths, shards, found, strict=True)
        if here.mtime_ns != shard.mtime_ns
    ]
    for path, shard in others:
        if not shard.digest:
            why = "has another time than it had, and nothing was recorded of its content"
            raise differs(file.path, str(path), why, COPY)
    report = partial(watcher.progress, f"comparing {name}", unit="B")
    digests = digest_files([path for path, _ in others], _WORKERS, report)
    for (path, shard), digest in zip(others, digests, strict=True):
        if digest.hex() != shard.digest:
            raise differs(file.path, str(path), "has other content than it had")
    return Located(name, root, tuple(found))


def _look(view: Path, path: Path, shard: RecordedShard) -> Shard:
    """A file of this host, if its size and both its ends are what they were."""
    try:
        found = path.stat()
    except OSError as error:
        raise os_error(str(path), error) from error
    if not stat.S_ISREG(found.st_mode):
        raise SourceError("cannot open", str(path), why="it is not a regular file")
    if found.st_size != shard.size_bytes:
        why = f"has {found.st_size} bytes, and had {shard.size_bytes}"
        raise differs(view, str(path), why)
    if digest_ends(path, found.st_size) != shard.ends:
        raise differs(view, str(path), "has other content than it had")
    return Shard(path, shard.name, found.st_size, found.st_mtime_ns, shard.layout)


def _find_elsewhere(wanted: Wanted, file: ViewFile, shards: Sequence[RecordedShard]) -> Located:
    request = wanted.request
    if request.offline:
        raise refuse_offline(request.name, "it was not mounted so on this host before")
    if is_web(request.name):
        _require_https(wanted, file)
    # Late: it brings fsspec along.
    from hffs.data.locating.elsewhere import locate

    found = locate(request.name, wanted.split, request.data_files)
    known = {shard.name: shard for shard in found.shards}
    for shard in shards:
        now = known.get(shard.name)
        if now is None:
            raise differs(file.path, f"{found.address}{shard.name}", "is not there any more")
        if (now.size_bytes, now.etag) != (shard.size_bytes, shard.etag):
            raise differs(file.path, f"{found.address}{shard.name}", "is another file now")
    chosen = tuple(known[shard.name] for shard in shards)
    return Located(found.name, found.root, chosen, address=found.address)


def _require_https(wanted: Wanted, file: ViewFile) -> None:
    """Refuse to ask a host without TLS only because a file says so."""
    name = wanted.request.name
    is_told = wanted.recorded is not None and wanted.recorded.is_placed
    if not is_told and not name.startswith("https:"):
        why, fix = "it names an address that is not https", f"give it: --dataset-name {name}"
        raise ConfigError("cannot use view", str(file.path), why=why, fix=fix)


def _find_on_hub(
    wanted: Wanted, file: ViewFile, shards: Sequence[RecordedShard], watcher: Watcher
) -> Located:
    name, commit = wanted.request.name, file.header.origin.commit
    request = replace(wanted.request, revision=commit)
    if not request.offline:
        _require_commit(request, file)
    if wanted.is_far:
        if not all(shard.etag for shard in shards):  # what comes could not be told from other
            raise refuse(file.path, "nothing pins its files")
        far = tuple(_place_on_hub(name, commit, shard) for shard in shards)
        address = make_hub_url(name, commit, "")
        return Located(name, repository_folder(name), far, commit=commit, address=address)
    wanted = replace(wanted, request=request)
    files = _list_needed(wanted, file, shards)
    base = _bring(wanted, files, watcher)
    here = []
    for shard in shards:
        path = base / shard.name
        mtime_ns = path.stat().st_mtime_ns
        here.append(Shard(path, shard.name, shard.size_bytes, mtime_ns, shard.layout))
    pins = [Pin("recorded", 0, commit)]
    if len(files) <= _MOST_PINS:
        pins += (Pin(each.name, each.size_bytes, each.etag) for each in files)
    return Located(
        name, repository_folder(name), tuple(here), base=base, commit=commit, pins=tuple(pins)
    )


def _require_commit(request: Request, file: ViewFile) -> None:
    """Ask the Hub whether a data set has the commit that was recorded, and may be read."""
    from hffs.data.hub.failures import NO_REVISION
    from hffs.data.hub.resolve import read_commit

    try:
        read_commit(request)
    except SourceError as error:
        if error.what != NO_REVISION:
            raise
        why, fix = f"{request.name} has no commit {request.revision[:12]}", CHOOSE
        raise SourceError("cannot use view", str(file.path), why=why, fix=fix) from error


def _place_on_hub(name: str, commit: str, shard: RecordedShard) -> Shard:
    path = Path(f"{name}@{commit[:12]}") / shard.name
    url = make_hub_url(name, commit, shard.name)
    return Shard(path, shard.name, shard.size_bytes, 0, shard.layout, url=url, etag=shard.etag)


def _list_needed(wanted: Wanted, file: ViewFile, shards: Sequence[RecordedShard]) -> list[HubFile]:
    """The files that have to be here, as the Hub has them, or offline as they were recorded."""
    recorded = [HubFile(shard.name, shard.size_bytes, shard.etag) for shard in shards]
    recorded += (each for table in ("files", "containers") for each in _list_named(file, table))
    if wanted.request.offline:
        return recorded
    from hffs.data.hub.resolve import find_files

    commit = wanted.request.revision
    found = {
        each.name: each
        for each in find_files(wanted.request, commit, [each.name for each in recorded])
    }
    for each in recorded:
        now = found.get(each.name)
        if now is None or now.size_bytes != each.size_bytes or each.etag not in ("", now.etag):
            raise differs(file.path, f"{each.name} of {wanted.request.name}", "is another file")
    return list(found.values())


def _list_named(file: ViewFile, table: str) -> Iterator[HubFile]:
    """Files that cells name; what pins them is the commit."""
    names = TextTable(file.array(f"{table}.names", np.uint8), file.array(f"{table}.ends", np.int64))
    sizes = file.array(f"{table}.size_bytes", np.int64, len(names)).tolist()
    for number, size_bytes in enumerate(sizes):
        name = os.fsdecode(names.name(number))
        if not is_plain(name):
            raise refuse(file.path, f"it names a file outside its source, {name!r}")
        yield HubFile(name, size_bytes, "")


def _bring(wanted: Wanted, files: Sequence[HubFile], watcher: Watcher) -> Path:
    """The snapshot folder, with all of some files in it."""
    request, commit = wanted.request, wanted.request.revision
    if request.offline:
        base = snapshot_folder(request.name, commit)
        absent = [each.name for each in files if not is_whole(base, each)]
        if absent:
            raise refuse_offline(
                f"{request.name}@{commit[:12]}", f"{absent[0]} is not on this host"
            )
        return base
    from hffs.data.hub.fetch import fetch_files

    report = partial(watcher.progress, f"downloading {request.name}", unit="B")
    return fetch_files(request, commit, files, report)
