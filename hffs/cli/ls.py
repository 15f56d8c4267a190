"""`hffs ls`: the mounts of this host."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hffs.mount.registry import Registry


@dataclass(frozen=True, slots=True)
class Line:
    """One mount as it is shown; None where only its own user's records could tell.

    `group` is the folder of the mounts that were started with it, None of a mount by itself.
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


def ls(
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list, for programs.")] = False,
) -> None:
    """List the mounts of this host: source, commit, rows, pid, health."""
    lines = _gather()
    if as_json:
        print(json.dumps([asdict(line) for line in lines], indent=2))
    elif lines:
        _print_table(lines)
    else:
        typer.echo("nothing is mounted", err=True)


def _gather() -> list[Line]:
    from hffs.mount.mountinfo import check_health, read_hffs_mounts
    from hffs.mount.registry import Registry, find_state_folder

    registry = Registry(find_state_folder(os.environ))
    known = {record.mountpoint: record for record in registry.all()}
    lines = []
    for mounted in read_hffs_mounts():
        record = known.get(mounted.mountpoint)
        lines.append(
            Line(
                mountpoint=mounted.mountpoint,
                source=record.source if record else mounted.source.removeprefix("hffs#") or None,
                commit=record.commit if record else None,
                rows=record.positions if record else None,
                pid=record.pid if record else None,
                health=check_health(mounted.mountpoint).value,
                fingerprint=record.fingerprint if record else None,
                log=record.log if record else None,
                group=record.group if record else _find_group(registry, mounted.mountpoint),
            )
        )
    return lines


def _find_group(registry: Registry, mountpoint: str) -> str | None:
    """The group of a mount whose daemon, and with it the record, is gone."""
    folder, _, name = mountpoint.rpartition("/")
    group = registry.find_group(folder)
    return folder if group is not None and name in group.members else None


def _print_table(lines: list[Line]) -> None:
    rows = [("MOUNTPOINT", "SOURCE", "COMMIT", "ROWS", "PID", "HEALTH")]
    for line in lines:
        cells = (line.mountpoint, line.source, (line.commit or "")[:12], line.rows, line.pid)
        rows.append((*("-" if cell in (None, "") else str(cell) for cell in cells), line.health))  # type: ignore[arg-type] # five cells and one make six
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        typer.echo(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
