"""`hffs warm`: fill the caches for a view, or for a mount, before anybody reads it."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from hffs.cli.children import ask_child
from hffs.cli.commands import Argument, Option
from hffs.cli.drawing.programs import Json
from hffs.cli.flags import Flags, with_config_flags
from hffs.cli.progress import TerminalListener
from hffs.cli.sources import Entry, choose_configs
from hffs.cli.untrusted import clean_line
from hffs.config import Config
from hffs.errors import OutageError, UsageError
from hffs.mount.mountinfo import find_mount

if TYPE_CHECKING:
    from hffs.mount.lifecycle.pipes import Listener

_Source = Annotated[
    str,
    Argument(
        metavar="MOUNTPOINT|SOURCE|CONFIG|VIEW",
        help="A folder that hffs is mounted on, a data set (a path, owner/name or an address), a "
        "config file, or what hffs view wrote.",
    ),
]
_First = Annotated[int | None, Option(min=1, metavar="N", help="The first N images only.")]


@with_config_flags
def warm(
    source: _Source,
    *,
    flags: Flags,
    entry: Entry = None,
    first: _First = None,
    as_json: Json = False,
) -> None:
    """Fetch and render what a view needs into the caches; interrupted, it goes on where it was."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="hffs: %(message)s")
    place = os.path.realpath(source)
    if find_mount(place) is not None:
        if flags or entry is not None:
            fix = "leave the flags out: what is mounted is decided"
            raise UsageError("cannot warm", source, why="it is a mount", fix=fix)
        from hffs.mount.touching import touch_mount

        with closing(TerminalListener()) as listener:
            results = {source: asdict(touch_mount(place, listener, first))}
    else:
        chosen = choose_configs(source, flags, entry, os.environ)
        results = {config.id: _warm_apart(config, first) for config in chosen.configs}
    _show(results, as_json=as_json)


def _warm_apart(config: Config, first: int | None) -> dict[str, Any]:
    def work(apart: Listener, workers: int) -> bytes:
        from hffs.view.warming import warm_view

        return json.dumps(asdict(warm_view(config, apart, workers, first))).encode()

    found: dict[str, Any] = json.loads(ask_child(config, work))
    return found


def _show(results: dict[str, dict[str, Any]], *, as_json: bool) -> None:
    """One line a view on stdout; OutageError where something is left to do."""
    if as_json:
        shown = list(results.values())
        print(json.dumps(shown if len(shown) > 1 else shown[0], indent=2))
    for name, warmed in results.items():
        if not as_json:
            what = _name_files(warmed)
            print(f"{name}: {warmed['images']} {what}, {warmed['size_bytes'] / 1e6:.1f} MB")
        if warmed["broken"]:
            count, what = warmed["broken"], _name_files(warmed)
            why = f"{count} {what} of {name} cannot be read; one: {warmed['why_broken']}"
            print(f"hffs: {clean_line(why)}", file=sys.stderr)
    for name, warmed in results.items():
        if warmed["missed"]:
            what = _name_files(warmed)
            why = f"{warmed['missed']} {what} could not be fetched; one: {warmed['why_missed']}"
            raise OutageError("cannot warm", name, why=why, fix="try again: it goes on from there")


def _name_files(warmed: Mapping[str, Any]) -> str:
    # Late: it brings numpy, whose threads no child that is forked may find.
    from hffs.core.formats import NOUNS

    return NOUNS[warmed["media"]][1]
