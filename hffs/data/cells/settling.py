"""The index of a recorded view, made one of this host: its files are found and compared here.

Owns what differs between hosts though the images are the same: times of files, the real names that
the Hub's cache gives them, and whether a file is here or read where it lies. Where that is asked
for, an image that was a range of a downloaded file becomes that range of the file on the Hub.
Invariant: what is returned refers to nothing but files of this source that are as they were.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hffs.data.cells.checking import check_index
from hffs.data.cells.index import FILE_ARRAYS, SEGMENT_ARRAYS, Coding, SegmentKind, TextTable
from hffs.data.cells.paths import MISSING, FilePin, PathResolver
from hffs.data.digesting import digest_files, shorten
from hffs.data.shards import Located
from hffs.data.viewfile.header import COPY, differs
from hffs.data.watcher import Watcher
from hffs.errors import DataError

Arrays = dict[str, NDArray[Any]]

_TABLES = ("files", "containers")
_LOCAL = (SegmentKind.MAP, SegmentKind.PART)


@dataclass(frozen=True, slots=True, eq=False)
class Settling:
    """What an index is settled with; `digests` and `etags` are those of files by table, where there
    are any.
    """

    view: Path
    located: Located
    digests: dict[str, NDArray[np.int64]]
    etags: dict[str, TextTable]
    workers: int
    watcher: Watcher


def settle(arrays: Arrays, settling: Settling) -> Arrays:
    """The arrays of an index that was checked, for this host.

    Raises StaleError where a file is not what it was, DataError where images cannot be read the way
    that is asked for.
    """
    located = settling.located
    remote = [shard.is_remote for shard in located.shards]
    if located.address and located.commit:
        arrays = _move_away(arrays, settling, remote)
        check_index(arrays, [shard.size_bytes for shard in located.shards])
    _require_reach(arrays, settling, remote)
    for table in _TABLES:
        if len(arrays[f"{table}.ends"]):
            arrays = arrays | _find_files(arrays, table, settling)
    return arrays


def _require_reach(arrays: Arrays, settling: Settling, remote: Sequence[bool]) -> None:
    """Raise DataError where images are said to be where nothing could read them."""
    kind, shard = arrays["segments.kind"], arrays["segments.shard"]
    far = np.array(remote, np.bool_)
    wrong = far[shard[np.isin(kind, _LOCAL)]].any() or not far[arrays["chunks.shard"]].all()
    if wrong or ((kind == SegmentKind.FAR_FILES).any() and not settling.located.address):
        why = "its images are not where its source is read"
        raise DataError("cannot use view", str(settling.view), why=why)


def _find_files(arrays: Arrays, table: str, settling: Settling) -> Arrays:
    """The table of files with the names and times that they have here."""
    located = settling.located
    resolver = PathResolver(located.root, located.base)
    pins = _pin_files(arrays, table, settling, resolver)
    times = np.array([pin.mtime_ns for pin in pins], np.int64)
    if not located.commit:
        others = np.flatnonzero(times != arrays[f"{table}.mtime_ns"])
        _compare(pins, others, table, settling, resolver)
    names = [pin.name for pin in pins]
    return {
        f"{table}.names": np.frombuffer(b"".join(names), np.uint8),
        f"{table}.ends": np.cumsum([len(name) for name in names], dtype=np.int64),
        f"{table}.mtime_ns": times,
    }


def _pin_files(
    arrays: Arrays, table: str, settling: Settling, resolver: PathResolver
) -> list[FilePin]:
    names = TextTable(arrays[f"{table}.names"], arrays[f"{table}.ends"])
    sizes = arrays[f"{table}.size_bytes"].tolist()
    pins = []
    for number, size_bytes in enumerate(sizes):
        found = resolver.pin(names.name(number))
        shown = os.fsdecode(names.name(number))
        if isinstance(found, str):
            why = "is missing" if found == MISSING else f"is a {found}"
            raise differs(settling.view, f"{shown} of {settling.located.name}", why)
        if found.size_bytes != size_bytes:
            why = f"has {found.size_bytes} bytes, and had {size_bytes}"
            raise differs(settling.view, f"{shown} of {settling.located.name}", why)
        pins.append(found)
    return pins


def _compare(
    pins: Sequence[FilePin],
    others: NDArray[np.int64],
    table: str,
    settling: Settling,
    resolver: PathResolver,
) -> None:
    """Compare the content of files that have another time than they had."""
    if not len(others):
        return
    view, name = settling.view, settling.located.name
    paths = [
        Path(os.fsdecode(os.path.join(resolver.root, pins[number].name)))
        for number in others.tolist()
    ]
    recorded = settling.digests.get(table)
    if recorded is None:
        why = "has another time than it had, and nothing was recorded of its content"
        raise differs(view, str(paths[0]), why, COPY)
    report = partial(settling.watcher.progress, f"comparing images of {name}", unit="B")
    digests = digest_files(paths, settling.workers, report)
    for path, digest, then in zip(paths, digests, recorded[others].tolist(), strict=True):
        if shorten(digest) != then:
            raise differs(view, str(path), "has other content than it had")


def _move_away(arrays: Arrays, settling: Settling, remote: Sequence[bool]) -> Arrays:
    """Images in files of this host as ranges of the same files on the Hub."""
    kinds = arrays["segments.kind"]
    of_shard = np.isin(kinds, _LOCAL)
    far = np.array([*remote, False], np.bool_)
    moved = (of_shard & far[np.where(of_shard, arrays["segments.shard"], -1)]) | np.isin(
        kinds, (SegmentKind.CONTAINER, SegmentKind.FILES)
    )
    if not moved.any():
        return arrays
    coded = arrays["segments.coding"] != Coding.RAW
    known = all(len(settling.etags[table]) == len(arrays[f"{table}.ends"]) for table in _TABLES)
    if not known or (moved & ((kinds == SegmentKind.PART) | coded)).any():
        why = "it was recorded of downloaded files, in which images cannot be read where they lie"
        fix = "leave --streaming out, or record the view with it"
        raise DataError("cannot stream", str(settling.view), why=why, fix=fix)
    return _make_ranges(arrays, moved, settling)


def _make_ranges(arrays: Arrays, moved: NDArray[np.bool_], settling: Settling) -> Arrays:
    """All cells of some segments as far ranges; a data set has none before, as it was downloaded.

    Far files are the shards, then the archives, then the files that cells name.
    """
    files = _list_far(arrays, settling)
    kinds, shard = arrays["segments.kind"], arrays["segments.shard"]
    count = len(settling.located.shards)
    containers = len(arrays["containers.ends"])
    first = np.where(kinds == SegmentKind.CONTAINER, count + shard, shard)
    segment = arrays["segment"]
    cells = np.flatnonzero(moved[segment])
    own = segment[cells]
    is_file = kinds[own] == SegmentKind.FILES
    offset, length = arrays["offset"], arrays["length"]
    number = np.where(is_file, count + containers + offset[cells], first[own])
    starts = np.where(is_file, 0, offset[cells])
    moved_offset = np.array(offset)
    moved_offset[cells] = np.arange(len(cells))
    segments: Arrays = {f"segments.{name}": arrays[f"segments.{name}"] for name in SEGMENT_ARRAYS}
    for name, value in (("kind", SegmentKind.FAR_FILES), ("shard", -1)):
        segments[f"segments.{name}"] = np.where(moved, value, segments[f"segments.{name}"]).astype(
            SEGMENT_ARRAYS[name]
        )
    nothing = {f"{t}.{n}": np.zeros(0, k) for t in _TABLES for n, k in FILE_ARRAYS.items()}
    return {
        **arrays,
        **segments,
        **nothing,
        **files,
        "offset": moved_offset,
        "far_ranges.file": number.astype(np.int32),
        "far_ranges.start": starts.astype(np.int64),
        "far_ranges.size": np.asarray(length[cells]),
    }


def _list_far(arrays: Arrays, settling: Settling) -> Arrays:
    shards = settling.located.shards
    names = [shard.name.encode("utf-8", "surrogateescape") for shard in shards]
    sizes = [shard.size_bytes for shard in shards]
    etags = [shard.etag.encode() for shard in shards]
    for table in ("containers", "files"):
        texts = TextTable(arrays[f"{table}.names"], arrays[f"{table}.ends"])
        names += [texts.name(number) for number in range(len(texts))]
        sizes += arrays[f"{table}.size_bytes"].tolist()
        etags += [settling.etags[table].name(number) for number in range(len(texts))]
    return {
        "far_files.names": np.frombuffer(b"".join(names), np.uint8),
        "far_files.ends": np.cumsum([len(name) for name in names], dtype=np.int64),
        "far_files.size_bytes": np.array(sizes, np.int64),
        "etags.names": np.frombuffer(b"".join(etags), np.uint8),
        "etags.ends": np.cumsum([len(etag) for etag in etags], dtype=np.int64),
    }
