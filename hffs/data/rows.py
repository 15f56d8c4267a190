"""The bytes of a source's images: slices of maps where that can be, decoded once where it cannot.

Owns the decoded parts used last; what is open of a source has `hffs.data.openfiles`. Must not know
what a view does with the bytes, nor how a URL is fetched. Thread-safe.

Invariants: bytes are slices of maps, never copies (but of files that cells name, see
`hffs.data.cells.paths`, of base64, of what is deflated, and of `read_into` and `copy`); no map of a
source is touched here, as that would end the process where the source was cut short; `read` never
decodes; a group of rows is decoded by one thread at a time; a cell's bytes come whole or an error
does, also where the index and the data disagree.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING

from hffs.core.base64text import decode_text, decode_value
from hffs.core.formats import count_sniffed
from hffs.core.zips import inflate
from hffs.data.admission import Admission
from hffs.data.cache import DiskCache
from hffs.data.cells.index import FAR, CellIndex, Coding, SegmentKind
from hffs.data.cells.paths import check_file, read_file, read_file_part
from hffs.data.fetchers import NOBODY, Fetchers, PartReader
from hffs.data.mapped import MappedFile
from hffs.data.openfiles import OpenFiles
from hffs.data.recent import Recent, count_held
from hffs.data.shards import Located
from hffs.errors import FormatError, SourceError

if TYPE_CHECKING:
    from hffs.data.cells.decode import Decoder

OPEN_BYTES = 256 * 2**20
"""Decoded parts that stay open in memory; the rest is in the disk cache, large ones as maps."""

_OPEN_PARTS = 64
_MAPPED = {SegmentKind.MAP, SegmentKind.CONTAINER}
_PARTED = (SegmentKind.FILES, SegmentKind.PAGES, SegmentKind.FAR_FILES)

_LOCKS = 64  # single flight by hash: two groups may share one, which costs waiting only


class RowStore:
    """Reads the cells of one index; close it when nothing is being read any more.

    Of an index that is foreign, bytes that do not begin as an image are a FormatError.
    """

    def __init__(
        self,
        index: CellIndex,
        located: Located,
        cache: DiskCache,
        open_bytes: int = OPEN_BYTES,
        fetchers: Fetchers = NOBODY,
    ) -> None:
        self._index = index
        self._located = located
        self._cache = cache
        self._fetchers = fetchers
        self.traffic = fetchers.traffic
        self.media = index.column.media
        self._admission = Admission(index, located.name)
        self._root = os.path.realpath(os.fsencode(located.root))
        # a memoryview gives a Python int three times as fast as numpy does
        self._segments = index.segment.data
        self._offsets = index.offset.data
        self._lengths = index.length.data
        self._stored = index.stored.data if len(index.stored) else self._lengths
        self._kinds: list[int] = index.segments.kind.tolist()
        self._codings: list[int] = index.segments.coding.tolist()
        self._shards: list[int] = index.segments.shard.tolist()
        places = zip(self._shards, index.segments.group, index.segments.part, strict=True)
        self._places = [(shard, int(group), int(part)) for shard, group, part in places]
        self._numbers = {place: number for number, place in enumerate(self._places)}
        self._views: dict[int, memoryview] = {}
        self._parts = Recent[memoryview](open_bytes, _OPEN_PARTS, count_held)
        self._opened = OpenFiles(index, located)
        self._decoders: dict[int, Decoder] = {}
        self._broken: dict[tuple[int, int], FormatError] = {}
        self._group_locks = [threading.Lock() for _ in range(_LOCKS)]

    def read(self, cell: int) -> memoryview | None:
        """Bytes of a cell where they need no more than a page fault, else None: then `load`."""
        segment = self._segments[cell]
        view = self._views.get(segment)
        if view is None:
            if self._codings[segment] != Coding.RAW:
                return None
            view = self._open(segment)
            if view is None:
                return None
        data = self._cut(view, cell)
        if self._admission.is_due(cell):
            is_mapped = self._lies_in_map(cell)
            self._admission.admit(cell, self._copy_head(cell) if is_mapped else data)
        return data

    def read_into(self, buffer: memoryview, cell: int, start: int) -> int | None:
        """Have the bytes of a cell from `start` on in a buffer, as far as both go, where they lie
        in a file as they are: how many there are; None elsewhere. Raises as `load` does.

        Nothing is mapped by that, so that what was read is the kernel's alone, not this process's.
        """
        if not self._lies_in_map(cell) or self._codings[self._segments[cell]] != Coding.RAW:
            return None
        file = self._file_of(cell)
        first, length = self._find_stored(cell, file.size_bytes)
        if self._admission.is_due(cell):
            self._admission.admit(cell, self._copy_head(cell))
        count = max(min(length - start, len(buffer)), 0)
        file.read_into(buffer[:count], first + start)
        return count

    def load(self, cell: int) -> memoryview:
        """Bytes of a cell, whatever it takes: a whole group of rows may have to be decoded.

        Raises StaleError (its file changed), SourceError, FormatError, and what fetching raises.
        """
        ready = self.read(cell)
        return self._admission.admit(cell, self._load(cell)) if ready is None else ready

    def copy(self, cell: int) -> memoryview:
        """As `load`, for who looks at the bytes: never a slice of a map of the source."""
        if self._lies_in_map(cell) and self._codings[self._segments[cell]] == Coding.RAW:
            return self._admission.admit(cell, self._copy_stored(cell))
        return self.load(cell)

    @property
    def is_mapped(self) -> bool:
        """Whether `read` has the bytes of every cell: all lie in maps, as they are."""
        return {*self._kinds} <= _MAPPED and {*self._codings} <= {Coding.RAW}

    def _lies_in_map(self, cell: int) -> bool:
        return self._kinds[self._segments[cell]] in _MAPPED

    def _copy_stored(self, cell: int, most_bytes: int = sys.maxsize) -> memoryview:
        """The first bytes of a mapped cell as they are stored."""
        file = self._file_of(cell)
        start, length = self._find_stored(cell, file.size_bytes)
        return file.read(start, min(length, most_bytes))

    def _copy_head(self, cell: int) -> memoryview:
        """As much of a mapped cell as tells its format."""
        return self._copy_stored(cell, count_sniffed(self.media))

    def _load(self, cell: int) -> memoryview:
        segment = self._segments[cell]
        kind = self._kinds[segment]
        if kind == SegmentKind.FILES:
            return read_file(*self._file_facts(cell))
        if kind == SegmentKind.URLS:
            return self._fetch(cell)
        if kind == SegmentKind.PAGES:
            return self._read_page(cell)
        if kind == SegmentKind.FAR_FILES:
            if self._fetchers.files is None:
                raise self._unreachable()
            return self._fetchers.files.read(self._offsets[cell])
        if self._lies_in_map(cell):
            stored = self._copy_stored(cell)
        else:
            stored = self._cut(self._load_part(segment), cell)
        return stored if self._codings[segment] == Coding.RAW else self._decode_cell(cell, stored)

    def size(self, cell: int) -> int:
        """How many bytes a cell has; raises as `load` does where that has to be found out."""
        length = self._lengths[cell]
        if length >= 0:
            return length
        parts = self._find_parts(cell)
        return len(self.load(cell)) if parts is None else parts.size(self._offsets[cell])

    def load_part(self, cell: int, start: int, stop: int) -> memoryview:
        """The bytes of a cell from `start` up to `stop`, as far as it has them, and no others where
        that can be; raises as `load` does.
        """
        if not self.is_parted(cell):
            return self.load(cell)[start:stop]
        if self._admission.is_due(cell):
            head = self._load_part_of(cell, 0, count_sniffed(self.media))
            self._admission.admit(cell, head)
        return self._load_part_of(cell, start, stop)

    def _load_part_of(self, cell: int, start: int, stop: int) -> memoryview:
        parts = self._find_parts(cell)
        if parts is None:
            return read_file_part(*self._file_facts(cell), start, stop)
        return parts.read_part(self._offsets[cell], start, stop)

    def is_parted(self, cell: int) -> bool:
        """Whether a part of a cell takes less than all of it, though it is not in memory."""
        segment = self._segments[cell]
        return self._kinds[segment] in _PARTED and self._codings[segment] == Coding.RAW

    def _find_parts(self, cell: int) -> PartReader | None:
        """Who reads a cell that lies elsewhere by parts; None for any other."""
        kind = self._kinds[self._segments[cell]]
        if kind == SegmentKind.FILES or not self.is_parted(cell):
            return None
        fetchers = self._fetchers
        found = fetchers.pages if kind == SegmentKind.PAGES else fetchers.files
        if found is None:
            raise self._unreachable()
        return found

    def is_far(self, cell: int) -> bool:
        """Whether the bytes of a cell are another host's."""
        return self._kinds[self._segments[cell]] in FAR

    def names_url(self, cell: int) -> bool:
        """Whether a cell names an address of its own, which may be of any host."""
        return self._kinds[self._segments[cell]] == SegmentKind.URLS

    def waits_for_network(self, cell: int) -> bool:
        """Whether `load` would ask another host for the bytes of a cell, as far as is known."""
        kind, offset = self._kinds[self._segments[cell]], self._offsets[cell]
        urls, pages, files = self._fetchers.urls, self._fetchers.pages, self._fetchers.files
        if kind == SegmentKind.URLS and urls is not None:
            return not urls.is_here(self._index.urls.name(offset).decode())
        if kind == SegmentKind.PAGES and pages is not None:
            return not pages.is_here(offset)
        if kind == SegmentKind.FAR_FILES and files is not None:
            return not files.is_here(offset)
        return False

    def part_waits_for_network(self, cell: int, start: int, stop: int) -> bool:
        """As `waits_for_network`, for `load_part`."""
        if not self.is_far(cell) or not self.is_parted(cell):
            return self.waits_for_network(cell)
        parts = self._find_parts(cell)
        return parts is not None and not parts.has_part(self._offsets[cell], start, stop)

    def check(self, cell: int) -> None:
        """Raise StaleError if the file that a cell comes from was changed in place."""
        segment = self._segments[cell]
        kind = self._kinds[segment]
        if kind == SegmentKind.FILES:
            check_file(*self._file_facts(cell))
        elif kind == SegmentKind.CONTAINER:
            self._opened.check_archive(self._shards[segment])
        elif kind not in FAR:
            self._opened.shard(self._shards[segment]).check()

    def pin(self) -> None:
        """Open every shard now: one that is replaced or deleted later is served as it was.

        Archives too, unless there are too many of them.
        """
        self._opened.pin()

    def close(self) -> None:
        """Give back the descriptors; bytes that were handed out stay valid."""
        self._opened.close()
        self._decoders.clear()
        self._views.clear()

    def _file_of(self, cell: int) -> MappedFile:
        """The shard or archive that a mapped cell lies in."""
        segment = self._segments[cell]
        is_shard = self._kinds[segment] == SegmentKind.MAP
        open_ = self._opened.shard if is_shard else self._opened.archive
        return open_(self._shards[segment])

    def _cut(self, view: memoryview, cell: int) -> memoryview:
        start, length = self._find_stored(cell, len(view))
        return view[start : start + length]

    def _find_stored(self, cell: int, size_bytes: int) -> tuple[int, int]:
        """Where a cell lies in so many bytes, and its length: a slice would be cut short."""
        start, length = self._offsets[cell], self._stored[cell]
        if start < 0 or length < 0 or start + length > size_bytes:
            why = f"image {cell} does not lie in its file"
            raise FormatError("cannot read", self._located.name, why=why, fix="mount again")
        return start, length

    def _open(self, segment: int) -> memoryview | None:
        """What a segment's offsets count in, if it can be had at once."""
        kind = self._kinds[segment]
        if kind == SegmentKind.CONTAINER:
            view = self._opened.archive(self._shards[segment]).view
        elif kind == SegmentKind.MAP:
            view = self._opened.shard(self._shards[segment]).view
        else:
            return self._parts.get(segment)
        if self._codings[segment] == Coding.RAW and (
            kind == SegmentKind.MAP or self._opened.keeps_archives
        ):
            self._views[segment] = view
        return view

    def _fetch(self, cell: int) -> memoryview:
        url = self._index.urls.name(self._offsets[cell]).decode()
        if self._fetchers.urls is None:
            why = "nothing here may ask another host"
            raise SourceError("cannot fetch", url, why=why)
        return self._fetchers.urls.read(url)

    def _read_page(self, cell: int) -> memoryview:
        if self._fetchers.pages is None:
            raise self._unreachable()
        value = self._fetchers.pages.read(self._offsets[cell])
        try:
            if not len(value):
                raise FormatError("", why="it has no bytes")
            is_text = self._codings[self._segments[cell]] == Coding.BASE64
            return memoryview(decode_value(value)) if is_text else value
        except FormatError as error:
            raise self._undecodable(cell, error) from error

    def _decode_cell(self, cell: int, stored: memoryview) -> memoryview:
        coding, length = self._codings[self._segments[cell]], self._lengths[cell]
        try:
            if coding == Coding.BASE64:
                return memoryview(decode_text(stored, length))
            return memoryview(inflate(stored, length, int(self._index.crc[cell])))
        except FormatError as error:
            raise self._undecodable(cell, error) from error

    def _unreachable(self) -> SourceError:
        why = "nothing here may ask another host"
        return SourceError("cannot fetch", self._located.name, why=why)

    def _undecodable(self, cell: int, error: FormatError) -> FormatError:
        which = f"row {int(self._index.row[cell])} of {self._located.name}"
        return FormatError("cannot decode the image of", which, why=error.why)

    def _file_facts(self, cell: int) -> tuple[bytes, int, int]:
        """Path, size and mtime of the file that a cell names."""
        number = self._offsets[cell]
        path = os.path.join(self._root, self._index.files.name(number))
        return path, self._lengths[cell], int(self._index.files.mtime_ns[number])

    def _load_part(self, segment: int) -> memoryview:
        shard, group, _ = self._places[segment]
        with self._group_locks[hash((shard, group)) % _LOCKS]:
            part = self._parts.get(segment) or self._cache.get(self._key(segment))
            if part is None:
                part = self._decode(segment)
            self._parts.put(segment, part)
            return part

    def _decode(self, wanted: int) -> memoryview:
        """Decode the whole group that a part is of, keeping all its parts in the disk cache.

        All of them: to decode only as far as one part would decode the first ones over and over.
        """
        from hffs.data.cells.decode import decode_parts  # brings pyarrow, which maps do without

        shard, group, _ = self._places[wanted]
        if (shard, group) in self._broken:
            raise self._broken[shard, group].anew()
        found = None
        try:
            for number, part in enumerate(
                decode_parts(self._decoder(shard), self._index.column, group)
            ):
                segment = self._numbers.get((shard, group, number))
                if segment is not None:
                    view = self._keep(segment, part.blob)
                    found = view if segment == wanted else found
            if found is None:
                raise self._disagree(shard)
        except FormatError as error:
            self._opened.shard(shard).check()  # one that was changed is not broken, but stale
            self._broken[shard, group] = error.anew()
            raise
        return found

    def _keep(self, segment: int, blob: memoryview) -> memoryview:
        shard = self._shards[segment]
        self._opened.shard(shard).check()  # what was decoded from a changed file must not be kept
        if len(blob) != self._index.segments.size[segment]:
            raise self._disagree(shard)
        key = self._key(segment)
        return self._cache.get(key) or self._cache.put(key, blob)

    def _decoder(self, shard: int) -> Decoder:
        decoder = self._decoders.get(shard)
        if decoder is None:
            from hffs.data.cells.decode import open_decoder

            layout = self._located.shards[shard].layout
            file = self._opened.shard(shard).leave_untouched()
            decoder = self._decoders[shard] = open_decoder(file, layout, self._index.column)
        return decoder

    def _disagree(self, shard: int) -> FormatError:
        which = str(self._located.shards[shard].path)
        why = "it does not decode to what it did when it was indexed"
        return FormatError("cannot decode", which, why=why, fix="clear cache_dir")

    def _key(self, segment: int) -> str:
        shard, group, part = self._places[segment]
        return f"part/{self._index.identity}/{shard}/{group}/{part}"
