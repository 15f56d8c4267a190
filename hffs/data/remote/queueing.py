"""Which ranges are asked for next, and which of them by one request.

Owns the order: what somebody waits for before what is fetched ahead, and of each what came first;
and joining ranges that lie close together. Pure: time is a number that is passed in.
Invariant: at most `Limits.ahead_share` of the requests, and `Limits.ahead_bytes`, are for what
nobody waits for yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from hffs.data.remote.files import Check, Range, RemoteFile


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is asked for at once, and for how long somebody waits."""

    overall: int = 32
    per_host: int = 16
    ahead_share: float = 0.75
    ahead_bytes: int = 128 << 20
    gap_bytes: int = 32 << 10
    """What is fetched and thrown away rather than asking twice."""
    request_bytes: int = 8 << 20
    deadline_s: float = 50.0
    """From when a range is asked for; a read of the mount ends after 60 s."""
    stall_s: float = 10.0
    connect_s: float = 5.0
    first_wait_s: float = 0.1
    longest_wait_s: float = 2.0


@dataclass(slots=True, eq=False)
class Job:
    """A range that somebody wants until `deadline`, and what became of it so far."""

    file: RemoteFile
    place: Range
    check: Check
    keep: bool
    is_ahead: bool
    deadline: float
    outcome: Future[memoryview] = field(default_factory=Future)
    not_before: float = 0.0
    failures: int = 0
    refused: list[int] = field(default_factory=list)
    """Checksums of what came, and was not what it should be."""
    why: str = ""

    @property
    def key(self) -> tuple[str, str, Range]:
        """What is wanted."""
        return self.file.url, self.file.etag, self.place


@dataclass(frozen=True, slots=True)
class Batch:
    """Jobs of one file that one request is made for."""

    jobs: tuple[Job, ...]
    host: str
    is_ahead: bool

    @property
    def file(self) -> RemoteFile:
        """What all of them are of."""
        return self.jobs[0].file

    @property
    def span(self) -> Range:
        """What is asked for."""
        places = [job.place for job in self.jobs]
        return Range(min(p.start for p in places), max(p.stop for p in places))


class Queue:
    """Jobs that wait for their request; `host` tells who is asked for a file."""

    def __init__(self, limits: Limits, host: Callable[[RemoteFile], str]) -> None:
        self._limits, self._host = limits, host
        self._jobs: dict[Job, None] = {}  # in the order in which they came
        self._busy: Counter[str] = Counter()
        self._ahead_requests = self._ahead_bytes = 0
        self._resting: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, job: Job) -> None:
        """Put a job behind all others."""
        self._jobs[job] = None

    def drop(self, job: Job) -> None:
        """Forget a job, if it still waits."""
        self._jobs.pop(job, None)

    def rest(self, host: str, until: float) -> None:
        """Ask a host for nothing before."""
        self._resting[host] = max(until, self._resting.get(host, 0.0))

    def take(self, now: float) -> Batch | None:
        """The jobs of the next request, if one may be sent now; `give_back` it at its end."""
        if self._busy.total() >= self._limits.overall:
            return None
        for is_ahead in (False, True):
            if is_ahead and not self._may_go_ahead():
                return None
            for job in self._jobs:
                if job.is_ahead == is_ahead and self._may_ask(job, now):
                    return self._make_batch(job, now)
        return None

    def give_back(self, batch: Batch) -> None:
        """A request has ended."""
        self._busy[batch.host] -= 1
        if batch.is_ahead:
            self._ahead_requests -= 1
            self._ahead_bytes -= batch.span.size_bytes

    def next_time(self, now: float) -> float:
        """When there may be something to take that there is not now; infinity if never."""
        rests = self._resting
        times = (max(job.not_before, rests.get(self._host(job.file), 0.0)) for job in self._jobs)
        return min((time for time in times if time > now), default=float("inf"))

    def _may_go_ahead(self) -> bool:
        limits = self._limits
        return (
            self._ahead_requests < limits.ahead_share * limits.overall
            and self._ahead_bytes < limits.ahead_bytes
        )

    def _may_ask(self, job: Job, now: float) -> bool:
        host = self._host(job.file)
        is_free = self._busy[host] < self._limits.per_host
        return is_free and job.not_before <= now and self._resting.get(host, 0.0) <= now

    def _make_batch(self, first: Job, now: float) -> Batch:
        """Join a job with those of its file that lie close to it, on both sides."""
        others = [
            job
            for job in self._jobs
            if job.file == first.file and job.is_ahead == first.is_ahead and job.not_before <= now
        ]
        others.sort(key=lambda job: job.place)
        at = others.index(first)
        low = high = at
        start, stop = first.place
        while (low or high < len(others) - 1) and stop - start < self._limits.request_bytes:
            if low and self._is_near(others[low - 1].place.stop, start):
                low -= 1
            elif high < len(others) - 1 and self._is_near(stop, others[high + 1].place.start):
                high += 1
            else:
                break
            start = min(start, others[low].place.start)
            stop = max(stop, others[high].place.stop)
        batch = Batch(tuple(others[low : high + 1]), self._host(first.file), first.is_ahead)
        for job in batch.jobs:
            del self._jobs[job]
        self._busy[batch.host] += 1
        if batch.is_ahead:
            self._ahead_requests += 1
            self._ahead_bytes += batch.span.size_bytes
        return batch

    def _is_near(self, stop: int, start: int) -> bool:
        return start - stop <= self._limits.gap_bytes
