"""Pictures for a contact sheet: of what a view shows, and of what its steps left out.

Owns which are taken, how many at most, and that one which cannot be decoded becomes a picture
without pixels that says why. It must not know how a sheet looks.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from hffs.core.composites import Composite
from hffs.data.cache import DiskCache
from hffs.data.rows import RowStore
from hffs.data.watcher import Watcher
from hffs.errors import DataError, DeadlineError, SourceError
from hffs.view.codecs.thumbnails import make_thumbnail
from hffs.view.deciding import Examined
from hffs.view.inspection.facts import Picture, Sheet, StepFacts
from hffs.view.inspection.picking import pick_spread
from hffs.view.inspection.planned import Planned
from hffs.view.inspection.removals import find_cell
from hffs.view.places import Places
from hffs.view.reading import open_rows

MOST_PICTURES = 1_000
"""Pictures of what is shown: each adds about 10 KB to a page."""

MOST_REMOVED = 240
"""Pictures of what all steps together left out."""

_CAPTION_CHARACTERS = 600
_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class _Job:
    """A picture to take: of a whole cell, or of one tile of it."""

    cell: int
    row: int
    name: str
    text: str = ""
    composite: Composite | None = None
    tile: int = 0


def make_sheet(
    planned: Planned, steps: Sequence[StepFacts], places: Places, watcher: Watcher, most: int
) -> Sheet:
    """Take pictures of at most `most` images that are shown, and of the steps' examples."""
    inputs = planned.examined.inputs
    shown = list(_plan_shown(planned, min(most, MOST_PICTURES)))
    removed = _plan_removed(planned.examined, steps)
    jobs = [*shown, *(job for step in removed for job in step)]
    cache = DiskCache(places.blobs, planned.config.cache_size)
    pictures: list[Picture] = []
    with (
        open_rows(planned.config, places, inputs.index, cache) as rows,
        ThreadPoolExecutor(inputs.workers, thread_name_prefix="hffs-thumbnail") as pool,
    ):
        for start in range(0, len(jobs), _AT_ONCE):
            batch = jobs[start : start + _AT_ONCE]
            pictures += pool.map(lambda job: _take_picture(rows, job), batch)
            watcher.progress("making thumbnails", len(pictures), len(jobs))
    taken = iter(pictures)
    return Sheet(
        tuple(next(taken) for _ in shown),
        tuple(tuple(next(taken) for _ in step) for step in removed),
    )


def _plan_shown(planned: Planned, most: int) -> Iterator[_Job]:
    examined, files = planned.examined, planned.files
    for position in pick_spread(examined.inputs.index, files.cells, most).tolist():
        yield _Job(
            cell=int(files.cells[position]),
            row=planned.row(position),
            name=planned.name(position),
            text=planned.caption(position, _CAPTION_CHARACTERS),
            composite=examined.rendering.reshape.composite,
            tile=0 if files.tiles is None else int(files.tiles[position]),
        )


def _plan_removed(examined: Examined, steps: Sequence[StepFacts]) -> list[list[_Job]]:
    """Pictures of each step; the same number of all, where there are too many of them."""
    asked = sum(1 for step in steps if step.examples)
    most = MOST_REMOVED // max(asked, 1)
    has_items = int(examined.inputs.index.item.max(initial=0)) > 0
    return [
        [
            _Job(
                find_cell(examined, example),
                example.row,
                f"row {example.row}" + (f", image {example.item}" if has_items else ""),
                "\n".join(f"{name}: {value}" for name, value in example.values.items()),
            )
            for example in step.examples[:most]
        ]
        for step in steps
    ]


def _take_picture(rows: RowStore, job: _Job) -> Picture:
    try:
        thumbnail = make_thumbnail(rows.load(job.cell), job.composite, job.tile)
    except (DataError, SourceError, DeadlineError) as error:
        return Picture(job.name, job.row, "", 0, 0, error.why or error.what, job.text)
    jpeg = base64.b64encode(thumbnail.jpeg).decode("ascii")
    return Picture(job.name, job.row, jpeg, *thumbnail.size, "", job.text)
