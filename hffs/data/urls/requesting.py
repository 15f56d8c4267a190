"""One try to get the image, video or sound at a URL: hop after hop, byte after byte, each checked.

Owns what is sent, and what of an answer is believed. Must not know caches, nor whether there is
another try. Invariants: nothing is sent but the URL itself (no cookie, token or referrer); the
bytes are complete and begin as the medium does; memory is bounded whatever the server says.
"""

from __future__ import annotations

import email.utils
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import httpcore2

from hffs import __version__
from hffs.core.formats import LONGEST_SNIFF_BYTES, NOUNS, Media, MediaFormat, count_sniffed, sniff
from hffs.data.urls.connecting import CheckedBackend, UnresolvedError
from hffs.data.urls.hosts import Hosts
from hffs.data.urls.targets import Target, UrlRules, parse_target
from hffs.errors import AccessError, DeadlineError, FetchError

LARGE_BYTES = 16 * 2**20
"""Of images beyond this there are few in memory at a time, since each may grow to the limit."""

_MOST_LARGE = 2
_HEAD_BYTES = LONGEST_SNIFF_BYTES
"""Of what came: enough to tell its format, or what it is instead."""

_KEEP_S = 15.0
_MOST_REST_S = 300.0
_REDIRECTS = {301, 302, 303, 307, 308}
_BUSY = {408, 425, 429, 500, 502, 503, 504}
_ASKS_TO_REST = {429, 503}
_SENT = (
    ("Accept", "*/*"),  # one that prefers a format may get another one tomorrow
    ("Accept-Encoding", "identity"),
    ("User-Agent", f"hffs/{__version__}"),
)
_WORDS = {
    400: "bad request", 401: "unauthorized", 403: "forbidden", 404: "not found", 410: "gone",
    429: "too many requests", 500: "internal error", 502: "bad gateway", 503: "unavailable",
    504: "gateway timeout",
}  # fmt: skip


class Trouble(Exception):  # noqa: N818 - it is no error yet: there may be another try
    """This try failed, for a reason that may pass.

    `rest_s` is how long the host asked to be left alone, None where it did not. Where it was not
    `reached`, others need not try either.
    """

    def __init__(self, why: str, rest_s: float | None = None) -> None:
        super().__init__(why)
        self.why, self.rest_s = why, rest_s
        self.host = ""
        self.is_worth_another, self.is_reached = True, True


class Patience:
    """Until when an image has to be there: the clock starts with the first turn at a host."""

    def __init__(self, rules: UrlRules) -> None:
        self._deadline_s = rules.deadline_s
        self._has_begun = False
        self.until = time.monotonic() + rules.queue_s

    def begin(self) -> float:
        """Start the clock, if it does not run yet; returns the point in time."""
        if not self._has_begun:
            self._has_begun = True
            self.until = time.monotonic() + self._deadline_s
        return self.until


class Requester:
    """Gets images over one pool of connections; close it at the end. Thread-safe."""

    def __init__(
        self,
        rules: UrlRules,
        backend: CheckedBackend,
        hosts: Hosts,
        ssl_context: ssl.SSLContext | None,
    ) -> None:
        self._rules = rules
        self._backend = backend
        self._hosts = hosts
        self._large = threading.BoundedSemaphore(_MOST_LARGE)
        self._pool = httpcore2.ConnectionPool(
            ssl_context=ssl_context or httpcore2.default_ssl_context(),
            # never less than there are turns, so that nobody waits for a connection
            max_connections=2 * rules.overall,
            keepalive_expiry=_KEEP_S,
            network_backend=backend,
        )

    def get(self, url: str, patience: Patience) -> bytearray:
        """The image at a URL, or Trouble, in time.

        Raises FetchError (no image will ever come), AccessError (not allowed), DeadlineError.
        """
        target = parse_target(url, self._rules)
        for _ in range(self._rules.max_redirects + 1):
            answer = self._ask(target, patience)
            if isinstance(answer, bytearray):
                return answer
            target = self._parse_hop(target, answer)
        why = f"it is redirected more than {self._rules.max_redirects} times"
        raise FetchError("cannot fetch", why=why)

    def close(self) -> None:
        """End what is under way; everything after that fails."""
        self._backend.close()
        self._pool.close()

    def _parse_hop(self, target: Target, location: str) -> Target:
        try:
            return parse_target(target.join(location), self._rules)
        except (AccessError, FetchError) as error:
            why = f"it is redirected to {error.which}: {error.why}"
            raise type(error)("cannot fetch", why=why, fix=error.fix) from error

    def _ask(self, target: Target, patience: Patience) -> bytearray | str:
        """The image that a target gives, or where it redirects to, as the server says it."""
        try:
            with self._hosts.turn(target.host, patience.until), _explained():
                until = patience.begin()
                response = self._pool.handle_request(_make_request(target, self._rules, until))
                with closing(response):
                    if response.status in _REDIRECTS:
                        return _find_header(response, b"location") or _no_location()
                    _check_status(response)
                    return self._read(response, until)
        except Trouble as trouble:
            trouble.host = target.host
            raise

    def _read(self, response: httpcore2.Response, until: float) -> bytearray:
        encoding = (_find_header(response, b"content-encoding") or "identity").lower()
        if encoding != "identity":
            raise FetchError("cannot fetch", why=f"it is compressed ({_tame(encoding)}), unasked")
        declared = _find_header(response, b"content-length") or "0"
        if declared.isdecimal() and int(declared[:20]) > self._rules.max_bytes:
            raise _too_large(self._rules)
        data, media = bytearray(), self._rules.media
        least = count_sniffed(media)
        is_large = False
        try:
            for chunk in response.iter_stream():
                if len(data) < least <= len(data) + len(chunk):
                    _check_format(bytes(data) + chunk[:_HEAD_BYTES], response, media)
                data += chunk
                if len(data) > self._rules.max_bytes:
                    raise _too_large(self._rules)
                if len(data) > LARGE_BYTES and not is_large:
                    is_large = self._wait_for_memory(until)
        finally:
            if is_large:
                self._large.release()
        _check_format(bytes(data[:_HEAD_BYTES]), response, media)  # of few bytes
        return data

    def _wait_for_memory(self, until: float) -> bool:
        if not self._large.acquire(timeout=max(0.0, until - time.monotonic())):
            several = NOUNS[self._rules.media][1]
            raise DeadlineError("cannot fetch", why=f"too many large {several} are waited for")
        return True


