"""One file at an https address: whether ranges of it can be read, and what pins its content.

Owns the one request that tells. Whom a user names is his choice: plain http too, and hosts of his
own network, which what a data set names must never reach (`hffs.data.urls`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from hffs.data.hub.resolution import HubFile
from hffs.data.remote.troubles import explain, locating_error, refuse_user, show
from hffs.errors import AccessError, DataError, HffsError, SourceError

if TYPE_CHECKING:
    import httpx2

_CONNECT_S = 5.0
_ANSWER_S = 20.0
_MOST_REDIRECTS = 5
_PARTIAL = 206
_ONE_BYTE = re.compile(r"bytes 0-0/(\d+)")
_CHECK = "check the address"


def find_file(url: str, name: str) -> HubFile:
    """What the file at a URL is now; `name` is what it is called beside others.

    One byte is asked for rather than the head: that tells as much, is allowed by addresses that
    were signed for reading, and shows whether the server gives ranges at all. The file is
    pinned by its ETag as it is sent (`"v1"`, `W/"v1"`), without one by `Last-Modified`, a date.
    Raises SourceError, AccessError (refused), DataError (it cannot be read in ranges, or pinned).
    """
    refuse_user(url)
    status, headers = _ask(url)
    if status != _PARTIAL:
        raise _refused(url, status)
    found = _ONE_BYTE.fullmatch(headers.get("content-range", ""))
    if found is None:
        raise _unusable(url, "the server does not tell how long it is")
    tag = headers.get("etag") or headers.get("last-modified")
    if not tag:
        raise _unusable(url, "without ETag and Last-Modified nobody would see that it changes")
    return HubFile(name, int(found[1]), tag)


def _ask(url: str) -> tuple[int, Mapping[str, str]]:
    """Status and headers of the answer where redirects end."""
    import httpx2

    from hffs.data.remote.clients import making_client

    timeout = httpx2.Timeout(_ANSWER_S, connect=_CONNECT_S)
    headers = {"Range": "bytes=0-0", "Accept-Encoding": "identity"}
    with making_client():
        made = httpx2.Client(timeout=timeout, headers=headers)
    try:
        with made as client:
            return _follow(client, url)
    except httpx2.TransportError as error:
        raise locating_error(explain(error, ""), url) from error
    except (httpx2.InvalidURL, ValueError) as error:
        raise SourceError("cannot open", show(url), why="this is no address") from error


def _follow(client: httpx2.Client, url: str) -> tuple[int, Mapping[str, str]]:
    request = client.build_request("GET", url)
    for _ in range(_MOST_REDIRECTS + 1):
        answer = client.send(request, stream=True)
        answer.close()  # whoever passes over the range would send all of the file
        if answer.next_request is None:
            return answer.status_code, answer.headers
        if request.url.scheme == "https" and answer.next_request.url.scheme != "https":
            why = "it redirects to an address that is not https"
            raise AccessError("cannot open", show(url), why=why)
        request = answer.next_request
    raise SourceError("cannot open", show(url), why="it redirects too often", fix=_CHECK)


def _refused(url: str, status: int) -> HffsError:
    if status == 200:
        return _unusable(url, "the server gives no ranges of it")
    if status == 416:
        return DataError("cannot use", show(url), why="the file is empty")
    if status in (401, 403):
        why, fix = f"the server refuses to give it ({status})", "check that it is public, or signed"
        return AccessError("cannot open", show(url), why=why, fix=fix)
    if status in (404, 410):
        return SourceError("cannot open", show(url), why=f"no such file ({status})", fix=_CHECK)
    fix = "try again later" if status == 429 or status >= 500 else _CHECK
    return SourceError("cannot open", show(url), why=f"the server answers {status}", fix=fix)


def _unusable(url: str, why: str) -> DataError:
    return DataError("cannot use", show(url), why=why, fix="download it, and mount the file")
