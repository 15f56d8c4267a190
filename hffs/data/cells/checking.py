"""Whether arrays that came from elsewhere are an index that can be read from.

Owns the rules that an index built here keeps by how it is built: every number is one of its table,
every range lies in its file, every path stays below its root. It is all in numbers: no file is
looked at. Must not know where the arrays came from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hffs.core.formats import MediaFormat
from hffs.data.cells.index import (
    CELL_ARRAYS,
    CHUNK_ARRAYS,
    CODED_ARRAYS,
    FAR_FILE_ARRAYS,
    FAR_RANGE_ARRAYS,
    FILE_ARRAYS,
    MOST_CODED_BYTES,
    PAGE_ARRAYS,
    SEGMENT_ARRAYS,
    SLOT_BITS,
    TEXT_ARRAYS,
    Coding,
    SegmentKind,
    TextTable,
)
from hffs.data.hub.cached import is_plain
from hffs.errors import FormatError

ARRAYS: Mapping[str, type] = {
    **CELL_ARRAYS,
    **CODED_ARRAYS,
    **{f"segments.{name}": kind for name, kind in SEGMENT_ARRAYS.items()},
    **{f"files.{name}": kind for name, kind in FILE_ARRAYS.items()},
    **{f"containers.{name}": kind for name, kind in FILE_ARRAYS.items()},
    **{f"urls.{name}": kind for name, kind in TEXT_ARRAYS.items()},
    **{f"chunks.{name}": kind for name, kind in CHUNK_ARRAYS.items()},
    **{f"pages.{name}": kind for name, kind in PAGE_ARRAYS.items()},
    **{f"far_files.{name}": kind for name, kind in FAR_FILE_ARRAYS.items()},
    **{f"etags.{name}": kind for name, kind in TEXT_ARRAYS.items()},
    **{f"far_ranges.{name}": kind for name, kind in FAR_RANGE_ARRAYS.items()},
}
"""Every array of an index, by the name under which it is kept."""

_BLOCK = 1 << 20
_MOST_TEXT_BYTES = 8192
_LARGEST = 2**62

Arrays = Mapping[str, NDArray[Any]]


def check_index(arrays: Arrays, shard_sizes: Sequence[int]) -> None:
    """Raise FormatError unless arrays are an index over shards of these sizes, in bytes."""
    for name, kind in ARRAYS.items():
        if arrays[name].dtype != kind or arrays[name].ndim != 1:
            raise _bad(f"{name} are of another type")
    tables = _Tables(arrays, shard_sizes)
    tables.check()
    for start in range(0, len(arrays["row"]), _BLOCK):
        tables.check_cells(slice(start, start + _BLOCK))


class _Tables:
    """The tables that cells refer to, and of each how large what it names is."""

    def __init__(self, arrays: Arrays, shard_sizes: Sequence[int]) -> None:
        self._arrays = arrays
        self._shards = np.array(shard_sizes, np.int64)
        self._segments = {name: arrays[f"segments.{name}"] for name in SEGMENT_ARRAYS}
        self._limits = np.zeros(0, np.int64)

    def check(self) -> None:
        """All but the cells."""
        count = len(self._arrays["row"])
        for name in CELL_ARRAYS:
            _require(len(self._arrays[name]) == count, name)
        for name in CODED_ARRAYS:
            _require(len(self._arrays[name]) in (0, count), name)
        _require(len(self._arrays["stored"]) == len(self._arrays["crc"]), "crc")
        self._check_texts()
        self._check_far()
        self._check_pages()
        self._check_segments()

    def _check_texts(self) -> None:
        for name in ("files", "containers", "far_files"):
            table = _take_table(self._arrays, name)
            _require(len(self._arrays[f"{name}.size_bytes"]) == len(table), name)
            _require(_all(self._arrays[f"{name}.size_bytes"], 0, _LARGEST), name)
            _check_names(table, name, _is_path)
        for name in ("files", "containers"):
            count = len(self._arrays[f"{name}.ends"])
            _require(len(self._arrays[f"{name}.mtime_ns"]) == count, name)
        etags = _take_table(self._arrays, "etags")
        _require(len(etags) == len(self._arrays["far_files.ends"]), "etags")
        _check_names(etags, "etags", _is_etag)
        _check_names(_take_table(self._arrays, "urls"), "urls", _is_url)

    def _check_far(self) -> None:
        file, start, size = (self._arrays[f"far_ranges.{name}"] for name in FAR_RANGE_ARRAYS)
        sizes = self._arrays["far_files.size_bytes"]
        _require(len(file) == len(start) == len(size), "far_ranges")
        _require(_all(file, 0, len(sizes) - 1), "far_ranges.file")
        _require(_lie_in(start, size, sizes[file], least=1), "far_ranges")

    def _check_pages(self) -> None:
        chunks = {name: self._arrays[f"chunks.{name}"] for name in CHUNK_ARRAYS}
        _require(len({len(array) for array in chunks.values()}) == 1, "chunks")
        _require(_all(chunks["shard"], 0, len(self._shards) - 1), "chunks.shard")
        _require(_all(chunks["group"], 0, _LARGEST), "chunks.group")
        whole = self._shards[chunks["shard"]]
        _require(_lie_in(chunks["dictionary"], chunks["dictionary_size"], whole), "chunks")
        of, offset, size = (self._arrays[f"pages.{name}"] for name in PAGE_ARRAYS)
        _require(len(of) == len(offset) == len(size), "pages")
        _require(_all(of, 0, len(whole) - 1), "pages.chunk")
        _require(_lie_in(offset, size, whole[of], least=1), "pages")

    def _check_segments(self) -> None:
        """Also finds in how many bytes, or things, the offsets of each segment count."""
        kind, shard, size = (self._segments[name] for name in ("kind", "shard", "size"))
        _require(len({len(array) for array in self._segments.values()}) == 1, "segments")
        _require(np.isin(kind, list(SegmentKind)).all(), "segments.kind")
        _require(np.isin(self._segments["coding"], list(Coding)).all(), "segments.coding")
        self._limits = np.zeros(len(kind), np.int64)
        of_shards = np.isin(kind, (SegmentKind.MAP, SegmentKind.PART))
        _require(_all(shard[of_shards], 0, len(self._shards) - 1), "segments.shard")
        self._limits[of_shards] = self._shards[shard[of_shards]]
        part = kind == SegmentKind.PART
        for name in ("group", "part", "size"):
            _require(_all(self._segments[name][part], 0, _LARGEST), f"segments.{name}")
        self._limits[part] = size[part]
        contained = kind == SegmentKind.CONTAINER
        sizes = self._arrays["containers.size_bytes"]
        _require(_all(shard[contained], 0, len(sizes) - 1), "segments.shard")
        self._limits[contained] = sizes[shard[contained]]
        for each, table in (
            (SegmentKind.FILES, "files.ends"),
            (SegmentKind.URLS, "urls.ends"),
            (SegmentKind.PAGES, "pages.chunk"),
            (SegmentKind.FAR_FILES, "far_ranges.file"),
        ):
            self._limits[kind == each] = len(self._arrays[table])

    def check_cells(self, some: slice) -> None:
        """Some of the cells."""
        cells = {name: np.asarray(self._arrays[name][some]) for name in CELL_ARRAYS}
        length = cells["length"]
        stored = self._arrays["stored"][some] if len(self._arrays["stored"]) else length
        _require(_all(cells["row"], 0, _LARGEST), "row")
        _require(_all(cells["item"], 0, _LARGEST), "item")
        _require(_all(cells["format"], 0, len(MediaFormat) - 1), "format")
        _require(_all(cells["segment"], 0, len(self._limits) - 1), "segment")
        kind = self._segments["kind"][cells["segment"]]
        coding = self._segments["coding"][cells["segment"]]
        limit, offset = self._limits[cells["segment"]], cells["offset"]
        ranged = np.isin(kind, (SegmentKind.MAP, SegmentKind.PART, SegmentKind.CONTAINER))
        _require(_lie_in(offset[ranged], stored[ranged], limit[ranged]), "offset")
        raw = ranged & (coding == Coding.RAW)
        _require((length[raw] == stored[raw]).all(), "length")
        coded = ranged & ~raw
        _require(_all(length[coded], 0, MOST_CODED_BYTES), "length")
        _require(len(self._arrays["crc"]) > 0 or not coded.any(), "crc")
        self._check_references(cells, kind, limit)

    def _check_references(
        self, cells: Arrays, kind: NDArray[np.uint8], limit: NDArray[np.int64]
    ) -> None:
        """Cells whose offset is a number in a table."""
        offset, length = cells["offset"], cells["length"]
        for each in (SegmentKind.FILES, SegmentKind.URLS, SegmentKind.PAGES, SegmentKind.FAR_FILES):
            mask = kind == each
            numbers = offset[mask] >> SLOT_BITS if each == SegmentKind.PAGES else offset[mask]
            _require(_all(offset[mask], 0, _LARGEST), "offset")
            _require((numbers < limit[mask]).all(), "offset")
            if each in (SegmentKind.URLS, SegmentKind.PAGES):
                _require((length[mask] == -1).all(), "length")
                continue
            table = "files.size_bytes" if each == SegmentKind.FILES else "far_ranges.size"
            same = length[mask] == self._arrays[table][numbers]
            _require((same | (length[mask] == -1)).all(), "length")
            _require(each == SegmentKind.FAR_FILES or bool(same.all()), "length")


def _take_table(arrays: Arrays, name: str) -> TextTable:
    """A table of texts whose ends can be trusted."""
    names, ends = arrays[f"{name}.names"], arrays[f"{name}.ends"]
    lengths = np.diff(ends, prepend=0)
    _require(_all(lengths, 1, _MOST_TEXT_BYTES), name)
    _require((int(ends[-1]) if len(ends) else 0) == len(names), name)
    return TextTable(names, ends)


def _check_names(table: TextTable, name: str, is_right: Callable[[bytes], bool]) -> None:
    blob, start = table.names, 0
    for at in range(0, len(table), _BLOCK):
        ends = table.ends[at : at + _BLOCK].tolist()
        texts = blob[start : ends[-1]].tobytes()
        first = start
        for end in ends:
            _require(is_right(texts[start - first : end - first]), name)
            start = end


def _is_path(text: bytes) -> bool:
    """Whether a path stays below what it is of."""
    return is_plain(text.decode("utf-8", "surrogateescape"))


def _is_etag(text: bytes) -> bool:
    return text.isascii() and text.decode("ascii").isprintable()


def _is_url(text: bytes) -> bool:
    # Late: it is needed where a view has images at URLs alone.
    from hffs.data.cells.collecting import is_fetchable

    return is_fetchable(text)


def _all(array: NDArray[Any], least: int, most: int) -> bool:
    """Whether all numbers are within limits."""
    return not len(array) or bool(array.min() >= least and array.max() <= most)


def _lie_in(
    start: NDArray[np.int64], size: NDArray[np.int64], whole: NDArray[np.int64], least: int = 0
) -> bool:
    """Whether ranges of at least so many bytes lie in things of some sizes; nothing overflows."""
    fits = (start >= 0) & (size >= least) & (size <= whole)
    return bool(fits.all() and (start <= whole - size).all())


def _require(holds: object, what: str) -> None:
    if not holds:
        raise _bad(f"its {what} cannot be right")


def _bad(why: str) -> FormatError:
    return FormatError("cannot use an index", why=why)
