"""Scanning a folder: the size of each of its images, by headers alone, each read once.

Owns `scan_folder` and what is trusted of what was remembered: of a mount of hffs everything, by the
fingerprint of its view; elsewhere a file whose size and time of change are as they were. Must not
know formats or the form of what is remembered. Invariants: the same files give the same `Scan`,
whatever was remembered and in whatever order they were read; what was read is remembered a few
thousand files later at most, so a scan that was killed reads little again; names and rows of a
million files are arrays, never objects.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hffs.data.engines import Engine
from hffs.data.watcher import Watcher
from hffs.errors import AccessError, SourceError, UsageError
from hffs.train.scanning.batches_of_headers import UNKNOWN_BYTES, Answer, Outcome, pack_batch
from hffs.train.scanning.file_systems import find_type, find_view, is_far
from hffs.train.scanning.header_readers import (
    Readers,
    share_among_workers,
    share_batches,
)
from hffs.train.scanning.listing import Listing, list_images
from hffs.train.scanning.remembering import ROW, Remembered, ScanCache
from hffs.train.scanning.scanned import Scan

PART_FILES = 8192
"""After so many files that were read, they are remembered."""

_BATCH_FILES, _FAR_BATCH_FILES = 256, 32
_FILES_FOR_ANOTHER = 3000
"""A process is not worth its start for fewer."""

_FAR_THREADS, _MOST_THREADS = 2, 32
"""For each worker that is asked for; more made a mount on two cores slower."""

_WHAT = "image sizes"

_Share = Callable[[Iterable[bytes]], Generator[tuple[int, Answer], None, None]]
"""Who answers batches, as `share_batches` does."""


def scan_folder(
    folder: Path,
    cache: Path | None,
    workers: int,
    watcher: Watcher,
    engine: Engine | None = None,
) -> Scan:
    """Sizes of all images below a folder; files that cannot be read are its `problems`.

    `cache` is a folder of this user's for what is remembered. With an engine its workers read the
    files, but those of a mount of hffs, which is there on this host alone. SourceError where the
    folder is missing, UsageError where it is a file, AccessError where it may not be read.
    """
    with _opened(folder) as opened:
        kind = find_type(opened)
        view = find_view(opened, kind)
        key = f"view {view}" if view else f"folder {os.path.realpath(folder)}"
        kept = ScanCache(cache, key, watcher)
        whole = kept.load()
        if view and whole is not None:
            listing = Listing(whole.names, whole.others, dict(whole.problems))
        else:
            with _told(folder):
                listing = list_images(folder)
        work = _Work(listing, kept, watcher, is_view=view is not None)
        for found in [*([] if whole is None else [whole]), *kept.load_parts()]:
            work.recall(found)
        if engine is None or view:
            if engine is not None and len(work.wanted):
                watcher.notice(f"{folder} is a mount, whose images are measured by this host alone")
            readers = _choose_readers(workers, len(work.wanted), is_far=is_far(kind))
            work.read(partial(share_batches, opened, readers=readers), _count_files(readers))
        else:
            work.read(partial(share_among_workers, engine, folder), _BATCH_FILES)
        work.keep(whole)
    return work.conclude(folder)


def _choose_readers(workers: int, files: int, *, is_far: bool) -> Readers:
    if is_far:
        most = min(_FAR_THREADS * workers, _MOST_THREADS)
        return Readers(max(1, min(most, -(-files // _FAR_BATCH_FILES))), is_far)
    return Readers(max(1, min(workers, files // _FILES_FOR_ANOTHER)), is_far)


def _count_files(readers: Readers) -> int:
    return _FAR_BATCH_FILES if readers.is_far else _BATCH_FILES


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    with _told(folder):
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield opened
    finally:
        os.close(opened)


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """What is wrong with the folder itself, in words."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        if error.errno == errno.ENOTDIR and os.path.exists(folder):
            raise UsageError("cannot scan", str(folder), why="not a folder") from error
        denied = error.errno in (errno.EACCES, errno.EPERM)
        raise (AccessError if denied else SourceError)(
            "cannot scan", str(folder), why=why
        ) from error


