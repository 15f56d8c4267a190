"""One mount from the kernel's handshake to its end: start, serve, drain, detach.

A process holds one session (pyfuse3's state is global). SIGTERM and SIGINT end it: requests under
way get `_DRAIN_S` to finish, then the mount is detached even with readers in it. From the handshake
on no signal raises: one that comes before the event loop listens, or while the mount is being
detached, would leave the mount behind, dead.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType

import pyfuse3
import trio

from hffs.errors import HffsError, MountError
from hffs.mount.layers import Layer
from hffs.mount.observing.counting import Counters
from hffs.mount.operations import Operations, Owner
from hffs.mount.receiving import Receiver
from hffs.view.tree import Tree

log = logging.getLogger(__name__)

_DRAIN_S = 3.0
_STOPPING = (signal.SIGTERM, signal.SIGINT)
_READAHEAD_KIB = 1024
_WAITING_MAX = 4096
"""Requests that may wait for a thread or the network at a time: beyond it nothing is answered, so
it is more than all readers of a host. (pyfuse3's own is 99; each takes some 20 KB.)
"""

_BASE_OPTIONS = ("ro", "nosuid", "nodev", "noexec", "default_permissions", "subtype=hffs")


@dataclass(frozen=True, slots=True)
class _Session:
    """What one mount needs to be known by its tasks."""

    mountpoint: Path
    layer: Layer | None
    ready: Callable[[], None]
    failures: list[HffsError]


def serve(
    tree: Tree,
    where: Path | Layer,
    owner: Owner,
    *,
    allow_other: bool,
    ready: Callable[[Counters], None],
) -> None:
    """Mount a tree and answer for it until it is unmounted or told to stop.

    `ready` is told where the requests are counted, as soon as the mount answers.

    `where` is a mount point, or a layer, which is then shown as soon as the mount answers. At the
    end it may still be there, put up at the last moment: who opened it takes it away.
    """
    layer = where if isinstance(where, Layer) else None
    mountpoint = where.lower if isinstance(where, Layer) else where
    options = {*_BASE_OPTIONS, f"fsname={_make_fsname(tree.manifest.info.source)}"}
    if allow_other:
        options.add("allow_other")
    early = _remember_signals()
    operations = Operations(tree, owner, is_below_overlay=layer is not None)
    _start(operations, mountpoint, options)
    told = partial(ready, operations.counters)
    session, receiver = _Session(mountpoint, layer, told, []), Receiver()
    receiver.attach()
    try:
        trio.run(_run, session, early, instruments=[receiver])
    finally:
        pyfuse3.close(unmount=True)
    for failure in session.failures:
        raise failure


def _remember_signals() -> list[int]:
    """From now on signals do no more than get into this list, which grows."""
    received: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        received.append(number)

    for number in _STOPPING:
        signal.signal(number, remember)
    return received


def _make_fsname(source: str) -> str:
    """The source as a mount option: ASCII, with commas escaped for libfuse's parser."""
    plain = source.encode("ascii", "replace").decode().replace("\\", "?")
    return "hffs#" + "".join(c if c.isprintable() else "?" for c in plain).replace(",", "\\,")


def _start(operations: Operations, mountpoint: Path, options: set[str]) -> None:
    """Mount, turning what libfuse and fusermount3 print into the reason of a MountError."""
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            pyfuse3.init(operations, str(mountpoint), options)
        except RuntimeError as error:
            said.seek(0)
            lines = said.read().decode(errors="replace").strip().splitlines()
            why = lines[-1] if lines else str(error)
            fix = ""
            if "user_allow_other" in why:
                fix = "add that line to /etc/fuse.conf, or leave --allow-other out"
            raise MountError("cannot mount on", str(mountpoint), why=why, fix=fix) from error
        finally:
            os.dup2(kept, 2)
            os.close(kept)


async def _run(session: _Session, early: Sequence[int]) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(_stop_on_signal, session, nursery.cancel_scope)
        if early:  # nobody listened yet
            nursery.cancel_scope.cancel()
        nursery.start_soon(_announce, session, nursery)
        await pyfuse3.main(max_tasks=_WAITING_MAX)
        nursery.cancel_scope.cancel()


async def _announce(session: _Session, nursery: trio.Nursery) -> None:
    """The mount is ready when a stat through the kernel came back, and its layer is shown."""
    await trio.to_thread.run_sync(os.stat, session.mountpoint, abandon_on_cancel=True)
    _widen_readahead(session.mountpoint)
    if session.layer is not None:
        try:
            await trio.to_thread.run_sync(session.layer.mount, abandon_on_cancel=True)
        except HffsError as error:
            session.failures.append(error)
            pyfuse3.terminate()
            return
        nursery.start_soon(_end_with, session.layer)
    session.ready()


async def _end_with(layer: Layer) -> None:
    """End when somebody takes the layer away: nobody would see the mount below it again."""
    with select.epoll() as changes, open("/proc/self/mountinfo") as table:
        changes.register(table, select.EPOLLPRI)  # at each change of the table (proc(5))
        while await trio.to_thread.run_sync(layer.is_shown):
            await trio.lowlevel.wait_readable(changes.fileno())
            changes.poll(0)
    log.info("%s is unmounted", layer.mountpoint)
    pyfuse3.terminate()


async def _stop_on_signal(
    session: _Session,
    scope: trio.CancelScope,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    with trio.open_signal_receiver(*_STOPPING) as signals:
        task_status.started()
        async for number in signals:
            log.info("%s: unmounting", signal.Signals(number).name)
            if session.layer is not None:
                with trio.move_on_after(_DRAIN_S):
                    await trio.to_thread.run_sync(session.layer.detach, abandon_on_cancel=True)
            pyfuse3.terminate()
            await trio.sleep(_DRAIN_S)
            scope.cancel()


def _widen_readahead(mountpoint: Path) -> None:
    """Let the kernel read a whole photo at once, where this user may say so.

    The default of 128 KiB costs a 1 MB image eight requests (measured: 650 -> 1050 MB/s). Only
    root may write it; without it everything works, more slowly.
    """
    device = os.stat(mountpoint).st_dev
    knob = Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
    with suppress(OSError):
        knob.write_text(str(_READAHEAD_KIB))
