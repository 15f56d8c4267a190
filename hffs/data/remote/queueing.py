"""Which ranges are asked for next, and which of them by one request.

Owns the order: what somebody waits for before what is fetched ahead, and of each what came first;
joining ranges that lie close together, and cutting those that are larger than a request should be.
Pure: time is a number that is passed in. Whatever is done costs about the same however many wait.
Invariant: at most `Limits.ahead_share` of the requests, and `Limits.ahead_bytes`, are for what
nobody waits for yet.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count

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

    def backoff_s(self, failures: int) -> float:
        """How long to leave alone what has failed so many times before."""
        return min(self.first_wait_s * 2.0 ** min(failures, 20), self.longest_wait_s)


@dataclass(slots=True, eq=False)
class Claim:
    """Somebody wants a range until `deadline`, or will (`is_ahead`)."""

    file: RemoteFile
    place: Range
    check: Check
    keep: bool
    is_ahead: bool
    deadline: float
    outcome: Future[memoryview] = field(default_factory=Future)

    @property
    def key(self) -> tuple[str, str, Range]:
        """What is wanted."""
        return self.file.url, self.file.etag, self.place


@dataclass(slots=True, eq=False)
class Job:
    """A range that is to come, for all who claim it, and what became of it so far."""

    file: RemoteFile
    place: Range
    check: Check
    keep: bool
    is_ahead: bool
    claims: list[Claim] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    """Checksums of what came, and was not what it should be."""
    why: str = ""
    """Of its last failure."""
    is_settled: bool = False

    @property
    def key(self) -> tuple[str, str, Range]:
        """What is to come."""
        return self.file.url, self.file.etag, self.place

    @classmethod
    def of(cls, claim: Claim) -> Job:
        """The job of the first who claims a range."""
        return cls(claim.file, claim.place, claim.check, claim.keep, claim.is_ahead, [claim])

    def split(self, limits: Limits) -> list[Part]:
        """What to ask for: the range, or pieces of it that a request should not be larger than."""
        start, stop, most = *self.place, limits.request_bytes
        if stop - start <= most + limits.gap_bytes:
            places = [self.place]
        else:
            places = [Range(at, min(at + most, stop)) for at in range(start, stop, most)]
        self.parts = [Part(self, place) for place in places]
        return self.parts


@dataclass(slots=True, eq=False)
class Part:
    """A piece of a job that one request gets; `data` is what has come of it."""

    job: Job
    place: Range
    not_before: float = 0.0
    failures: int = 0
    data: memoryview | None = None
    number: int = 0
    """In the order of all that was ever added."""


@dataclass(slots=True, eq=False)
class Batch:
    """Parts of one file that one request is made for."""

    parts: list[Part]
    span: Range
    host: str
    is_ahead: bool

    @property
    def file(self) -> RemoteFile:
        """What all of them are of."""
        return self.parts[0].job.file

    @property
    def is_wanted(self) -> bool:
        """Whether anybody still wants any of it."""
        return not all(part.job.is_settled for part in self.parts)


class _Lane:
    """Parts that may be asked for, by host in the order in which they came, by file in its own."""

    def __init__(self) -> None:
        self.hosts: defaultdict[str, OrderedDict[Part, None]] = defaultdict(OrderedDict)
        self._files: defaultdict[RemoteFile, list[Part]] = defaultdict(list)

    def add(self, host: str, part: Part) -> None:
        self.hosts[host][part] = None
        insort(self._files[part.job.file], part, key=_place)

    def remove(self, host: str, part: Part) -> bool:
        """Whether it was there."""
        if part not in self.hosts.get(host, ()):
            return False
        del self.hosts[host][part]
        file = self._files[part.job.file]
        del file[self._find(part)]
        if not file:
            del self._files[part.job.file]
        if not self.hosts[host]:
            del self.hosts[host]
        return True

    def first(self, is_free: Callable[[str], bool]) -> Part | None:
        """What came first of what is at a host that is free."""
        firsts = (next(iter(parts)) for host, parts in self.hosts.items() if is_free(host))
        return min(firsts, key=lambda part: part.number, default=None)

    def before(self, part: Part) -> Iterator[Part]:
        """Those of its file that lie before it, the nearest first."""
        file, at = self._files[part.job.file], self._find(part)
        return (file[number] for number in range(at - 1, -1, -1))

    def behind(self, part: Part) -> Iterator[Part]:
        """Those of its file that lie behind it, the nearest first."""
        file, at = self._files[part.job.file], self._find(part)
        return (file[number] for number in range(at + 1, len(file)))

    def _find(self, part: Part) -> int:
        file = self._files[part.job.file]
        at = bisect_left(file, part.place, key=_place)
        while file[at] is not part:  # of two that want the same of it
            at += 1
        return at


class Queue:
    """Parts that wait for their request; `host` tells who is asked for a file."""

    def __init__(self, limits: Limits, host: Callable[[RemoteFile], str]) -> None:
        self._limits, self._host = limits, host
        self._lanes = {is_ahead: _Lane() for is_ahead in (False, True)}
        self._delayed: set[Part] = set()
        self._due: list[tuple[float, int, Part]] = []
        self._busy: Counter[str] = Counter()
        self._ahead_requests = self._ahead_bytes = 0
        self._resting: dict[str, float] = {}
        self._unreached: Counter[str] = Counter()
        self._under_way: defaultdict[RemoteFile, list[Batch]] = defaultdict(list)
        self._numbers = count()

    def __len__(self) -> int:
        lanes = self._lanes.values()
        return len(self._delayed) + sum(len(own) for lane in lanes for own in lane.hosts.values())

    def add(self, part: Part) -> None:
        """Put a part behind all others, unless it comes with what is under way already."""
        place, file = part.place, part.job.file
        for batch in self._under_way.get(file, ()):
            if batch.span.start <= place.start and place.stop <= batch.span.stop:
                batch.parts.append(part)
                return
        part.number = next(self._numbers)
        if part.not_before:
            self._delayed.add(part)
            heapq.heappush(self._due, (part.not_before, part.number, part))
        else:
            self._lanes[part.job.is_ahead].add(self._host(file), part)

    def drop(self, job: Job) -> None:
        """Forget what still waits of a job."""
        for part in job.parts:
            self._remove(part)

    def hurry(self, job: Job) -> None:
        """Somebody waits by now for what was to be fetched ahead."""
        queued = [part for part in job.parts if self._remove(part)]
        job.is_ahead = False
        for part in queued:
            part.not_before = 0.0
            self.add(part)

    def rest(self, host: str, until: float) -> None:
        """Ask a host for nothing before."""
        self._resting[host] = max(until, self._resting.get(host, 0.0))

    def miss(self, host: str, now: float) -> bool:
        """A host cannot be reached: ask it for nothing for a while. Whether that is news."""
        if self._resting.get(host, 0.0) > now:  # one of several that were sent together
            return False
        self._unreached[host] += 1
        self.rest(host, now + self._limits.backoff_s(self._unreached[host] - 1))
        return self._unreached[host] == 1

    def reach(self, host: str) -> bool:
        """A host has answered. Whether that is news."""
        return self._unreached.pop(host, 0) > 0

    def take(self, now: float) -> Batch | None:
        """The parts of the next request, if one may be sent now; `give_back` it at its end."""
        while self._due and self._due[0][0] <= now:
            part = heapq.heappop(self._due)[2]
            if part in self._delayed and part.not_before <= now:
                self._delayed.remove(part)
                self._lanes[part.job.is_ahead].add(self._host(part.job.file), part)
        if self._busy.total() >= self._limits.overall:
            return None
        for is_ahead, lane in self._lanes.items():
            if is_ahead and not self._may_go_ahead():
                return None
            first = lane.first(lambda host: self._is_free(host, now))
            if first is not None:
                return self._make_batch(first, lane)
        return None

    def close(self, batch: Batch) -> None:
        """A request has its answer, or none: nothing may join it any more."""
        own = self._under_way[batch.file]
        if batch in own:
            own.remove(batch)
        if not own:
            del self._under_way[batch.file]

    def give_back(self, batch: Batch) -> None:
        """A request has ended."""
        self.close(batch)
        self._busy[batch.host] -= 1
        if batch.is_ahead:
            self._ahead_requests -= 1
            self._ahead_bytes -= batch.span.size_bytes

    def next_time(self, now: float) -> float:
        """When there may be something to take that there is not now; infinity if never."""
        while self._due and self._due[0][2] not in self._delayed:
            heapq.heappop(self._due)
        hosts = {host for lane in self._lanes.values() for host in lane.hosts}
        times = [self._resting.get(host, 0.0) for host in hosts]
        if self._due:
            times.append(self._due[0][0])
        return min((time for time in times if time > now), default=float("inf"))

    def _remove(self, part: Part) -> bool:
        """Whether a part has waited."""
        if part in self._delayed:
            self._delayed.remove(part)
            return True
        host = self._host(part.job.file)
        return self._lanes[part.job.is_ahead].remove(host, part)

    def _may_go_ahead(self) -> bool:
        limits = self._limits
        return (
            self._ahead_requests < limits.ahead_share * limits.overall
            and self._ahead_bytes < limits.ahead_bytes
        )

    def _is_free(self, host: str, now: float) -> bool:
        is_free = self._busy[host] < self._limits.per_host
        return is_free and self._resting.get(host, 0.0) <= now

    def _make_batch(self, first: Part, lane: _Lane) -> Batch:
        """Join a part with those of its file that lie close to it, on both sides."""
        parts = [first]
        before, behind = lane.before(first), lane.behind(first)
        low, high = next(before, None), next(behind, None)
        start, stop = first.place
        while stop - start < self._limits.request_bytes:
            if low is not None and self._is_near(low.place.stop, start):
                parts.append(low)
                start, stop = min(start, low.place.start), max(stop, low.place.stop)
                low = next(before, None)
            elif high is not None and self._is_near(stop, high.place.start):
                parts.append(high)
                stop = max(stop, high.place.stop)
                high = next(behind, None)
            else:
                break
        host = self._host(first.job.file)
        batch = Batch(parts, Range(start, stop), host, first.job.is_ahead)
        for part in parts:
            lane.remove(host, part)
        self._busy[host] += 1
        self._under_way[batch.file].append(batch)
        if batch.is_ahead:
            self._ahead_requests += 1
            self._ahead_bytes += batch.span.size_bytes
        return batch

    def _is_near(self, stop: int, start: int) -> bool:
        return start - stop <= self._limits.gap_bytes


def _place(part: Part) -> Range:
    return part.place
