"""One mount from the kernel's handshake to its end: start, serve, drain, detach.

A process holds one session (pyfuse3's state is global). Each phase has its limit (`limits`): a
mount that does not answer fails; told to stop, requests under way get `DRAIN_S` to finish, then the
mount is detached even with readers in it; what still holds the process up then is cut by the last
resort. From the handshake on no signal raises (`signalqueue`): one that comes before the event loop
listens, or while the mount is being detached, would leave the mount behind, dead.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyfuse3
import trio

from hffs.errors import HffsError, MountError
from hffs.mount.layers import Layer
from hffs.mount.lifecycle.lastresort import LastResort
from hffs.mount.lifecycle.limits import DRAIN_S, START_S
from hffs.mount.lifecycle.signalqueue import SignalQueue
from hffs.mount.observing.counting import Counters
from hffs.mount.requests.direct import Direct, Place
from hffs.mount.requests.files import Owner
from hffs.mount.requests.operations import Operations
from hffs.mount.requests.receiving import Receiver
from hffs.mount.requests.siblings import count_siblings, start_siblings
from hffs.mount.requests.turns import ask_for_short_turns
from hffs.view.tree import Tree

log = logging.getLogger(__name__)

_READAHEAD_KIB = 1024
_WAITING_MAX = 4096
"""Requests that may wait for a thread or the network at a time: beyond it nothing is answered, so
it is more than all readers of a host. (pyfuse3's own is 99; each takes some 20 KB.)
"""

_BASE_OPTIONS = ("ro", "nosuid", "nodev", "noexec", "default_permissions", "subtype=hffs")


@dataclass(frozen=True, slots=True)
class Events:
    """Who is told of the life of a mount; `hangup_ends` says that SIGHUP ends it.

    `starting` is called with the seconds that are left until `ready`, which is told where requests
    are counted; `reload` on a thread, any number of times; `stopping` once, as soon as the event
    loop knows.
    """

    starting: Callable[[float], None]
    ready: Callable[[Counters], None]
    reload: Callable[[], None]
    stopping: Callable[[], None]
    hangup_ends: bool


@dataclass(frozen=True, slots=True)
class Access:
    """Whose the files are, who else may read them, and how many processes answer beside this one
    (None: as many as suit the view).
    """

    owner: Owner
    allow_other: bool
    procs: int | None


@dataclass(frozen=True, slots=True)
class _Session:
    """What one mount needs to be known by its tasks."""

    mountpoint: Path
    layer: Layer | None
    events: Events
    counters: Counters
    signals: SignalQueue
    last_resort: LastResort
    is_ready: trio.Event
    failures: list[HffsError]


def serve(tree: Tree, where: Path | Layer, access: Access, events: Events) -> None:
    """Mount a tree and answer for it until it is unmounted or told to stop.

    `where` is a mount point, or a layer, which is then shown as soon as the mount answers. At the
    end it may still be there, put up at the last moment: who opened it takes it away. From the end
    on the process has `WIND_DOWN_S` to end as well.
    """
    layer = where if isinstance(where, Layer) else None
    mountpoint = where.lower if isinstance(where, Layer) else where
    options = {*_BASE_OPTIONS, f"fsname={_make_fsname(tree.manifest.info.source)}"}
    if access.allow_other:
        options.add("allow_other")
    events.starting(START_S)
    is_below_overlay = layer is not None
    operations = Operations(tree, access.owner, is_below_overlay=is_below_overlay)

    def answer(counters: Counters, *, may_wait: bool = True) -> Direct:
        return Direct(tree, access.owner, counters, Place(is_below_overlay, may_wait))

    ask_for_short_turns()
    count = count_siblings(tree) if access.procs is None else access.procs
    siblings = start_siblings(count, operations.counters, answer)
    receiver = Receiver(answer(operations.counters, may_wait=False), siblings)
    last_resort = LastResort(mountpoint, () if layer is None else (layer.mountpoint,))
    signals = SignalQueue(hangup_ends=events.hangup_ends, on_stop=last_resort.arm)
    signals.install()
    _start(operations, mountpoint, options)
    last_resort.learn()
    session = _Session(
        mountpoint, layer, events, operations.counters, signals, last_resort, trio.Event(), []
    )
    receiver.attach()
    try:
        trio.run(_run, session, instruments=[receiver])
    finally:
        last_resort.arm()
        receiver.close()
        pyfuse3.close(unmount=True)
    for failure in session.failures:
        raise failure


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


async def _run(session: _Session) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_obey, session, nursery)
        nursery.start_soon(_announce, session, nursery)
        await pyfuse3.main(max_tasks=_WAITING_MAX)
        session.events.stopping()
        nursery.cancel_scope.cancel()


async def _announce(session: _Session, nursery: trio.Nursery) -> None:
    """The mount is ready when a stat through the kernel came back, and its layer is shown."""
    try:
        await _wait_for_answer(session.mountpoint)
        _widen_readahead(session.mountpoint)
        if session.layer is not None:
            await trio.to_thread.run_sync(session.layer.mount, abandon_on_cancel=True)
            nursery.start_soon(_end_with, session.layer)
        session.is_ready.set()
        session.events.ready(session.counters)
    except HffsError as error:
        session.failures.append(error)
        nursery.cancel_scope.cancel()


async def _wait_for_answer(mountpoint: Path) -> None:
    with trio.move_on_after(START_S) as scope:
        await trio.to_thread.run_sync(os.stat, mountpoint, abandon_on_cancel=True)
    if scope.cancelled_caught:
        why = f"it did not answer within {START_S:.0f} s"
        raise MountError("cannot mount on", str(mountpoint), why=why, fix="its log may say more")


async def _end_with(layer: Layer) -> None:
    """End when somebody takes the layer away: nobody would see the mount below it again."""
    with select.epoll() as changes, open("/proc/self/mountinfo") as table:
        changes.register(table, select.EPOLLPRI)  # at each change of the table (proc(5))
        while await trio.to_thread.run_sync(layer.is_shown):
            await trio.lowlevel.wait_readable(changes.fileno())
            changes.poll(0)
    log.info("%s is unmounted", layer.mountpoint)
    pyfuse3.terminate()


async def _obey(session: _Session, nursery: trio.Nursery) -> None:
    """Do what signals say. Whatever a reload waits for, the next signal is heard."""
    # One that is under way has looked already: one more has to follow it, and no more than one.
    wanted, wishes = trio.open_memory_channel[None](1)
    nursery.start_soon(_reload, session, wishes)
    with wanted:
        while not session.signals.ends(number := await session.signals.take()):
            with suppress(trio.WouldBlock):
                wanted.send_nowait(None)
    await _stop(session, number, nursery.cancel_scope)


async def _reload(session: _Session, wishes: trio.MemoryReceiveChannel[None]) -> None:
    with wishes:
        async for _ in wishes:
            await trio.to_thread.run_sync(session.events.reload, abandon_on_cancel=True)


async def _stop(session: _Session, number: signal.Signals, scope: trio.CancelScope) -> None:
    if not session.is_ready.is_set():  # nobody has seen it yet
        scope.cancel()
        log.info("%s: unmounting", number.name)
        return
    if session.layer is not None:
        with trio.move_on_after(DRAIN_S):
            await trio.to_thread.run_sync(session.layer.detach, abandon_on_cancel=True)
    pyfuse3.terminate()
    log.info("%s: unmounting", number.name)
    session.events.stopping()
    await trio.sleep(DRAIN_S)
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
