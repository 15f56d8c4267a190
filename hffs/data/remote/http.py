"""Ranges over HTTP: of files of the Hub, and of any other server.

Owns what an answer has to be, where the Hub redirects to, and who is sent the token: the Hub alone.
When to ask again is `hffs.data.remote.fetching`.

Invariant: bytes are returned only of an answer that says that they are this range of a file of this
size, and whose ETag, where it has one, is the pinned one.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import httpx2
import trio

from hffs import __version__
from hffs.data.hub.retrying import find_asked_wait_s
from hffs.data.hub.token import Token
from hffs.data.recent import Recent
from hffs.data.remote.clients import making_client
from hffs.data.remote.files import Range, RemoteFile, split_hub_url
from hffs.data.remote.origins import Trouble, describe
from hffs.data.remote.queueing import Limits
from hffs.errors import AccessError, DataError, HffsError, SourceError, StaleError

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_REDIRECTS = {301, 302, 303, 307, 308}
_NOT_ALLOWED = {401, 403, 404, 410}
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_ADDRESS_S = 3000.0
"""The Hub signs addresses for an hour."""

_MOST_ADDRESSES = 4096
"""Of a folder of a million images each has an address of its own, of a kilobyte."""

_MOST_HOPS = 5

_Accept = Callable[[RemoteFile, httpx2.Response], None]
"""Looks at the last answer of a chain before it is read; raises what is wrong with it."""


@dataclass(frozen=True, slots=True)
class _Address:
    """Where the Hub has redirected to for a file, and up to when that is believed.

    It is empty where the Hub sends the file itself.
    """

    url: str
    until: float


class HttpOrigin:
    """An `Origin` for `hf`, `https` and `http`; `endpoint` is that of the Hub.

    `query` is what addresses of the web are asked with, since it signs them.
    """

    def __init__(self, endpoint: str, token: Token, limits: Limits, query: str = "") -> None:
        self._endpoint, self._token, self._query = endpoint.rstrip("/"), token, query
        self._addresses = Recent[_Address](_MOST_ADDRESSES, _MOST_ADDRESSES, lambda each: 1)
        self._finding: dict[str, trio.Lock] = {}
        stall_s = limits.stall_s
        with making_client():
            self._client = httpx2.AsyncClient(
                timeout=httpx2.Timeout(stall_s, connect=limits.connect_s, pool=None),
                limits=httpx2.Limits(max_connections=None, max_keepalive_connections=64),
                headers={"User-Agent": f"hffs/{__version__}", "Accept-Encoding": "identity"},
            )

    def host(self, file: RemoteFile) -> str:
        """See `Origin`: the Hub, wherever it redirects to."""
        return urlsplit(file.url).netloc if split_hub_url(file.url) is None else "hub"

    async def get(self, file: RemoteFile, place: Range) -> memoryview:
        """See `Origin`."""
        if split_hub_url(file.url) is None:
            url = f"{file.url}?{self._query}" if self._query else file.url
            return await self._follow(file, place, url, None, _accept_plain)
        found = await self._locate(file, place)
        if isinstance(found, str):
            return await self._ask_address(file, place, found)
        return found

    async def aclose(self) -> None:
        """See `Origin`."""
        await self._client.aclose()

    async def _locate(self, file: RemoteFile, place: Range) -> memoryview | str:
        """Where the Hub has redirected to for a file, or the range itself, if it has sent that."""
        known = self._find_address(file)
        if known is None:
            # Of many that begin at once, one finds the address; it is known from then on.
            finding = self._finding.setdefault(file.url, trio.Lock())
            try:
                async with finding:
                    known = self._find_address(file)
                    if known is None:
                        return await self._ask_hub(file, place)
            finally:
                if not finding.statistics().tasks_waiting:
                    self._finding.pop(file.url, None)
        return known or await self._ask_hub(file, place)

    def _find_address(self, file: RemoteFile) -> str | None:
        """Where a file is known to be, if that is still to be believed."""
        address = self._addresses.get(file.url)
        if address is None:
            return None
        if address.until < time.monotonic():
            self._addresses.drop(file.url)
            return None
        return address.url

    async def _ask_hub(self, file: RemoteFile, place: Range) -> memoryview | str:
        """The range, if the Hub sends it itself, else where it says that the file is."""
        url = self._hub_url(file)
        token = await trio.to_thread.run_sync(self._token.read)
        async with self._send(file, url, place, token) as answer:
            if answer.status_code in _NOT_ALLOWED:
                raise await self._refusal(file, answer, token)
            _require_same(file, answer)
            if answer.status_code in _REDIRECTS:
                where = _find_target(file, answer)
                self._addresses.put(file.url, _Address(where, time.monotonic() + _ADDRESS_S))
                return where
            self._addresses.put(file.url, _Address("", float("inf")))
            return await _read(file, place, answer)

    async def _ask_address(self, file: RemoteFile, place: Range, url: str) -> memoryview:
        # A repository that was renamed is still the Hub's: the token goes there as well.
        is_hub = _origin_of(url) == _origin_of(self._endpoint)
        token = await trio.to_thread.run_sync(self._token.read) if is_hub else None

        def accept(file: RemoteFile, answer: httpx2.Response) -> None:
            if answer.status_code in _NOT_ALLOWED:  # the signature is too old, say
                self._addresses.drop(file.url)
                raise Trouble(f"the address it was redirected to answers {answer.status_code}")

        return await self._follow(file, place, url, token, accept)

    async def _follow(
        self, file: RemoteFile, place: Range, url: str, token: str | None, accept: _Accept
    ) -> memoryview:
        """The range from where a URL leads to; the token is for the URL itself alone."""
        for _ in range(_MOST_HOPS):
            async with self._send(file, url, place, token) as answer:
                if answer.status_code in _REDIRECTS:
                    url, token = _find_target(file, answer), None
                    continue
                accept(file, answer)
                return await _read(file, place, answer)
        raise SourceError("cannot fetch", describe(file), why="it is redirected in circles")

    def _hub_url(self, file: RemoteFile) -> str:
        name, commit, path = map(quote, split_hub_url(file.url) or ("", "", ""))
        return f"{self._endpoint}/datasets/{name}/resolve/{commit}/{path}"

    async def _refusal(
        self, file: RemoteFile, answer: httpx2.Response, token: str | None
    ) -> Trouble | HffsError:
        """What a refusal means: nothing yet, if the token has been replaced meanwhile."""
        if await trio.to_thread.run_sync(self._token.read) != token:
            return Trouble("the token was replaced", rest_s=0.0)
        return _explain_refusal(file, answer.status_code)

    @asynccontextmanager
    async def _send(
        self, file: RemoteFile, url: str, place: Range, token: str | None
    ) -> AsyncIterator[httpx2.Response]:
        headers = {"Range": f"bytes={place.start}-{place.stop - 1}"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        try:
            async with self._client.stream("GET", url, headers=headers) as answer:
                if answer.status_code in _PASSING:
                    rest_s = find_asked_wait_s(answer)
                    raise Trouble(f"{answer.url.host} answers {answer.status_code}", rest_s)
                yield answer
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            why = f"cannot connect to {httpx2.URL(url).host}"
            raise Trouble(why, is_reached=False) from error
        except httpx2.TimeoutException as error:
            raise Trouble(f"{httpx2.URL(url).host} does not answer") from error
        except (httpx2.NetworkError, httpx2.ProtocolError, httpx2.ProxyError) as error:
            raise Trouble("the connection was cut") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            why = "no HTTP request can be made of it"
            raise DataError("cannot fetch", describe(file), why=why) from error


async def _read(file: RemoteFile, place: Range, answer: httpx2.Response) -> memoryview:
    """The body of an answer that is this range, which is seen before any of it is read."""
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise _refuse(file, "it is sent compressed, which was not asked for")
    if answer.status_code == 416:
        raise _stale(file, "it has not as many bytes")
    if answer.status_code == 206:
        found = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if found is None or (int(found[1]), int(found[2])) != (place.start, place.stop - 1):
            raise _refuse(file, "another range is sent than was asked for")
        if int(found[3]) != file.size_bytes:
            raise _stale(file, f"it has {found[3]} bytes now")
    elif answer.status_code != 200:
        why = f"{answer.url.host} answers {answer.status_code}"
        raise SourceError("cannot fetch", describe(file), why=why)
    elif place != Range(0, file.size_bytes):
        raise _refuse(file, f"{answer.url.host} sends whole files, whatever range is asked for")
    data = bytearray()
    async for piece in answer.aiter_raw():
        data += piece
        if len(data) > place.size_bytes:
            raise _refuse(file, "more is sent than was asked for")
    return memoryview(data)


def _accept_plain(file: RemoteFile, answer: httpx2.Response) -> None:
    if answer.status_code in _NOT_ALLOWED:
        raise _explain_refusal(file, answer.status_code)
    # What pins a file of the web is its ETag as it was sent, in quotes, or the date.
    is_dated = bool(file.etag) and not file.etag.endswith('"')
    if not is_dated:
        _require_same(file, answer)
    elif answer.status_code < 400 and answer.headers.get("Last-Modified") != file.etag:
        raise _stale(file, "it is another file now")


def _require_same(file: RemoteFile, answer: httpx2.Response) -> None:
    """Raise StaleError where an answer's ETag is another than the pinned one."""
    if answer.status_code >= 400 or not file.etag:
        return
    headers = answer.headers
    etag = headers.get("X-Linked-Etag") or headers.get("ETag")
    is_moved = answer.status_code in _REDIRECTS and "X-Linked-Etag" not in headers
    if etag and not is_moved and _normalize(etag) != _normalize(file.etag):
        raise _stale(file, "it is another file now")


