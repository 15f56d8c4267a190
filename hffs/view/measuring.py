"""What headers tell of images, videos and sounds: looked at when asked for, then remembered.

Owns what is remembered of a source: parts, each of some cells, kept side by side. A cell is unknown
(in no part), looked at, or unreadable (in a part, with zeros). A *gauge* is what is looked for, and
has parts of its own.

Invariants: a part is complete or absent and never changes, so that processes that look at once
at worst look twice, and one that is killed loses no more than its current part; its name says
which cells it has.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from hffs.config import Config
from hffs.core.formats import NOUNS, Media, MediaFormat
from hffs.data.arrays import Stored, load_kept, save_arrays
from hffs.data.cache import DiskCache
from hffs.data.cells.index import CellIndex
from hffs.data.filters.selection import Measured, Probed
from hffs.data.folders import remove_whole
from hffs.data.rows import RowStore
from hffs.errors import (
    AccessError,
    DeadlineError,
    FetchError,
    FormatError,
    HffsError,
    OutageError,
    RenderError,
    StaleError,
)
from hffs.view import codecs
from hffs.view.codecs.ranges import RangeFile
from hffs.view.places import Places
from hffs.view.reading import open_rows

log = logging.getLogger(__name__)

PART_CELLS = 1 << 15
"""Images that are measured before they are kept; each part costs about 10 ms."""

PART_CLIPS = 1 << 11
"""The same of videos and sounds, which take milliseconds each."""

_BATCH = 256
Arrays = Mapping[str, NDArray[Any]]
_Told = tuple[float | bytes, ...]
"""What the header of one cell tells."""


Looked = tuple[NDArray[np.int64], list[_Told | HffsError]]
"""Some cells, and what their headers tell."""

Share = Callable[[NDArray[np.int64]], Iterator[Looked]]
"""Has cells looked at elsewhere; each is answered once, in any order."""


@dataclass(frozen=True, slots=True)
class Looking:
    """How headers are looked at: by threads, and who is told how far it is; or by others, who
    `share` it.
    """

    workers: int
    progress: Callable[[int, int], None]
    share: Share | None = None


@dataclass(frozen=True, slots=True)
class Crew:
    """What looking takes, with the cells' bytes."""

    rows: RowStore
    looking: Looking


@dataclass(frozen=True, slots=True)
class _Pace:
    """How cells are looked at: by how many threads, how many at a time by each, and how many before
    they are kept.
    """

    threads: int
    batch: int
    part: int


_FAR = _Pace(threads=32, batch=2, part=1 << 11)  # one image may take as long as 20,000 others


@dataclass(frozen=True, slots=True)
class _Gauge:
    """What is looked for in headers.

    `prefix` begins the names of its parts: another when what is looked for changes its meaning.
    `pack` makes arrays of what was told of cells, as parts hold it, and `unpack` columns of these,
    one value a cell; `nothing` is told of a cell that is unreadable.
    """

    prefix: str
    plural: str
    pace: Callable[[int], _Pace]
    look: Callable[[RowStore, int], _Told]
    nothing: _Told
    pack: Callable[[Sequence[_Told]], Arrays]
    unpack: Callable[[Arrays], Arrays]


@dataclass(frozen=True, slots=True, eq=False)
class _Memory:
    """What is known of all cells, written in place; `known` marks unreadable ones too."""

    known: NDArray[np.bool_]
    columns: Arrays

    def put(self, cells: NDArray[np.int64], columns: Arrays) -> None:
        self.known[cells] = True
        for name, column in self.columns.items():
            column[cells] = columns[name]


class Measurer:
    """Looks at headers of one source when asked; `unsettled` is how many of those asked for last
    could not be had, and may be another time.
    """

    def __init__(
        self,
        config: Config,
        places: Places,
        index: CellIndex,
        looking: Looking,
    ) -> None:
        self.unsettled = 0
        self._config, self._places, self._index, self._looking = config, places, index, looking
        self._probed: tuple[NDArray[np.bool_], Probed] | None = None

    def has_probed(self, wanted: NDArray[np.bool_]) -> bool:
        """Whether this has probed all of these, and more of them costs nothing."""
        return self._probed is not None and not bool((wanted & ~self._probed[0]).any())

    def measure(self, wanted: NDArray[np.bool_]) -> Measured:
        """Sizes of the wanted images or videos, and of others that were looked at before."""
        if self._index.column.media != "image":
            return self.probe(wanted).measured()
        with self._call_crew() as (folder, crew):
            measured = load_or_measure(folder, crew, wanted)
        self.unsettled = max(self.unsettled, measured.unsettled)
        return measured

    def probe(self, wanted: NDArray[np.bool_]) -> Probed:
        """What headers of the wanted videos or sounds tell; none is asked twice, also if away."""
        if self._probed is not None and self.has_probed(wanted):
            return self._probed[1]
        with self._call_crew() as (folder, crew):
            probed = load_or_probe(folder, crew, self._index.format, wanted)
        self._probed = wanted.copy(), probed
        self.unsettled = max(self.unsettled, probed.unsettled)
        return probed

    @contextmanager
    def _call_crew(self) -> Iterator[tuple[Path, Crew]]:
        cache = DiskCache(self._places.blobs, self._config.cache_size)
        with open_rows(self._config, self._places, self._index, cache) as rows:
            folder = self._places.measured(self._index.identity)
            yield folder, Crew(rows, self._looking)


