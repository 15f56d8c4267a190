"""Shards on this host that are read as if they lay elsewhere; what is asked for is counted."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path

from hffs.data.remote.files import Check, Range, RangeReader, RemoteFile, accept
from hffs.data.shards import Located
from hffs.errors import HffsError


@dataclass
class LocalReader(RangeReader):
    """A RangeReader whose files are on this host, with a cache that forgets nothing.

    `asked` are the ranges that were not in the cache; `failing` is raised for the next of these.
    """

    asked: list[tuple[str, Range]] = field(default_factory=list)
    cached: dict[tuple[str, Range], memoryview] = field(default_factory=dict)
    ahead: list[tuple[str, Range]] = field(default_factory=list)
    failing: HffsError | None = None
    base: tuple[str, str] = ("test://", "")
    """Which beginning of a URL stands for which folder."""

    def submit(
        self,
        file: RemoteFile,
        ranges: Sequence[Range],
        check: Check = accept,
        *,
        ahead: bool = False,
        keep: bool = True,
    ) -> list[Future[memoryview]]:
        return [self._get(file, each, check, ahead=ahead, keep=keep) for each in ranges]

    def holds(self, file: RemoteFile, place: Range) -> bool:
        return (file.url, place) in self.cached

    def close(self) -> None:
        pass

    @property
    def asked_bytes(self) -> int:
        return sum(each.size_bytes for _, each in self.asked)

    def _get(
        self, file: RemoteFile, place: Range, check: Check, *, ahead: bool, keep: bool
    ) -> Future[memoryview]:
        future: Future[memoryview] = Future()
        kept = self.cached.get((file.url, place))
        if kept is not None:
            future.set_result(kept)
            return future
        (self.ahead if ahead else self.asked).append((file.url, place))
        try:
            if self.failing is not None:
                raise self.failing.anew()
            found = memoryview(self._load(file))[place.start : place.stop]
            check(found)
        except HffsError as error:
            future.set_exception(error)
        else:
            if keep:
                self.cached[file.url, place] = found
            future.set_result(found)
        return future

    def _load(self, file: RemoteFile) -> bytes:
        return Path(file.url.replace(*self.base, 1)).read_bytes()


def move_away(located: Located) -> Located:
    """The same shards, as they would be found elsewhere."""
    shards = [
        replace(shard, mtime_ns=0, url=f"test://{shard.path}", etag=f"etag-{shard.size_bytes}")
        for shard in located.shards
    ]
    return replace(located, shards=tuple(shards))
