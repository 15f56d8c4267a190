"""What names the image of a file, whatever view shows it: a digest of all its bytes depend on.

Owns which facts these are: what pins the shard, archive, file or URL that holds a cell, where in it
the cell lies, and what is done to it. Must not know names of files, nor read image bytes.

Invariants: a file has the same identity under any filter, order or name, and when its source grows;
files of other bytes have others. Nothing is kept by position. A cell is named by its place rather
than by its row, since a place is what bytes follow from, also where a view file says which those
are: rows that share stored bytes share an identity.

A file of a commit of the Hub is pinned by its ETag, which is a hash of it, or by the commit; one of
this host by its path, size and mtime; one elsewhere by its URL, size and ETag. A URL is pinned by
nothing but what this host saw at it first (`hffs.data.urls.digests`): by the URL and where that is
kept. Where nothing pins a file by itself, the identity of the whole source does.
"""

from __future__ import annotations

import json
import os
from hashlib import blake2b

from hffs.core.types import Position
from hffs.data.cells.index import SLOT_BITS, CellIndex, Coding, FileTable, SegmentKind
from hffs.data.locating.record import is_prepared
from hffs.data.shards import Shard
from hffs.view.manifest import Manifest
from hffs.view.places import Places
from hffs.view.rendering import Rendering

_VERSION = 1
"""Raised when the same facts come to mean other bytes."""

_AS_STORED = "stored"
_BLOBS = "blobs/"


class Identities:
    """The identities of the images of one view."""

    def __init__(
        self, manifest: Manifest, index: CellIndex, places: Places, rendering: Rendering
    ) -> None:
        self._index = index
        self._located = places.located
        self._store = places.store
        self._urls = os.path.realpath(places.urls)
        self._root = os.path.realpath(places.located.root)
        # A memoryview gives a Python int several times as fast as numpy does.
        self._segments, self._offsets = index.segment.data, index.offset.data
        self._lengths = index.length.data
        self._cells = manifest.cells.data
        self._forms = manifest.forms.data
        self._tiles = None if manifest.tiles is None else manifest.tiles.data
        self._passes = rendering.passing()
        self._rendering = rendering.identity
        self._kinds: list[int] = index.segments.kind.tolist()
        self._codings: list[int] = index.segments.coding.tolist()
        self._shards: dict[int, list[object]] = {}
        self._tags: dict[tuple[str, int], str] | None = None

    def find(self, position: Position) -> str:
        """The identity of a position's image: 64 hex digits."""
        cell = self._cells[position]
        how: list[object] = [_AS_STORED]
        if not self._passes[self._forms[position]]:
            how = [self._rendering, None if self._tiles is None else self._tiles[position]]
        text = json.dumps([_VERSION, self._place(cell), how])
        return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=32).hexdigest()

    def _place(self, cell: int) -> list[object]:
        """Plain values that the stored bytes of a cell follow from."""
        index, segment, offset = self._index, self._segments[cell], self._offsets[cell]
        kind, coding = self._kinds[segment], self._codings[segment]
        place: list[object] = [kind, coding]
        if kind == SegmentKind.FILES:
            return [*place, self._pin_file(index.files, offset)]
        if kind == SegmentKind.URLS:
            return [*place, _text(index.urls.name(offset)), self._urls]
        if kind == SegmentKind.PAGES:
            return [*place, *self._find_page(offset)]
        if kind == SegmentKind.FAR_FILES:
            return [*place, *self._find_range(offset), *self._find_coded(cell, coding)]
        place += [offset, self._lengths[cell], *self._find_coded(cell, coding)]
        number = int(index.segments.shard[segment])
        if kind == SegmentKind.CONTAINER:
            return [*place, self._pin_file(index.containers, number)]
        if kind == SegmentKind.PART:
            column, segments = index.column, index.segments
            # Its size, as another release might decode other parts.
            facts = (segments.group, segments.part, segments.size)
            place += [*(int(array[segment]) for array in facts), column.name, column.kind]
        return [*place, self._pin_shard(number)]

    def _find_coded(self, cell: int, coding: int) -> list[object]:
        """What of a cell that is coded is stored, and what that has to become."""
        index = self._index
        if coding == Coding.RAW or not len(index.stored):
            return []
        return [int(index.stored[cell]), int(index.length[cell]), int(index.crc[cell])]

    def _find_page(self, offset: int) -> list[object]:
        pages, chunks = self._index.pages, self._index.chunks
        page, slot = offset >> SLOT_BITS, offset & ((1 << SLOT_BITS) - 1)
        chunk = int(pages.chunk[page])
        decoding = (
            chunks.codec, chunks.definition, chunks.repetition, chunks.dictionary,
            chunks.dictionary_size, chunks.whole,
        )  # fmt: skip
        how = [int(array[chunk]) for array in decoding]
        shard = self._pin_shard(int(chunks.shard[chunk]))
        return [shard, int(pages.offset[page]), int(pages.size[page]), slot, how]

    def _find_range(self, number: int) -> list[object]:
        ranges, files = self._index.far_ranges, self._index.far_files
        file = int(ranges.file[number])
        etag, size_bytes = _text(files.etags.name(file)), int(files.size_bytes[file])
        url = self._located.address + _text(files.name(file))
        pin = self._pin_far(url, etag, size_bytes)
        return [pin, int(ranges.start[number]), int(ranges.size[number])]

    def _pin_far(self, url: str, etag: str, size_bytes: int) -> list[object]:
        """What pins a file elsewhere; an ETag says nothing beyond its own address (RFC 9110, 8.8.1)
        but at the Hub, where it is a hash of the file. There is a commit in an address of the Hub.
        """
        located = self._located
        if located.commit and etag:
            return ["hub", located.name, etag, size_bytes]
        whole = "" if etag or located.commit else self._index.identity
        return ["far", url, etag, size_bytes, whole]

    def _pin_file(self, table: FileTable, number: int) -> list[object]:
        """What pins a file that cells name. Of a commit, that is its name, which in the cache of
        huggingface_hub is the ETag, or has the commit in it; its time is that of the download.
        """
        name, size_bytes = _text(table.name(number)), int(table.size_bytes[number])
        located = self._located
        if located.commit:
            commit = "" if name.startswith(_BLOBS) else located.commit
            return ["hub", located.name, commit, name, size_bytes]
        return ["file", self._root, name, size_bytes, int(table.mtime_ns[number])]

    def _pin_shard(self, number: int) -> list[object]:
        pin = self._shards.get(number)
        if pin is None:
            pin = self._shards[number] = self._find_pin(self._located.shards[number])
        return pin

    def _find_pin(self, shard: Shard) -> list[object]:
        if shard.is_remote:
            return self._pin_far(shard.url, shard.etag, shard.size_bytes)
        # A table that hffs made has a name that a file of the repository could have as well.
        if self._located.commit and not is_prepared(shard.path.parent, self._store):
            tag = self._find_tag(shard)
            if tag:
                return ["hub", self._located.name, tag, shard.size_bytes]
        return ["file", os.path.abspath(shard.path), shard.size_bytes, shard.mtime_ns]

    def _find_tag(self, shard: Shard) -> str:
        """ETag of a shard of a commit, empty where its source does not keep it."""
        if self._tags is None:
            pins = self._located.pins
            self._tags = {(pin.name, pin.size_bytes): pin.tag for pin in pins}
        return self._tags.get((shard.name, shard.size_bytes), "")


def _text(name: bytes) -> str:
    return os.fsdecode(name)
