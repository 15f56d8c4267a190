"""How the commands mount: a view on a folder, those of a file on folders in it, or for a while.

Owns what a daemon is told, and where its words go. Must not know options of a command line.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hffs.cli.progress import TerminalListener
from hffs.config import Chosen, Config
from hffs.errors import MountError
from hffs.mount import daemon
from hffs.mount.group import run_group
from hffs.mount.mountinfo import find_mount
from hffs.mount.preflight import check_fuse, is_automount, prepare_mountpoint
from hffs.mount.registry import Registry, find_state_folder
from hffs.mount.unmounting import unmount

if TYPE_CHECKING:
    from hffs.mount.daemon import Listener


@dataclass(frozen=True, slots=True)
class MountOptions:
    """What is said of a mount besides its view."""

    foreground: bool
    allow_other: bool
    uid: int
    gid: int
    umask: int
    order: Path | None


@dataclass(frozen=True, slots=True)
class _Where:
    """The folder of a mount, that of its group if it has one, and where its words go."""

    place: Path
    group: Path | None
    state: Path
    log_path: Path | None


def mount_one(config: Config, place: Path, options: MountOptions) -> None:
    """Mount a view on a folder; returns when it answers, or in the foreground when it ends."""
    state = _prepare_state(os.environ)
    level = logging.getLogger("hffs").level or logging.INFO
    log_path = None if options.foreground else _log_path(state, config)
    body = _make_body(config, _Where(place, None, state, log_path), options)
    with closing(TerminalListener()) as listener:
        if log_path is None:
            daemon.start_logging(level)
            body(listener)
        else:
            leaves_late = is_automount(place)
            daemon.start(body, listener, log_path, level, leaves_late=leaves_late)


def mount_several(chosen: Chosen, place: Path, options: MountOptions) -> None:
    """Each entry by itself on the folder of its id in `place`, which hffs makes."""
    state = _prepare_state(os.environ)
    level = logging.getLogger("hffs").level or logging.INFO
    if options.foreground:
        daemon.start_logging(level)

    def start(config: Config, place: Path, folder: Path) -> int:
        if chosen.skipped and config is chosen.configs[0]:  # a folder that is refused is one line
            print(f"hffs: not mounted: {', '.join(chosen.skipped)}", file=sys.stderr)
        log_path = None if options.foreground else _log_path(state, config)
        body = _make_body(config, _Where(place, folder, state, log_path), options)
        # Closed before the next start forks: its bars are drawn by a thread.
        with closing(TerminalListener(config.id)) as listener:
            if log_path is None:
                return daemon.start_attached(body, listener, config.id, level)
            return daemon.start(body, listener, log_path, level)

    starts = {config.id: partial(start, config) for config in chosen.configs}
    run_group(place, starts, Registry(state), stay=options.foreground)


@contextmanager
def mounting(configs: Iterable[Config]) -> Iterator[Mapping[str, Path]]:
    """Mounts of views, by their ids, that are there until the end of the block or of this process.

    They are this user's alone, and without writable layers. To be called before numpy is loaded,
    whose threads no fork survives. Raises MountError, and what keeps a view from being decided.
    """
    state = _prepare_state(os.environ)
    options = MountOptions(False, False, os.getuid(), os.getgid(), 0o077, None)
    with daemon.handling(daemon.raise_interrupt, signal.SIGTERM, signal.SIGHUP):
        folder = Path(tempfile.mkdtemp(prefix="hffs-"))
        pids = dict[Path, int]()
        try:
            check_fuse()
            for config in configs:
                place = folder / config.id
                place.mkdir()
                plain = config.model_copy(update={"scratch": None})
                where = _Where(prepare_mountpoint(place), None, state, None)
                body = _make_quiet(_make_body(plain, where, options))
                with closing(TerminalListener(config.id)) as listener:
                    pids[place] = daemon.start_attached(body, listener, config.id)
            yield {place.name: place for place in pids}
        finally:
            for place, pid in pids.items():
                _end(place, pid, Registry(state))
            _remove_empty(folder)


def _make_quiet(body: Callable[[Listener], None]) -> Callable[[Listener], None]:
    """The same, which does not tell that all goes well."""

    def quiet(listener: Listener) -> None:
        logging.getLogger("hffs").setLevel(logging.WARNING)
        body(listener)

    return quiet


def _end(place: Path, pid: int, registry: Registry) -> None:
    """Have a daemon unmount, and wait until it has; where it was killed, unmount in its place."""
    with suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
    if find_mount(str(place)) is not None:
        with suppress(MountError):
            unmount(place, registry, force=True)


def _remove_empty(folder: Path) -> None:
    """Remove mount points: what is in a mount that is still there must not be touched."""
    for place in folder.iterdir():
        with suppress(OSError):
            place.rmdir()
    with suppress(OSError):
        folder.rmdir()


def _make_body(config: Config, where: _Where, options: MountOptions) -> Callable[[Listener], None]:
    """What a daemon does from its fork to its end."""

    def body(listener: Listener) -> None:
        from hffs.mount.getting import getting_source

        os.umask(0o077)
        with getting_source(config, listener) as get_source:
            # Imported here, in the daemon: threads of pyarrow do not survive a fork.
            from hffs.mount.operations import Owner
            from hffs.mount.running import MountRequest, run_mount

            located = get_source()
        request = MountRequest(
            config=config,
            mountpoint=where.place,
            owner=Owner(options.uid, options.gid, options.umask),
            allow_other=options.allow_other,
            state=where.state,
            workers=config.num_proc or len(os.sched_getaffinity(0)),
            log=where.log_path,
            group=where.group,
            order=options.order,
        )
        run_mount(request, located, listener)

    return body


def _log_path(state: Path, config: Config) -> Path:
    return state / "logs" / f"{config.id}.log"


def _prepare_state(environ: Mapping[str, str]) -> Path:
    """The folder of records and logs, made if need be."""
    state = find_state_folder(environ)
    try:
        (state / "logs").mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        why = error.strerror or str(error)
        fix = "set XDG_STATE_HOME to a folder of your own"
        raise MountError("cannot write to", str(state), why=why, fix=fix) from error
    return state
