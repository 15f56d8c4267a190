"""All mounts of this host at one moment: what the kernel, the records and the daemons say.

Owns asking all of them at once, so that one that is stuck holds up none of the others. Must not
know what is shown of them.
"""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from hffs.mount.layers import Shown, read_shown
from hffs.mount.mountinfo import Health
from hffs.mount.observing.asking import Status, ask_status
from hffs.mount.observing.processes import Process, find_fuse_daemons, read_process
from hffs.mount.registry import Record, Registry

_ASKED_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Sight:
    """A mount as it is now; None for what nobody can tell.

    `record` is there for mounts of this user, `status` where their daemon answers in time. Of those
    of others root finds the daemon, `pid`, by itself.
    """

    shown: Shown
    health: Health
    record: Record | None
    pid: int | None
    process: Process | None
    status: Status | None


def look_around(registry: Registry, mountpoints: Collection[str] | None = None) -> list[Sight]:
    """The mounts of this host, or those on some mount points, as the kernel's table has them."""
    known = {record.mountpoint: record for record in registry.all()}
    found = [
        shown for shown in read_shown() if mountpoints is None or shown.mountpoint in mountpoints
    ]
    if not found:
        return []
    is_all_known = all(shown.mountpoint in known for shown in found)
    daemons = {} if is_all_known else find_fuse_daemons()

    with ThreadPoolExecutor(min(2 * len(found), _ASKED_AT_ONCE)) as pool:
        asked = []
        for shown in found:
            record = known.get(shown.mountpoint)
            socket = record.socket if record else None
            status = pool.submit(ask_status, Path(socket)) if socket else None
            asked.append((shown, record, pool.submit(shown.check_health), status))
        return [
            Sight(
                shown=shown,
                record=record,
                pid=(pid := record.pid if record else daemons.get(_find_minor(shown))),
                process=None if pid is None else read_process(pid),
                health=health.result(),
                status=status.result() if status else None,
            )
            for shown, record, health, status in asked
        ]


def _find_minor(shown: Shown) -> int:
    """The number of a mount's device, which is that of its FUSE connection."""
    return int(shown.mounted.device.rpartition(":")[2])
