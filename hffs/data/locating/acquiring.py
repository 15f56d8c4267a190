"""Getting a source to this host: what is meant is asked, downloaded, and made into tables.

Owns the order of these steps and the record of their outcome (`hffs.data.locating.record`). It runs
in a process of its own, since it brings datasets and huggingface_hub along; which Hub, which cache
and which token are theirs to find in the environment. No step stores what is stored already.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hffs.data.folders import make_whole, remove_whole
from hffs.data.hub.cached import repository_folder
from hffs.data.hub.fetch import fetch, fetch_files
from hffs.data.hub.libraries import tell_of_waits
from hffs.data.hub.messages import refuse_offline
from hffs.data.hub.plain import has_features, resolve_plain
from hffs.data.hub.resolution import HubFile, Request, Resolution
from hffs.data.hub.resolve import read_commit
from hffs.data.locating.here import Here, find_local, find_offline
from hffs.data.locating.record import (
    Record,
    Wanted,
    is_prepared,
    keep_acquired,
    load_acquired,
    read_record,
)
from hffs.data.remote.files import make_hub_url
from hffs.data.shards import Layout, Located, Pin, Shard, Term, make_key, parse_terms
from hffs.data.watcher import Watcher

if TYPE_CHECKING:
    from hffs.data.prepare.tars import Tar

_AS_THEY_ARE: dict[str, Layout] = {"parquet": "parquet", "arrow": "arrow"}
"""Formats whose files are shards, and what `datasets` calls them."""

_MOST_PINS = 1000

_PREPARED = 3
"""Raised when preparing makes something else of the same files."""


def acquire(wanted: Wanted, store: Path, watcher: Watcher) -> Located:
    """Get a source to this host and keep the record of it; what is there already is only looked at.

    Raises SourceError (not found, not reachable), AccessError, DataError (cannot be used).
    """
    if wanted.recorded:
        from hffs.data.locating.recorded import acquire_recorded

        def get_whole(whole: Wanted) -> Located:
            return acquire(whole, store, watcher)

        return acquire_recorded(wanted, wanted.recorded, store, watcher, get_whole)
    if wanted.is_local:
        return _keep(wanted, store, find_local(wanted), watcher)
    if wanted.request.offline and wanted.is_far:
        raise refuse_offline(wanted.request.name, "it was not mounted so on this host before")
    if wanted.request.offline:
        return _keep(wanted, store, find_offline(wanted, store, watcher.notice), watcher)
    if wanted.is_elsewhere:
        return _acquire_elsewhere(wanted, store)
    tell_of_waits(watcher.notice)
    kept = load_acquired(wanted, store)
    if wanted.is_far:
        mountable = kept.commit if kept else ""
        wanted = replace(wanted, request=replace(wanted.request, mountable=mountable))
    commit = read_commit(wanted.request)
    if kept is not None and kept.commit == commit:
        return kept
    plain = resolve_plain(wanted.request, commit)
    resolution = plain.resolution if plain else _resolve(wanted.request, commit)
    here = _bring(wanted, resolution, watcher)
    if plain and plain.declares_features and not _tell_features(wanted, store, here, watcher):
        here = replace(here, resolution=_resolve(wanted.request, commit))
    return _keep(wanted, store, here, watcher)


def _acquire_elsewhere(wanted: Wanted, store: Path) -> Located:
    """Find what an object store or the web has today: a list, and what cells name of it."""
    # Late: none of it is needed for the Hub.
    from hffs.data.locating.elsewhere import find_named, locate
    from hffs.data.locating.streaming import list_named

    located = locate(wanted.request.name, wanted.split, wanted.request.data_files)
    located = list_named(wanted, located, store, partial(find_named, located))
    keep_acquired(wanted, store, Record(located))
    return located


def _bring(wanted: Wanted, resolution: Resolution, watcher: Watcher) -> Here:
    """Download what has to be here: all files, or those that tell of what is read elsewhere."""
    request, commit = wanted.request, resolution.commit
    root = repository_folder(request.name)
    files = [file for split in resolution.files.values() for file in split]
    report = partial(watcher.progress, f"downloading {request.name}", unit="B")
    if wanted.is_far:
        # Late, here and below: it brings trio and pyarrow along, which a download does without.
        from hffs.data.locating.streaming import list_needed

        needed = list_needed(resolution, files)
        return Here(resolution, root, fetch_files(request, commit, needed, report))
    return Here(resolution, root, fetch(request, commit, files, report))


def _tell_features(wanted: Wanted, store: Path, here: Here, watcher: Watcher) -> bool:
    """Whether all shards tell the features of their columns; else README.md has a say."""
    if wanted.is_far:
        from hffs.data.locating.streaming import tell_features

        return tell_features(wanted, _make_located(wanted, store, here, watcher), store, watcher)
    for file in (file for split in here.resolution.files.values() for file in split):
        with here.path(file).open("rb") as shard:
            if not has_features(shard):
                return False
    return True


def _resolve(request: Request, commit: str) -> Resolution:
    # Late: asking for the commit, which most mounts leave it at, does without datasets.
    from hffs.data.hub.resolve import resolve

    return resolve(request, commit)


def _keep(wanted: Wanted, store: Path, here: Here, watcher: Watcher) -> Located:
    located = _make_located(wanted, store, here, watcher)
    if wanted.is_far:
        from hffs.data.locating.streaming import find_on_hub, list_named

        find = partial(find_on_hub, wanted.request, here.resolution)
        located = list_named(wanted, located, store, find)
    elif located.commit and not wanted.request.offline:
        from hffs.data.locating.named import fetch_named

        fetch_named(wanted, located, watcher)
    before = read_record(wanted, store)
    keep_acquired(wanted, store, Record(located, here.pin))
    if before is not None:
        _remove_tables(before.located, located, store)
    return located


def _remove_tables(before: Located, now: Located, store: Path) -> None:
    """Remove the tables that the record before had alone; who has them mapped keeps them.

    Another record that has them too finds them gone, and makes them again.
    """
    old, new = ({shard.path.parent for shard in each.shards} for each in (before, now))
    for folder in old - new:
        if is_prepared(folder, store) and folder.is_dir():
            remove_whole(folder)


def _make_located(wanted: Wanted, store: Path, here: Here, watcher: Watcher) -> Located:
    resolution = here.resolution
    shards: list[Shard] = []
    terms: list[tuple[Term, int]] = []
    for term in parse_terms(wanted.split):
        if wanted.is_far and resolution.format == "parquet":
            from hffs.data.locating.streaming import name_shards

            own = list(name_shards(resolution, term.split))
        else:
            own = _make_shards(wanted, term.split, store, here, watcher)
        shards += own
        terms.append((term, len(own)))
    layout = resolution.format if resolution.format in _AS_THEY_ARE else f"made {_PREPARED}"
    pins = [Pin(f"{resolution.format} {layout}", 0, make_key(dict(resolution.options)))]
    for term, _ in terms:
        pins += _pin_files(term.split, resolution.files[term.split], layout)
    return Located(
        wanted.request.name,
        here.root,
        tuple(shards),
        terms=tuple(terms),
        base=here.base,
        commit=resolution.commit,
        pins=tuple(pins),
        features=_write_features(resolution),
        address=make_hub_url(wanted.request.name, resolution.commit, "") if wanted.is_far else "",
    )


def _pin_files(split: str, files: Sequence[HubFile], layout: str) -> list[Pin]:
    """What pins the content of a split: each file, or one pin for many that a table is made of.

    These may be a million images, and pins are read at every mount.
    """
    if layout in _AS_THEY_ARE or len(files) <= _MOST_PINS:
        return [Pin(file.name, file.size_bytes, file.etag) for file in files]
    facts = [[file.name, file.size_bytes, file.etag] for file in files]
    return [Pin(f"{split}/", sum(file.size_bytes for file in files), make_key(facts))]


def _write_features(resolution: Resolution) -> str:
    if resolution.features is None:
        return ""
    return json.dumps({"info": {"features": dict(resolution.features)}})


def _make_shards(
    wanted: Wanted, split: str, store: Path, here: Here, watcher: Watcher
) -> list[Shard]:
    files = here.resolution.files[split]
    layout = _AS_THEY_ARE.get(here.resolution.format)
    if layout is not None:
        return [_make_shard(here.path(file), file.name, layout) for file in files]
    return [
        _make_shard(path, f"{split}/{path.name}", "parquet")
        for path in _prepare_split(wanted, split, store, here, watcher)
    ]


def _make_shard(path: Path, name: str, layout: Layout) -> Shard:
    found = path.stat()
    return Shard(path, name, found.st_size, found.st_mtime_ns, layout)


def _prepare_split(
    wanted: Wanted, split: str, store: Path, here: Here, watcher: Watcher
) -> list[Path]:
    """The tables of a split, made unless they are there."""
    resolution = here.resolution
    facts = [[file.name, file.size_bytes, file.etag] for file in resolution.files[split]]
    options = dict(resolution.options)
    key = make_key("prepared", _PREPARED, str(here.base), resolution.format, options, split, facts)
    folder = store / "prepared" / key
    if not folder.is_dir():
        from hffs.data.prepare.job import Job
        from hffs.data.prepare.preparing import prepare

        with make_whole(folder) as making, _open_far_tars(wanted, here, split, store) as tars:
            job = Job(
                name=resolution.name,
                format=resolution.format,
                options=options,
                split=split,
                files=tuple(map(here.path, resolution.files[split])),
                root=here.base,
                folder=making,
                progress=watcher.progress,
                notice=watcher.notice,
                far_tars=tars,
            )
            names = [path.name for path in prepare(job)]
            (making / "tables.json").write_text(json.dumps(names))
    return [folder / name for name in json.loads((folder / "tables.json").read_text())]


def _open_far_tars(
    wanted: Wanted, here: Here, split: str, store: Path
) -> AbstractContextManager[Sequence[Tar] | None]:
    """The tars that a table is made of, where they are read where they lie."""
    if not wanted.is_far:
        return nullcontext()
    from hffs.data.locating.streaming import open_tars

    return open_tars(wanted, here.resolution, split, store)
