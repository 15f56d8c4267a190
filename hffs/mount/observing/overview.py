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

    def look(shown: Shown) -> Sight:
        minor = int(shown.mounted.device.rpartition(":")[2])
        return _look(shown, known.get(shown.mountpoint), daemons.get(minor))

    with ThreadPoolExecutor(min(len(found), _ASKED_AT_ONCE)) as pool:
        return list(pool.map(look, found))


def _look(shown: Shown, record: Record | None, pid: int | None) -> Sight:
    socket = record.socket if record else None
    if record is not None:
        pid = record.pid
    return Sight(
        shown=shown,
        record=record,
        pid=pid,
        process=None if pid is None else read_process(pid),
        status=ask_status(Path(socket)) if socket else None,
        health=shown.check_health(),
    )
