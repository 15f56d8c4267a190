"""Where the image cells lie of a Parquet shard that is not on this host: which page, which slot.

Owns what has to be asked for to know that: the offset index says which rows a page has, so that
nothing more is read of a column without nulls; of one with nulls or lists, the levels that each
page begins with. Where a shard has no offset index, a column chunk is one page. Must not know how a
page is read later (`hffs.data.pages`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hffs.core.footers import (
    ChunkPlace,
    OffsetIndex,
    find_dictionary,
    parse_chunks,
    parse_offset_index,
)
from hffs.core.levels import Levels, PageLevels
from hffs.core.page_headers import Encoding
from hffs.core.page_values import Dictionary, decode_dictionary, decode_head, decode_page
from hffs.core.tails import TAIL_BYTES, Span, find_footer
from hffs.data.arrow import NO_SLOT, find_bytes, find_slots
from hffs.data.cells.batches import CellBatch, ChunkPages
from hffs.data.cells.decode import ParquetCells, read_leaf_paths
from hffs.data.cells.index import SLOT_BITS
from hffs.data.decompressing import open_codec
from hffs.data.mediacolumn import MediaColumn
from hffs.data.pages import MOST_PAGE_BYTES
from hffs.data.remote.files import Range
from hffs.data.remote.parquet import Leaves, RangedFile, find_chunks, no_leaves
from hffs.errors import FormatError

_BIT_PACKED = 4
_ENCODINGS = {*Encoding, _BIT_PACKED}
"""Of pages that can be read by themselves; `BIT_PACKED` is what old writers say of no levels."""

_HEAD_BYTES = 512
"""Enough for the header of a page and the levels of a hundred values; else it is fetched whole."""

_PAGES_AT_ONCE = 64

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class _Slots:
    """The slots of one column chunk, an entry each: the page (within the chunk), the number in it,
    the row, and the definition and repetition levels.
    """

    pages: Ints
    numbers: Ints
    rows: Ints
    definitions: NDArray[np.uint8]
    repetitions: NDArray[np.uint8]


def leaves_of(column: MediaColumn) -> Leaves:
    """What is read of an image column to find its cells: all of it where they are names."""
    if column.kind != "path":
        return no_leaves
    return lambda footer: find_chunks(footer, [column.name], range(footer.num_row_groups))


def read_paged(file: RangedFile, decoder: ParquetCells) -> Iterator[CellBatch]:
    """Locate the image cells of a shard, a batch for each row group; raises FormatError."""
    try:
        yield from _Leaf(file, decoder).locate()
    except FormatError as error:
        raise FormatError("cannot read", decoder.which, why=error.why or error.what) from error


class _Leaf:
    """The leaf of one shard that holds the bytes of its images."""

    def __init__(self, file: RangedFile, decoder: ParquetCells) -> None:
        self._file, self._decoder = file, decoder
        footer, path = decoder.metadata, decoder.bytes_leaf
        columns = [footer.schema.column(number) for number in range(footer.num_columns)]
        number = next(number for number, column in enumerate(columns) if column.path == path)
        self._levels = Levels(
            columns[number].max_definition_level, columns[number].max_repetition_level
        )
        self._places = parse_chunks(_read_footer(file), number)
        self._dictionary: tuple[int, Dictionary | None] = (0, None)  # of the group read last

    def locate(self) -> Iterator[CellBatch]:
        """The cells of each row group; the indexes of all of them are asked for together."""
        spans = [
            place.offset_index if place.encodings <= _ENCODINGS else None for place in self._places
        ]
        known = [_range(span) for span in spans if span is not None]
        indexes = iter(self._file.take(known))
        for group, (place, span) in enumerate(zip(self._places, spans, strict=True)):
            index = None if span is None else parse_offset_index(next(indexes), place)
            pages = self._make_pages(group, place, index)
            is_regular = not self._levels.repetition and not self._may_have_nulls(place)
            if is_regular:
                yield self._make_batch(pages, self._number_rows(pages))
            elif pages.whole:
                yield _read_whole(self._decoder, group, pages)
            else:
                yield self._make_batch(pages, self._read_slots(pages))

    def _may_have_nulls(self, place: ChunkPlace) -> bool:
        return self._levels.definition > 0 and place.null_count != 0

    def _make_pages(self, group: int, place: ChunkPlace, index: OffsetIndex | None) -> ChunkPages:
        is_whole = index is None
        if index is None:
            chunk = place.chunk
            index = OffsetIndex(
                np.array([chunk.offset]), np.array([chunk.size_bytes]), np.zeros(1, np.int64)
            )
            dictionary = None
        else:
            dictionary = find_dictionary(index, place)
        return ChunkPages(
            group=group,
            rows=place.rows,
            codec=place.codec,
            levels=self._levels,
            dictionary=Range(0, 0) if dictionary is None else _range(dictionary),
            whole=is_whole,
            is_text=self._decoder.column.kind == "base64",
            offsets=index.offsets,
            sizes=index.sizes,
            first_rows=index.first_rows,
        )

    def _number_rows(self, pages: ChunkPages) -> _Slots:
        """The slots of a chunk that has neither nulls nor lists: one a row."""
        rows = np.arange(pages.rows)
        numbers = np.searchsorted(pages.first_rows, rows, "right") - 1
        full = np.full(pages.rows, self._levels.definition, np.uint8)
        within = rows - pages.first_rows[numbers]
        return _Slots(numbers, within, rows, full, np.zeros(pages.rows, np.uint8))

    def _read_slots(self, pages: ChunkPages) -> _Slots:
        """The slots of a chunk as its pages tell: by their first bytes, where these are enough."""
        bounds = zip(pages.offsets.tolist(), pages.sizes.tolist(), strict=True)
        places = [Range(offset, offset + size) for offset, size in bounds]
        found: list[PageLevels] = []
        for at in range(0, len(places), _PAGES_AT_ONCE):
            some = places[at : at + _PAGES_AT_ONCE]
            heads = self._file.take(
                [Range(p.start, min(p.start + _HEAD_BYTES, p.stop)) for p in some]
            )
            for page, head in zip(some, heads, strict=True):
                levels = decode_head(
                    head, self._levels, MOST_PAGE_BYTES, compressed=pages.codec != 0
                )
                found.append(self._read_page(page, pages) if levels is None else levels)
        counts = np.array([len(each.definitions) for each in found], np.int64)
        nothing = np.empty(0, np.uint8)
        definitions = np.concatenate([nothing, *(each.definitions for each in found)])
        repetitions = np.concatenate([nothing, *(each.repetitions for each in found)])
        rows = np.cumsum(repetitions == 0) - 1
        if int(rows[-1] if len(rows) else -1) + 1 != pages.rows or (len(rows) and rows[0]):
            raise FormatError("cannot read pages", why="pages and footer differ in the rows")
        numbers = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        return _Slots(
            np.repeat(np.arange(len(counts)), counts), numbers, rows, definitions, repetitions
        )

    def _read_page(self, place: Range, pages: ChunkPages) -> PageLevels:
        """Levels of a page that is compressed, or has more of them than its first bytes hold."""
        codec, dictionary = open_codec(pages.codec), None
        if pages.dictionary.size_bytes:
            dictionary = self._read_dictionary(pages)
        (page,) = self._file.take([place])
        return decode_page(page, self._levels, codec, dictionary, MOST_PAGE_BYTES)

    def _read_dictionary(self, pages: ChunkPages) -> Dictionary:
        group, dictionary = self._dictionary
        if dictionary is None or group != pages.group:
            (page,) = self._file.take([pages.dictionary])
            dictionary = decode_dictionary(page, open_codec(pages.codec), MOST_PAGE_BYTES)
            self._dictionary = pages.group, dictionary
        return dictionary

    def _make_batch(self, pages: ChunkPages, slots: _Slots) -> CellBatch:
        firsts = np.flatnonzero(slots.repetitions == 0)
        items = np.arange(len(slots.rows)) - firsts[slots.rows] if len(firsts) else slots.rows
        present = slots.definitions == self._levels.definition
        vacant = np.zeros(len(present), np.bool_)
        if self._levels.repetition:
            vacant = slots.definitions < self._decoder.element_level
        return CellBatch(
            row_count=pages.rows,
            rows=slots.rows,
            items=items.astype(np.int32),
            offsets=np.where(present, (slots.pages << SLOT_BITS) | slots.numbers, NO_SLOT),
            lengths=np.full(len(present), -1, np.int64),
            formats=np.zeros(len(present), np.uint8),
            vacant=vacant,
            read_paths=partial(read_leaf_paths, self._decoder, slots.rows, [pages.group]),
            pages=pages,
        )


def _read_footer(file: RangedFile) -> memoryview:
    (end,) = file.take([Range(file.size_bytes - TAIL_BYTES, file.size_bytes)])
    return file.take([_range(find_footer(end, file.size_bytes))])[0]


def _range(span: Span) -> Range:
    return Range(span.offset, span.end)


def _read_whole(decoder: ParquetCells, group: int, pages: ChunkPages) -> CellBatch:
    """The slots of a chunk that has nulls or lists and no index: all of it is read for that."""
    rows, items, present, vacant = [], [], [], []
    first = 0
    for cells in decoder.read_parts(group):
        slots = find_slots(decoder.which, cells, decoder.column.is_list)
        rows.append(slots.rows + first)
        items.append(slots.items)
        present.append(find_bytes(slots).offsets != NO_SLOT)
        vacant.append(slots.index == NO_SLOT)
        first += len(cells)
    every = np.concatenate([np.empty(0, np.int64), *rows])
    filled = np.concatenate([np.empty(0, np.bool_), *present])
    return CellBatch(
        row_count=pages.rows,
        rows=every,
        items=np.concatenate([np.empty(0, np.int32), *items]),
        offsets=np.where(filled, np.arange(len(every)), NO_SLOT),
        lengths=np.full(len(every), -1, np.int64),
        formats=np.zeros(len(every), np.uint8),
        vacant=np.concatenate([np.empty(0, np.bool_), *vacant]),
        read_paths=partial(read_leaf_paths, decoder, every, [group]),
        pages=pages,
    )
