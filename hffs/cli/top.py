"""`hffs top`: what the mounts of this host do now, again and again."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click

from hffs.cli.commands import Argument, Option
from hffs.cli.streams import end_output
from hffs.cli.untrusted import clean_line
from hffs.errors import MountError

if TYPE_CHECKING:
    from rich.table import Table

    from hffs.mount.observing.overview import Sight
    from hffs.mount.observing.rates import Rates

_HEADS = (
    "MOUNTPOINT", "HEALTH", "FILES/S", "MB/S", "READS/S", "P50", "P99", "HIT", "ERRORS", "QUEUE",
    "RSS",
)  # fmt: skip

_FIRST_S = 0.5
"""How long the first look takes at most: what happens now takes two looks."""


@dataclass(frozen=True, slots=True)
class Line:
    """A mount during an interval, or None for what its daemon does not tell in time."""

    mountpoint: str
    health: str
    rates: Rates | None
    queue: int | None
    rss_bytes: int | None


_Looks = dict[str, tuple[float, dict[str, Any]]]
"""When each daemon was asked last, by mount point and pid, and what it said."""


def top(
    mountpoints: Annotated[
        list[Path] | None, Argument(metavar="[MOUNTPOINT]...", help="All, if none is named.")
    ] = None,
    interval: Annotated[
        float, Option(min=0.1, max=3600.0, metavar="SECONDS", help="Time between two looks.")
    ] = 2.0,
    as_json: Annotated[
        bool, Option("--json", help="A line of JSON for each interval, for programs.")
    ] = False,
    once: Annotated[bool, Option("--once", help="End after the first interval.")] = False,
) -> None:
    """Show what the mounts do now: files, bytes, latencies, hits, errors; Ctrl-C ends it."""
    wanted = None if not mountpoints else {os.path.realpath(place) for place in mountpoints}
    views = _watch(wanted, interval, once=once)
    try:
        first = next(views)
        if not first and not as_json:
            _refuse_nothing(wanted)
        elif as_json:
            _print_json(first, views)
        elif sys.stdout.isatty() and not once:
            _show_live(first, views)
        else:
            _print_plain(first, views)
    except KeyboardInterrupt:  # the way to end it
        pass
    except BrokenPipeError:  # who read it has seen enough
        end_output()


def _refuse_nothing(wanted: Collection[str] | None) -> None:
    if wanted is None:
        click.echo("nothing is mounted", err=True)
        return
    why, fix = "no mount of hffs is there", "see `hffs ls`"
    raise MountError("cannot watch", ", ".join(sorted(wanted)), why=why, fix=fix)


def _watch(
    wanted: Collection[str] | None, interval_s: float, *, once: bool
) -> Iterator[list[Line]]:
    """The mounts as they are after each interval, of which the first is short; empty at once where
    there are none.
    """
    looks: _Looks = {}
    pause_s = interval_s if once else min(interval_s, _FIRST_S)
    if not _look(wanted, looks):
        yield []
        pause_s = 0.0 if once else interval_s
    while pause_s:
        time.sleep(pause_s)
        pause_s = 0.0 if once else interval_s
        yield _look(wanted, looks)


def _look(wanted: Collection[str] | None, looks: _Looks) -> list[Line]:
    from hffs.mount.observing.overview import look_around
    from hffs.mount.registry import find_registry

    sights = look_around(find_registry(os.environ), wanted)
    return [_describe(sight, looks) for sight in sights]


def _describe(sight: Sight, looks: _Looks) -> Line:
    from hffs.mount.observing.rates import compare

    status, now = sight.status, time.monotonic()
    rates = None
    if status is not None and sight.record is not None:
        key = f"{sight.record.pid} {sight.shown.mountpoint}"
        if before := looks.get(key):
            rates = compare(before[1], status, now - before[0])
        looks[key] = now, dict(status)
    return Line(
        mountpoint=sight.shown.mountpoint,
        health=sight.health.value,
        rates=rates,
        queue=None if status is None else sum(status["view"]["queues"].values()),
        rss_bytes=None if sight.process is None else sight.process.rss_bytes,
    )


def _print_json(first: list[Line], views: Iterator[list[Line]]) -> None:
    _print_json_line(first)
    for lines in views:
        _print_json_line(lines)


def _print_json_line(lines: list[Line]) -> None:
    mounts = [_flatten(asdict(line)) for line in lines]
    print(json.dumps({"time": round(time.time(), 3), "mounts": mounts}), flush=True)


def _flatten(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a line with those of its rates among them, which are null together."""
    from hffs.mount.observing.rates import RATE_NAMES

    rates = fields["rates"] or dict.fromkeys(RATE_NAMES)
    return {key: value for key, value in fields.items() if key != "rates"} | rates


def _print_plain(first: list[Line], views: Iterator[list[Line]]) -> None:
    _print_table(first)
    for lines in views:
        print()
        _print_table(lines)


def _print_table(lines: list[Line]) -> None:
    rows = [_HEADS, *map(_format, lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    for row in rows:
        cells = [
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip(), flush=True)


def _show_live(first: list[Line], views: Iterator[list[Line]]) -> None:
    from rich.live import Live

    with Live(_make_table(first), auto_refresh=False, screen=True) as live:
        for lines in views:
            live.update(_make_table(lines), refresh=True)


def _make_table(lines: list[Line]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column, head in enumerate(_HEADS):
        table.add_column(head, justify="left" if column < 2 else "right", no_wrap=column > 0)
    for line in lines:
        table.add_row(*(Text(cell) for cell in _format(line)))
    return table


def _format(line: Line) -> tuple[str, ...]:
    rates, rss = line.rates, line.rss_bytes
    place, memory = clean_line(line.mountpoint), "-" if rss is None else f"{rss / 1e6:.0f} MB"
    if rates is None:
        return (place, line.health, *("-" for _ in _HEADS[3:]), memory)
    return (
        place,
        line.health,
        f"{rates.files_per_s:.1f}",
        f"{rates.read_bytes_per_s / 1e6:.1f}",
        f"{rates.reads_per_s:.1f}",
        _format_time(rates.p50_s),
        _format_time(rates.p99_s),
        "-" if rates.hit_rate is None else f"{rates.hit_rate:.0%}",
        str(rates.errors),
        "-" if line.queue is None else str(line.queue),
        memory,
    )


def _format_time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.0f} us"
