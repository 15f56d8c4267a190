"""Some cells of an index as an index of their own: what a view takes of a source.

Owns numbering anew what cells refer to: segments, shards, archives, files, URLs, pages. Whatever no
chosen cell needs is left out, so that a view of a thousand images of a source of millions is small.
Invariant: a cell of the subset has the bytes that it has in the index.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hffs.data.cells.index import SLOT_BITS, CellIndex, SegmentKind, TextTable

_BLOCK = 1 << 16

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Subset:
    """The arrays of an index, by the names under which they are kept, and of which shards of the
    source (by number) they are: their `shard` is a number among these.
    """

    arrays: Arrays
    shards: NDArray[np.int64]


def take_cells(index: CellIndex, cells: NDArray[np.int64]) -> Subset:
    """The subset of some cells, which ascend."""
    used, segment = _renumber(index.segment[cells])
    names = ("kind", "shard", "group", "part", "size", "coding")
    segments = {name: np.asarray(getattr(index.segments, name))[used] for name in names}
    offset = np.array(index.offset[cells])
    kinds = segments["kind"][segment]
    tables: dict[str, NDArray[Any]] = {}
    tables |= _take_files(index, offset, kinds == SegmentKind.FILES)
    tables |= _take_urls(index, offset, kinds == SegmentKind.URLS)
    tables |= _take_far_files(index, offset, kinds == SegmentKind.FAR_FILES)
    tables |= _take_pages(index, offset, kinds == SegmentKind.PAGES)
    tables |= _take_containers(index, segments)
    shards = _take_shards(segments, tables)
    arrays: dict[str, NDArray[Any]] = {
        "row": index.row[cells],
        "item": index.item[cells],
        "segment": segment.astype(np.uint32),
        "offset": offset,
        "length": index.length[cells],
        "format": index.format[cells],
        "stored": index.stored[cells] if len(index.stored) else index.stored,
        "crc": index.crc[cells] if len(index.crc) else index.crc,
    }
    return Subset(
        arrays | {f"segments.{name}": array for name, array in segments.items()} | tables, shards
    )


def take_texts(table: TextTable, numbers: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Some texts of a table as one: `names` and `ends`."""
    ends = np.asarray(table.ends)
    starts = np.concatenate([np.zeros(1, np.int64), ends])[numbers]
    lengths = ends[numbers] - starts
    pieces = [np.zeros(0, np.uint8)]
    for at in range(0, len(numbers), _BLOCK):  # each byte takes eight meanwhile
        some, sizes = starts[at : at + _BLOCK], lengths[at : at + _BLOCK]
        before = np.cumsum(sizes) - sizes
        pieces.append(table.names[np.repeat(some - before, sizes) + np.arange(sizes.sum())])
    return {"names": np.concatenate(pieces), "ends": np.cumsum(lengths)}


def _renumber(numbers: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The numbers that are used, and each as its place among them."""
    used, places = np.unique(numbers, return_inverse=True)
    return used.astype(np.int64), places.astype(np.int64)


def _put_offsets(
    offset: NDArray[np.int64], mask: NDArray[np.bool_], shift: int = 0
) -> NDArray[np.int64]:
    """Number anew what the offsets of some cells count, above `shift` bits; those that are used."""
    used, places = _renumber(offset[mask] >> shift)
    offset[mask] = (places << shift) | (offset[mask] & ((1 << shift) - 1))
    return used


def _take_files(
    index: CellIndex, offset: NDArray[np.int64], mask: NDArray[np.bool_]
) -> dict[str, NDArray[Any]]:
    used, table = _put_offsets(offset, mask), index.files
    return {
        **_prefix("files", take_texts(table, used)),
        "files.size_bytes": table.size_bytes[used],
        "files.mtime_ns": table.mtime_ns[used],
    }


def _take_urls(
    index: CellIndex, offset: NDArray[np.int64], mask: NDArray[np.bool_]
) -> dict[str, NDArray[Any]]:
    return _prefix("urls", take_texts(index.urls, _put_offsets(offset, mask)))


def _take_far_files(
    index: CellIndex, offset: NDArray[np.int64], mask: NDArray[np.bool_]
) -> dict[str, NDArray[Any]]:
    ranges, files = index.far_ranges, index.far_files
    used = _put_offsets(offset, mask)
    used_files, file = _renumber(ranges.file[used])
    return {
        "far_ranges.file": file.astype(np.int32),
        "far_ranges.start": ranges.start[used],
        "far_ranges.size": ranges.size[used],
        **_prefix("far_files", take_texts(files, used_files)),
        "far_files.size_bytes": files.size_bytes[used_files],
        **_prefix("etags", take_texts(files.etags, used_files)),
    }


def _take_pages(
    index: CellIndex, offset: NDArray[np.int64], mask: NDArray[np.bool_]
) -> dict[str, NDArray[Any]]:
    pages, chunks = index.pages, index.chunks
    used = _put_offsets(offset, mask, SLOT_BITS)
    used_chunks, chunk = _renumber(pages.chunk[used])
    names = (
        "shard", "group", "codec", "definition", "repetition", "dictionary", "dictionary_size",
        "whole",
    )  # fmt: skip
    return {
        "pages.chunk": chunk.astype(np.int32),
        "pages.offset": pages.offset[used],
        "pages.size": pages.size[used],
        **{f"chunks.{name}": getattr(chunks, name)[used_chunks] for name in names},
    }


def _take_containers(
    index: CellIndex, segments: dict[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    mask, table = segments["kind"] == SegmentKind.CONTAINER, index.containers
    used, places = _renumber(segments["shard"][mask])
    segments["shard"][mask] = places
    return {
        **_prefix("containers", take_texts(table, used)),
        "containers.size_bytes": table.size_bytes[used],
        "containers.mtime_ns": table.mtime_ns[used],
    }


def _take_shards(
    segments: dict[str, NDArray[Any]], tables: dict[str, NDArray[Any]]
) -> NDArray[np.int64]:
    mask = np.isin(segments["kind"], (SegmentKind.MAP, SegmentKind.PART))
    own = segments["shard"][mask]
    used, places = _renumber(np.concatenate([own, tables["chunks.shard"]]))
    segments["shard"][mask] = places[: len(own)]
    tables["chunks.shard"] = places[len(own) :].astype(np.int32)
    return used


def _prefix(name: str, arrays: Arrays) -> dict[str, NDArray[Any]]:
    return {f"{name}.{each}": array for each, array in arrays.items()}
