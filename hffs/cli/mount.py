"""`hffs mount`: put a view on a folder, or the views of a config file on folders in it."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

from hffs.cli.commands import Argument, Option
from hffs.cli.flags import Flags, with_config_flags
from hffs.cli.mounting import MountOptions, mount_one, mount_several
from hffs.cli.sources import Entry, Trainer, choose_configs
from hffs.config import Chosen, Recipe, explain_recipe, find_recipe
from hffs.errors import UsageError
from hffs.mount.layers import check_scratch
from hffs.mount.lifecycle.limits import DEFAULT_SIBLINGS, MOST_SIBLINGS
from hffs.mount.lifecycle.logs import FORMATS, WORDS
from hffs.mount.observing.textfile import check_textfile
from hffs.mount.preflight import check_fuse, prepare_mountpoint

_Source = Annotated[
    str | None,
    Argument(
        metavar="SOURCE|CONFIG|VIEW",
        help="Data set (a path, owner/name or an address), a config file, or what hffs view wrote.",
    ),
]
_Mountpoint = Annotated[
    Path | None, Argument(help="An empty folder; of several entries, each gets ID in it.")
]
_Foreground = Annotated[bool, Option("--foreground", "-f", help="Stay, and log to stderr.")]
_AllowOther = Annotated[bool, Option("--allow-other", help="Let other users see the files.")]
_Uid = Annotated[int | None, Option(min=0, help="Owner that the files show.")]
_Gid = Annotated[int | None, Option(min=0, help="Group that the files show.")]
_Umask = Annotated[str, Option(metavar="OCTAL", help="Permission bits that the files do not get.")]
_Order = Annotated[
    Path | None,
    Option(
        metavar="FILE",
        help="With --streaming: the files in the order in which they will be read, to fetch them "
        "ahead.",
    ),
]

_Log = Annotated[
    str | None,
    Option(
        metavar="|".join([*WORDS, "FILE"]),
        help="Where log lines go; else to a file of hffs, with --foreground to stderr.",
    ),
]
_LogFormat = Annotated[str, Option(metavar="|".join(FORMATS), help="How log lines look.")]

_MetricsFile = Annotated[
    Path | None,
    Option(
        metavar="FILE.prom",
        help="Write metrics there every 15 s, for node_exporter; of several entries FILE-ID.prom.",
    ),
]
_Procs = Annotated[
    int | None,
    Option(
        min=0,
        max=MOST_SIBLINGS,
        help="Processes that answer beside the daemon, 0: it alone. By itself one a core, at most "
        f"{DEFAULT_SIBLINGS}, where all images lie on this host.",
    ),
]
_Explain = Annotated[
    bool, Option("--explain", help="With --for: print the flags that it sets, and why.")
]


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
    log: _Log = None,
    log_format: _LogFormat = FORMATS[0],
    metrics_file: _MetricsFile = None,
    procs: _Procs = None,
) -> None:
    """Mount a data set, or all of a config file; returns when the files are there."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="hffs: %(message)s")
    recipe = None if trainer is None else find_recipe(trainer)
    if explain:
        _explain(recipe)
        return
    source, mountpoint = _require(source, mountpoint)
    options = MountOptions(
        foreground,
        allow_other,
        os.getuid() if uid is None else uid,
        os.getgid() if gid is None else gid,
        _parse_umask(umask),
        None if order is None else order.absolute(),
        log,
        log_format,
        None if metrics_file is None else metrics_file.absolute(),
        procs,
    )
    _mount(choose_configs(source, flags, entry, os.environ, trainer), mountpoint, options)


def _mount(chosen: Chosen, mountpoint: Path, options: MountOptions) -> None:
    _check_options(chosen, options)
    _check_host(chosen, mountpoint)
    if len(chosen.configs) == 1:
        mount_one(chosen.configs[0], prepare_mountpoint(mountpoint), options)
    else:
        mount_several(chosen, mountpoint, options)


def _require(source: str | None, mountpoint: Path | None) -> tuple[str, Path]:
    """Both, which only --explain does without."""
    if source is None or mountpoint is None:
        missing = "SOURCE|CONFIG|VIEW" if source is None else "MOUNTPOINT"
        raise UsageError("missing argument", missing, fix="see `hffs mount --help`")
    return source, mountpoint


def _check_options(chosen: Chosen, options: MountOptions) -> None:
    if options.log_format not in FORMATS:
        why = f"it is none of {', '.join(FORMATS)}"
        raise UsageError("cannot use --log-format", options.log_format, why=why)
    if options.order is not None and len(chosen.configs) > 1:
        why, fix = "it is of one view", "choose one entry with --entry"
        raise UsageError("cannot use --order", str(options.order), why=why, fix=fix)
    if options.metrics_file is not None:
        check_textfile(options.metrics_file)


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


def _parse_umask(text: str) -> int:
    try:
        bits = int(text, 8)
    except ValueError:
        bits = -1
    if not 0 <= bits <= 0o777:
        raise UsageError("cannot use --umask", text, why="it is not an octal number up to 777")
    return bits
