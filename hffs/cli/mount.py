"""`hffs mount`: put a view on a folder, or the views of a config file on folders in it."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hffs.cli.flags import Flags, with_config_flags
from hffs.cli.progress import TerminalListener
from hffs.cli.sources import Entry, Trainer, choose_configs
from hffs.config import Chosen, Config, Recipe, explain_recipe, find_recipe
from hffs.errors import MountError, UsageError
from hffs.mount import daemon
from hffs.mount.group import run_group
from hffs.mount.layers import check_scratch
from hffs.mount.preflight import check_fuse, prepare_mountpoint
from hffs.mount.registry import Registry, find_state_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hffs.mount.daemon import Listener

_Source = Annotated[
    str | None,
    typer.Argument(
        metavar="SOURCE|CONFIG|VIEW",
        help="Data set (a path, owner/name or an address), a config file, or what hffs view wrote.",
    ),
]
_Mountpoint = Annotated[
    Path | None, typer.Argument(help="An empty folder; of several entries, each gets ID in it.")
]
_Foreground = Annotated[bool, typer.Option("--foreground", "-f", help="Stay, and log to stderr.")]
_AllowOther = Annotated[bool, typer.Option("--allow-other", help="Let other users see the files.")]
_Uid = Annotated[int | None, typer.Option(min=0, help="Owner that the files show.")]
_Gid = Annotated[int | None, typer.Option(min=0, help="Group that the files show.")]
_Umask = Annotated[
    str, typer.Option(metavar="OCTAL", help="Permission bits that the files do not get.")
]
_Order = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="With --streaming: the files in the order in which they will be read, to fetch them "
        "ahead.",
    ),
]

_Explain = Annotated[
    bool, typer.Option("--explain", help="With --for: print the flags that it sets, and why.")
]


@dataclass(frozen=True, slots=True)
class _Options:
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


@with_config_flags
def mount(  # noqa: PLR0913 - one parameter an option
    source: _Source = None,
    mountpoint: _Mountpoint = None,
    *,
    flags: Flags,
    trainer: Trainer = None,
    explain: _Explain = False,
    entry: Entry = None,
    foreground: _Foreground = False,
    allow_other: _AllowOther = False,
    uid: _Uid = None,
    gid: _Gid = None,
    umask: _Umask = "000",
    order: _Order = None,
) -> None:
    """Mount a data set, or all of a config file; returns when the files are there."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="hffs: %(message)s")
    recipe = None if trainer is None else find_recipe(trainer)
    if explain:
        _explain(recipe)
        return
    if source is None or mountpoint is None:
        raise _missing("SOURCE|CONFIG|VIEW" if source is None else "MOUNTPOINT")
    options = _Options(
        foreground,
        allow_other,
        os.getuid() if uid is None else uid,
        os.getgid() if gid is None else gid,
        _parse_umask(umask),
        None if order is None else order.absolute(),
    )
    chosen = choose_configs(source, flags, entry, os.environ, trainer)
    if order is not None and len(chosen.configs) > 1:
        why, fix = "it is of one view", "choose one entry with --entry"
        raise UsageError("cannot use --order", str(order), why=why, fix=fix)
    _check_host(chosen, mountpoint)
    if len(chosen.configs) == 1:
        _mount(chosen.configs[0], prepare_mountpoint(mountpoint), options)
    else:
        _mount_several(chosen, mountpoint, options)


def _missing(argument: str) -> UsageError:
    return UsageError("missing argument", argument, fix="see `hffs mount --help`")


def _check_host(chosen: Chosen, mountpoint: Path) -> None:
    """MountError or UsageError where this host or its folders cannot do what is asked."""
    check_fuse()
    for config in chosen.configs:
        if config.scratch is not None:
            check_scratch(config.scratch, Path(os.path.realpath(mountpoint)))


def _explain(recipe: Recipe | None) -> None:
    if recipe is None:
        raise UsageError("cannot use --explain", why="--for names no trainer", fix="add --for NAME")
    lines = list(explain_recipe(recipe)) or [("", "it needs nothing: mount as you like")]
    width = max(len(flag) for flag, _ in lines)
    for flag, why in lines:
        print(f"{flag.ljust(width)}  # {why}" if flag else f"# {why}")


def _mount(config: Config, place: Path, options: _Options) -> None:
    state = _prepare_state(os.environ)
    level = logging.getLogger("hffs").level or logging.INFO
    log_path = None if options.foreground else _log_path(state, config)
    body = _make_body(config, _Where(place, None, state, log_path), options)
    with closing(TerminalListener()) as listener:
        if log_path is None:
            daemon.start_logging(level)
            body(listener)
        else:
            daemon.start(body, listener, log_path, level)


def _mount_several(chosen: Chosen, place: Path, options: _Options) -> None:
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


def _make_body(config: Config, where: _Where, options: _Options) -> Callable[[Listener], None]:
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


def _parse_umask(text: str) -> int:
    try:
        bits = int(text, 8)
    except ValueError:
        bits = -1
    if not 0 <= bits <= 0o777:
        raise UsageError("cannot use --umask", text, why="it is not an octal number up to 777")
    return bits


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
