"""One mount from the kernel's handshake to its end: start, serve, drain, detach.

A process holds one session (pyfuse3's state is global). SIGTERM and SIGINT end it: requests under
way get `_DRAIN_S` to finish, then the mount is detached even with readers in it. From the handshake
on no signal raises: one that comes before the event loop listens, or while the mount is being
detached, would leave the mount behind, dead.
"""

from __future__ import annotations

import logging
import os
import signal
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

import pyfuse3
import trio

from hffs.errors import MountError
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


def serve(
    tree: Tree, mountpoint: Path, owner: Owner, *, allow_other: bool, ready: Callable[[], None]
) -> None:
    """Mount a tree and answer for it until it is unmounted or told to stop."""
    options = {*_BASE_OPTIONS, f"fsname={_make_fsname(tree.manifest.info.source)}"}
    if allow_other:
        options.add("allow_other")
    early = _remember_signals()
    _start(Operations(tree, owner), mountpoint, options)
    receiver = Receiver()
    receiver.attach()
    try:
        trio.run(_run, mountpoint, ready, early, instruments=[receiver])
    finally:
        pyfuse3.close(unmount=True)


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


async def _run(mountpoint: Path, ready: Callable[[], None], early: Sequence[int]) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(_stop_on_signal, nursery.cancel_scope)
        if early:  # nobody listened yet
            nursery.cancel_scope.cancel()
        nursery.start_soon(_announce, mountpoint, ready)
        await pyfuse3.main(max_tasks=_WAITING_MAX)
        nursery.cancel_scope.cancel()


async def _announce(mountpoint: Path, ready: Callable[[], None]) -> None:
    """The mount is ready when a stat through the kernel came back."""
    await trio.to_thread.run_sync(os.stat, mountpoint, abandon_on_cancel=True)
    _widen_readahead(mountpoint)
    ready()


async def _stop_on_signal(
    scope: trio.CancelScope, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(*_STOPPING) as signals:
        task_status.started()
        async for number in signals:
            log.info("%s: unmounting", signal.Signals(number).name)
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
