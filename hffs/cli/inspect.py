"""`hffs inspect`: what a view would be, without mounting it.

Owns where results go: facts on stdout, as a table or JSON, and a page into a file. The data set is
read in a child process, which hands the facts over as JSON: damaged files crash native readers.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from hffs.cli.children import ask_child
from hffs.cli.commands import Option
from hffs.cli.drawing.output import check_page, find_screen, print_result, write_page
from hffs.cli.drawing.programs import Json
from hffs.cli.flags import Flags, with_config_flags
from hffs.cli.sources import Entry, Source, choose_configs
from hffs.config import Config
from hffs.config.recorded import RecordedConfig
from hffs.errors import UsageError

if TYPE_CHECKING:
    from hffs.mount.lifecycle.pipes import Listener
    from hffs.view.inspection.facts import Inspection

_Html = Annotated[
    Path | None,
    Option("--html", metavar="FILE", help="Write a page with pictures and histograms."),
]
_Samples = Annotated[
    int, Option(min=0, max=1000, metavar="N", help="Pictures on the page of what is shown.")
]
_All = Annotated[bool, Option("--all", help="Read the headers of all images, not of a sample.")]


@with_config_flags
def inspect(  # noqa: PLR0913 - one parameter an option
    source: Source,
    *,
    flags: Flags,
    entry: Entry = None,
    as_json: Json = False,
    html: _Html = None,
    samples: _Samples = 60,
    measure_all: _All = False,
) -> None:
    """Show what a data set holds, what each filter removes and why; nothing is mounted."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="hffs: %(message)s")
    chosen = choose_configs(source, flags, entry, os.environ)
    for config in chosen.configs:
        if isinstance(config, RecordedConfig):
            which, fix = str(config.view_file), "inspect its source, or open it as any Parquet"
            raise UsageError("cannot inspect", which, why="it is a view that is decided", fix=fix)
    if html is not None:
        html = check_page(html)
    if chosen.skipped:
        print(f"hffs: not inspected: {', '.join(chosen.skipped)}", file=sys.stderr)
    pictures = None if html is None else samples
    # All children before the first parse: that imports numpy, whose threads do not survive a fork.
    handed = [
        _look(config, pictures, measure_all=measure_all, of=len(chosen.configs))
        for config in chosen.configs
    ]
    inspections = _parse(handed)
    if html is not None:
        from hffs.cli.inspection.page import render_page

        write_page(html, render_page(inspections))
    print_result(_as_json(inspections) if as_json else _as_text(inspections))
    if html is not None:
        print(f"hffs: wrote {html}", file=sys.stderr)


def _look(config: Config, pictures: int | None, *, measure_all: bool, of: int) -> bytes:
    """Inspect one view, `of` so many on a page, in a child process; what it handed over."""

    def look(apart: Listener, workers: int) -> bytes:
        from hffs.view.inspection.contact_sheet import MOST_MEDIA_BYTES
        from hffs.view.inspection.gathering import Wanted, inspect_view

        wanted = Wanted(measure_all, pictures, MOST_MEDIA_BYTES // of)
        inspection = inspect_view(config, apart, workers, wanted)
        return json.dumps(asdict(inspection)).encode("ascii")

    return ask_child(config, look)


def _parse(handed: list[bytes]) -> list[Inspection]:
    from pydantic import TypeAdapter

    from hffs.view.inspection.facts import Inspection

    adapter = TypeAdapter(Inspection)
    return [adapter.validate_json(one) for one in handed]


def _as_json(inspections: list[Inspection]) -> str:
    from hffs.cli.drawing.programs import as_json

    return as_json([inspection.report for inspection in inspections])


def _as_text(inspections: list[Inspection]) -> str:
    from hffs.cli.inspection.text import render_text

    screen, several = find_screen(), len(inspections) > 1
    reports = (inspection.report for inspection in inspections)
    return "\n".join(render_text(report, screen, name=several) for report in reports)
