"""Opening the bytes of a source's images under a configuration, wherever they lie.

Owns which URLs a configuration allows, and how pages are read ahead. What fetches is imported only
where something has to be fetched: a mount without that does not carry it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hffs.config import Config
from hffs.core.readahead import Order, Streams
from hffs.data.cache import DiskCache
from hffs.data.cells.index import SLOT_BITS, CellIndex, SegmentKind
from hffs.data.fetchers import Fetchers
from hffs.data.remote.files import Ahead, RangeReader
from hffs.data.rows import RowStore
from hffs.data.shards import Located
from hffs.data.traffic import Traffic
from hffs.view.kept import Decided
from hffs.view.places import Places

if TYPE_CHECKING:
    from hffs.data.farfiles import FileStore
    from hffs.data.pages import PageStore
    from hffs.data.urls.fetching import UrlFetcher

AHEAD_BYTES = 256 << 20
"""Of pages that are fetched before they are asked for, where their order was given."""


@contextmanager
def open_reader(config: Config, places: Places) -> Iterator[RangeReader | None]:
    """What reads shards where they lie; None where all of them are on this host."""
    if not any(shard.is_remote for shard in places.located.shards):
        yield None
        return
    with _open_fetcher(config, DiskCache(places.blobs, config.cache_size), Traffic()) as reader:
        yield reader


@contextmanager
def _open_fetcher(config: Config, cache: DiskCache, traffic: Traffic) -> Iterator[RangeReader]:
    from hffs.data.remote.opening import open_fetcher

    name = config.dataset_name
    reader = open_fetcher(cache, name, config.token_file, traffic, offline=config.offline)
    try:
        yield reader
    finally:
        reader.close()


@contextmanager
def open_rows(
    config: Config,
    places: Places,
    index: CellIndex,
    cache: DiskCache,
    order: NDArray[np.int64] | None = None,
) -> Iterator[RowStore]:
    """The bytes of an index's cells; at the end, whoever waits for another host gets an error.

    `order` are the cells in the order in which they will be read, as far as that is known.
    """
    with ExitStack() as stack:
        traffic = Traffic()
        urls = _open_urls(config, places, cache, traffic) if len(index.urls) else None
        if urls is not None:
            stack.callback(urls.close)
        pages = files = None
        if len(index.pages) or len(index.far_ranges):
            reader = stack.enter_context(_open_fetcher(config, cache, traffic))
            ahead, first = _plan(index, order)
            pages, files = _open_stores(places, index, reader, cache, ahead)
            (pages if len(index.pages) else files).begin(first)
            stack.callback(pages.close)
        fetchers = Fetchers(urls, pages, files, traffic)
        rows = RowStore(index, places.located, cache, fetchers=fetchers)
        stack.callback(rows.close)
        yield rows


def _open_urls(config: Config, places: Places, cache: DiskCache, traffic: Traffic) -> UrlFetcher:
    from hffs.data.urls.fetching import UrlFetcher, UrlRules

    rules = UrlRules(
        allow_http=config.allow_http_urls,
        allow_private=config.allow_private_urls,
        offline=config.offline,
        media=config.dataset_type,
    )
    return UrlFetcher(rules, cache, places.urls, traffic=traffic)


def _open_stores(
    places: Places, index: CellIndex, reader: RangeReader, cache: DiskCache, ahead: Ahead
) -> tuple[PageStore, FileStore]:
    from hffs.data.farfiles import FileStore
    from hffs.data.pages import PageStore

    return (
        PageStore(index, places.located, reader, cache, ahead),
        FileStore(index, places.located, reader, ahead),
    )


def _plan(index: CellIndex, order: NDArray[np.int64] | None) -> tuple[Ahead, Sequence[int]]:
    """What to fetch ahead: along the order in which things will be read, or as shards have them;
    and what of it before anything is read.
    """
    has_pages = len(index.pages) > 0
    if order is not None:
        if has_pages:
            things, sizes = _find_pages(index, order), index.pages.size
        else:
            things = _find_offsets(index, order, SegmentKind.FAR_FILES)
            sizes = index.far_ranges.size
        ordered = Order(things, np.asarray(sizes), AHEAD_BYTES)
        return ordered, ordered.start()
    if not has_pages:
        return Streams(np.array([0, len(index.far_ranges)])), ()
    shards = index.chunks.shard[index.pages.chunk]
    return Streams(np.flatnonzero(np.diff(shards, prepend=-1, append=-1))), ()


def _find_offsets(
    index: CellIndex, cells: NDArray[np.int64], kind: SegmentKind
) -> NDArray[np.int64]:
    """Offsets of those of some cells that lie in segments of a kind."""
    offsets: NDArray[np.int64] = index.offset[
        cells[index.segments.kind[index.segment[cells]] == kind]
    ]
    return offsets


def _find_pages(index: CellIndex, cells: NDArray[np.int64]) -> NDArray[np.int64]:
    return _find_offsets(index, cells, SegmentKind.PAGES) >> SLOT_BITS


def describe_remote(config: Config, decided: Decided, located: Located) -> Iterator[str]:
    """What a person should know of images that lie elsewhere: those that are never fetched, and
    those of which one takes much to be fetched.
    """
    index, info = decided.index, decided.manifest.info
    if config.streaming and not located.is_remote:
        yield f"streaming has no effect: {info.source} is on this host"
    if info.unsettled:
        yield (
            f"{info.unsettled} images of {info.source} could not be fetched to see how large they "
            "are (the log says why); the next mount tries again"
        )
    if len(index.urls) and not config.allow_http_urls:
        starts = np.concatenate([[0], index.urls.ends[:-1]])
        plain = int((index.urls.names[starts + len("http")] == ord(":")).sum())
        if plain:
            yield (
                f"{plain} of the {len(index.urls)} image URLs of {info.source} are http, and are "
                "not fetched without --allow-http-urls"
            )
    size = _measure_fetched(decided, config.cache_size)
    if size > config.cache_size:
        yield (
            f"the images of {info.source} take {size / 1e9:.1f} GB, and cache_size is "
            f"{config.cache_size / 1e9:.1f} GB: an epoch fetches what it has no room for again"
        )
    whole = index.pages.size[index.chunks.whole[index.pages.chunk]]
    if len(whole):
        yield (
            f"{len(whole)} of the {len(index.chunks)} row groups of {info.source} have no page "
            f"index: the first image that is read of each fetches all of it, "
            f"{whole.mean() / 1e6:.1f} MB"
        )


def _measure_fetched(decided: Decided, enough: int) -> int:
    """Bytes of the pages and of the far ranges that a view has images in; at most those of the
    source, where these are not more than `enough`: to look at every image takes a while at each
    mount.
    """
    index = decided.index
    pages, ranges = np.asarray(index.pages.size), np.asarray(index.far_ranges.size)
    all_of_them = int(pages.sum() + ranges.sum())
    if all_of_them <= enough:
        return all_of_them
    cells = np.asarray(decided.manifest.cells)
    used = _find_offsets(index, cells, SegmentKind.FAR_FILES)
    return _sum_used(pages, _find_pages(index, cells)) + _sum_used(ranges, used)


def _sum_used(sizes: NDArray[np.int64], numbers: NDArray[np.int64]) -> int:
    used = np.zeros(len(sizes), np.bool_)
    used[numbers] = True
    return int(sizes[used].sum())
