"""`hffs ls`: the mounts of this host."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from hffs.cli.untrusted import clean_line

if TYPE_CHECKING:
    from hffs.mount.registry import Registry


@dataclass(frozen=True, slots=True)
class Line:
    """One mount as it is shown; None where only its own user's records could tell.

    `group` is the folder of the mounts that were started with it, None of a mount by itself.
    `scratch` is the folder of its writable layer, None of one without.
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
    from hffs.mount.layers import read_shown
    from hffs.mount.registry import find_registry

    registry = find_registry(os.environ)
    known = {record.mountpoint: record for record in registry.all()}
    lines = []
    for shown in read_shown():
        record = known.get(shown.mountpoint)
        source = shown.mounted.source.removeprefix("hffs#") or None
        lines.append(
            Line(
                mountpoint=shown.mountpoint,
                source=record.source if record else source,
                commit=record.commit if record else None,
                rows=record.positions if record else None,
                pid=record.pid if record else None,
                health=shown.check_health().value,
                fingerprint=record.fingerprint if record else None,
                log=record.log if record else None,
                group=record.group if record else _find_group(registry, shown.mountpoint),
                scratch=str(shown.layer) if shown.layer else None,
            )
        )
    return lines


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
        typer.echo(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
