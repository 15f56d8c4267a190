"""Values of the pages of shards that are read where they lie: fetched, decoded, one cut out.

Owns what a page takes to be read: its bytes, the dictionary that it may need, and where nobody
knows where pages are, the whole column chunk, whose values are then kept one by one; and whether a
part of a value is fetched by itself (`hffs.data.page_places`, `hffs.data.blocks`) or cut out of all
of it. Must not know how ranges are fetched (`RangeReader`) or what a value is. Thread-safe.

Invariants: a value is given whole, from a page whose structure and checksum were verified; a chunk
without an index is decoded by one thread at a time; memory is bounded by `_OPEN_BYTES`, a page for
each thread, and of a chunk the part that is being decoded. Of values that are read by parts
`_CUT_BYTES` stay open, which the disk cache maps if it can. A part that is fetched by itself lies
within its page, but nobody verifies the page's checksum, which takes all of it: only lengths are.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from hffs.core.levels import Levels
from hffs.core.page_values import (
    Dictionary,
    PageValues,
    check_page,
    decode_dictionary,
    decode_page,
    needs_dictionary,
)
from hffs.data.blocks import Blocks, clip
from hffs.data.cache import DiskCache
from hffs.data.cells.decode import decode_parts, open_decoder
from hffs.data.cells.index import SLOT_BITS, CellIndex
from hffs.data.decompressing import open_codec
from hffs.data.page_places import FarPage, ValuePlaces
from hffs.data.recent import Recent
from hffs.data.remote.files import Ahead, Range, RangeReader, RemoteFile
from hffs.data.remote.parquet import RangedFile
from hffs.data.shards import Located
from hffs.errors import FormatError, HffsError

MOST_PAGE_BYTES = 1 << 30
"""Of one page, decompressed."""

_MOST_STORED_BYTES = 256 << 20
"""Of one page, as it is fetched: what an index says of lengths is not trusted."""

_OPEN_BYTES = 32 << 20
_OPEN_PAGES = 64
_HELD_BYTES = 64 << 20
"""A chunk without an index up to this size is fetched by several requests at once."""

_PARTED_BYTES = 2 << 20
"""Pages over this size are not fetched for a part of one value, if that can be."""

_CUT_BYTES = 256 << 20
_CUT_VALUES = 16
_KEPT_BYTES = 1 << 20
"""Values from this size on are kept once they are decoded, if they are read by parts."""

_LOCKS = 64
_SLOT_MASK = (1 << SLOT_BITS) - 1


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a page is."""

    shard: int
    group: int
    codec: int
    levels: Levels
    range: Range
    dictionary: Range
    is_whole: bool


