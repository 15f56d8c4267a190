"""Ranges of files elsewhere: from the disk cache, else by requests of one loop of its own.

Owns the loop (trio, in a thread: whoever asks may be a thread of a daemon, or of a short-lived
child), deadlines, when to ask again, and what goes into the cache. Which request comes next is
`hffs.data.remote.queueing`, how it is sent an `Origin`.

Invariants: what is under way is fetched once, whoever asks for it or for a part of it; nothing is
kept or handed out that its `Check` refuses, nor what is not exactly as long as was asked for; every
Future is settled by its own deadline, and at `close`.
"""

from __future__ import annotations

import heapq
import logging
import random
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from itertools import count

import trio

from hffs.data.cache import DiskCache
from hffs.data.remote.files import Check, Range, RangeReader, RemoteFile, accept
from hffs.data.remote.origins import Origin, Trouble, describe
from hffs.data.remote.queueing import Batch, Claim, Job, Limits, Queue
from hffs.data.traffic import Traffic
from hffs.errors import DeadlineError, FormatError, HffsError, OutageError, SourceError

log = logging.getLogger(__name__)

_MOST_REFUSED = 3
_ENDED = "the mount ends"
_CLOSE_S = 5.0

_NOBODY: Future[memoryview] = Future()

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
        traffic: Traffic | None = None,
    ) -> None:
        self._cache, self._open_origins, self._limits = cache, open_origins, limits
        self._traffic = traffic or Traffic()
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
        claims = []
        for place in ranges:
            kept = self._find(make_key(file, place), ahead=ahead)
            if kept is not None:
                outcomes.append(_settled(kept))
                continue
            deadline = time.monotonic() + self._limits.deadline_s
            claims.append(Claim(file, place, check, keep, ahead, deadline))
            outcomes.append(claims[-1].outcome)
        if claims:
            self._enqueue(claims)
        return outcomes

    def holds(self, file: RemoteFile, place: Range) -> bool:
        """See `RangeReader`."""
        return self._cache.has(make_key(file, place))

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

    def _enqueue(self, claims: Sequence[Claim]) -> None:
        if self._offline:
            _fail(claims, "offline, and it is not in the cache")
            return
        with self._lock:
            if self._is_closed:
                _fail(claims, _ENDED)
                return
            if self._loop is None or not self._loop.is_alive:  # a bug must not end all reading
                self._loop = _Loop(self._open_origins, self._limits, self._cache, self._traffic)
            self._loop.enqueue(claims)


