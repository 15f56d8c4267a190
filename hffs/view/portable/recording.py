"""Recording a view: a decision, the places of its images and what pins their source, as one file.

Owns which facts of a view go into the file, and what its table shows. A view is decided as for a
mount, or was before. Invariant: nothing of a file depends on this host but paths of local sources;
it has no token, and nothing that signs an address.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import ValidationError

from hffs import __version__
from hffs.config import Config
from hffs.config.recorded import record_config
from hffs.core.formats import Media, MediaFormat
from hffs.data.cells.index import CellIndex
from hffs.data.cells.subset import take_cells
from hffs.data.filters.selection import Measured, read_sizes
from hffs.data.locating.record import find_store, name_source
from hffs.data.locating.recording import Reading, RecordedSource, record_source
from hffs.data.remote.files import split_query
from hffs.data.source import open_source
from hffs.data.viewfile.file import write_view_file
from hffs.data.viewfile.header import Column, Header, PackedArray
from hffs.data.viewfile.rows import GROUP_ROWS, SCHEMA
from hffs.data.watcher import Watcher
from hffs.errors import DataError, OutageError
from hffs.view.choosing import map_filters
from hffs.view.kept import Decided, name_arrays
from hffs.view.manifest import Manifest
from hffs.view.measuring import recall
from hffs.view.opening import find_or_decide, get_source
from hffs.view.places import Places, find_places
from hffs.view.portable.form import CELLS, KEPT, SIZES
from hffs.view.reading import open_reader
from hffs.view.rendering import Rendering, parse_rendering, split_forms
from hffs.view.sizes import LearnedSizes

Sides = tuple[NDArray[np.int32], NDArray[np.int32]]


@dataclass(frozen=True, slots=True)
class Summary:
    """What was recorded."""

    source: str
    commit: str
    fingerprint: str
    positions: int
    media: Media


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """A decided view, on its way into a file; `used` are the cells that it shows, each once."""

    config: Config
    places: Places
    decided: Decided
    rendering: Rendering
    used: NDArray[np.int64]

    @property
    def manifest(self) -> Manifest:
        return self.decided.manifest

    @property
    def index(self) -> CellIndex:
        return self.decided.index

    def slots(self) -> NDArray[np.int64]:
        """Of every tile of each image, shown or not, the number that it has when it is rendered."""
        each = self.rendering.slots
        return np.repeat(self.used * each, each) + np.tile(np.arange(each), len(self.used))


def record_view(
    config: Config, file: BinaryIO, watcher: Watcher, workers: int, *, reads: bool
) -> Summary:
    """Decide a view, if it was not before, and write the file of it.

    With `reads`, files of this host are read for digests of their content, so that a copy with
    other times is known for the same. Raises as deciding does, OutageError where images could not
    be fetched, and OSError where the file cannot be written.
    """
    places = find_places(config, get_source(config, watcher))
    decided = find_or_decide(config, places, watcher, workers)
    return record_decided(config, places, decided, file, Reading(reads, workers, watcher))


def record_decided(
    config: Config, places: Places, decided: Decided, file: BinaryIO, reading: Reading
) -> Summary:
    """Write the file of a view that is decided; raises as `record_view`."""
    info = decided.manifest.info
    if info.unsettled:
        why = f"{info.unsettled} of its images could not be fetched to see how large they are"
        raise OutageError("cannot record", info.source, why=why, fix="try again")
    used = np.unique(np.asarray(decided.manifest.cells))
    view = _View(config, places, decided, parse_rendering(config), used)
    wanted, store = name_source(config), find_store(config)
    source = record_source(wanted, places.located, take_cells(view.index, used), store, reading)
    sizes = _read_learned(view)

    def make_header(arrays: dict[str, PackedArray]) -> Header:
        return _make_header(view, source, arrays)

    batches = _make_batches(view, sizes, _read_sides(view, reading.watcher))
    try:
        write_view_file(file, batches, _name_arrays(view, source, sizes), make_header)
    except ValidationError as error:  # of what no sound data set has
        first = error.errors(include_url=False)[0]
        why = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise DataError("cannot record", info.source, why=why) from error
    return Summary(info.source, info.commit, info.fingerprint, info.positions, info.media)


def _make_header(view: _View, source: RecordedSource, arrays: dict[str, PackedArray]) -> Header:
    column, info = view.index.column, view.manifest.info
    name, _ = split_query(view.config.dataset_name)  # which may sign it
    return Header(
        version=2,
        made_by=f"hffs {__version__}",
        origin=source.origin,
        config=record_config(view.config, name),  # type: ignore[arg-type] # JSON, as pydantic dumps it
        info=json.loads(json.dumps(asdict(info))),  # of lists alone
        encoder=view.rendering.identity if info.rendered else "",
        column=Column(**asdict(column)),
        images=len(view.used),
        arrays=arrays,
    )


def _name_arrays(
    view: _View, source: RecordedSource, sizes: NDArray[np.int64]
) -> dict[str, NDArray[Any]]:
    """Every array of the file but the captions, which its table has."""
    kept = name_arrays(view.manifest)
    arrays = {name: kept[name] for name in KEPT if name in kept} | {CELLS: view.used}
    if sizes.any():
        arrays[SIZES] = sizes
    return source.arrays | arrays


def _read_learned(view: _View) -> NDArray[np.int64]:
    """Sizes of rendered images, as far as they are known here; of each image all its tiles."""
    path = view.places.find_sizes(view.index, view.rendering)
    slots = len(view.index) * view.rendering.slots
    return LearnedSizes(path, slots).known()[view.slots()]


def _read_sides(view: _View, watcher: Watcher) -> Sides:
    """Width and height of all images of the source as the view shows them, 0 where not known.

    Nothing is measured for it: columns tell, or what was measured for a filter.
    """
    config, places, index = view.config, view.places, view.index
    measured = recall(places.measured(index.identity), len(index))
    if config.offline and places.located.is_remote:
        return measured.width, measured.height

    def remember(wanted: NDArray[np.bool_]) -> Measured:
        return measured

    with open_reader(config, places) as reader:
        source = open_source(places.located, reader)
        filters = map_filters(config, view.rendering.reshape)
        wanted = np.zeros(len(index), np.bool_)
        wanted[view.used] = True
        return read_sizes(source, filters, np.asarray(index.row), wanted, remember)


def _make_batches(view: _View, sizes: NDArray[np.int64], sides: Sides) -> Iterator[pa.RecordBatch]:
    positions = view.manifest.positions
    for start in range(0, positions, GROUP_ROWS):
        yield _make_batch(view, range(start, min(start + GROUP_ROWS, positions)), sizes, sides)


def _make_batch(view: _View, some: range, sizes: NDArray[np.int64], sides: Sides) -> pa.RecordBatch:
    manifest, index, rendering = view.manifest, view.index, view.rendering
    at = slice(some.start, some.stop)
    cells, forms = np.asarray(manifest.cells[at]), np.asarray(manifest.forms[at])
    tiles = np.zeros(len(some), np.uint16) if manifest.tiles is None else manifest.tiles[at]
    places = np.searchsorted(view.used, cells) * rendering.slots + tiles
    passes = np.array(rendering.passing())[forms]
    told = np.where(passes & (index.length[cells] >= 0), index.length[cells], sizes[places])
    formats, _ = split_forms(forms)
    kinds = pa.array([kind.name.lower() for kind in MediaFormat])
    columns = [
        _name_files(view, at, forms),
        _take_captions(view, some),
        pa.array(index.row[cells]),
        pa.array(index.item[cells]),
        pa.array(tiles, mask=np.full(len(some), manifest.tiles is None)),
        pc.if_else(pa.array(formats > 0), kinds.take(pa.array(formats)), None),
        _hide_zeros(told),
        *(_hide_zeros(side[cells]) for side in sides),
    ]
    return pa.record_batch(columns, schema=SCHEMA)


def _hide_zeros(numbers: NDArray[Any]) -> pa.Array:
    return pa.array(numbers, mask=numbers == 0)


def _name_files(view: _View, at: slice, forms: NDArray[np.uint8]) -> pa.Array:
    """Paths of images below the root, as `hffs.view.deciding.make_path` has them."""
    layout = view.manifest.layout
    count = at.stop - at.start
    numbers = np.arange(at.start, at.stop) if layout.numbers is None else layout.numbers[at]
    digits = pc.utf8_lpad(pa.array(numbers).cast(pa.string()), layout.width, "0")
    extensions = pa.array(view.rendering.extensions()).take(pa.array(forms))
    names = pc.binary_join_element_wise(digits, extensions, ".")
    if layout.folders is None or not count:
        return names
    folders = pa.array(layout.folders.names).take(pa.array(layout.folders.of[at]))
    return pc.binary_join_element_wise(folders, names, "/")


def _take_captions(view: _View, some: range) -> pa.Array:
    captions = view.manifest.captions
    if captions is None:
        return pa.nulls(len(some), pa.large_string())
    each = len(view.rendering.tiles)
    first, last = some.start // each, (some.stop - 1) // each + 1
    offsets = np.asarray(captions.offsets[first : last + 1])
    blob = np.ascontiguousarray(captions.blob[offsets[0] : offsets[-1]])
    buffers = [None, pa.py_buffer(offsets - offsets[0]), pa.py_buffer(blob)]
    texts = pa.Array.from_buffers(pa.large_string(), last - first, buffers)
    return texts.take(pa.array(np.arange(some.start, some.stop) // each - first))
