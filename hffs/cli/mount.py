"""`hffs mount`: put a view on a folder."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hffs.cli.flags import Flags, with_config_flags
from hffs.cli.progress import TerminalListener
from hffs.errors import MountError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hffs.mount.daemon import Listener


@with_config_flags
def mount(  # noqa: PLR0913 - one parameter an option
    source: Annotated[
        str, typer.Argument(metavar="SOURCE|CONFIG", help="Data set (a path), or a config file.")
    ],
    mountpoint: Annotated[Path, typer.Argument(help="An empty folder.")],
    *,
    flags: Flags,
    entry: Annotated[
        str | None, typer.Option(metavar="ID", help="Which entry of a config file.")
    ] = None,
    foreground: Annotated[
        bool, typer.Option("--foreground", "-f", help="Stay, and log to stderr.")
    ] = False,
    allow_other: Annotated[
        bool, typer.Option("--allow-other", help="Let other users see the files.")
    ] = False,
    uid: Annotated[int | None, typer.Option(min=0, help="Owner that the files show.")] = None,
    gid: Annotated[int | None, typer.Option(min=0, help="Group that the files show.")] = None,
    umask: Annotated[
        str, typer.Option(metavar="OCTAL", help="Permission bits that the files do not get.")
    ] = "000",
) -> None:
    """Mount a data set; returns when its files are there."""
    from hffs.config import build_config, refuse_unbuilt
    from hffs.mount.preflight import check_fuse, prepare_mountpoint

    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="hffs: %(message)s")
    bits = _parse_umask(umask)
    config = build_config(source, flags, entry, os.environ)
    refuse_unbuilt(config)
    check_fuse()
    place = prepare_mountpoint(mountpoint)
    state = _prepare_state(os.environ)
    log_path = None if foreground else state / "logs" / f"{config.id}.log"

    def body(listener: Listener) -> None:
        # Imported here, in the daemon: threads of pyarrow do not survive a fork.
        from hffs.mount.operations import Owner
        from hffs.mount.running import MountRequest, run_mount

        owner = Owner(_or_own(uid, os.getuid()), _or_own(gid, os.getgid()), bits)
        workers = config.num_proc or len(os.sched_getaffinity(0))
        request = MountRequest(config, place, owner, allow_other, state, workers, log_path)
        run_mount(request, listener)

    _run(body, log_path)


def _run(body: Callable[[Listener], None], log_path: Path | None) -> None:
    from hffs.mount import daemon

    level = logging.getLogger("hffs").level or logging.INFO
    with TerminalListener() as listener:
        if log_path is None:
            daemon.start_logging(level)
            body(listener)
        else:
            daemon.start(body, listener, log_path, level)


def _or_own(given: int | None, own: int) -> int:
    return own if given is None else given


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
    from hffs.mount.registry import find_state_folder

    state = find_state_folder(environ)
    try:
        (state / "logs").mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        why = error.strerror or str(error)
        fix = "set XDG_STATE_HOME to a folder of your own"
        raise MountError("cannot write to", str(state), why=why, fix=fix) from error
    return state
