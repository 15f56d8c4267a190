"""Ranges of files elsewhere: from the disk cache, else by requests of one loop of its own.

Owns the loop (trio, in a thread: whoever asks may be a thread of a daemon, or of a short-lived
child), deadlines, when to ask again, and what goes into the cache. Which request comes next is
`hffs.data.remote.queueing`, how it is sent an `Origin`.

Invariants: a range under way is fetched once, whoever asks for it; nothing is kept or handed out
that its `Check` refuses, nor what is not exactly as long as was asked for; every Future is settled
by its deadline, and at `close`.
"""

from __future__ import annotations

import logging
import random
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial

import trio

from hffs.data.cache import DiskCache
from hffs.data.remote.files import Check, Range, RangeReader, RemoteFile, accept
from hffs.data.remote.origins import Origin, Trouble, describe
from hffs.data.remote.queueing import Batch, Job, Limits, Queue
from hffs.errors import DeadlineError, FormatError, HffsError, OutageError, SourceError

log = logging.getLogger(__name__)

_PIECES = 4
"""Requests at once for one range that is larger than a request should be."""

_MOST_REFUSED = 3
_ENDED = "the mount ends"
_CLOSE_S = 5.0

OpenOrigins = Callable[[], Mapping[str, Origin]]
"""Makes the origins, by the scheme of their URLs; called in the loop."""


class Fetcher(RangeReader):
    """See `RangeReader`. Without a network (`offline`) only the cache is asked."""

    def __init__(
        self,
        cache: DiskCache,
        open_origins: OpenOrigins,
        limits: Limits = Limits(),  # noqa: B008 - it never changes
        *,
        offline: bool = False,
    ) -> None:
        self._cache, self._open_origins, self._limits = cache, open_origins, limits
        self._offline = offline
        self._lock = threading.Lock()
        self._loop: _Loop | None = None
        self._is_closed = False

    def submit(
        self,
        file: RemoteFile,
        ranges: Sequence[Range],
        check: Check = accept,
        *,
        ahead: bool = False,
        keep: bool = True,
    ) -> list[Future[memoryview]]:
        """See `RangeReader`."""
        outcomes: list[Future[memoryview]] = []
        jobs = []
        for place in ranges:
            kept = self._find(make_key(file, place), ahead=ahead)
            if kept is not None:
                outcomes.append(_settled(kept))
                continue
            deadline = time.monotonic() + self._limits.deadline_s
            jobs.append(Job(file, place, check, keep, ahead, deadline))
            outcomes.append(jobs[-1].outcome)
        if jobs:
            self._enqueue(jobs)
        return outcomes

    def close(self) -> None:
        """See `RangeReader`."""
        with self._lock:
            self._is_closed = True
            loop, self._loop = self._loop, None
        if loop is not None:
            loop.close()

    def _find(self, key: str, *, ahead: bool) -> memoryview | None:
        if ahead:  # it is read when somebody asks for it
            return memoryview(b"") if self._cache.has(key) else None
        return self._cache.get(key)

    def _enqueue(self, jobs: Sequence[Job]) -> None:
        if self._offline:
            _fail(jobs, "offline, and it is not in the cache")
            return
        with self._lock:
            if self._is_closed:
                _fail(jobs, _ENDED)
                return
            if self._loop is None or not self._loop.is_alive:  # a bug must not end all reading
                self._loop = _Loop(self._open_origins, self._limits, self._cache)
            self._loop.enqueue(jobs)


