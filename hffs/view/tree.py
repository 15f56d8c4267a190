"""A view as a folder: names, sizes, listing and bytes of its files. Knows no FUSE.

Invariants: everything answers from arrays that never change, so any request can be answered at
any time by anyone. `size_bytes` is exact or None, never a guess. Nothing here blocks or decodes
except through `request`, whose result arrives on a thread.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future
from typing import NamedTuple

from hffs.core.inodes import KINDS, ROOT, Kind, make_inode, split_inode
from hffs.core.names import format_name, parse_name
from hffs.core.types import Inode, Position
from hffs.errors import MissingError
from hffs.view.content import Content
from hffs.view.manifest import CaptionFiles, Manifest


class Entry(NamedTuple):
    """One line of the listing; `next_id` is where the listing goes on after it."""

    next_id: int
    name: bytes
    inode: Inode
    size_bytes: int | None


class Tree:
    """The root folder of one view: `KINDS` slots a position, some of them empty."""

    def __init__(self, manifest: Manifest, content: Content) -> None:
        self.manifest = manifest
        self.mtime_ns = manifest.mtime_ns
        self.positions = manifest.positions
        self.files = self.positions * (2 if manifest.captions else 1)
        self._content = content
        self._captions = manifest.captions
        self._caption_suffix = b"." + manifest.caption_extension.encode("ascii")

    def lookup(self, name: bytes) -> Inode | None:
        """Inode of a name, None where the listing does not have it."""
        parsed = parse_name(name)
        if parsed is None or parsed[0] >= self.positions:
            return None
        position, extension = parsed
        if extension == self._content.extension(position):
            return make_inode(position, Kind.IMAGE)
        if self._captions and extension == self.manifest.caption_extension:
            return make_inode(position, Kind.CAPTION)
        return None

    def name(self, inode: Inode) -> str:
        """Name of a file, for messages."""
        if inode == ROOT:
            return "/"
        position, kind = self._locate(inode)
        return format_name(position, self._extension(position, kind)).decode("ascii")

    def size_bytes(self, inode: Inode) -> int | None:
        """Exact size of a file, None where only rendering can tell."""
        position, kind = self._locate(inode)
        if kind is Kind.IMAGE:
            return self._content.size_bytes(position)
        return self._require_captions().size_bytes(position)

    def entries(self, start: int) -> Iterator[Entry]:
        """The listing from entry id `start` on (0 is the beginning).

        Written out, as a folder has millions of entries: each call here costs a tenth of it.
        """
        content, captions, suffix = self._content, self._captions, self._caption_suffix
        for position in range(start // KINDS, self.positions):
            slot = position * KINDS
            inode = make_inode(Position(position), Kind.IMAGE)
            number = b"%d" % position
            if slot >= start:
                extension, size = content.listing(Position(position))
                yield Entry(slot + 1, number + extension, inode, size)
            if captions is not None:
                size = captions.size_bytes(Position(position))
                yield Entry(slot + 2, number + suffix, Inode(inode + 1), size)

    def prepare(self, inode: Inode) -> None:
        """Before a file is read: refuse a source that changed, ask the disk for the bytes."""
        position, kind = self._locate(inode)
        if kind is Kind.IMAGE:
            self._content.prepare(position)

    def ready(self, inode: Inode) -> memoryview | None:
        """The whole file where it takes no waiting, else None."""
        position, kind = self._locate(inode)
        if kind is Kind.IMAGE:
            return self._content.ready(position)
        return self._require_captions().read(position)

    def request(self, inode: Inode) -> Future[memoryview]:
        """The whole file, worked out on a thread; asked for twice, worked out once."""
        position, kind = self._locate(inode)
        if kind is Kind.CAPTION:
            done: Future[memoryview] = Future()
            done.set_result(self._require_captions().read(position))
            return done
        return self._content.request(position)

    def known_bytes(self) -> int:
        """Bytes of all files whose size is known."""
        captions = self._captions.total_bytes if self._captions else 0
        return captions + self._content.known_bytes()

    def xattrs(self, inode: Inode) -> dict[str, bytes]:
        """The `user.hffs.*` attributes of a file or of the root."""
        if inode == ROOT:
            return {"user.hffs.view": json.dumps(self.manifest.summary()).encode()}
        position, _ = self._locate(inode)
        facts = {
            "user.hffs.row": str(self._content.row(position)),
            "user.hffs.source": self.manifest.info.source,
        }
        if self.manifest.info.caption_column:
            facts["user.hffs.caption_column"] = self.manifest.info.caption_column
        return {name: value.encode() for name, value in facts.items()}

    def _locate(self, inode: Inode) -> tuple[Position, Kind]:
        try:
            position, kind = split_inode(inode)
        except ValueError as error:
            raise MissingError("no such file", f"inode {inode}") from error
        if position >= self.positions:
            raise MissingError("no such file", f"inode {inode}")
        return position, kind

    def _extension(self, position: Position, kind: Kind) -> str:
        if kind is Kind.IMAGE:
            return self._content.extension(position)
        return self.manifest.caption_extension

    def _require_captions(self) -> CaptionFiles:
        if self._captions is None:
            raise MissingError("no captions", self.manifest.info.source)
        return self._captions
