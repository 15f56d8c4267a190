"""Opening the bytes of a source's images under a configuration, those at URLs among them.

Owns which URLs a configuration allows. What fetches is imported only where a source has URLs: a
mount without them does not carry it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from hffs.config import Config
from hffs.data.cache import DiskCache
from hffs.data.cells.index import CellIndex, SegmentKind
from hffs.data.rows import RowStore
from hffs.view.kept import Decided
from hffs.view.places import Places


@contextmanager
def open_rows(
    config: Config, places: Places, index: CellIndex, cache: DiskCache
) -> Iterator[RowStore]:
    """The bytes of an index's cells; at the end, whoever waits for a URL gets an error."""
    if not len(index.urls):
        rows = RowStore(index, places.located, cache)
        try:
            yield rows
        finally:
            rows.close()
        return
    from hffs.data.urls.fetching import UrlFetcher, UrlRules

    rules = UrlRules(
        allow_http=config.allow_http_urls,
        allow_private=config.allow_private_urls,
        offline=config.offline,
    )
    urls = UrlFetcher(rules, cache, places.urls)
    rows = RowStore(index, places.located, cache, urls=urls)
    try:
        yield rows
    finally:
        urls.close()
        rows.close()


def find_remote(index: CellIndex) -> NDArray[np.bool_]:
    """Which cells are at URLs."""
    remote: NDArray[np.bool_] = (index.segments.kind == SegmentKind.URLS)[index.segment]
    return remote


def describe_remote(config: Config, decided: Decided) -> Iterator[str]:
    """What a person should know of images at URLs: those that are never fetched."""
    urls, info = decided.index.urls, decided.manifest.info
    if info.unsettled:
        yield (
            f"{info.unsettled} images of {info.source} could not be fetched to see how large they "
            "are (the log says why); the next mount tries again"
        )
    if len(urls) and not config.allow_http_urls:
        starts = np.concatenate([[0], urls.ends[:-1]])
        plain = int((urls.names[starts + len("http")] == ord(":")).sum())
        if plain:
            yield (
                f"{plain} of the {len(urls)} image URLs of {info.source} are http, and are not "
                "fetched without --allow-http-urls"
            )
