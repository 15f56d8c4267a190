"""The state of one mount at one moment, of everything that is counted: what others are told.

Owns the form of `GET /status`, which `hffs ls` and `hffs top` read and any program may: keys are
only ever added. Must not know how it is asked for, nor what is made of it.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hffs import __version__
from hffs.mount.lifecycle.logs import get_level
from hffs.mount.observing.counting import BOUNDS_S, Counters, Meter
from hffs.mount.observing.processes import Process, read_process
from hffs.view.figures import ViewFigures


@dataclass(frozen=True, slots=True)
class About:
    """What is mounted, which does not change."""

    mountpoint: str
    source: str
    commit: str
    fingerprint: str
    files: int


@dataclass(frozen=True, slots=True)
class RequestFigures:
    """One kind of request; `buckets` are durations up to each of `bounds_s`, the last one beyond.

    `errnos` are the answers that were an errno, by its name.
    """

    count: int
    total_s: float
    buckets: tuple[int, ...]
    errnos: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything; durations and counts are since the mount began."""

    about: About
    version: str
    log_level: str
    process: Process | None
    bounds_s: tuple[float, ...]
    requests: Mapping[str, RequestFigures]
    errors: Mapping[str, int]
    read_bytes: int
    in_flight: int
    waiting: int
    view: ViewFigures


class Reporter:
    """Makes reports of one mount; any thread may ask."""

    def __init__(self, about: About, counters: Counters, view: Callable[[], ViewFigures]) -> None:
        self._about, self._counters, self._view = about, counters, view

    def report(self) -> Report:
        """The state of now."""
        counters = self._counters
        everyone = [counters, *counters.others]
        requests = {
            kind: _add([each.meters[kind] for each in everyone]) for kind in counters.meters
        }
        return Report(
            about=self._about,
            version=__version__,
            log_level=get_level(),
            process=read_process("self"),
            bounds_s=BOUNDS_S,
            requests=requests,
            errors=dict(counters.errors),
            read_bytes=sum(each.read_bytes for each in everyone),
            in_flight=counters.in_flight,
            waiting=counters.waiting,
            view=self._view(),
        )


def _add(meters: Sequence[Meter]) -> RequestFigures:
    """One kind of request, of all processes."""
    buckets = tuple(map(sum, zip(*(meter.buckets for meter in meters), strict=True)))
    errnos: Counter[str] = Counter()
    for meter in meters:
        errnos.update({name_errno(number): count for number, count in [*meter.errnos.items()]})
    return RequestFigures(
        sum(buckets), sum(meter.total_s for meter in meters), buckets, dict(errnos)
    )


def name_errno(number: int) -> str:
    """The name of an errno, as `EIO`."""
    return errno.errorcode.get(number, str(number))