class _Loop:
    """A thread that runs trio until it is closed."""

    def __init__(self, open_origins: OpenOrigins, limits: Limits, cache: DiskCache) -> None:
        self._open_origins, self._limits, self._cache = open_origins, limits, cache
        self._live: dict[tuple[str, str, Range], Job] = {}
        self._origins: Mapping[str, Origin] = {}
        self._queue = Queue(limits, self._host)
        self._scopes: dict[Batch, trio.CancelScope] = {}
        self._started: Future[trio.lowlevel.TrioToken] = Future()
        self._thread = threading.Thread(target=self._run, name="hffs-ranges", daemon=True)
        self._thread.start()
        self._token = self._started.result()

    @property
    def is_alive(self) -> bool:
        """Whether it still takes jobs."""
        return self._thread.is_alive()

    def enqueue(self, jobs: Sequence[Job]) -> None:
        """Take over jobs, from any thread."""
        try:
            self._token.run_sync_soon(self._take_over, jobs)
        except trio.RunFinishedError:
            _fail(jobs, _ENDED)

    def close(self) -> None:
        """End the thread, and with it what is under way."""
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._cancel)
        self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except HffsError as error:  # no client can be made here
            self._started.set_exception(error)
        finally:
            if not self._started.done():  # no descriptors are left, say: nobody may wait for it
                why = "no loop can be started"
                self._started.set_exception(OutageError("cannot fetch", why=why))
            _fail(self._live.values(), _ENDED)

    def _cancel(self) -> None:
        self._nursery.cancel_scope.cancel()

    async def _main(self) -> None:
        self._wake = trio.Event()
        self._origins = self._open_origins()
        try:
            async with trio.open_nursery() as self._nursery:
                self._started.set_result(trio.lowlevel.current_trio_token())
                await self._go_on()
        finally:  # when nobody sends anything any more
            with trio.CancelScope(shield=True):
                for origin in self._origins.values():
                    await origin.aclose()

    async def _go_on(self) -> None:
        while True:
            now = time.monotonic()
            self._expire(now)
            while (batch := self._queue.take(now)) is not None:
                self._nursery.start_soon(self._serve, batch)
            next_s = min(self._queue.next_time(now), self._next_deadline()) - now
            with trio.move_on_after(max(next_s, 0.001)):
                await self._wake.wait()
            self._wake = trio.Event()

    def _host(self, file: RemoteFile) -> str:
        return self._origin(file).host(file)

    def _origin(self, file: RemoteFile) -> Origin:
        return self._origins[file.url.partition("://")[0]]

    def _take_over(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            if job.file.url.partition("://")[0] not in self._origins:
                why = "nothing here reads such an address"
                job.outcome.set_exception(SourceError("cannot fetch", describe(job.file), why=why))
                continue
            live = self._live.get(job.key)
            if live is None:
                self._live[job.key] = job
                self._queue.add(job)
                continue
            if live.is_ahead and not job.is_ahead:
                live.is_ahead, live.not_before = False, 0.0
            live.deadline = max(live.deadline, job.deadline)
            live.keep |= job.keep
            live.outcome.add_done_callback(partial(_copy, job.outcome))
        self._wake.set()

    def _next_deadline(self) -> float:
        return min((job.deadline for job in self._live.values()), default=float("inf"))

    def _expire(self, now: float) -> None:
        for job in [job for job in self._live.values() if job.deadline <= now]:
            why = job.why or "it did not come in time"
            self._settle(job, DeadlineError("cannot fetch", describe(job.file), why=why))
        for batch, scope in self._scopes.items():
            if all(job.outcome.done() for job in batch.jobs):
                scope.cancel()

    def _settle(self, job: Job, outcome: memoryview | HffsError) -> None:
        if self._live.get(job.key) is not job:
            return  # it is too late for it; another may want the same range by now
        del self._live[job.key]
        self._queue.drop(job)
        if isinstance(outcome, HffsError):
            job.outcome.set_exception(outcome)
        else:
            job.outcome.set_result(outcome)

    async def _serve(self, batch: Batch) -> None:
        """Send the request of a batch, and settle its jobs, or have them wait for another try."""
        try:
            with trio.CancelScope() as scope:
                self._scopes[batch] = scope
                try:
                    data = await self._get(batch)
                finally:
                    del self._scopes[batch]
                await self._hand_out(batch, data)
        except Trouble as trouble:
            self._put_off(batch, trouble)
        except HffsError as error:
            for job in batch.jobs:
                self._settle(job, error.anew())
        finally:
            self._queue.give_back(batch)
            self._wake.set()

    async def _get(self, batch: Batch) -> memoryview:
        span, most = batch.span, self._limits.request_bytes
        if span.size_bytes <= most + self._limits.gap_bytes:
            return await self._ask(batch, span)
        data = bytearray(span.size_bytes)
        limiter = trio.CapacityLimiter(_PIECES)

        async def get_piece(start: int) -> None:
            async with limiter:
                piece = Range(start, min(start + most, span.stop))
                at = start - span.start
                data[at : at + piece.size_bytes] = await self._ask(batch, piece)

        try:
            async with trio.open_nursery() as nursery:
                for start in range(span.start, span.stop, most):
                    nursery.start_soon(get_piece, start)
        except* (Trouble, HffsError) as group:
            raise _first(group) from None
        return memoryview(data)

    async def _ask(self, batch: Batch, place: Range) -> memoryview:
        data = await self._origin(batch.file).get(batch.file, place)
        if len(data) != place.size_bytes:
            raise Trouble(f"{len(data)} bytes came of {place.size_bytes}")
        return data

    async def _hand_out(self, batch: Batch, data: memoryview) -> None:
        """Check and keep what came, on a thread: both take a millisecond a megabyte."""
        start = batch.span.start
        cut = [data[job.place.start - start : job.place.stop - start] for job in batch.jobs]
        kept = await trio.to_thread.run_sync(self._keep, batch.jobs, cut)
        for job, outcome in zip(batch.jobs, kept, strict=True):
            if isinstance(outcome, FormatError):
                self._refuse(job, outcome)
            else:
                self._settle(job, outcome)

    def _keep(
        self, jobs: Sequence[Job], cut: Sequence[memoryview]
    ) -> list[memoryview | FormatError]:
        outcomes: list[memoryview | FormatError] = []
        for job, data in zip(jobs, cut, strict=True):
            try:
                job.check(data)
            except FormatError as error:
                job.refused.append(zlib.crc32(data))
                outcomes.append(error.anew())
            else:
                # A copy where it was joined with others, which it would keep in memory.
                own = memoryview(bytes(data)) if len(jobs) > 1 else data
                key = make_key(job.file, job.place)
                outcomes.append(self._cache.put(key, own) if job.keep else own)
        return outcomes

    def _refuse(self, job: Job, error: FormatError) -> None:
        """Ask once more for what cannot be right; what comes again is what lies there."""
        *before, last = job.refused
        if last in before or len(job.refused) >= _MOST_REFUSED:
            self._settle(job, error)
        elif not job.outcome.done():
            log.warning("%s came damaged (%s); asking again", describe(job.file), error.why)
            self._queue.add(job)

    def _put_off(self, batch: Batch, trouble: Trouble) -> None:
        now, limits = time.monotonic(), self._limits
        if trouble.rest_s is not None:
            self._queue.rest(batch.host, now + trouble.rest_s)
        for job in batch.jobs:
            if job.outcome.done():
                continue
            grown_s = min(limits.first_wait_s * 2.0 ** min(job.failures, 20), limits.longest_wait_s)
            # So that not all come back at once; no secret hangs on it.
            job.not_before = now + grown_s * random.uniform(0.5, 1)  # noqa: S311
            job.failures += 1
            job.why = trouble.why
            self._queue.add(job)


def make_key(file: RemoteFile, place: Range) -> str:
    """Under which a range is kept: content addresses of the Hub are the same for everyone."""
    own = "" if file.url.startswith("hf://") else f"{file.url}/"
    return f"range/{own}{file.etag}/{place.start}/{place.stop}"


def _copy(into: Future[memoryview], done: Future[memoryview]) -> None:
    error = done.exception()
    if error is None:
        into.set_result(done.result())
    elif isinstance(error, HffsError):
        into.set_exception(error.anew())
    else:
        into.set_exception(error)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error of a group that counts: one that is for good before one that may pass."""
    errors = group.exceptions
    return next((error for error in errors if isinstance(error, HffsError)), errors[0])


def _settled(data: memoryview) -> Future[memoryview]:
    future: Future[memoryview] = Future()
    future.set_result(data)
    return future


def _fail(jobs: Iterable[Job], why: str) -> None:
    """Settle jobs that nobody will do."""
    for job in jobs:
        job.outcome.set_exception(OutageError("cannot fetch", describe(job.file), why=why))