def _make_request(target: Target, rules: UrlRules, until: float) -> httpcore2.Request:
    connected = min(until, time.monotonic() + rules.connect_s)
    return httpcore2.Request(
        b"GET",
        httpcore2.URL(
            scheme=target.scheme.encode(),
            host=target.host.encode(),
            port=target.port,
            target=target.path.encode(),
        ),
        headers=[("Host", target.authority), *_SENT],
        # Points in time: see CheckedBackend.
        extensions={"timeout": {"connect": connected, "read": until, "write": until}},
    )


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what the connection raises into Trouble."""
    try:
        yield
    except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
        raise _explain_unreached(error) from error
    except httpcore2.TimeoutException as error:
        raise DeadlineError("cannot fetch", why="it did not come in time") from error
    except (httpcore2.NetworkError, httpcore2.RemoteProtocolError) as error:
        raise Trouble("the connection was cut") from error
    except httpcore2.ProtocolError as error:
        raise FetchError("cannot fetch", why="no HTTP request can be made of it") from error


def _explain_unreached(error: httpcore2.ConnectError | httpcore2.ConnectTimeout) -> Trouble:
    reason = error.args[0] if error.args else None
    if isinstance(error, UnresolvedError):
        why = str(error)
    elif isinstance(reason, ssl.SSLError):
        why = _explain_tls(reason)
    elif isinstance(error, httpcore2.ConnectTimeout):
        why = "its host does not answer"
    else:
        why = "cannot connect to its host"
    trouble = Trouble(why)
    trouble.is_worth_another = not isinstance(error, UnresolvedError) and (
        not isinstance(reason, ssl.SSLError)
    )
    trouble.is_reached = False
    return trouble


def _explain_tls(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {_tame(error.verify_message)}"
    return "no TLS connection can be made"


def _check_status(response: httpcore2.Response) -> None:
    status = response.status
    if status == 200:
        return
    words = f" ({_WORDS[status]})" if status in _WORDS else ""
    why = f"the server answers {status}{words}"
    if status not in _BUSY:
        raise FetchError("cannot fetch", why=why)
    raise Trouble(why, rest_s=_parse_rest(response) if status in _ASKS_TO_REST else None)


def _parse_rest(response: httpcore2.Response) -> float | None:
    """Seconds of Retry-After (RFC 9110, 10.2.3); a date counts from the response's own."""
    value = _find_header(response, b"retry-after")
    if value is None:
        return 1.0 if response.status == 429 else None
    if value.isdecimal():
        return min(float(value[:9]), _MOST_REST_S)
    try:
        wanted = email.utils.parsedate_to_datetime(value)
        now = email.utils.parsedate_to_datetime(_find_header(response, b"date") or "")
        return min(max((wanted - now).total_seconds(), 0.0), _MOST_REST_S)
    except (ValueError, TypeError, OverflowError):
        return 1.0


def _check_format(head: bytes, response: httpcore2.Response, media: Media) -> None:
    """Raise FetchError, which says what came instead, unless one of the medium begins so."""
    if sniff(head, media) is MediaFormat.UNKNOWN:
        noun = "an image" if media == "image" else f"a {NOUNS[media][0]}"
        raise FetchError("cannot fetch", why=f"it gives {_describe(head, response)}, not {noun}")


def _describe(head: bytes, response: httpcore2.Response) -> str:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for beginnings, what in (
        ((b"<!doctype html", b"<html"), "an HTML page"),
        ((b"<?xml", b"<svg"), "XML or SVG"),
        ((b"{", b"["), "JSON"),
        ((b"%pdf",), "a PDF"),
        ((b"\x1f\x8b",), "gzip"),
    ):
        if start.startswith(beginnings):
            return what
    if head[4:8] == b"ftyp":
        return "AVIF, HEIC or video"
    if not head:
        return "nothing"
    kind = (_find_header(response, b"content-type") or "").partition(";")[0].strip().lower()
    return "an HTML page" if kind == "text/html" else f"other data ({_tame(kind) or 'untyped'})"


def _find_header(response: httpcore2.Response, name: bytes) -> str | None:
    for key, value in response.headers:
        if key.lower() == name:
            return value.decode("utf-8", "replace")
    return None


def _no_location() -> str:
    raise FetchError("cannot fetch", why="it is redirected to nowhere")


def _too_large(rules: UrlRules) -> FetchError:
    return FetchError("cannot fetch", why=f"over {rules.max_bytes} bytes")


def _tame(text: str) -> str:
    """A server's words for a message."""
    return "".join(each if each.isprintable() else "?" for each in text[:60])