def load_or_measure(folder: Path, crew: Crew, wanted: NDArray[np.bool_]) -> Measured:
    """What headers tell of the wanted images, and of others that were measured before."""
    return _make_measured(*_load_or_look(_IMAGES, folder, crew, wanted))


def load_or_probe(
    folder: Path, crew: Crew, formats: NDArray[np.uint8], wanted: NDArray[np.bool_]
) -> Probed:
    """What headers tell of the wanted videos or sounds, and of others that were probed before.

    `formats` are those of all cells.
    """
    gauge = _gauge_clips(formats, crew.rows.media)
    memory, unsettled = _load_or_look(gauge, folder, crew, wanted)
    return Probed(**memory.columns, unsettled=unsettled)


def recall(folder: Path, count: int) -> Measured:
    """What was measured of the cells of an index before; 0 of the rest."""
    return _make_measured(_recall(_IMAGES, folder, count), 0)


def _make_measured(memory: _Memory, unsettled: int) -> Measured:
    columns = memory.columns
    return Measured(columns["width"], columns["height"], columns["orientation"], unsettled)


def _load_or_look(
    gauge: _Gauge, folder: Path, crew: Crew, wanted: NDArray[np.bool_]
) -> tuple[_Memory, int]:
    """What is known once the wanted cells were looked at, and how many could not be fetched.

    Those at URLs come last, on more threads, as these wait rather than work. What could not be
    fetched is counted, and not remembered.
    """
    memory = _recall(gauge, folder, len(wanted))
    missing = np.flatnonzero(wanted & ~memory.known)
    remote = np.fromiter(map(crew.rows.is_far, missing.tolist()), np.bool_, len(missing))
    failures: list[HffsError] = []
    done, looking = 0, crew.looking
    for cells, pace in ((missing[~remote], gauge.pace(looking.workers)), (missing[remote], _FAR)):
        share = looking.share or partial(_look_by_threads, gauge, crew.rows, pace)
        part = list[Looked]()
        for looked in share(cells):
            part.append(looked)
            done += len(looked[0])
            looking.progress(done, len(missing))
            if sum(len(some) for some, _ in part) >= pace.part:
                failures += _settle(gauge, folder, memory, part)
                part = []
        failures += _settle(gauge, folder, memory, part)
    if failures:
        log.warning("%d %s could not be fetched; one: %s", len(failures), gauge.plural, failures[0])
    return memory, len(failures)


def look_at(rows: RowStore, formats: NDArray[np.uint8], cells: NDArray[np.int64]) -> Looked:
    """What headers of some cells tell; `formats` are those of all cells.

    It is what a `Share` answers with, in another process.
    """
    if not len(cells):
        return cells, []
    gauge = _IMAGES if rows.media == "image" else _gauge_clips(formats, rows.media)
    pace = _FAR if rows.is_far(int(cells[0])) else gauge.pace(1)
    told = [one for _, some in _look_by_threads(gauge, rows, pace, cells) for one in some]
    return cells, told


def _look_by_threads(
    gauge: _Gauge, rows: RowStore, pace: _Pace, cells: NDArray[np.int64]
) -> Iterator[Looked]:
    with ThreadPoolExecutor(pace.threads, thread_name_prefix="hffs-measure") as pool:
        for start in range(0, len(cells), pace.part):
            part = cells[start : start + pace.part]
            batches = [part[at : at + pace.batch] for at in range(0, len(part), pace.batch)]
            answers = pool.map(lambda batch: _look_at(gauge, rows, batch), batches)
            yield from zip(batches, answers, strict=True)


def _look_at(gauge: _Gauge, rows: RowStore, cells: NDArray[np.int64]) -> list[_Told | HffsError]:
    return [_look(gauge, rows, cell) for cell in cells.tolist()]


