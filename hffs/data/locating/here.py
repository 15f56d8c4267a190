"""What is on this host already: the files that a local path means, or a repository in the cache.

Owns finding them without asking anybody, and saying what is missing. What becomes of them is
`hffs.data.locating.acquiring`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hffs.data.hub.cached import (
    cached_commit,
    has_every_file,
    repository_folder,
    snapshot_folder,
)
from hffs.data.hub.messages import refuse_offline
from hffs.data.hub.resolution import HubFile, Request, Resolution
from hffs.data.locating.local import MEDIA_EXTENSIONS, describe_files, list_files
from hffs.data.locating.record import (
    Wanted,
    find_missing,
    is_prepared,
    pin_files,
    read_record,
)
from hffs.errors import SourceError

_READABLE = MEDIA_EXTENSIONS | {
    ".parquet", ".arrow", ".tar", ".zip", ".json", ".jsonl", ".ndjson", ".csv", ".tsv",
}  # fmt: skip
"""Ends of names of files that a data set may consist of."""

_NAMED = 3
"""How many missing files a message names."""

_SHARD_OF = re.compile(r"^(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<rest>.*)$")


@dataclass(frozen=True, slots=True)
class Here:
    """What was resolved, with every file of it on this host, each below `base`.

    In the cache of huggingface_hub that is a snapshot; it links to blobs, which `root` holds too.
    """

    resolution: Resolution
    root: Path
    base: Path
    pin: str = ""
    """Of files that nobody was asked about, as they were before any was read (`pin_files`)."""

    def path(self, file: HubFile) -> Path:
        """Where a file lies."""
        return self.base / file.name


def find_local(wanted: Wanted) -> Here:
    """The files of a local path that `datasets` has to look at. Raises as `acquire` does."""
    pin = pin_files(wanted.request.name)
    _require_readable(wanted.request)
    from hffs.data.hub.resolve_local import resolve_local

    resolution = resolve_local(wanted.request)
    path = Path(wanted.request.name)
    base = path if path.is_dir() else _common_folder(resolution)
    return Here(_relative(resolution, base), base, base, pin)


def _require_readable(request: Request) -> None:
    """Say what is there instead where no file has a format that is read."""
    files = list_files(request.name)
    if not any(_READABLE.intersection(_suffixes(path)) for path in files):
        why = f"no file here is of a format that is read ({describe_files(files)})"
        fix = "formats: Parquet, Arrow, images, videos, sounds, tar, zip, JSON, CSV"
        raise SourceError("cannot open", request.name, why=why, fix=fix)


def _suffixes(path: str) -> Iterator[str]:
    """Every suffix of a name, as `datasets` goes by them: `a.jsonl.gz` is JSON lines.

    >>> list(_suffixes("data.v1/a.JSONL.gz"))
    ['.jsonl', '.gz']
    """
    return ("." + part for part in os.path.basename(path).lower().split(".")[1:])


def _common_folder(resolution: Resolution) -> Path:
    paths = [file.name for split in resolution.files.values() for file in split]
    return Path(os.path.commonpath([os.path.dirname(path) for path in paths]))


def _relative(resolution: Resolution, base: Path) -> Resolution:
    """The resolution with file names below a folder."""
    start = os.path.join(base, "")

    def shorten(file: HubFile) -> HubFile:
        is_below = file.name.startswith(start)
        name = file.name[len(start) :] if is_below else os.path.relpath(file.name, base)
        return HubFile(name, file.size_bytes, file.etag)

    files = {split: tuple(map(shorten, listed)) for split, listed in resolution.files.items()}
    return replace(resolution, files=files)


def find_offline(wanted: Wanted, store: Path, notice: Callable[[str], None]) -> Here:
    """What the cache of huggingface_hub holds, however it came there.

    Raises SourceError for what is known to be missing; `notice` hears where nobody can know.
    """
    request = wanted.request
    kept, commit = read_record(wanted, store), cached_commit(request)
    if kept is not None and commit in (None, kept.located.commit):
        # A table that is gone can be made again without the Hub.
        shards = kept.located.shards
        tables = {each.name for each in shards if is_prepared(each.path.parent, store)}
        missing = [name for name in find_missing(kept.located) if name not in tables]
        _refuse_missing(request.name, kept.located.commit, missing)
    if commit is None:
        why = f"nothing of its revision {request.revision} is on this host"
        raise refuse_offline(request.name, why)
    from hffs.data.hub.resolve_local import resolve_snapshot

    base = snapshot_folder(request.name, commit)
    pin = pin_files(str(base))
    here = _relative(replace(resolve_snapshot(request, base), commit=commit), base)
    tagged = {
        split: tuple(replace(file, etag=_blob_name(base / file.name)) for file in listed)
        for split, listed in here.files.items()
    }
    names = [file.name for listed in tagged.values() for file in listed]
    _refuse_missing(request.name, commit, list(_find_gaps(names)))
    was_told = kept is not None and not kept.pin and kept.located.commit == commit
    if not (was_told or all(map(_SHARD_OF.match, names)) or has_every_file(request.name, commit)):
        notice(
            f"offline: whether the {len(names)} files of {request.name}@{commit[:12]} on this host "
            "are all that there are, only the Hub could tell"
        )
    return Here(replace(here, files=tagged), repository_folder(request.name), base, pin)


def _blob_name(path: Path) -> str:
    """The ETag of a cached file: huggingface_hub names blobs by it."""
    return os.path.basename(os.path.realpath(path))


def _refuse_missing(name: str, commit: str, missing: Sequence[str]) -> None:
    if not missing:
        return
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    why = f"not on this host: {', '.join(missing[:_NAMED])}{more}"
    raise refuse_offline(f"{name}@{commit[:12]}", why)


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
