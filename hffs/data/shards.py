"""What a source consists of: its shards in row order, and what names their content.

Owns the words that everything about sources shares. It must not know how shards are found
(`hffs.data.locating`) nor what is inside them, and imports nothing that is slow: it is known at
every mount.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Literal

from hffs.data.remote.files import RemoteFile
from hffs.errors import AccessError, SourceError

Layout = Literal["parquet", "arrow"]

_END_BYTES = 64 * 1024
"""How much of each end of a shard its identity hashes: both hold a Parquet file's metadata."""

_VERSION = 3
"""Part of every key: raised when what is kept changes its meaning."""

_TERM = re.compile(r"(\w+(?:\.\w+)*)\s*((?:\[[^\]]*\])?\s*(?:\([^)]*\))?)")


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of rows, as it was when it was found (`mtime_ns`, `size_bytes` pin it).

    `name` is its path below the source's root, with `/`. One that is read where it lies has a
    `url`, and an `etag` that pins it with its size; its `path` is for messages only.
    """

    path: Path
    name: str
    size_bytes: int
    mtime_ns: int
    layout: Layout
    url: str = ""
    etag: str = ""

    @property
    def is_remote(self) -> bool:
        """Whether it is read where it lies."""
        return bool(self.url)

    @property
    def remote(self) -> RemoteFile:
        """The file that is read where it lies, if it `is_remote`."""
        return RemoteFile(self.url, self.etag, self.size_bytes)

    @property
    def pin(self) -> list[object]:
        """Plain values that name its content, as far as that is known without reading it."""
        facts: list[object] = [self.name, self.size_bytes, self.mtime_ns]
        return [*facts, self.url, self.etag] if self.url else facts


@dataclass(frozen=True, slots=True)
class Term:
    """One term of what `split` says: a split's name, and which of its rows (`[:10%]`), or all."""

    split: str
    slice: str = ""


@dataclass(frozen=True, slots=True)
class Pin:
    """What names the content of a file that a source was made from: an ETag, or the mtime."""

    name: str
    size_bytes: int
    tag: str


@dataclass(frozen=True, slots=True)
class Located:
    """The shards of a source in row order; none has been opened.

    `name` is what the user called the data set, for messages. Paths in cells are relative to
    `base` (the root, where it is None) and confined to `root`. Of each term, `terms` has how many
    shards are its own, one after the other; without terms all rows of all shards count. `commit`
    and `pins` are those of a repository on the Hub, or of what a table was made from: the way it
    was made, then each file below `base`. `features` is what the data set declares beside its
    shards, as JSON. Where files that cells name are read where they lie, that is below `address`
    (a URL that ends in a slash), and `listing` tells which there are (`hffs.data.cells.listing`).
    """

    name: str
    root: Path
    shards: tuple[Shard, ...]
    terms: tuple[tuple[Term, int], ...] = field(default=(), kw_only=True)
    base: Path | None = field(default=None, kw_only=True)
    commit: str = field(default="", kw_only=True)
    pins: tuple[Pin, ...] = field(default=(), kw_only=True)
    features: str = field(default="", kw_only=True)
    address: str = field(default="", kw_only=True)
    listing: Path | None = field(default=None, kw_only=True)

    @property
    def is_remote(self) -> bool:
        """Whether shards, or files that cells name, are read where they lie."""
        is_named = bool(self.address) or self.listing is not None
        return is_named or any(shard.is_remote for shard in self.shards)

    @property
    def slices(self) -> list[str]:
        """The terms as text, if any of them leaves rows out; this decides rows as files do."""
        texts = [term.split + term.slice for term, _ in self.terms]
        return texts if any(term.slice for term, _ in self.terms) else []


def parse_terms(split: str) -> tuple[Term, ...]:
    """The terms of what `split` says, which `hffs.config` has checked.

    >>> parse_terms("train[:10%]+test")
    (Term(split='train', slice='[:10%]'), Term(split='test', slice=''))
    """
    return tuple(_parse_term(text.strip()) for text in split.split("+"))


def _parse_term(text: str) -> Term:
    found = _TERM.fullmatch(text)
    return Term(found[1], found[2].replace(" ", "")) if found else Term(text)


def make_key(*parts: object) -> str:
    """A file name that stands for plain values."""
    text = json.dumps([_VERSION, *parts], sort_keys=True)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def pin_shards(located: Located) -> list[object]:
    """Plain values that a key can hold: which files, as they are now, and which rows of them."""
    facts: list[object] = [str(located.root), located.slices]
    if located.listing is not None:
        facts.append(located.listing.name)
    return [*facts, *(shard.pin for shard in located.shards)]


def identify(located: Located) -> str:
    """Hash of everything that the source's content depends on, the same on every host.

    Where the files of a repository or of a prepared table are pinned, of these; else of every
    shard's name, size, mtime and both ends. Where the data set lies is no part of it.
    """
    content = _pinned(located) if located.pins else source_identity(located.shards)
    return make_key(content, located.slices) if located.slices else content


def _pinned(located: Located) -> str:
    facts = [[pin.name, pin.size_bytes, pin.tag] for pin in located.pins]
    return make_key(located.name if located.commit else "", located.commit, facts)


def source_identity(shards: Sequence[Shard]) -> str:
    """Hash of every shard's name, size, mtime and both ends."""
    digest = blake2b(digest_size=16)
    for shard in shards:
        facts = json.dumps([shard.name, shard.size_bytes, shard.mtime_ns, shard.layout])
        digest.update(facts.encode())
        digest.update(read_ends(shard.path, shard.size_bytes))
    return digest.hexdigest()


def read_ends(path: Path, size_bytes: int) -> bytes:
    """Both ends of a file, which hold what a Parquet file says of itself; of a small one twice.

    Raises SourceError or AccessError.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_END_BYTES)
            file.seek(max(size_bytes - _END_BYTES, 0))
            return head + file.read(_END_BYTES)
    except OSError as error:
        raise os_error(str(path), error) from error


def unknown_split(name: str, split: str, present: Iterable[object]) -> SourceError:
    """What is said of a split that a data set does not have."""
    there = ", ".join(sorted({str(each) for each in present})[:20]) or "none"
    return SourceError("cannot find split", f"{split} of {name}", why=f"there are: {there}")


def os_error(which: str, error: OSError) -> SourceError:
    """What the system says of a file that cannot be opened, as a line."""
    why = (error.strerror or str(error)).lower()
    if isinstance(error, FileNotFoundError):
        return SourceError("cannot open", which, why="no such file or folder", fix="check the path")
    kind = AccessError if isinstance(error, PermissionError) else SourceError
    return kind("cannot open", which, why=why)
