"""A view as folders and files: names, sizes, listings and bytes. Knows no FUSE.

Invariants: everything answers from arrays that never change, so any request can be answered at
any time by anyone. `size_bytes` is exact or None, never a guess. Nothing here blocks or decodes
except through `request`, whose result arrives on a thread.

Inodes behind those of positions (`hffs.core.inodes`): one for `metadata.jsonl`, then the folders.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hffs.core.inodes import KINDS, ROOT, Kind, first_free_inode, make_inode, split_inode
from hffs.core.names import format_name, parse_name
from hffs.core.types import Inode, Position
from hffs.errors import MissingError
from hffs.view import metadata_file
from hffs.view.content import Content
from hffs.view.figures import ViewFigures
from hffs.view.identities import Identities
from hffs.view.manifest import Manifest, TextFiles

LYRICS = "lyrics"
"""Extension of the words that are sung, beside a sound."""

_METADATA_NAME = metadata_file.NAME.encode()


class Entry(NamedTuple):
    """One line of a listing; `next_id` is where the listing goes on after it.

    `size_bytes` is None where only rendering can tell; of a folder it is 0.
    """

    next_id: int
    name: bytes
    inode: Inode
    size_bytes: int | None


class Alike(NamedTuple):
    """Positions in a row from `start` on that have the same files, named alike: by `numbers`
    (int64) of so many digits, and the suffix of each kind.
    """

    start: int
    numbers: NDArray[np.int64]
    digits: int
    suffixes: list[tuple[Kind, bytes]]


class Tree:
    """The files of one view: `KINDS` slots a position, some of them empty."""

    def __init__(self, manifest: Manifest, content: Content, identities: Identities) -> None:
        self.manifest = manifest
        self.mtime_ns = manifest.mtime_ns
        self.positions = manifest.positions
        self._content = content
        self._identities = identities
        self._captions = manifest.captions
        self._metadata = None if manifest.metadata is None else manifest.metadata.data
        self._layout = manifest.layout
        self._caption_extension = manifest.info.caption_extension
        self._lyrics = manifest.lyrics
        self._texts = {Kind.CAPTION: manifest.captions, Kind.LYRICS: manifest.lyrics}
        self._text_kinds = [
            (kind, b"." + extension.encode("ascii"), texts)
            for kind, extension in ((Kind.CAPTION, self._caption_extension), (Kind.LYRICS, LYRICS))
            if (texts := self._texts[kind]) is not None
        ]
        self._metadata_inode = first_free_inode(self.positions)
        self._first_folder = Inode(self._metadata_inode + 1)
        self.folders = len(self._layout.folders or ())
        self.files = self.positions + (self._metadata is not None)
        self.files += self.positions if self._captions else 0  # none of them is empty
        self.files += self._lyrics.count_files() if self._lyrics else 0

    @property
    def is_at_hand(self) -> bool:
        """Whether every file is always `ready`."""
        return self._content.is_at_hand

    @property
    def is_here(self) -> bool:
        """Whether every image lies in a map, to be given as it is or to be rendered."""
        return self._content.is_here

    def lookup(self, folder: Inode, name: bytes) -> Inode | None:
        """Inode of a name in a folder, None where its listing does not have it."""
        if folder == ROOT:
            if name == _METADATA_NAME:
                return None if self._metadata is None else self._metadata_inode
            if self._layout.folders is not None:
                number = self._layout.find_folder(name)
                return None if number is None else Inode(self._first_folder + number)
        parsed = parse_name(name, self._layout.width)
        position = self._layout.find_number(parsed[0]) if parsed else None
        if parsed is None or position is None or folder != self._folder_inode(position):
            return None
        if parsed[1] == self._content.extension(position):
            return make_inode(position, Kind.IMAGE)
        if self._captions and parsed[1] == self._caption_extension:
            return make_inode(position, Kind.CAPTION)
        if self._lyrics and parsed[1] == LYRICS and self._lyrics.size_bytes(position):
            return make_inode(position, Kind.LYRICS)
        return None

    def is_folder(self, inode: Inode) -> bool:
        """Whether an inode is the root or one of its folders."""
        return inode == ROOT or 0 <= inode - self._first_folder < self.folders

    def name(self, inode: Inode) -> str:
        """Path of a file or folder below the root, for messages."""
        if inode == ROOT:
            return "/"
        folders = self._layout.folders
        if folders is not None and self.is_folder(inode):
            return folders.names[inode - self._first_folder]
        if self._is_metadata(inode):
            return metadata_file.NAME
        position, kind = self._locate(inode)
        name = self._file_name(position, kind).decode("ascii")
        folder = self._folder_inode(position)
        return name if folder == ROOT else f"{self.name(folder)}/{name}"

    def size_bytes(self, inode: Inode) -> int | None:
        """Exact size of a file, None where only rendering can tell; 0 of a folder."""
        if self._is_metadata(inode):
            return len(self._require_metadata())
        if self.is_folder(inode):
            return 0
        position, kind = self._locate(inode)
        if kind is Kind.IMAGE:
            return self._content.size_bytes(position)
        return self._require_texts(kind).size_bytes(position)

    def entries(self, folder: Inode, start: int) -> Iterator[Entry]:
        """The listing of a folder from entry id `start` on (0 is the beginning).

        MissingError where `folder` is none.
        """
        if not self.is_folder(folder):
            raise MissingError("no such folder", f"inode {folder}")
        folders = self._layout.folders
        if folders is None:
            yield from self._list_files(self._layout.name_numbers(start // KINDS), start)
            yield from self._list_metadata(self.positions * KINDS, start)
        elif folder == ROOT:
            for number in range(start, self.folders):
                inode = Inode(self._first_folder + number)
                yield Entry(number + 1, folders.names[number].encode(), inode, 0)
            yield from self._list_metadata(self.folders, start)
        else:
            inside = folders.positions(folder - self._first_folder, start // KINDS)
            named = ((position, self._layout.number(Position(position))) for position in inside)
            yield from self._list_files(named, start)

    def find_alike(self, folder: Inode, start: int, most: int) -> Alike | None:
        """The names of a flat view from entry id `start` on, at most of `most` positions, as far as
        they are alike; None where they have to be told one by one.
        """
        first = start // KINDS
        if folder != ROOT or self.folders or self._lyrics or first >= self.positions:
            return None
        suffix, count = self._content.find_alike(first, min(first + most, self.positions))
        numbers = self._layout.slice_numbers(first, first + count)
        digits = max(len(str(numbers[0])), self._layout.width)
        numbers = numbers[: np.searchsorted(numbers, 10**digits)]
        suffixes = [(Kind.IMAGE, suffix), *((kind, text) for kind, text, _ in self._text_kinds)]
        return Alike(first, numbers, digits, suffixes)

    def _list_files(self, named: Iterable[tuple[int, int]], start: int) -> Iterator[Entry]:
        """Written out, as a folder has millions of entries: each call here costs a tenth of it."""
        content, texts = self._content, self._text_kinds
        form = b"%%0%dd" % self._layout.width if self._layout.width else b"%d"
        entry_id = start - start % KINDS
        for position, number in named:
            inode = make_inode(Position(position), Kind.IMAGE)
            stem = form % number
            if entry_id >= start:
                extension, size = content.listing(Position(position))
                yield Entry(entry_id + 1, stem + extension, inode, size)
            entry_id += KINDS
            for kind, suffix, files in texts:
                text_id = entry_id - KINDS + kind
                if text_id >= start and (size := files.size_bytes(Position(position))):
                    yield Entry(text_id + 1, stem + suffix, Inode(inode + kind), size)

    def _list_metadata(self, entry_id: int, start: int) -> Iterator[Entry]:
        if self._metadata is not None and start <= entry_id:
            size = len(self._metadata)
            yield Entry(entry_id + 1, _METADATA_NAME, self._metadata_inode, size)

    def prepare(self, inode: Inode) -> None:
        """Before a file is read: refuse a source that changed."""
        if not self._is_metadata(inode):
            position, kind = self._locate(inode)
            if kind is Kind.IMAGE:
                self._content.prepare(position)

    def ready(self, inode: Inode) -> memoryview | None:
        """The whole file where it takes no waiting, else None."""
        if self._is_metadata(inode):
            return self._require_metadata()
        position, kind = self._locate(inode)
        if kind is Kind.IMAGE:
            return self._content.ready(position)
        return self._require_texts(kind).read(position)

    def is_made(self, inode: Inode) -> bool:
        """Whether a file that is not `ready` was rendered here before: to open it need not wait."""
        if self._is_metadata(inode):
            return False
        position, kind = self._locate(inode)
        return kind is Kind.IMAGE and self._content.is_made(position)

    def find_made(self, inode: Inode) -> memoryview | None:
        """Such a file, if it is kept on the disk, which has to be waited for."""
        return self._content.find_made(self._locate(inode)[0])

    def read_into(self, buffer: memoryview, inode: Inode, start: int) -> int | None:
        """Have a file from `start` on in a buffer, as far as both go, where that takes no more than
        the disk, and how many bytes that are; None where it is `ready`, or has to be waited for.
        """
        if self._is_metadata(inode):
            return None
        position, kind = self._locate(inode)
        if kind is Kind.IMAGE:
            return self._content.read_into(buffer, position, start)
        return self._require_texts(kind).read_into(buffer, position, start)

    def request_size(self, inode: Inode) -> Future[int]:
        """Exact size of a file that `size_bytes` does not know, worked out on a thread."""
        return self._content.request_size(self._locate(inode)[0])

    def request_part(self, inode: Inode, start: int, stop: int) -> Future[memoryview]:
        """The bytes from `start` up to `stop` of a file that is not `ready`, worked out on a
        thread: of an image all are, once.
        """
        return self._content.request_part(self._locate(inode)[0], start, stop)

    def fetch(self, inode: Inode) -> Future[int]:
        """Have an image in the caches, worked out on a thread; its size in bytes."""
        return self._content.fetch(self._locate(inode)[0])

    def request(self, inode: Inode) -> Future[memoryview]:
        """The whole file, worked out on a thread; asked for twice, worked out once."""
        if not self._is_metadata(inode):
            position, kind = self._locate(inode)
            if kind is Kind.IMAGE:
                return self._content.request(position)
        done: Future[memoryview] = Future()
        done.set_result(self.ready(inode) or memoryview(b""))
        return done

    def figures(self) -> ViewFigures:
        """What there was to do so far for the files of the view."""
        return self._content.figures()

    def known_bytes(self) -> int:
        """Bytes of all files whose size is known."""
        texts = sum(texts.total_bytes for _, _, texts in self._text_kinds)
        return texts + len(self._metadata or b"") + self._content.known_bytes()

    def xattrs(self, inode: Inode) -> dict[str, bytes]:
        """The `user.hffs.*` attributes of a file or of the root; a folder has none."""
        if inode == ROOT:
            told = self.manifest.summary() | {"mtime_ns": self.mtime_ns}
            return {"user.hffs.view": json.dumps(told).encode()}
        if self.is_folder(inode) or self._is_metadata(inode):
            return {}
        position, kind = self._locate(inode)
        info = self.manifest.info
        facts = {
            "user.hffs.row": str(self._content.row(position)),
            "user.hffs.source": info.source,
        }
        tile = self._content.tile(position)
        if info.commit:
            facts["user.hffs.commit"] = info.commit
        if tile is not None:
            facts["user.hffs.tile"] = str(tile)
        if kind is Kind.IMAGE:
            facts["user.hffs.image"] = self._identities.find(position)
        if info.caption_column:
            facts["user.hffs.caption_column"] = info.caption_column
        return {name: value.encode() for name, value in facts.items()}

    def _is_metadata(self, inode: Inode) -> bool:
        return inode == self._metadata_inode and self._metadata is not None

    def _locate(self, inode: Inode) -> tuple[Position, Kind]:
        try:
            position, kind = split_inode(inode)
        except ValueError as error:
            raise MissingError("no such file", f"inode {inode}") from error
        if position >= self.positions:
            raise MissingError("no such file", f"inode {inode}")
        return position, kind

    def _folder_inode(self, position: Position) -> Inode:
        folder = self._layout.folder_of(position)
        return ROOT if folder is None else Inode(self._first_folder + folder)

    def _file_name(self, position: Position, kind: Kind) -> bytes:
        extension = LYRICS if kind is Kind.LYRICS else self._caption_extension
        if kind is Kind.IMAGE:
            extension = self._content.extension(position)
        return format_name(self._layout.number(position), extension, self._layout.width)

    def _require_texts(self, kind: Kind) -> TextFiles:
        texts = self._texts.get(kind)
        if texts is None:
            raise MissingError("no such text", self.manifest.info.source)
        return texts

    def _require_metadata(self) -> memoryview:
        if self._metadata is None:
            raise MissingError("no metadata", self.manifest.info.source)
        return self._metadata