class _Loop:
    """A thread that runs trio until it is closed."""

    def __init__(
        self, open_origins: OpenOrigins, limits: Limits, cache: DiskCache, traffic: Traffic
    ) -> None:
        self._open_origins, self._limits, self._cache = open_origins, limits, cache
        self._traffic = traffic
        self._live: dict[tuple[str, str, Range], Job] = {}
        self._deadlines: list[tuple[float, int, Claim]] = []
        self._numbers = count()
        self._origins: Mapping[str, Origin] = {}
        self._queue = Queue(limits, self._host)
        self._scopes: dict[Batch, trio.CancelScope] = {}
        self._started: Future[trio.lowlevel.TrioToken] = Future()
        self._thread = threading.Thread(target=self._run, name="hffs-ranges", daemon=True)
        self._thread.start()
        self._token = self._started.result()

    @property
    def is_alive(self) -> bool:
        """Whether it still takes claims."""
        return self._thread.is_alive()

    def enqueue(self, claims: Sequence[Claim]) -> None:
        """Take over claims, from any thread."""
        try:
            self._token.run_sync_soon(self._take_over, claims)
        except trio.RunFinishedError:
            _fail(claims, _ENDED)

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
            for job in self._live.values():
                _fail(job.claims, _ENDED)

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
                for origin in set(self._origins.values()):
                    await origin.aclose()

    async def _go_on(self) -> None:
        while True:
            now = time.monotonic()
            self._expire(now)
            while (batch := self._queue.take(now)) is not None:
                self._nursery.start_soon(self._serve, batch)
            next_deadline = self._deadlines[0][0] if self._deadlines else float("inf")
            next_s = min(self._queue.next_time(now), next_deadline) - now
            with trio.move_on_after(max(next_s, 0.001)):
                await self._wake.wait()
            self._wake = trio.Event()

    def _host(self, file: RemoteFile) -> str:
        return self._origin(file).host(file)

    def _origin(self, file: RemoteFile) -> Origin:
        return self._origins[file.url.partition("://")[0]]

    def _take_over(self, claims: Sequence[Claim]) -> None:
        for claim in claims:
            if claim.file.url.partition("://")[0] not in self._origins:
                why = "nothing here reads such an address"
                error = SourceError("cannot fetch", describe(claim.file), why=why)
                claim.outcome.set_exception(error)
                continue
            job = self._live.get(claim.key)
            if job is None and self._is_kept_by_now(claim):
                continue
            heapq.heappush(self._deadlines, (claim.deadline, next(self._numbers), claim))
            if job is None:
                job = self._live[claim.key] = Job.of(claim)
                for part in job.split(self._limits):
                    self._queue.add(part)
                continue
            job.claims.append(claim)
            job.keep |= claim.keep
            if job.is_ahead and not claim.is_ahead:
                self._queue.hurry(job)
        self._wake.set()

    def _is_kept_by_now(self, claim: Claim) -> bool:
        """Settle a claim where its range was kept since the cache was asked: it is no more under
        way, and would be fetched twice.
        """
        key = make_key(claim.file, claim.place)
        kept = self._cache.peek(key) if self._cache.has(key) else None
        if kept is not None:
            claim.outcome.set_result(kept)
        return kept is not None

    def _expire(self, now: float) -> None:
        while self._deadlines and self._deadlines[0][0] <= now:
            claim = heapq.heappop(self._deadlines)[2]
            job = self._live.get(claim.key)
            if job is None or claim not in job.claims:
                continue
            job.claims.remove(claim)
            self._traffic.count_late()
            why = job.why or "it did not come in time"
            claim.outcome.set_exception(
                DeadlineError("cannot fetch", describe(claim.file), why=why)
            )
            if not job.claims:
                self._forget(job)

    def _settle(self, job: Job, outcome: memoryview | HffsError) -> None:
        if job.is_settled:
            return  # it is too late for it; another may want the same range by now
        for claim in job.claims:
            if isinstance(outcome, HffsError):
                claim.outcome.set_exception(outcome.anew())
            else:
                claim.outcome.set_result(outcome)
            claim.outcome = _NOBODY  # which stays among the deadlines, and the bytes must not
        job.claims.clear()
        self._forget(job)

    def _forget(self, job: Job) -> None:
        """Do no more for a job."""
        job.is_settled = True
        del self._live[job.key]
        self._queue.drop(job)
        for batch, scope in self._scopes.items():
            if not batch.is_wanted:
                self._queue.close(batch)  # what is asked for until it has ended must not join it
                scope.cancel()

    async def _serve(self, batch: Batch) -> None:
        """Send the request of a batch, and settle its jobs, or have them wait for another try."""
        try:
            with trio.CancelScope() as scope:
                self._scopes[batch] = scope
                try:
                    data = await self._get(batch)
                finally:
                    del self._scopes[batch]
                    self._queue.close(batch)
                await self._hand_out(batch, data)
        except Trouble as trouble:
            self._put_off(batch, trouble)
        except HffsError as error:
            self._note_reached(batch.host)
            for part in batch.parts:
                self._settle(part.job, error)
        finally:
            self._queue.give_back(batch)
            self._wake.set()

    async def _get(self, batch: Batch) -> memoryview:
        with self._traffic.requesting():
            data = await self._origin(batch.file).get(batch.file, batch.span)
        self._traffic.count_fetched(len(data))
        if len(data) != batch.span.size_bytes:
            raise Trouble(f"{len(data)} bytes came of {batch.span.size_bytes}")
        self._note_reached(batch.host)
        return data

    async def _hand_out(self, batch: Batch, data: memoryview) -> None:
        """Check and keep what is whole, on a thread: both take a millisecond a megabyte."""
        start = batch.span.start
        whole = []
        for part in batch.parts:
            part.data = data[part.place.start - start : part.place.stop - start]
            job = part.job
            if not job.is_settled and all(each.data is not None for each in job.parts):
                whole.append(job)
        # A copy where it was joined with others, which it would keep in memory.
        copies = len(batch.parts) > 1
        kept = await trio.to_thread.run_sync(self._keep, whole, copies)
        for job, outcome in zip(whole, kept, strict=True):
            if isinstance(outcome, FormatError):
                self._refuse(job, outcome)
            else:
                self._settle(job, outcome)

    def _keep(self, jobs: Sequence[Job], copies: bool) -> list[memoryview | FormatError]:
        outcomes: list[memoryview | FormatError] = []
        for job in jobs:
            pieces = [part.data or b"" for part in job.parts]
            is_own = len(pieces) == 1 and not copies
            data = memoryview(pieces[0] if is_own else b"".join(pieces))
            try:
                job.check(data)
            except FormatError as error:
                job.refused.append(zlib.crc32(data))
                outcomes.append(error.anew())
            else:
                key = make_key(job.file, job.place)
                outcomes.append(self._cache.put(key, data) if job.keep else data)
        return outcomes

    def _refuse(self, job: Job, error: FormatError) -> None:
        """Ask once more for what cannot be right; what comes again is what lies there."""
        *before, last = job.refused
        if last in before or len(job.refused) >= _MOST_REFUSED:
            self._settle(job, error)
        elif not job.is_settled:
            log.warning("%s came damaged (%s); asking again", describe(job.file), error.why)
            self._traffic.count_retries(len(job.parts))
            for part in job.parts:
                part.data = None
                self._queue.add(part)

    def _put_off(self, batch: Batch, trouble: Trouble) -> None:
        now = time.monotonic()
        if trouble.rest_s is not None:
            self._queue.rest(batch.host, now + trouble.rest_s)
        if not trouble.is_reached and self._queue.miss(batch.host, now):
            log.warning("%s: %s; what is not cached waits for it", batch.host, trouble.why)
        for part in batch.parts:
            if part.job.is_settled:
                continue
            # So that not all come back at once; no secret hangs on it.
            part.not_before = now + self._limits.backoff_s(part.failures) * _jitter()
            part.failures += 1
            self._traffic.count_retries()
            part.job.why = trouble.why
            self._queue.add(part)

    def _note_reached(self, host: str) -> None:
        if self._queue.reach(host):
            log.info("%s answers again", host)


def _jitter() -> float:
    return random.uniform(0.5, 1)  # noqa: S311


def make_key(file: RemoteFile, place: Range) -> str:
    """Under which a range is kept."""
    return f"range/{file.content}/{place.start}/{place.stop}"


def _settled(data: memoryview) -> Future[memoryview]:
    future: Future[memoryview] = Future()
    future.set_result(data)
    return future


def _fail(claims: Iterable[Claim], why: str) -> None:
    """Settle claims that nobody will see to."""
    for claim in claims:
        claim.outcome.set_exception(OutageError("cannot fetch", describe(claim.file), why=why))
