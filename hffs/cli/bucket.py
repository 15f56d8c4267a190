"""`hffs bucket`: scan a folder of images, plan its buckets and batches, and tell of them.

Owns which entries are planned, and what is told of each. Facts go to stdout, as a table or JSON,
and a page into a file.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from hffs.cli.commands import Option
from hffs.cli.drawing.output import check_page, find_screen, print_result, write_page
from hffs.cli.drawing.programs import Json
from hffs.cli.engines import EngineChoice, open_engine
from hffs.cli.flags import Flags, with_config_flags
from hffs.cli.folders import (
    Folder,
    FolderSource,
    MountedAt,
    check_beside,
    check_mounted,
    choose_images,
    finding_folders,
)
from hffs.cli.optiongroups import with_options
from hffs.cli.progress import TerminalListener
from hffs.cli.sources import Entry
from hffs.config import Config
from hffs.errors import DataError

if TYPE_CHECKING:
    from hffs.data.engines import Engine
    from hffs.train.plan import Plan
    from hffs.train.report.facts import PlanReport

_World = Annotated[int, Option(min=1, metavar="N", help="Batches of so many processes.")]
_Report = Annotated[
    Path | None,
    Option("--report", metavar="FILE", help="Write a page with pictures and diagrams."),
]
_Crops = Annotated[
    int, Option(min=0, max=1000, metavar="N", help="Of the worst crops, how many to show.")
]
_All = Annotated[bool, Option("--all", help="Show every bucket, not the fullest alone.")]
_Beside = Annotated[
    bool,
    Option(
        "--beside",
        help="Write the files of SimpleTuner into the folder too, where its local backend looks.",
    ),
]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is asked for besides the plan."""

    world: int
    crops: int
    has_page: bool
    beside: bool


@with_config_flags
@with_options(EngineChoice, "choice")
def bucket(  # noqa: PLR0913 - one parameter an option
    source: FolderSource,
    *,
    choice: EngineChoice,
    flags: Flags,
    entry: Entry = None,
    mounted: MountedAt = None,
    world: _World = 1,
    report: _Report = None,
    crops: _Crops = 48,
    show_all: _All = False,
    beside: _Beside = False,
    as_json: Json = False,
) -> None:
    """Scan a folder, plan buckets and batches of its images, and show them."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="hffs: %(message)s")
    page = None if report is None else check_page(report)
    chosen = choose_images(source, flags, entry)
    place = None if mounted is None else check_mounted(source, chosen, mounted)
    if beside:
        check_beside(chosen, place)
    wanted = _Wanted(world, crops, page is not None, beside)
    with finding_folders(chosen.configs, place) as folders, open_engine(choice) as by:
        reports = [_plan(config, folders[config.id], wanted, by) for config in chosen.configs]
    if page is not None:
        from hffs.cli.bucketing.page import render_page

        write_page(page, render_page(reports))
    print_result(_as_json(reports) if as_json else _as_text(reports, full=show_all))
    if page is not None:
        print(f"hffs: wrote {page}", file=sys.stderr)
    _refuse_empty(reports)


def _plan(config: Config, folder: Folder, wanted: _Wanted, engine: Engine | None) -> PlanReport:
    # Late: threads of numpy and pyarrow do not survive the forks before.
    from hffs.core.batches import plan_epoch
    from hffs.data.arrow import do_without_pandas
    from hffs.train.planning import plan_entry
    from hffs.train.report.gathering import Wanted, report_plan
    from hffs.view.codecs import silence_warnings

    if engine is None:  # Ray looks for it
        do_without_pandas()
    silence_warnings()
    workers = config.num_proc or len(os.sched_getaffinity(0))
    with closing(TerminalListener(config.id)) as listener:
        plan = plan_entry(config, folder.now, listener, workers, engine)
        batches = replace(plan.batch, world=wanted.world)
        epoch = plan_epoch(plan.assignment.bucket, plan.assignment.sizes, batches, 0)
        files = _write(plan, config, folder, wanted, listener)
        look = Wanted(
            crops=wanted.crops,
            pictures=wanted.has_page,
            captions=wanted.has_page,
            workers=workers,
        )
        report = report_plan(plan, epoch, batches, look, listener)
    # A mount that is gone afterwards has a name that tells nothing.
    scan = replace(report.facts.scan, folder=folder.stays or config.dataset_name)
    return replace(report, facts=replace(report.facts, scan=scan, files=files))


def _write(
    plan: Plan, config: Config, folder: Folder, wanted: _Wanted, listener: TerminalListener
) -> tuple[str, ...]:
    """Write the plan for others; a cache that cannot be written does not hide what was found."""
    from hffs.train.metadata_cache import Written, write_beside, write_buckets

    try:
        written = write_buckets(plan, config.cache_dir, folder.stays)
    except DataError as error:
        listener.notice(f"{error}")
        written = Written(())
    if written.why_no_indices:
        listener.notice(f"no files for SimpleTuner: {written.why_no_indices}")
    if written.replaced:
        listener.notice(
            f"the files of {written.replaced}, whose id is {config.id} too, were replaced; "
            "give each folder an --id"
        )
    files = written.files
    if wanted.beside:
        files += write_beside(plan).files
    return tuple(map(str, files))


def _as_json(reports: Sequence[PlanReport]) -> str:
    from hffs.cli.drawing.programs import as_json

    return as_json([report.facts for report in reports])


def _as_text(reports: Sequence[PlanReport], *, full: bool) -> str:
    from hffs.cli.bucketing.text import render_text

    screen, several = find_screen(), len(reports) > 1
    texts = (render_text(each.facts, screen, name=several, full=full) for each in reports)
    return "\n".join(texts)


def _refuse_empty(reports: Sequence[PlanReport]) -> None:
    for report in reports:
        facts = report.facts
        if not facts.totals.samples:
            why = f"all {facts.scan.read} images are left out"
            raise DataError("nothing to train on in", facts.scan.folder, why=why)
