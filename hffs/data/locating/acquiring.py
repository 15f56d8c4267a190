"""Getting a source to this host: what is meant is asked, downloaded, and made into tables.

Owns the order of these steps and the record of their outcome (`hffs.data.locating.record`). It runs
in a process of its own, since it brings datasets and huggingface_hub along; which Hub, which cache
and which token are theirs to find in the environment. No step stores what is stored already.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from hffs.data.folders import make_whole, remove_whole
from hffs.data.hub.cached import cached_commit, repository_folder, snapshot_folder
from hffs.data.hub.fetch import fetch
from hffs.data.hub.plain import has_features, resolve_plain
from hffs.data.hub.resolution import HubFile, Request, Resolution
from hffs.data.hub.resolve import read_commit
from hffs.data.locating.local import IMAGE_EXTENSIONS, describe_files, list_files
from hffs.data.locating.record import (
    Record,
    Wanted,
    find_missing,
    keep_acquired,
    load_acquired,
    pin_file,
    pin_source,
    read_record,
)
from hffs.data.shards import Layout, Located, Pin, Shard, Term, make_key, parse_terms
from hffs.data.watcher import Watcher
from hffs.errors import SourceError

_AS_THEY_ARE: dict[str, Layout] = {"parquet": "parquet", "arrow": "arrow"}
"""Formats whose files are shards, and what `datasets` calls them."""

_PREPARED = 1
"""Raised when preparing makes something else of the same files."""

_READABLE = IMAGE_EXTENSIONS | {
    ".parquet", ".arrow", ".tar", ".zip", ".json", ".jsonl", ".ndjson", ".csv", ".tsv",
}  # fmt: skip
"""Ends of names of files that a data set with images may consist of."""

_NAMED = 3
"""How many missing files a message names."""

_SHARD_OF = re.compile(r"^(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<rest>.*)$")


@dataclass(frozen=True, slots=True)
class _Here:
    """What was resolved, with every file of it on this host, each below `base`.

    In the cache of huggingface_hub that is a snapshot; it links to blobs, which `root` holds too.
    """

    resolution: Resolution
    root: Path
    base: Path
    pin: str = ""
    """Of local files, as they were before anything was read (`pin_source`)."""

    def path(self, file: HubFile) -> Path:
        return self.base / file.name


def acquire(wanted: Wanted, store: Path, watcher: Watcher) -> Located:
    """Get a source to this host and keep the record of it; what is there already is only looked at.

    Raises SourceError (not found, not reachable), AccessError, DataError (cannot be used).
    """
    if wanted.is_local:
        return _keep(wanted, store, _find_local(wanted), watcher)
    if wanted.request.offline:
        return _keep(wanted, store, _find_offline(wanted, store), watcher)
    commit = read_commit(wanted.request)
    kept = load_acquired(wanted, store)
    if kept is not None and kept.commit == commit:
        return kept
    plain = resolve_plain(wanted.request, commit)
    resolution = plain.resolution if plain else _resolve(wanted.request, commit)
    files = [file for split in resolution.files.values() for file in split]
    what = f"downloading {wanted.request.name}"
    base = fetch(wanted.request, commit, files, partial(watcher.progress, what, unit="B"))
    shards = (base / file.name for file in files)
    if plain and plain.declares_features and not all(map(has_features, shards)):
        resolution = _resolve(wanted.request, commit)
    root = repository_folder(wanted.request.name)
    return _keep(wanted, store, _Here(resolution, root, base), watcher)


def _resolve(request: Request, commit: str) -> Resolution:
    # Late: asking for the commit, which most mounts leave it at, does without datasets.
    from hffs.data.hub.resolve import resolve

    return resolve(replace(request, revision=commit))


def _find_local(wanted: Wanted) -> _Here:
    pin = pin_source(wanted)
    _require_readable(wanted.request)
    from hffs.data.hub.resolve_local import resolve_local

    resolution = resolve_local(wanted.request)
    path = Path(wanted.request.name)
    base = path if path.is_dir() else _common_folder(resolution)
    return _Here(_relative(resolution, base), base, base, pin)


def _require_readable(request: Request) -> None:
    """Say what is there instead where no file has a format that is read."""
    files = list_files(request.name)
    if not any(path.suffix.lower() in _READABLE for path in files):
        why = f"no file here is of a format that is read ({describe_files(files)})"
        fix = "formats: Parquet, Arrow, images, tar, zip, JSON, CSV"
        raise SourceError("cannot open", request.name, why=why, fix=fix)


def _common_folder(resolution: Resolution) -> Path:
    paths = [file.name for split in resolution.files.values() for file in split]
    return Path(os.path.commonpath([os.path.dirname(path) for path in paths]))


def _relative(resolution: Resolution, base: Path) -> Resolution:
    """The resolution with file names below a folder, pinned by size and time."""

    def pin(file: HubFile) -> HubFile:
        name = os.path.relpath(file.name, base)
        found = pin_file(Path(file.name), name)
        return HubFile(name, found.size_bytes, found.tag)

    files = {split: tuple(map(pin, listed)) for split, listed in resolution.files.items()}
    return replace(resolution, files=files)


def _find_offline(wanted: Wanted, store: Path) -> _Here:
    """What the cache of huggingface_hub holds, however it came there."""
    request = wanted.request
    kept = read_record(wanted, store)
    # A table that is gone can be made again without the Hub.
    if kept is not None and not _has_tables(kept.located, store):
        _refuse_missing(request.name, kept.located.commit, list(find_missing(kept.located)))
    commit = cached_commit(request)
    if commit is None:
        why = f"nothing of its revision {request.revision} is on this host"
        raise SourceError(
            "cannot mount offline", request.name, why=why, fix="mount it once without --offline"
        )
    from hffs.data.hub.resolve_local import resolve_local

    base = snapshot_folder(request.name, commit)
    resolution = resolve_local(replace(request, name=str(base)))
    here = _relative(replace(resolution, name=request.name, commit=commit), base)
    tagged = {
        split: tuple(replace(file, etag=_blob_name(base / file.name)) for file in listed)
        for split, listed in here.files.items()
    }
    names = [file.name for listed in tagged.values() for file in listed]
    _refuse_missing(request.name, commit, list(_find_gaps(names)))
    return _Here(replace(here, files=tagged), repository_folder(request.name), base)


def _has_tables(located: Located, store: Path) -> bool:
    return any(_is_prepared(shard.path.parent, store) for shard in located.shards)


def _blob_name(path: Path) -> str:
    """The ETag of a cached file: huggingface_hub names blobs by it."""
    return os.path.basename(os.path.realpath(path))


def _refuse_missing(name: str, commit: str, missing: Sequence[str]) -> None:
    if not missing:
        return
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    why = f"not on this host are {', '.join(missing[:_NAMED])}{more}"
    which = f"{name}@{commit[:7]}"
    raise SourceError("cannot mount offline", which, why=why, fix="mount it once without --offline")


def _find_gaps(names: Iterable[str]) -> Iterator[str]:
    """Shards that are missing of sets whose names tell how many there are."""
    sets: dict[tuple[str, str, str], set[int]] = {}
    for name in names:
        if found := _SHARD_OF.match(name):
            key = (found["stem"], found["count"], found["rest"])
            sets.setdefault(key, set()).add(int(found["number"]))
    for (stem, count, rest), numbers in sets.items():
        for number in sorted(set(range(int(count))) - numbers):
            yield f"{stem}-{number:05d}-of-{count}{rest}"


def _keep(wanted: Wanted, store: Path, here: _Here, watcher: Watcher) -> Located:
    located = _make_located(wanted, store, here, watcher)
    if located.commit and not wanted.request.offline:
        from hffs.data.locating.named import fetch_named

        fetch_named(wanted.request, located, wanted.image_column, watcher)
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
        if _is_prepared(folder, store) and folder.is_dir():
            remove_whole(folder)


def _is_prepared(folder: Path, store: Path) -> bool:
    return folder.parent == store / "prepared"


def _make_located(wanted: Wanted, store: Path, here: _Here, watcher: Watcher) -> Located:
    resolution = here.resolution
    shards: list[Shard] = []
    terms: list[tuple[Term, int]] = []
    for term in parse_terms(wanted.split):
        own = _make_shards(term.split, store, here, watcher)
        shards += own
        terms.append((term, len(own)))
    layout = resolution.format if resolution.format in _AS_THEY_ARE else f"made {_PREPARED}"
    pins = [Pin(f"{resolution.format} {layout}", 0, make_key(dict(resolution.options)))]
    pins += [
        Pin(file.name, file.size_bytes, file.etag)
        for term, _ in terms
        for file in resolution.files[term.split]
    ]
    return Located(
        wanted.request.name,
        here.root,
        tuple(shards),
        terms=tuple(terms),
        base=here.base,
        commit=resolution.commit,
        pins=tuple(pins),
        features=_write_features(resolution),
    )


def _write_features(resolution: Resolution) -> str:
    if resolution.features is None:
        return ""
    return json.dumps({"info": {"features": dict(resolution.features)}})


def _make_shards(split: str, store: Path, here: _Here, watcher: Watcher) -> list[Shard]:
    files = here.resolution.files[split]
    layout = _AS_THEY_ARE.get(here.resolution.format)
    if layout is not None:
        return [_make_shard(here.path(file), file.name, layout) for file in files]
    return [
        _make_shard(path, f"{split}/{path.name}", "parquet")
        for path in _prepare_split(split, store, here, watcher)
    ]


def _make_shard(path: Path, name: str, layout: Layout) -> Shard:
    found = path.stat()
    return Shard(path, name, found.st_size, found.st_mtime_ns, layout)


def _prepare_split(split: str, store: Path, here: _Here, watcher: Watcher) -> list[Path]:
    """The tables of a split, made unless they are there."""
    resolution = here.resolution
    facts = [[file.name, file.size_bytes, file.etag] for file in resolution.files[split]]
    options = dict(resolution.options)
    key = make_key("prepared", _PREPARED, str(here.base), resolution.format, options, split, facts)
    folder = store / "prepared" / key
    if not folder.is_dir():
        from hffs.data.prepare.job import Job
        from hffs.data.prepare.preparing import prepare

        with make_whole(folder) as making:
            job = Job(
                name=resolution.name,
                format=resolution.format,
                options=options,
                split=split,
                files=tuple(map(here.path, resolution.files[split])),
                root=here.base,
                folder=making,
                progress=watcher.progress,
            )
            names = [path.name for path in prepare(job)]
            (making / "tables.json").write_text(json.dumps(names))
    return [folder / name for name in json.loads((folder / "tables.json").read_text())]