@dataclass(slots=True)
class _Work:
    """A listing, and what is known of each of its names by now."""

    listing: Listing
    kept: ScanCache
    watcher: Watcher
    is_view: bool
    rows: NDArray[Any] = field(init=False)
    reasons: dict[int, str] = field(default_factory=dict)
    fresh: list[NDArray[np.int64]] = field(default_factory=list)
    has_news: bool = False

    def __post_init__(self) -> None:
        self.rows = np.zeros(len(self.listing.names), ROW)
        self.rows["size_bytes"] = UNKNOWN_BYTES

    @property
    def wanted(self) -> NDArray[np.int64]:
        """Which files have to be looked at; of a view only those that are not known."""
        if not self.is_view:
            return np.arange(len(self.rows))
        return np.flatnonzero(~np.isin(self.rows["outcome"], (Outcome.FOUND, Outcome.REFUSED)))

    def recall(self, found: Remembered) -> None:
        """Take over what was remembered, by names."""
        names = self.listing.names
        if names.equals(found.names):
            self.rows[:] = found.rows
            self.reasons = dict(found.reasons)
            return
        places = pc.index_in(names, value_set=found.names).fill_null(-1).to_numpy()
        here = np.flatnonzero(places >= 0)
        self.rows[here] = found.rows[places[here]]
        if found.reasons:
            of = {
                int(places[index]): int(index) for index in here if places[index] in found.reasons
            }
            self.reasons |= {index: found.reasons[place] for place, index in of.items()}

    def read(self, share: _Share, size: int) -> None:
        """Have the files looked at that have to be, so many at a time, and remember them now and
        then.
        """
        wanted = self.wanted
        batches = [wanted[at : at + size] for at in range(0, len(wanted), size)]
        done = 0
        asked = map(self._ask, batches)
        try:
            with closing(share(asked)) as answers:
                for number, answer in answers:
                    self._take(batches[number], answer)
                    done += len(batches[number])
                    self.watcher.progress(_WHAT, done, len(wanted))
        finally:
            if done < len(wanted):
                self._keep_part()

    def _ask(self, places: NDArray[np.int64]) -> bytes:
        names = self.listing.names.take(pa.array(places)).to_pylist()
        known = self.rows[places]
        known["size_bytes"][known["outcome"] != Outcome.FOUND] = UNKNOWN_BYTES
        pairs = np.stack([known["size_bytes"], known["mtime_ns"]], axis=1)
        return pack_batch(names, pairs.tobytes())

    def _take(self, places: NDArray[np.int64], answer: Answer) -> None:
        records = np.frombuffer(answer.records, ROW)
        news = records["outcome"] != Outcome.SAME
        if not news.any():
            return
        self.has_news = True
        self.rows[places[news]] = records[news]
        for place in places[news] if self.reasons else ():
            self.reasons.pop(int(place), None)
        self.reasons |= {int(places[index]): why for index, why in answer.reasons.items()}
        self.fresh.append(places[news])
        if sum(map(len, self.fresh)) >= PART_FILES:
            self._keep_part()

    def _keep_part(self) -> None:
        """Remember what was read since the last time."""
        if not self.fresh:
            return
        places = np.concatenate(self.fresh)
        self.fresh.clear()
        reasons = {
            index: self.reasons[place]
            for index, place in enumerate(places.tolist())
            if place in self.reasons
        }
        names = self.listing.names.take(pa.array(places))
        self.kept.save_part(Remembered(names, self.rows[places], reasons))

    def keep(self, before: Remembered | None) -> None:
        """Remember all of it, if it is not what was remembered."""
        listing = self.listing
        if self.has_news or before is None or not before.names.equals(listing.names):
            self.kept.save(
                Remembered(listing.names, self.rows, self.reasons, listing.others, listing.problems)
            )

    def conclude(self, folder: Path) -> Scan:
        """The images whose size is known, and why the others have none."""
        listing, rows = self.listing, self.rows
        found = rows["outcome"] == Outcome.FOUND
        places: Sequence[int] = np.flatnonzero(~found).tolist()
        failed = listing.names.take(pa.array(places, pa.int64())).to_pylist()
        problems = dict(listing.problems)
        problems |= {n: self.reasons[place] for n, place in zip(failed, places, strict=True)}
        names = listing.names if found.all() else listing.names.filter(pa.array(found))
        stored = np.stack([rows["width"][found], rows["height"][found]], axis=1)
        orientation = rows["orientation"][found]
        for array in (stored, orientation):
            array.setflags(write=False)
        fingerprint = _fingerprint(names, (stored, orientation), problems)
        return Scan(folder, names, stored, orientation, problems, listing.others, fingerprint)


def _fingerprint(
    names: pa.LargeStringArray, arrays: tuple[NDArray[Any], ...], problems: dict[str, str]
) -> str:
    digest = hashlib.blake2b(json.dumps(sorted(problems.items())).encode(), digest_size=32)
    _, offsets, text = names.buffers()
    bounds = np.frombuffer(offsets or bytes(8), np.int64)[names.offset :][: len(names) + 1]
    digest.update(np.ascontiguousarray(bounds - bounds[0]).data)
    digest.update(memoryview(text or b"")[bounds[0] : bounds[-1]])
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