class PageStore:
    """The pages of an index; close it when nothing is being read any more."""

    def __init__(
        self,
        index: CellIndex,
        located: Located,
        reader: RangeReader,
        cache: DiskCache,
        ahead: Ahead | None = None,
    ) -> None:
        self._index, self._located = index, located
        self._reader, self._cache = reader, cache
        self._ahead = ahead
        self._open: Recent[PageValues] = Recent(_OPEN_BYTES, _OPEN_PAGES, _count_bytes)
        self._dictionaries: Recent[Dictionary] = Recent(_OPEN_BYTES, _OPEN_PAGES, _count_bytes)
        self._blocks, self._places = Blocks(reader), ValuePlaces(reader, _MOST_STORED_BYTES)
        self._cut_out: Recent[memoryview] = Recent(_CUT_BYTES, _CUT_VALUES, len)
        self._cut_locks = [threading.Lock() for _ in range(_LOCKS)]
        self._lock = threading.Lock()
        self._locks = [threading.Lock() for _ in range(_LOCKS)]
        self._decoders = ThreadPoolExecutor(1, thread_name_prefix="hffs-ahead")

    def read(self, offset: int) -> memoryview:
        """The value that a cell's `offset` means.

        Raises FormatError (the page is broken, or has no such value), and what fetching raises.
        """
        page, slot = offset >> SLOT_BITS, offset & _SLOT_MASK
        self._read_ahead(page)
        place = self._find(page)
        if place.is_whole:
            return self._read_row(place, slot)
        # A copy: a slice would hold the page for as long as the image is shown.
        return memoryview(bytes(self._cut(place, self._open_page(page, place), slot)))

    def size(self, offset: int) -> int:
        """How many bytes a value has, as its page has them; raises as `read_part`."""
        value = self._locate(offset)
        return len(self._take(offset)) if value is None else value.size_bytes

    def knows(self, offset: int) -> bool:
        """Whether nobody has to be asked for `size`."""
        return self._peek(offset) is not False

    def read_part(self, offset: int, start: int, stop: int) -> memoryview:
        """Bytes of a value from `start` up to `stop`, as far as it has them.

        Of a large page no more is fetched than that takes, and then its checksum is not verified;
        where only the whole page tells, that is fetched, and decoded once for all parts. Raises as
        `read`.
        """
        value = self._locate(offset)
        if value is not None:
            file = self._file(self._find(offset >> SLOT_BITS))
            return self._blocks.read(file, value, start, stop)
        whole = self._take(offset)
        start, stop = clip(len(whole), start, stop)
        return whole[start:stop]

    def has_part(self, offset: int, start: int, stop: int) -> bool:
        """Whether nobody has to be asked for a part of a value, or it is known to be broken."""
        found = self._peek(offset)
        if isinstance(found, bool):
            return found
        file = self._file(self._find(offset >> SLOT_BITS))
        return self._blocks.has(file, found, start, stop)

    def is_here(self, offset: int) -> bool:
        """Whether nobody has to be asked for a value (a dictionary aside, which few pages use)."""
        page, slot = offset >> SLOT_BITS, offset & _SLOT_MASK
        if page >= len(self._index.pages) or self._open.get(page) is not None:
            return True
        place = self._find(page)
        if place.is_whole:
            return self._cache.has(self._row_key(place, slot))
        return self._reader.holds(self._file(place), place.range)

    def begin(self, pages: Iterable[int]) -> list[Future[memoryview]]:
        """Begin to fetch pages before anybody asks; a Future for each, which may be ignored."""
        under_way: list[Future[memoryview]] = []
        for page in pages:
            place = self._find(page)
            if place.is_whole:
                under_way.append(self._decoders.submit(self._bring_chunk, place))
            elif place.range.size_bytes <= _MOST_STORED_BYTES:
                file = self._file(place)
                under_way += self._reader.submit(file, [place.range], check_page, ahead=True)
        return under_way

    def close(self) -> None:
        """Drop what is fetched ahead."""
        self._decoders.shutdown(wait=False, cancel_futures=True)

    def _locate(self, offset: int) -> Range | None:
        """Where in its shard a value is read by parts; None where all of it is here, or has to."""
        place = self._find(offset >> SLOT_BITS)
        if not self._is_parted(place) or self._is_whole_here(offset, place):
            return None
        try:
            return self._places.find(self._far_page(place), offset & _SLOT_MASK)
        except FormatError as error:
            raise self._name(place, error) from error

    def _peek(self, offset: int) -> Range | bool:
        """Where a value is read by parts, as far as nobody is asked; True where all of it is here,
        or an error is, False where that is not known.
        """
        if offset >> SLOT_BITS >= len(self._index.pages):
            return True
        place, slot = self._find(offset >> SLOT_BITS), offset & _SLOT_MASK
        if self._is_whole_here(offset, place):
            return True
        page = self._far_page(place)
        try:
            if not self._is_parted(place) or not self._places.knows(page, slot):
                return False
            return self._places.find(page, slot) or False
        except FormatError:
            return True

    def _is_parted(self, place: _Place) -> bool:
        return not place.is_whole and place.range.size_bytes > _PARTED_BYTES

    def _is_whole_here(self, offset: int, place: _Place) -> bool:
        """Whether nobody has to be asked for all of a value."""
        return (
            self._cut_out.get(offset) is not None
            or self.is_here(offset)
            or self._cache.has(self._value_key(place, offset & _SLOT_MASK))
        )

    def _far_page(self, place: _Place) -> FarPage:
        return FarPage(self._file(place), place.range, place.levels, place.codec != 0)

    def _take(self, offset: int) -> memoryview:
        """All of a value of which parts are read: it stays open, or is kept if it is large."""
        value = self._cut_out.get(offset)
        if value is not None:
            return value
        page, slot = offset >> SLOT_BITS, offset & _SLOT_MASK
        place = self._find(page)
        self._read_ahead(page)
        if place.is_whole:
            value = self._read_row(place, slot)
        else:
            with self._cut_locks[page % _LOCKS]:
                value = self._keep_value(page, place, slot)
        self._cut_out.put(offset, value)
        return value

    def _keep_value(self, page: int, place: _Place, slot: int) -> memoryview:
        key = self._value_key(place, slot)
        kept = self._cache.get(key)
        if kept is not None:
            return kept
        value = bytes(self._cut(place, self._open_page(page, place), slot))
        return memoryview(value) if len(value) < _KEPT_BYTES else self._cache.put(key, value)

    def _value_key(self, place: _Place, slot: int) -> str:
        content, (start, stop) = self._file(place).content, place.range
        levels = f"{place.levels.definition}/{place.levels.repetition}"
        dictionary = f"{place.dictionary.start}/{place.dictionary.stop}"
        return f"value/{content}/{start}/{stop}/{place.codec}/{levels}/{dictionary}/{slot}"

    def _read_ahead(self, page: int) -> None:
        if self._ahead is None:
            return
        with self._lock:
            wanted = self._ahead.note(page)
        self.begin(wanted)

    def _find(self, page: int) -> _Place:
        pages, chunks = self._index.pages, self._index.chunks
        if page >= len(pages):
            raise self._broken(f"page {page} is none of the index")
        chunk, start = int(pages.chunk[page]), int(pages.offset[page])
        dictionary = int(chunks.dictionary[chunk])
        return _Place(
            shard=int(chunks.shard[chunk]),
            group=int(chunks.group[chunk]),
            codec=int(chunks.codec[chunk]),
            levels=Levels(int(chunks.definition[chunk]), int(chunks.repetition[chunk])),
            range=Range(start, start + int(pages.size[page])),
            dictionary=Range(dictionary, dictionary + int(chunks.dictionary_size[chunk])),
            is_whole=bool(chunks.whole[chunk]),
        )

    def _open_page(self, page: int, place: _Place) -> PageValues:
        values = self._open.get(page)
        if values is None:
            values = self._decode(place)
            self._open.put(page, values)
        return values

    def _decode(self, place: _Place) -> PageValues:
        if place.range.size_bytes > _MOST_STORED_BYTES:
            why = f"a page of {place.range.size_bytes} bytes is over {_MOST_STORED_BYTES}"
            raise self._name(place, FormatError("", why=why))
        (data,) = self._reader.read(self._file(place), [place.range], check_page)
        try:
            dictionary = self._read_dictionary(place) if needs_dictionary(data) else None
            codec = open_codec(place.codec)
            return decode_page(data, place.levels, codec, dictionary, MOST_PAGE_BYTES)
        except FormatError as error:
            raise self._name(place, error) from error

    def _read_dictionary(self, place: _Place) -> Dictionary:
        key = place.dictionary.start
        dictionary = self._dictionaries.get((place.shard, key))
        if dictionary is None:
            if place.dictionary.size_bytes > _MOST_STORED_BYTES:
                why = f"a dictionary of {place.dictionary.size_bytes} bytes"
                raise FormatError("cannot read", why=why)
            (data,) = self._reader.read(self._file(place), [place.dictionary], check_page)
            dictionary = decode_dictionary(data, open_codec(place.codec), MOST_PAGE_BYTES)
            self._dictionaries.put((place.shard, key), dictionary)
        return dictionary

    def _cut(self, place: _Place, values: PageValues, slot: int) -> memoryview:
        if slot >= len(values.offsets) or values.offsets[slot] < 0:
            raise self._name(place, FormatError("", why=f"it has no value in slot {slot}"))
        start = int(values.offsets[slot])
        return values.data[start : start + int(values.lengths[slot])]

    def _read_row(self, place: _Place, slot: int) -> memoryview:
        """A value of a chunk without an index: kept, or all of the chunk is decoded for it."""
        key = self._row_key(place, slot)
        kept = self._cache.get(key)
        if kept is not None:
            return kept
        with self._locks[hash((place.shard, place.group)) % _LOCKS]:
            kept = self._cache.get(key)
            found = kept if kept is not None else self._decode_chunk(place, slot)
        if found is None:
            raise self._name(place, FormatError("", why=f"it has no value in slot {slot}"))
        return found

    def _bring_chunk(self, place: _Place) -> memoryview:
        """Have the values of a chunk kept, if they are not: the first of them tells."""
        with self._locks[hash((place.shard, place.group)) % _LOCKS]:
            if not self._cache.has(self._row_key(place, 0)):
                self._decode_chunk(place, 0)
        return memoryview(b"")

    def _decode_chunk(self, place: _Place, wanted: int) -> memoryview | None:
        """Fetch and decode a chunk from its beginning, keeping every value; the wanted one."""
        shard = self._located.shards[place.shard]
        file = RangedFile(self._reader, self._file(place), shard.path, keeps=False)
        if place.range.size_bytes <= _HELD_BYTES:  # in one go, else a piece after the other
            file.hold(place.range, file.take([place.range])[0])
        decoder = open_decoder(file, shard.layout, self._index.column)
        found, slot = None, 0
        for part in decode_parts(decoder, self._index.column, place.group):
            for start, length in zip(part.offsets.tolist(), part.lengths.tolist(), strict=True):
                if start >= 0:
                    value = memoryview(bytes(part.blob[start : start + length]))
                    self._cache.put(self._row_key(place, slot), value)
                    found = value if slot == wanted else found
                slot += 1
        return found

    def _row_key(self, place: _Place, slot: int) -> str:
        # By what the decoder is told to read, so that it holds whatever an index says of places.
        column = self._index.column
        which = f"{column.name}/{column.kind}/{int(column.is_list)}/{place.group}"
        return f"row/{self._file(place).content}/{which}/{slot}"

    def _file(self, place: _Place) -> RemoteFile:
        return self._located.shards[place.shard].remote

    def _name(self, place: _Place, error: HffsError) -> FormatError:
        shard = self._located.shards[place.shard]
        which = f"column {self._index.column.name} of {shard.name} of {self._located.name}"
        return FormatError("cannot read", which, why=error.why or error.what)

    def _broken(self, why: str) -> FormatError:
        return FormatError("cannot read", self._located.name, why=why, fix="mount again")


def _count_bytes(values: PageValues | Dictionary) -> int:
    return len(values.data) + values.offsets.nbytes + values.lengths.nbytes
