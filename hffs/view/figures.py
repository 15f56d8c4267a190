"""What a view has had to do so far, in numbers. Owns nothing: each layer counts its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hffs.data.lookups import CacheFigures
from hffs.data.traffic import TrafficFigures


@dataclass(frozen=True, slots=True)
class DiskFigures:
    """The disk cache: lookups by the kind of what was looked up, and what this process evicted.

    `failures` are the entries that could not be stored or read.
    """

    kinds: Mapping[str, CacheFigures]
    evicted: int
    failures: int


@dataclass(frozen=True, slots=True)
class FailureFigures:
    """Files that are broken for good, and failures of others to be had, which may pass."""

    broken: int
    passing: int


@dataclass(frozen=True, slots=True)
class ViewFigures:
    """A view and the layers below it; `rendered` counts images, `queues` what no thread of a pool
    has begun yet.
    """

    memory: CacheFigures
    disk: DiskFigures
    rendered: int
    failures: FailureFigures
    traffic: TrafficFigures
    queues: Mapping[str, int]
