"""A fetcher for all kinds of addresses, as an environment and a configuration have it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hffs.data.cache import DiskCache
from hffs.data.hub.libraries import find_endpoint
from hffs.data.hub.resolution import Request
from hffs.data.hub.token import Token
from hffs.data.remote.fetching import Fetcher
from hffs.data.remote.files import STORE_SCHEMES, WEB_SCHEMES, split_query
from hffs.data.remote.origins import Origin
from hffs.data.remote.queueing import Limits
from hffs.data.traffic import Traffic


def open_fetcher(
    cache: DiskCache,
    name: str,
    token_file: Path | None,
    traffic: Traffic | None = None,
    *,
    offline: bool,
) -> Fetcher:
    """What reads ranges of a source, as a user has named it, and counts them; close it."""
    limits, (_, query) = Limits(), split_query(name)

    def open_origins() -> Mapping[str, Origin]:
        from hffs.data.remote.http import HttpOrigin
        from hffs.data.remote.stores import StoreOrigin

        token = Token(Request("", token_file=token_file))
        http = HttpOrigin(find_endpoint(), token, limits, query)
        store = StoreOrigin()
        return {"hf": http} | dict.fromkeys(WEB_SCHEMES, http) | dict.fromkeys(STORE_SCHEMES, store)

    return Fetcher(cache, open_origins, limits, offline=offline, traffic=traffic)
