"""One run: what is planned, what of it is there, and the rest through an engine into the store.

Owns what a run tells of itself. Must not know how samples are encoded, nor where workers run.
Invariants: nothing that is in the store is encoded again; whatever ends a run, what it has written
is found by the next one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hffs.data.engines import Engine, Needs
from hffs.data.watcher import Watcher
from hffs.train.caching.capping import Cap
from hffs.train.caching.chunks import CHUNK_IMAGES, CHUNK_TEXTS, Chunks, ImageJob, TextJob
from hffs.train.caching.finding import look_up
from hffs.train.caching.pipeline import Report
from hffs.train.caching.store import Store
from hffs.train.caching.timing import Seconds
from hffs.train.caching.work import Work, make_worker


@dataclass(frozen=True, slots=True)
class Settings:
    """How a run goes about its work.

    `batch` is how many samples are encoded at once, `length` how
    many make a shard; None is what suits images or texts. `max_bytes` is what the store may hold,
    of which the encoder's `facts` tell how much is needed.
    """

    work: Work
    needs: Needs
    facts: Mapping[str, Any]
    batch: int | None = None
    length: int | None = None
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Shares:
    """Parts of the time of a run, 0 to 1: how busy threads that decode were, the device, the thread
    that writes; and for how long the device waited for them.
    """

    decode: float
    encode: float
    write: float
    idle: float


@dataclass(slots=True)
class Outcome:
    """What became of a run.

    Of `planned` samples `there` were kept before, `done` were encoded; `refused` are broken and
    will not be tried again, `failed` could not be read this time. `smallest_batch` is what memory
    allowed, where that was less than was asked for.
    """

    planned: int
    there: int
    refused: int
    done: int = 0
    failed: int = 0
    size_bytes: int = 0
    wall_s: float = 0.0
    shares: Shares = field(default_factory=lambda: Shares(0.0, 0.0, 0.0, 0.0))
    smallest_batch: int | None = None
    reason: str = ""

    @property
    def settled(self) -> int:
        """Samples of which something is known by now."""
        return self.there + self.refused + self.done + self.failed

    @property
    def per_s(self) -> float:
        """Samples encoded in a second."""
        return self.done / self.wall_s if self.wall_s else 0.0


def look(job: ImageJob | TextJob, store: Store) -> Outcome:
    """What a run would begin with."""
    return _begin(*look_up(store, job.keys))


def _begin(present: NDArray[np.bool_], broken: NDArray[np.bool_]) -> Outcome:
    there, refused = int(present.sum()), int(broken.sum())
    return Outcome(planned=len(present), there=there, refused=refused)


def run(
    job: ImageJob | TextJob, store: Store, engine: Engine, settings: Settings, watcher: Watcher
) -> Outcome:
    """Encode what is not in the store. Raises the HffsError that ends a run."""
    present, broken = look_up(store, job.keys)
    missing = job.only(~(present | broken))
    outcome = _begin(present, broken)
    if not len(missing.keys):
        return outcome
    is_image = isinstance(job, ImageJob)
    length = settings.length or (CHUNK_IMAGES if is_image else CHUNK_TEXTS)
    chunks = Chunks(missing, length, settings.batch)
    cap = None if settings.max_bytes is None else Cap(store, settings.max_bytes, job.keys)
    if cap is not None:
        cap.begin(missing, settings.facts, len(chunks))
    bar = _Bar(watcher, "encoding images" if is_image else "encoding texts", outcome)
    told = _Told(outcome, bar, cap)
    # Workers of this process tell of every batch, others of every chunk.
    make = partial(make_worker, settings.work)
    if engine.is_here:
        make = partial(make_worker, settings.work, tell=bar.add)
    began = time.perf_counter()
    try:
        reports = engine.run(make, chunks, settings.needs)
        for report in reports:
            told.add(report)
    finally:
        outcome.wall_s = time.perf_counter() - began
        store.refresh()
    outcome.shares = _share(told.spent, settings.work)
    return outcome


class _Told:
    """What workers have told so far."""

    def __init__(self, outcome: Outcome, bar: _Bar, cap: Cap | None) -> None:
        self.spent = Seconds()
        self._outcome, self._bar, self._cap = outcome, bar, cap

    def add(self, report: Report) -> None:
        """Count a chunk. DataError where the rest will not fit."""
        outcome = self._outcome
        outcome.done += report.done
        outcome.refused += report.refused
        outcome.failed += report.failed
        outcome.size_bytes += report.size_bytes
        outcome.reason = outcome.reason or report.reason
        if report.smallest_batch is not None:
            known = outcome.smallest_batch or report.smallest_batch
            outcome.smallest_batch = min(known, report.smallest_batch)
        self.spent += report.seconds
        self._bar.settle()
        if self._cap is not None:
            left = outcome.planned - outcome.settled
            self._cap.check(outcome.done, left, outcome.size_bytes)


class _Bar:
    """How far a run is, what was there before it among that."""

    def __init__(self, watcher: Watcher, what: str, outcome: Outcome) -> None:
        self._watcher, self._what, self._outcome = watcher, what, outcome
        self._at = 0
        self.settle()

    def add(self, count: int) -> None:
        """So many samples more went through a worker."""
        self._at += count
        self._show()

    def settle(self) -> None:
        """Go by what has been answered for, where that is more."""
        self._at = max(self._at, self._outcome.settled)
        self._show()

    def _show(self) -> None:
        self._watcher.progress(self._what, self._at, self._outcome.planned, "encoded")


def _share(spent: Seconds, work: Work) -> Shares:
    if not spent.total:
        return Shares(0.0, 0.0, 0.0, 0.0)
    encode = min(1.0, spent.encode / spent.total)
    return Shares(
        decode=spent.decode / (spent.total * work.decoders),
        encode=encode,
        write=min(1.0, spent.write / spent.total),  # the last shard is written behind the end
        idle=1.0 - encode,
    )