def _look(gauge: _Gauge, rows: RowStore, cell: int) -> _Told | HffsError:
    """What the header of a cell tells; zeros if it is unreadable for good.

    An error where that may pass: a host is away, what a rule forbids is allowed next time.
    """
    try:
        return gauge.look(rows, cell)
    except (OutageError, DeadlineError) as error:
        return error.anew()
    except (AccessError, StaleError) as error:
        if not rows.is_far(cell):
            raise
        return error.anew()
    except (RenderError, FormatError, FetchError):
        return gauge.nothing


def _settle(
    gauge: _Gauge, folder: Path, memory: _Memory, looked: Sequence[Looked]
) -> list[HffsError]:
    """Remember what is known for good; returns the rest."""
    told = [one for _, some in looked for one in some]
    known = [each for each in told if not isinstance(each, HffsError)]
    if known:
        cells = np.concatenate([some for some, _ in looked])
        settled = cells[np.array([not isinstance(each, HffsError) for each in told])]
        packed = gauge.pack(known)
        folder.parent.mkdir(mode=0o700, exist_ok=True)
        save_arrays(folder / _part_name(gauge, settled), Stored({"cell": settled, **packed}, {}))
        memory.put(settled, gauge.unpack(packed))
    return [each for each in told if isinstance(each, HffsError)]


def _part_name(gauge: _Gauge, cells: NDArray[np.int64]) -> str:
    return gauge.prefix + hashlib.blake2b(cells.tobytes(), digest_size=16).hexdigest()


def _recall(gauge: _Gauge, folder: Path, count: int) -> _Memory:
    forms = gauge.unpack(gauge.pack([gauge.nothing]))
    columns = {name: np.zeros(count, form.dtype) for name, form in forms.items()}
    memory = _Memory(np.zeros(count, np.bool_), columns)
    for part in sorted(folder.glob(f"{gauge.prefix}*")):
        stored = load_kept(part)
        if stored is None:
            continue
        if part.name == _part_name(gauge, stored.arrays["cell"]):
            memory.put(stored.arrays["cell"], gauge.unpack(stored.arrays))
        else:
            log.warning("%s does not hold what its name says; it is made again", part)
            remove_whole(part)
    return memory


def _measure(rows: RowStore, cell: int) -> _Told:
    return codecs.measure(rows.load(cell))


def _unpack_sizes(arrays: Arrays) -> Arrays:
    width, height, orientation = arrays["size"].T
    return {"width": width, "height": height, "orientation": orientation.astype(np.uint8)}


_IMAGES = _Gauge(
    prefix="1-",
    plural=NOUNS["image"][1],
    pace=lambda workers: _Pace(workers, _BATCH, PART_CELLS),
    look=_measure,
    nothing=(0, 0, 0),
    pack=lambda told: {"size": np.array(told, np.int32)},
    unpack=_unpack_sizes,
)

_CLIP_COLUMNS: Mapping[str, DTypeLike] = {
    "width": np.int32, "height": np.int32, "frames": np.int32, "duration_s": np.float64,
    "fps": np.float64, "sample_rate": np.int32, "channels": np.int32, "video_codec": "S24",
    "audio_codec": "S24",
}  # fmt: skip


def _gauge_clips(formats: NDArray[np.uint8], media: Media) -> _Gauge:
    return _Gauge(
        prefix="clips-1-",
        plural=NOUNS[media][1],
        pace=lambda workers: _Pace(workers, 4, PART_CLIPS),
        look=partial(_probe, formats),
        nothing=(0, 0, 0, 0.0, 0.0, 0, 0, b"", b""),
        pack=_pack_clips,
        unpack=lambda arrays: {name: arrays[name] for name in _CLIP_COLUMNS},
    )


def _pack_clips(told: Sequence[_Told]) -> Arrays:
    columns = zip(_CLIP_COLUMNS.items(), zip(*told, strict=True), strict=True)
    return {name: np.array(column, kind) for (name, kind), column in columns}


def _probe(formats: NDArray[np.uint8], rows: RowStore, cell: int) -> _Told:
    # Late: of images nobody waits for FFmpeg to load.
    from hffs.view.codecs.clips import probe

    if rows.is_parted(cell):
        file = RangeFile(rows.size(cell), partial(rows.load_part, cell))
    else:  # a map, or what had to be decoded: once, and not for each read
        file = RangeFile.over(rows.load(cell))
    told = probe(file, MediaFormat(int(formats[cell])))
    codec_names = (told.video_codec.encode(), told.audio_codec.encode())
    return (
        told.width, told.height, told.frames, told.duration_s, told.fps, told.sample_rate,
        told.channels, *codec_names,
    )  # fmt: skip
