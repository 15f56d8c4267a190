"""The words of reading files that lie elsewhere: what one is, and how its ranges are asked for.

Owns nothing but these. It imports nothing that is slow, and must not know HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from concurrent.futures import Future


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file at a fixed content: `etag` and `size_bytes` pin what `url` gives.

    `url` is that of a file of the Hub (`make_hub_url`), `https://...` without the query that may
    sign it, or what else fsspec reaches (`s3://bucket/key`).
    """

    url: str
    etag: str
    size_bytes: int

    @property
    def content(self) -> str:
        """What its bytes may be kept under: an ETag of the Hub names content, wherever it lies; of
        others it says nothing beyond its own address (RFC 9110, 8.8.1).
        """
        return self.etag if self.url.startswith(_HUB) else f"{self.url}/{self.etag}"


_HUB = "hf://datasets/"

STORE_SCHEMES = ("s3", "gs", "gcs", "az", "abfs", "abfss")
WEB_SCHEMES = ("https", "http")


def is_elsewhere(name: str) -> bool:
    """Whether the name of a source is a URL of an object store, or of a file on the web.

    >>> is_elsewhere("s3://bucket/art/"), is_elsewhere("hf://datasets/me/art"), is_elsewhere("s3")
    (True, False, False)
    """
    scheme, mark, _ = name.partition("://")
    return bool(mark) and scheme.rpartition("::")[2] in (*STORE_SCHEMES, *WEB_SCHEMES)


def is_web(url: str) -> bool:
    """Whether an address is one of HTTP."""
    return url.startswith(tuple(f"{scheme}://" for scheme in WEB_SCHEMES))


def split_query(url: str) -> tuple[str, str]:
    """A web address and its query, which may sign it; a key of a store has none.

    >>> split_query("https://host/a.parquet?sign=1"), split_query("s3://bucket/a?.parquet")
    (('https://host/a.parquet', 'sign=1'), ('s3://bucket/a?.parquet', ''))
    """
    if not is_web(url):
        return url, ""
    place, _, query = url.partition("?")
    return place, query


def make_hub_url(name: str, commit: str, path: str) -> str:
    """How a file of a data set on the Hub is named, as huggingface_hub does.

    >>> make_hub_url("a/b", "0123", "data/c.parquet")
    'hf://datasets/a/b@0123/data/c.parquet'
    """
    return f"{_HUB}{name}@{commit}/{path}"


def split_hub_url(url: str) -> tuple[str, str, str] | None:
    """Name, commit and path of a file on the Hub; None for any other address.

    >>> split_hub_url("hf://datasets/a/b@0123/data/c.parquet")
    ('a/b', '0123', 'data/c.parquet')
    """
    if not url.startswith(_HUB):
        return None
    name, _, rest = url.removeprefix(_HUB).partition("@")
    commit, _, path = rest.partition("/")
    return name, commit, path


class Range(NamedTuple):
    """Bytes of a file from `start` up to `stop`."""

    start: int
    stop: int

    @property
    def size_bytes(self) -> int:
        """How many there are."""
        return self.stop - self.start


Check = Callable[[memoryview], None]
"""Told the bytes of a range before anybody else; FormatError if they cannot be what was asked for,
as after a bit flipped on the way: then they are fetched again, and never kept.
"""


def accept(data: memoryview) -> None:
    """Take any bytes: where nothing inside them tells whether they are right."""


class Ahead(Protocol):
    """Decides what to fetch before anybody asks for it (`hffs.core.readahead`)."""

    def note(self, page: int) -> Sequence[int]:
        """Hear of what is read; numbers of what to fetch now, in the order of their use."""
        ...


class RangeReader(Protocol):
    """Ranges of remote files, by way of the disk cache. Thread-safe."""

    def submit(
        self,
        file: RemoteFile,
        ranges: Sequence[Range],
        check: Check = accept,
        *,
        ahead: bool = False,
        keep: bool = True,
    ) -> list[Future[memoryview]]:
        """Begin to get ranges; a Future for each, in order.

        What is asked for by several is fetched once, what lies close together by one request. With
        `ahead` nobody waits yet: what somebody waits for goes first, and of what is in the cache
        already the Future gives no bytes. Without `keep`, what is
        fetched is not put into the cache.
        A Future raises DeadlineError (not in time: the network is gone, or too slow), AccessError
        (refused), SourceError (gone), StaleError (not the content that was pinned any more),
        OutageError (offline, and not in the cache), FormatError (refused by `check` twice).
        """
        ...

    def read(
        self,
        file: RemoteFile,
        ranges: Sequence[Range],
        check: Check = accept,
        *,
        keep: bool = True,
    ) -> list[memoryview]:
        """Get ranges, in order; waits up to the deadline. Raises as the Futures of `submit`."""
        return [each.result() for each in self.submit(file, ranges, check, keep=keep)]

    def holds(self, file: RemoteFile, place: Range) -> bool:
        """Whether a range is in the cache."""
        ...

    def close(self) -> None:
        """End everything that is under way; whoever waits gets an OutageError."""
        ...
