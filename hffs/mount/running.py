"""One mount from its configuration to its end: opens the view, serves it, keeps the record."""

from __future__ import annotations

import logging
import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hffs.config import Config
from hffs.data.hub.token import forget_tokens
from hffs.data.shards import Located
from hffs.mount.layers import Layer, Mark, open_layer
from hffs.mount.lifecycle import daemon
from hffs.mount.lifecycle.logs import reopen_logs
from hffs.mount.lifecycle.notifying import SILENT, Notifier, start_watchdog
from hffs.mount.lifecycle.pipes import Listener
from hffs.mount.observing.counting import Counters
from hffs.mount.observing.opening import observing
from hffs.mount.observing.reporting import About, Reporter
from hffs.mount.observing.sockets import find_socket
from hffs.mount.registry import Record, Registry, read_start_time
from hffs.mount.requests.files import Owner
from hffs.mount.session import Access, Events, serve
from hffs.mount.unmounting import leave_group
from hffs.view.codecs import silence_warnings
from hffs.view.manifest import ViewInfo
from hffs.view.opening import decide_view, is_decided, open_view_apart
from hffs.view.places import find_places
from hffs.view.tree import Tree

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MountRequest:
    """What to mount, where, and for whom; `workers` threads render.

    `group` is the folder of the mounts that this one belongs to; `order` a file that tells in
    which order files will be read; `metrics_file` one to write metrics to. `notifier` tells the
    service manager; `hangup_ends` says that SIGHUP ends the mount, which else reads the token anew.
    """

    config: Config
    mountpoint: Path
    owner: Owner
    allow_other: bool
    state: Path
    workers: int
    log: Path | None
    group: Path | None = None
    order: Path | None = None
    notifier: Notifier = SILENT
    hangup_ends: bool = False
    metrics_file: Path | None = None
    procs: int | None = None


def run_mount(request: MountRequest, located: Located, listener: Listener) -> None:
    """Open the view, mount it, answer until the end. HffsError before `listener.ready`."""
    registry = Registry(request.state)
    os.umask(0o077)
    silence_warnings()
    _allow_descriptors()
    if not is_decided(request.config, located):
        daemon.run_apart(lambda apart: _decide(request, located, apart), listener)
    with (
        open_view_apart(request.config, listener, request.workers, located, request.order) as tree,
        ExitStack() as observed,
    ):
        os.chdir("/")  # a daemon must not keep its folder busy; every path is absolute by now
        info = tree.manifest.info

        def announce(mountpoint: Path, counters: Counters) -> None:
            reporter = Reporter(_describe(request, tree), counters, tree.figures)
            at = find_socket(request.state, str(request.mountpoint))
            socket = observed.enter_context(observing(reporter, at, request.metrics_file))
            registry.add(_make_record(request, info, socket))
            log.info("mounted %s on %s: %d files", info.source, request.mountpoint, tree.files)
            status = f"serving {tree.files} files of {info.source} on {request.mountpoint}"
            request.notifier.ready(status)
            start_watchdog(request.notifier, [mountpoint])
            listener.ready()

        with _leaving(request, registry), _find_place(request, info) as where:
            lower = where.lower if isinstance(where, Layer) else where
            events = Events(
                starting=listener.starting,
                ready=partial(announce, lower),
                reload=partial(_reload, request.notifier),
                stopping=request.notifier.stopping,
                hangup_ends=request.hangup_ends,
            )
            serve(tree, where, Access(request.owner, request.allow_other, request.procs), events)
    log.info("unmounted %s", request.mountpoint)


@contextmanager
def _leaving(request: MountRequest, registry: Registry) -> Iterator[None]:
    """At the end of the block nothing says any more that this is mounted."""
    try:
        yield
    finally:
        if request.group is not None:
            leave_group(registry, request.mountpoint)
        # Last: until then a new group on the same folder waits.
        registry.remove(str(request.mountpoint), os.getpid())


def _reload(notifier: Notifier) -> None:
    """At SIGHUP: the token may be another one, the log file may have been moved away."""
    notifier.reloading()
    reopen_logs()
    forget_tokens()
    log.info("SIGHUP: the log is reopened, tokens are read anew")
    notifier.reloaded()


@contextmanager
def _find_place(request: MountRequest, info: ViewInfo) -> Iterator[Path | Layer]:
    """Where to mount: on the mount point, or below the writable layer that is shown there."""
    scratch = request.config.scratch
    if scratch is None:
        yield request.mountpoint
        return
    mark = Mark(
        str(request.mountpoint), info.source, info.commit or info.identity, info.fingerprint
    )
    owner = request.owner
    # Whoever may not see the mount may not see through the layer, which asks the mount as root.
    mode = 0o777 & ~owner.umask if request.allow_other else 0o700
    with open_layer(scratch, mark, (owner.uid, owner.gid), mode) as layer:
        yield layer


def _decide(request: MountRequest, located: Located, listener: Listener) -> None:
    """In a process of its own: what deciding takes (a table of ten million rows, DuckDB) would stay
    in the daemon's memory for as long as it serves.
    """
    from hffs.data.arrow import do_without_pandas

    do_without_pandas()
    decide_view(request.config, find_places(request.config, located), listener, request.workers)
    listener.ready()


def _allow_descriptors() -> None:
    """Every shard is kept open, and the usual soft limit is 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _describe(request: MountRequest, tree: Tree) -> About:
    info = tree.manifest.info
    place = os.fsencode(request.mountpoint).decode(errors="replace")  # a path may be no text
    return About(place, info.source, info.commit or info.identity, info.fingerprint, tree.files)


def _make_record(request: MountRequest, info: ViewInfo, socket: Path | None) -> Record:
    return Record(
        mountpoint=str(request.mountpoint),
        pid=os.getpid(),
        started=read_start_time(os.getpid()) or 0,
        source=info.source,
        commit=info.commit or info.identity,
        fingerprint=info.fingerprint,
        positions=info.positions,
        log=str(request.log) if request.log else None,
        group=str(request.group) if request.group else None,
        socket=str(socket) if socket else None,
    )
