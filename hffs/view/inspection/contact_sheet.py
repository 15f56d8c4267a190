"""Pictures for a contact sheet: of what a view shows, and of what its steps left out.

Owns which are taken, how many and how large at most, and that one which cannot be decoded becomes a
picture without pixels that says why. A picture of a video or a sound has a part of it that plays.
It must not know how a sheet looks.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from hffs.core.composites import Composite
from hffs.core.formats import NOUNS, MediaFormat
from hffs.data.cache import DiskCache
from hffs.data.cells.index import CellIndex
from hffs.data.rows import RowStore
from hffs.data.watcher import Watcher
from hffs.errors import DataError, DeadlineError, SourceError
from hffs.view.codecs.ranges import RangeFile
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

MOST_MEDIA_BYTES = 60_000_000
"""Videos and sounds of all pictures together: a browser still opens the page."""

_EACH_BYTES = 3_000_000
_FEW_BYTES = 50_000
"""Where less is left for one, none is taken along any more."""

_NOT_PLAYED, _NO_ROOM = "no browser plays it", "the page has no room for more"

_CAPTION_CHARACTERS = 600
_AT_ONCE, _CLIPS_AT_ONCE = 64, 8


@dataclass(frozen=True, slots=True)
class SheetLimits:
    """How many pictures of what is shown, and how many bytes of videos or sounds with them all."""

    pictures: int
    media_bytes: int = MOST_MEDIA_BYTES


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
    planned: Planned,
    steps: Sequence[StepFacts],
    places: Places,
    watcher: Watcher,
    limits: SheetLimits,
) -> Sheet:
    """Take pictures of some files that are shown, and of the steps' examples."""
    inputs = planned.examined.inputs
    shown = list(_plan_shown(planned, min(limits.pictures, MOST_PICTURES)))
    removed = _plan_removed(planned.examined, steps)
    jobs = [*shown, *(job for step in removed for job in step)]
    cache = DiskCache(places.blobs, planned.config.cache_size)
    pictures: list[Picture] = []
    with (
        open_rows(planned.config, places, inputs.index, cache) as rows,
        ThreadPoolExecutor(inputs.workers, thread_name_prefix="hffs-thumbnail") as pool,
    ):
        camera = _Camera(rows, inputs.index, limits.media_bytes)
        for start in range(0, len(jobs), camera.at_once):
            batch = jobs[start : start + camera.at_once]
            taken = list(pool.map(camera.prepare(), batch))
            camera.left -= sum(len(picture.data) * 3 // 4 for picture in taken)
            pictures += taken
            watcher.progress("making thumbnails", len(pictures), len(jobs))
    one = iter(pictures)
    return Sheet(
        tuple(next(one) for _ in shown),
        tuple(tuple(next(one) for _ in step) for step in removed),
    )


class _Camera:
    """Takes pictures of cells; `left` is how many bytes of videos or sounds may come with them."""

    def __init__(self, rows: RowStore, index: CellIndex, left: int) -> None:
        self.left = left
        self.at_once = _AT_ONCE if rows.media == "image" else _CLIPS_AT_ONCE
        self._rows, self._formats = rows, index.format

    def prepare(self) -> Callable[[_Job], Picture]:
        """What takes each picture of the next batch."""
        if self._rows.media == "image":
            return partial(_take_picture, self._rows)
        most = min(_EACH_BYTES, self.left // self.at_once)
        return partial(self._take_clip, most if most >= _FEW_BYTES else 0)

    def _take_clip(self, most_bytes: int, job: _Job) -> Picture:
        # Late: of images nobody waits for FFmpeg to load.
        from hffs.view.codecs.clips import Probe, probe
        from hffs.view.codecs.previews import Preview, make_preview

        kind, found, preview = MediaFormat(int(self._formats[job.cell])), Probe(), None
        try:
            file = RangeFile(self._rows.size(job.cell), partial(self._rows.load_part, job.cell))
            found = probe(file, kind)
            if most_bytes or kind.media == "video":
                preview = make_preview(file, kind, most_bytes)
        except (DataError, SourceError, DeadlineError) as error:
            why = error.why or error.what
            return Picture(job.name, job.row, "", found.width, found.height, why, job.text)
        preview = preview or Preview("", b"", b"")
        problem = "" if preview.data else _NOT_PLAYED if most_bytes else _NO_ROOM
        return Picture(
            job.name, job.row, _encode(preview.poster), found.width, found.height, problem,
            job.text, preview.media_type, _encode(preview.data), found.duration_s,
        )  # fmt: skip


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


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
    noun = NOUNS[examined.rendering.media][0]
    return [
        [
            _Job(
                find_cell(examined, example),
                example.row,
                f"row {example.row}" + (f", {noun} {example.item}" if has_items else ""),
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
    return Picture(job.name, job.row, _encode(thumbnail.jpeg), *thumbnail.size, "", job.text)
