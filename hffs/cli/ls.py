"""`hffs ls`: the mounts of this host."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click

from hffs.cli.commands import Argument, Option
from hffs.cli.untrusted import clean_line

if TYPE_CHECKING:
    from hffs.mount.observing.asking import Status
    from hffs.mount.observing.overview import Sight
    from hffs.mount.registry import Registry


@dataclass(frozen=True, slots=True)
class Line:
    """One mount as it is shown; None where only its own user's records could tell.

    `group` is the folder of the mounts that were started with it, None of a mount by itself.
    `scratch` is the folder of its writable layer, None of one without. From `bytes_served` on it is
    what the daemon says since its start, None where it does not answer within a second.
    """

    mountpoint: str
    source: str | None
    commit: str | None
    rows: int | None
    pid: int | None
    health: str
    fingerprint: str | None
    log: str | None
    group: str | None
    scratch: str | None
    socket: str | None
    uptime_s: float | None
    rss_bytes: int | None
    anon_bytes: int | None
    bytes_served: int | None = None
    requests: int | None = None
    in_flight: int | None = None
    waiting: int | None = None
    queue: int | None = None
    hit_rates: dict[str, float | None] | None = None
    errors: dict[str, int] | None = None
    log_level: str | None = None


def ls(
    mountpoints: Annotated[
        list[Path] | None, Argument(metavar="[MOUNTPOINT]...", help="All, if none is named.")
    ] = None,
    as_json: Annotated[bool, Option("--json", help="A JSON list, for programs.")] = False,
) -> None:
    """List the mounts of this host: source, commit, rows, pid, health."""
    lines = _gather(mountpoints)
    if as_json:
        print(json.dumps([asdict(line) for line in lines], indent=2))
    elif lines:
        _print_table(lines)
    else:
        click.echo("nothing is mounted", err=True)


def _gather(mountpoints: Collection[Path] | None) -> list[Line]:
    from hffs.mount.observing.overview import look_around
    from hffs.mount.registry import find_registry

    registry = find_registry(os.environ)
    wanted = None if not mountpoints else {os.path.realpath(place) for place in mountpoints}
    return [_make_line(sight, registry) for sight in look_around(registry, wanted)]


def _make_line(sight: Sight, registry: Registry) -> Line:
    shown, record, process = sight.shown, sight.record, sight.process
    source = shown.mounted.source.removeprefix("hffs#") or None
    return Line(
        mountpoint=shown.mountpoint,
        source=record.source if record else source,
        commit=record.commit if record else None,
        rows=record.positions if record else None,
        pid=sight.pid,
        health=sight.health.value,
        fingerprint=record.fingerprint if record else None,
        log=record.log if record else None,
        group=record.group if record else _find_group(registry, shown.mountpoint),
        scratch=str(shown.layer) if shown.layer else None,
        socket=record.socket if record else None,
        uptime_s=round(process.uptime_s, 1) if process else None,
        rss_bytes=process.rss_bytes if process else None,
        anon_bytes=process.anon_bytes if process else None,
        **_describe_work(sight.status),
    )


def _describe_work(status: Status | None) -> dict[str, Any]:
    """What a daemon says of its work, by the names of `Line`."""
    if status is None:
        return {}
    from hffs.mount.observing.rates import count_requests, find_hit_rates

    return {
        "bytes_served": status["read_bytes"],
        "requests": count_requests(status),
        "in_flight": status["in_flight"],
        "waiting": status["waiting"],
        "queue": sum(status["view"]["queues"].values()),
        "hit_rates": find_hit_rates(status),
        "errors": {kind: count for kind, count in status["errors"].items() if count},
        "log_level": status["log_level"],
    }


def _find_group(registry: Registry, mountpoint: str) -> str | None:
    """The group of a mount whose daemon, and with it the record, is gone."""
    folder, _, name = mountpoint.rpartition("/")
    group = registry.find_group(folder)
    return folder if group is not None and name in group.members else None


def _print_table(lines: list[Line]) -> None:
    heads = ["MOUNTPOINT", "SOURCE", "COMMIT", "ROWS", "PID", "HEALTH"]
    rows = [heads]
    if any(line.scratch for line in lines):
        heads.append("SCRATCH")
    for line in lines:
        cells = (
            line.mountpoint, line.source, (line.commit or "")[:12], line.rows, line.pid,
            line.health, line.scratch,
        )  # fmt: skip
        shown = ("-" if cell in (None, "") else clean_line(str(cell)) for cell in cells)
        rows.append(list(shown)[: len(heads)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    for row in rows:
        click.echo(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
