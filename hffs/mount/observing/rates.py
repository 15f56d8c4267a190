"""What happened between two statuses of a mount, and what the numbers of one come to. Pure.

A status is what `GET /status` gives, whose keys never go away.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import accumulate
from typing import Any

from hffs.mount.observing.asking import Status


@dataclass(frozen=True, slots=True)
class Rates:
    """A mount during an interval; None where nothing was asked that would tell.

    `hit_rate` is the part of the opened files for which nothing had to be made or fetched.
    """

    files_per_s: float
    reads_per_s: float
    read_bytes_per_s: float
    p50_s: float | None
    p99_s: float | None
    hit_rate: float | None
    errors: int


RATE_NAMES = tuple(each.name for each in fields(Rates))


def compare(before: Status, after: Status, interval_s: float) -> Rates | None:
    """What happened from one status to a later one of the same daemon; None if it is of another."""
    if before["bounds_s"] != after["bounds_s"]:
        return None
    opened = count_requests(after, "open") - count_requests(before, "open")
    read = count_requests(after, "read") - count_requests(before, "read")
    made = count_made(after) - count_made(before)
    taken = [
        max(late - early, 0)
        for early, late in zip(_sum_buckets(before), _sum_buckets(after), strict=True)
    ]
    bounds: Sequence[float] = after["bounds_s"]
    return Rates(
        files_per_s=opened / interval_s,
        reads_per_s=read / interval_s,
        read_bytes_per_s=(after["read_bytes"] - before["read_bytes"]) / interval_s,
        p50_s=find_quantile(taken, bounds, 0.5),
        p99_s=find_quantile(taken, bounds, 0.99),
        hit_rate=_part(opened - made, opened),
        errors=count_errors(after) - count_errors(before),
    )


def count_requests(status: Status, kind: str | None = None) -> int:
    """How many requests of a kind were answered, or of all kinds."""
    requests: Mapping[str, Any] = status["requests"]
    chosen = requests.values() if kind is None else [requests[kind]]
    return sum(int(each["count"]) for each in chosen)


def count_errors(status: Status) -> int:
    """How many requests failed."""
    return sum(status["errors"].values())


def count_made(status: Status) -> int:
    """How many things were rendered, decoded or fetched, to be kept."""
    return sum(int(each["made"]) for each in status["view"]["disk"]["kinds"].values())


def find_hit_rates(status: Status) -> dict[str, float | None]:
    """Of opened files, those for which nothing had to be made or fetched; of lookups in memory,
    and of what was wanted of the disk cache, what was there. None where nothing was asked for.
    """
    opened, memory = count_requests(status, "open"), status["view"]["memory"]
    kinds = status["view"]["disk"]["kinds"].values()
    hits, made = sum(int(each["hits"]) for each in kinds), count_made(status)
    return {
        "files": _part(opened - made, opened),
        "memory": _part(memory["hits"], memory["hits"] + memory["misses"]),
        "disk": _part(hits, hits + made),
    }


def find_quantile(counts: Sequence[int], bounds: Sequence[float], quantile: float) -> float | None:
    """The duration that a part of all requests took at most, as closely as buckets tell it.

    >>> find_quantile([0, 4, 0], [1.0, 2.0], 0.5)
    1.5
    """
    total = sum(counts)
    if not total:
        return None
    wanted, reached = quantile * total, list(accumulate(counts))
    number = bisect_left(reached, wanted)
    if number >= len(bounds):
        return bounds[-1]
    low = bounds[number - 1] if number else 0.0
    inside = 1 - (reached[number] - wanted) / counts[number]
    return low + (bounds[number] - low) * inside


def _sum_buckets(status: Status) -> list[int]:
    columns = [each["buckets"] for each in status["requests"].values()]
    return [sum(column) for column in zip(*columns, strict=True)]


def _part(some: int, all_of_them: int) -> float | None:
    return max(some, 0) / all_of_them if all_of_them else None
