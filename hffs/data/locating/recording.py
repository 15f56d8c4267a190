"""What is recorded of a source, so that another host can tell whether it has the same.

Owns the names under which its files are recorded: paths below where the source lies, which are the
same on every host. Only files that images of the view lie in are recorded.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hffs.data.cells.index import TextTable
from hffs.data.cells.paths import check_file
from hffs.data.cells.subset import Subset
from hffs.data.digesting import digest_ends, digest_files, shorten
from hffs.data.hub.cached import is_plain
from hffs.data.hub.resolution import Request
from hffs.data.locating.local import find_base
from hffs.data.locating.record import Wanted, is_prepared
from hffs.data.shards import Located, Shard
from hffs.data.viewfile.header import Origin
from hffs.data.viewfile.sources import DIGESTS, ETAGS, SHARDS, RecordedShard, pack_shards
from hffs.data.watcher import Watcher
from hffs.errors import DataError, StaleError


@dataclass(frozen=True, slots=True, eq=False)
class RecordedSource:
    """Where images lie, and the arrays that tell of the files there."""

    origin: Origin
    arrays: dict[str, NDArray[Any]]


class _FilePin(NamedTuple):
    """A file as it was when the view was decided."""

    path: Path
    size_bytes: int
    mtime_ns: int

    def check(self) -> None:
        """StaleError where it is not that any more: what was decided is not of its content."""
        try:
            check_file(os.fsencode(self.path), self.size_bytes, self.mtime_ns)
        except StaleError as error:
            why = "it was changed since the view was decided"
            raise StaleError("cannot record", str(self.path), why=why, fix="try again") from error


@dataclass(frozen=True, slots=True)
class Reading:
    """How files are read for their digests: not at all without `is_wanted`."""

    is_wanted: bool
    workers: int
    watcher: Watcher


def record_source(
    wanted: Wanted, located: Located, subset: Subset, store: Path, reading: Reading
) -> RecordedSource:
    """Everything that a view file says of a source; its files are read for that if need be.

    Raises SourceError, AccessError, or DataError where a file cannot be named.
    """
    outside = find_outside(wanted.request)
    if outside is not None:
        why = f"its data_files name {outside!r}, outside of it"
        raise DataError("cannot record", wanted.request.name, why=why)
    shards = [located.shards[number] for number in subset.shards.tolist()]
    arrays = dict(subset.arrays)
    if wanted.is_local:
        origin = _locate_local(wanted, located)
        arrays |= _digest_tables(located, arrays, reading)
    elif wanted.is_elsewhere:
        origin = Origin(kind="elsewhere")
    else:
        origin = Origin(kind="hub", commit=located.commit)
        if not located.is_remote:
            arrays |= _name_in_repository(located, arrays)
    for table in ("files", "containers"):
        for name in _list_texts(arrays, table):
            _require_plain(located, os.fsdecode(name))
    recorded = _record_shards(wanted, located, shards, store, reading)
    return RecordedSource(origin, arrays | {SHARDS: pack_shards(tuple(recorded))})


def find_outside(request: Request) -> str | None:
    """A pattern of `data_files` that may lead out of the source; None where none does."""
    files = request.data_files or ()
    patterns = chain(*files.values()) if isinstance(files, Mapping) else files
    for pattern in patterns:
        if "://" in pattern or pattern.startswith(("/", "~")) or ".." in pattern.split("/"):
            return pattern
    return None


def _locate_local(wanted: Wanted, located: Located) -> Origin:
    name = wanted.request.name
    inner = os.path.relpath(located.root, find_base(name))
    if inner != "." and not is_plain(inner):
        why = f"its files lie in {located.root}, outside of it"
        raise DataError("cannot record", name, why=why)
    is_file = os.path.isfile(os.path.expanduser(name))
    return Origin(kind="local", inner="" if inner == "." else inner, is_file=is_file)


def _record_shards(
    wanted: Wanted, located: Located, shards: Sequence[Shard], store: Path, reading: Reading
) -> Iterator[RecordedShard]:
    tags = {pin.name: pin.tag for pin in located.pins} if located.commit else {}
    made = {shard.name for shard in shards if is_prepared(shard.path.parent, store)}
    own = [shard for shard in shards if not shard.is_remote and shard.name not in tags]
    # Of a table that was made nothing but its content tells whether another is the same.
    read = [shard for shard in own if reading.is_wanted or shard.name in made]
    pins = {shard.name: _FilePin(shard.path, shard.size_bytes, shard.mtime_ns) for shard in own}
    found = _digest([pins[shard.name] for shard in read], reading, wanted.request.name)
    digests = {shard.name: next(found).hex() for shard in read}
    ends = {shard.name: digest_ends(shard.path, shard.size_bytes) for shard in own}
    for pin in pins.values():
        pin.check()
    for shard in shards:
        _require_plain(located, shard.name)
        yield RecordedShard(
            name=shard.name,
            size_bytes=shard.size_bytes,
            mtime_ns=shard.mtime_ns if shard in own and shard.name not in made else 0,
            layout=shard.layout,
            etag=shard.etag or tags.get(shard.name, ""),
            ends=ends.get(shard.name, ""),
            digest=digests.get(shard.name, ""),
            is_made=shard.name in made,
        )


def _digest_tables(
    located: Located, arrays: dict[str, NDArray[Any]], reading: Reading
) -> dict[str, NDArray[Any]]:
    """Digests of the files and archives that cells name."""
    if not reading.is_wanted:
        return {}
    root = Path(os.path.realpath(located.root))
    made: dict[str, NDArray[Any]] = {}
    for table in ("files", "containers"):
        names = (root / os.fsdecode(name) for name in _list_texts(arrays, table))
        sizes, times = (arrays[f"{table}.{each}"].tolist() for each in ("size_bytes", "mtime_ns"))
        pins = list(map(_FilePin, names, sizes, times))
        found = _digest(pins, reading, f"images of {located.name}")
        made[f"{table}.{DIGESTS}"] = np.fromiter(map(shorten, found), np.int64, len(pins))
    return made


def _digest(pins: Sequence[_FilePin], reading: Reading, what: str) -> Iterator[bytes]:
    """Digests of files that are still what they were once they are read."""
    report = partial(reading.watcher.progress, f"reading {what}", unit="B")
    digests = digest_files([pin.path for pin in pins], reading.workers, report)
    for pin, digest in zip(pins, digests, strict=True):
        pin.check()
        yield digest


def _name_in_repository(
    located: Located, arrays: dict[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """The files of a snapshot by their names in the repository rather than those of blobs."""
    if located.base is None or not any(len(arrays[f"{t}.ends"]) for t in ("files", "containers")):
        return {}
    root = os.path.realpath(os.fsencode(located.root))
    names: dict[bytes, bytes] = {}
    base = os.fsencode(located.base)
    for folder, folders, files in os.walk(base):
        folders.sort()
        for file in sorted(files):
            path = os.path.join(folder, file)
            real = os.path.relpath(os.path.realpath(path), root)
            names.setdefault(real, os.path.relpath(path, base))
    made: dict[str, NDArray[Any]] = {}
    for table in ("files", "containers"):
        found = [names.get(each, b"") for each in _list_texts(arrays, table)]
        made |= _join(table, found)
        # huggingface_hub names blobs by their ETags
        made |= _join(f"{table}.{ETAGS}", map(os.path.basename, _list_texts(arrays, table)))
    return made


def _join(table: str, texts: Iterable[bytes]) -> dict[str, NDArray[Any]]:
    listed = list(texts)
    return {
        f"{table}.names": np.frombuffer(b"".join(listed), np.uint8),
        f"{table}.ends": np.cumsum([len(text) for text in listed], dtype=np.int64),
    }


def _list_texts(arrays: dict[str, NDArray[Any]], table: str) -> list[bytes]:
    texts = TextTable(arrays[f"{table}.names"], arrays[f"{table}.ends"])
    return [texts.name(number) for number in range(len(texts))]


def _require_plain(located: Located, name: str) -> None:
    if not is_plain(name):
        why = f"no other host can find its file {name!r}"
        raise DataError("cannot record", located.name, why=why)
