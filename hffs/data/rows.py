"""The bytes of a source's images: slices of maps where that can be, decoded once where it cannot.

Owns what is open of a source: one map a shard, the decoded parts used last. Must not know what a
view does with the bytes. Thread-safe.

Invariants: bytes are slices of maps, never copies (but of files that cells name, see
`hffs.data.pathcells`); `read` never decodes; a group of rows is decoded by one thread at a time;
a cell's bytes come whole or an error does, also where the index and the data disagree.
"""

from __future__ import annotations

import os
import threading

from hffs.data.cache import DiskCache
from hffs.data.cells import CellIndex, SegmentKind
from hffs.data.decode import Decoder, decode_parts, open_decoder
from hffs.data.mapped import MappedFile
from hffs.data.pathcells import check_file, read_file
from hffs.data.recent import Recent
from hffs.data.shards import Located
from hffs.data.source import open_shard
from hffs.errors import FormatError

OPEN_BYTES = 256 * 2**20
"""Decoded parts that stay open; the rest is in the disk cache."""

_OPEN_PARTS = 64

_LOCKS = 64  # single flight by hash: two groups may share one, which costs waiting only


class RowStore:
    """Reads the cells of one index; close it when nothing is being read any more."""

    def __init__(
        self, index: CellIndex, located: Located, cache: DiskCache, open_bytes: int = OPEN_BYTES
    ) -> None:
        self._index = index
        self._located = located
        self._cache = cache
        self._root = os.path.realpath(os.fsencode(located.root))
        # a memoryview gives a Python int three times as fast as numpy does
        self._segments = index.segment.data
        self._offsets = index.offset.data
        self._lengths = index.length.data
        self._kinds: list[int] = index.segments.kind.tolist()
        self._shards: list[int] = index.segments.shard.tolist()
        places = zip(self._shards, index.segments.group, index.segments.part, strict=True)
        self._places = [(shard, int(group), int(part)) for shard, group, part in places]
        self._numbers = {place: number for number, place in enumerate(self._places)}
        self._views: dict[int, memoryview] = {}
        self._parts = Recent(open_bytes, _OPEN_PARTS)
        self._files: dict[int, MappedFile] = {}
        self._decoders: dict[int, Decoder] = {}
        self._broken: dict[tuple[int, int], FormatError] = {}
        self._lock = threading.Lock()
        self._group_locks = [threading.Lock() for _ in range(_LOCKS)]

    def read(self, cell: int) -> memoryview | None:
        """Bytes of a cell where they need no more than a page fault, else None: then `load`."""
        segment = self._segments[cell]
        view = self._views.get(segment)
        if view is None:
            view = self._open(segment)
            if view is None:
                return None
        return self._cut(view, cell)

    def load(self, cell: int) -> memoryview:
        """Bytes of a cell, whatever it takes: a whole group of rows may have to be decoded.

        Raises StaleError (its file changed), SourceError, FormatError.
        """
        ready = self.read(cell)
        if ready is not None:
            return ready
        segment = self._segments[cell]
        if self._kinds[segment] == SegmentKind.FILES:
            return read_file(*self._file_facts(cell))
        return self._cut(self._load_part(segment), cell)

    def advise(self, cell: int) -> None:
        """Let the kernel begin to read a mapped cell: a cold one is then one request, not many."""
        segment = self._segments[cell]
        if self._kinds[segment] == SegmentKind.MAP:
            file = self._open_file(self._shards[segment])
            file.advise(self._offsets[cell], self._lengths[cell])

    def check(self, cell: int) -> None:
        """Raise StaleError if the file that a cell comes from was changed in place."""
        segment = self._segments[cell]
        if self._kinds[segment] == SegmentKind.FILES:
            check_file(*self._file_facts(cell))
        else:
            self._open_file(self._shards[segment]).check()

    def pin(self) -> None:
        """Open every shard now: one that is replaced or deleted later is served as it was."""
        for shard in range(len(self._located.shards)):
            self._open_file(shard)

    def close(self) -> None:
        """Give back the descriptors; bytes that were handed out stay valid."""
        with self._lock:
            for file in self._files.values():
                file.close()
            self._files.clear()
            self._views.clear()

    def _cut(self, view: memoryview, cell: int) -> memoryview:
        start, length = self._offsets[cell], self._lengths[cell]
        if start < 0 or start + length > len(view):  # slicing would cut it short silently
            why = f"image {cell} does not lie in its file"
            raise FormatError("cannot read", self._located.name, why=why, fix="mount again")
        return view[start : start + length]

    def _open(self, segment: int) -> memoryview | None:
        """What a segment's offsets count in, if it can be had at once."""
        if self._kinds[segment] != SegmentKind.MAP:
            return self._parts.get(segment)
        view = self._views[segment] = self._open_file(self._shards[segment]).view
        return view

    def _open_file(self, shard: int) -> MappedFile:
        file = self._files.get(shard)
        if file is not None:
            return file
        with self._lock:
            if shard not in self._files:
                self._files[shard] = open_shard(self._located.shards[shard])
            return self._files[shard]

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
            self._broken[shard, group] = error.anew()
            raise
        return found

    def _keep(self, segment: int, blob: memoryview) -> memoryview:
        shard = self._shards[segment]
        self._open_file(shard).check()  # what was decoded from a changed file must not be kept
        if len(blob) != self._index.segments.size[segment]:
            raise self._disagree(shard)
        key = self._key(segment)
        return self._cache.get(key) or self._cache.put(key, blob)

    def _decoder(self, shard: int) -> Decoder:
        if shard not in self._decoders:
            layout = self._located.shards[shard].layout
            self._decoders[shard] = open_decoder(self._open_file(shard), layout, self._index.column)
        return self._decoders[shard]

    def _disagree(self, shard: int) -> FormatError:
        which = str(self._located.shards[shard].path)
        why = "it does not decode to what it did when it was indexed"
        return FormatError("cannot decode", which, why=why, fix="clear cache_dir")

    def _key(self, segment: int) -> str:
        shard, group, part = self._places[segment]
        return f"part/{self._index.identity}/{shard}/{group}/{part}"
