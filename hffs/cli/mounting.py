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
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hffs.cli.loading import loading
from hffs.cli.progress import TerminalListener
from hffs.config import Chosen, Config
from hffs.data.folders import make_private_folder
from hffs.errors import MountError
from hffs.mount.group import Foreground, run_group
from hffs.mount.lifecycle import daemon
from hffs.mount.lifecycle.logs import WORDS, LogPlan, check_log, reopen_logs, start_logging
from hffs.mount.lifecycle.notifying import SILENT, Notifier, TellingListener
from hffs.mount.lifecycle.signals import has_terminal, stop_no_more
from hffs.mount.mountinfo import find_mount
from hffs.mount.observing.textfile import name_textfile
from hffs.mount.preflight import check_fuse, is_automount, prepare_mountpoint
from hffs.mount.registry import Registry, find_state_folder
from hffs.mount.unmounting import clear_dead, unmount

if TYPE_CHECKING:
    from hffs.mount.lifecycle.pipes import Listener


@dataclass(frozen=True, slots=True)
class MountOptions:
    """What is said of a mount besides its view."""

    foreground: bool
    allow_other: bool
    uid: int
    gid: int
    umask: int
    order: Path | None
    log: str | None = None
    log_format: str = "text"
    metrics_file: Path | None = None
    """Of several mounts each has one of its own beside it."""
    procs: int | None = None
    """Of each mount; None: as many as suit it."""


@dataclass(frozen=True, slots=True)
class _Where:
    """The folder of a mount, that of its group if it has one, and where its words go."""

    place: Path
    group: Path | None
    state: Path
    log_path: Path | None


@dataclass(frozen=True, slots=True)
class _Told:
    """Who is told of mounts besides those who asked for them, and what a hang-up means to them."""

    notifier: Notifier = SILENT
    hangup_ends: bool = False


def mount_one(config: Config, place: Path, options: MountOptions) -> None:
    """Mount a view on a folder; returns when it answers, or in the foreground when it ends."""
    state = _prepare_state(os.environ)
    plan = _plan_log(state, config, place, options)
    told = _prepare_signals(options)
    body = _make_body(config, _Where(place, None, state, _find_log_file(plan)), options, told)
    with closing(TerminalListener()) as terminal:
        listener = TellingListener(terminal, told.notifier)
        if options.foreground:
            check_log(plan)
            start_logging(plan)
            try:
                body(listener)
            finally:
                stop_no_more()
            return
        try:
            daemon.start(body, listener, plan, leaves_late=is_automount(place))
        except MountError:
            clear_dead(place)
            raise


def mount_several(chosen: Chosen, place: Path, options: MountOptions) -> None:
    """Each entry by itself on the folder of its id in `place`, which hffs makes."""
    state = _prepare_state(os.environ)
    told = _prepare_signals(options)
    silent = replace(told, notifier=SILENT)  # of all of them together this process speaks
    if options.foreground:
        plan = _plan_log(state, chosen.configs[0], place, options)
        check_log(plan)
        start_logging(plan)

    def start(config: Config, place: Path, folder: Path) -> int:
        if chosen.skipped and config is chosen.configs[0]:  # a folder that is refused is one line
            print(f"hffs: not mounted: {', '.join(chosen.skipped)}", file=sys.stderr)
        plan = _plan_log(state, config, place, options)
        where = _Where(place, folder, state, _find_log_file(plan))
        own = replace(options, metrics_file=_name_metrics(options.metrics_file, config.id))
        body = _make_body(config, where, own, silent)
        # Closed before the next start forks: its bars are drawn by a thread.
        with closing(TerminalListener(config.id)) as terminal:
            listener = TellingListener(terminal, told.notifier)
            if options.foreground:
                return daemon.start_attached(body, listener, config.id, plan)
            return daemon.start(body, listener, plan)

    starts = {config.id: partial(start, config) for config in chosen.configs}
    stay = Foreground(told.notifier, told.hangup_ends, reopen_logs) if options.foreground else None
    run_group(place, starts, Registry(state), stay)
    if stay is not None:
        stop_no_more()


def _prepare_signals(options: MountOptions) -> _Told:
    """Who is told, found before anything is started, which shall not speak for this process."""
    notifier = Notifier.take(os.environ)
    hangup_ends = options.foreground and has_terminal()
    if options.foreground and not hangup_ends:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # there is nothing to reload yet
    return _Told(notifier, hangup_ends)


def _plan_log(state: Path, config: Config, place: Path, options: MountOptions) -> LogPlan:
    """In the background what native code prints goes to a file, unless all goes to stderr."""
    default = state / "logs" / f"{config.id}.log"
    to: str | Path = options.log or ("stderr" if options.foreground else default)
    if isinstance(to, str) and to not in WORDS:
        to = Path(to).absolute()
    output = None
    if not options.foreground and to != "stderr":
        output = to if isinstance(to, Path) else default
    level = logging.getLogger("hffs").level or logging.INFO
    return LogPlan(to, options.log_format, level, str(place), output)


def _find_log_file(plan: LogPlan) -> Path | None:
    return plan.to if isinstance(plan.to, Path) else None


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
                told = _Told(hangup_ends=has_terminal())
                body = _make_quiet(_make_body(plain, where, options, told))
                plan = LogPlan(mountpoint=str(place))
                with closing(TerminalListener(config.id)) as listener:
                    pids[place] = daemon.start_attached(body, listener, config.id, plan)
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


def _make_body(
    config: Config, where: _Where, options: MountOptions, told: _Told
) -> Callable[[Listener], None]:
    """What a daemon does from its fork to its end."""

    def body(listener: Listener) -> None:
        with loading():
            from hffs.mount.getting import getting_source

        os.umask(0o077)
        with getting_source(config, listener) as get_source:
            # Imported here, in the daemon: threads of numpy and pyarrow do not survive a fork.
            with loading():
                from hffs.mount.requests.files import Owner
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
            notifier=told.notifier,
            hangup_ends=told.hangup_ends,
            metrics_file=options.metrics_file,
            procs=options.procs,
        )
        run_mount(request, located, listener)

    return body


def _name_metrics(path: Path | None, entry: str) -> Path | None:
    return None if path is None else name_textfile(path, entry)


def _prepare_state(environ: Mapping[str, str]) -> Path:
    """The folder of records and logs, made if need be; nobody else may write to it."""
    state = find_state_folder(environ)
    try:
        for folder in (state, *(state / name for name in ("logs", "mounts", "groups"))):
            make_private_folder(folder)
    except OSError as error:
        why = error.strerror or str(error)
        fix = "set XDG_STATE_HOME to a folder of your own"
        raise MountError("cannot write to", str(state), why=why, fix=fix) from error
    return state