def _find_target(file: RemoteFile, answer: httpx2.Response) -> str:
    """Where an answer redirects to; never from https to anything else."""
    try:
        target = answer.request.url.join(answer.headers.get("Location", ""))
    except httpx2.InvalidURL:
        raise SourceError("cannot fetch", describe(file), why="it is redirected nowhere") from None
    if target.scheme not in ("https", answer.request.url.scheme):
        why = f"it is redirected from {answer.request.url.scheme} to {target.scheme}"
        raise SourceError("cannot fetch", describe(file), why=why)
    return str(target)


def _normalize(etag: str) -> str:
    return etag.removeprefix("W/").strip('"')


def _origin_of(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _explain_refusal(file: RemoteFile, status: int) -> SourceError:
    if status in (401, 403):
        is_hub = split_hub_url(file.url) is not None
        fix = "give a token that may read it" if is_hub else "mount it with a new signature"
        why = f"it may not be read (answer {status})"
        return AccessError("cannot fetch", describe(file), why=why, fix=fix)
    return SourceError("cannot fetch", describe(file), why=f"it is not there (answer {status})")


def _refuse(file: RemoteFile, why: str) -> DataError:
    is_hub = split_hub_url(file.url) is not None
    fix = "leave --streaming out, or use another HF_ENDPOINT" if is_hub else ""
    return DataError("cannot fetch", describe(file), why=why, fix=fix)


def _stale(file: RemoteFile, why: str) -> StaleError:
    return StaleError("cannot fetch", describe(file), why=why, fix="mount again")
