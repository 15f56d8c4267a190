"""A fetcher for the Hub and for plain HTTP, as an environment and a configuration have it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hffs.data.cache import DiskCache
from hffs.data.hub.libraries import find_endpoint
from hffs.data.hub.resolution import Request
from hffs.data.hub.token import Token
from hffs.data.remote.fetching import Fetcher
from hffs.data.remote.origins import Origin
from hffs.data.remote.queueing import Limits


def open_fetcher(
    cache: DiskCache, token_file: Path | None, *, offline: bool, limits: Limits | None = None
) -> Fetcher:
    """What reads ranges; close it."""
    limits = limits or Limits()

    def open_origins() -> Mapping[str, Origin]:
        from hffs.data.remote.http import HttpOrigin

        http = HttpOrigin(find_endpoint(), Token(Request("", token_file=token_file)), limits)
        return {"hf": http, "https": http, "http": http}

    return Fetcher(cache, open_origins, limits, offline=offline)
