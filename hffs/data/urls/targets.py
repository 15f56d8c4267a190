"""What a URL of a data set asks for, and whether it may be asked.

Owns the rules that a URL's text alone decides. Pure. Where a name leads is decided when it is
connected to (`hffs.data.urls.connecting`). Invariant: what is judged here is what is requested,
part by part; no other parser sees the text again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from urllib.parse import quote, urljoin, urlsplit

from hffs.core.formats import Media
from hffs.errors import AccessError, FetchError, HffsError

MAX_URL_CHARACTERS = 8192

_SHOWN_CHARACTERS = 160
_PORTS = {"http": 80, "https": 443}
_FIRST_FREE_PORT = 1024
_HOST = re.compile(r"(?!-)[a-z0-9._-]{1,253}")
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\]")
_PATH_SAFE = "/%:@!$&'()*+,;=~-._"
_QUERY_SAFE = _PATH_SAFE + "?"


@dataclass(frozen=True, slots=True)
class UrlRules:
    """What is allowed, and how much of it; the limits are those of one file."""

    allow_http: bool = False
    allow_private: bool = False
    offline: bool = False
    per_host: int = 8
    overall: int = 32
    max_redirects: int = 5
    max_bytes: int = 256 * 2**20
    deadline_s: float = 20.0
    """From the first request on; what waits for its host's turn waits up to `queue_s` before."""
    queue_s: float = 30.0
    connect_s: float = 5.0
    media: Media = "image"
    """What has to come."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL taken apart: `host` is ASCII and without brackets, `path` holds the query as well."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def join(self, location: str) -> str:
        """The URL that a redirect from here leads to; FetchError if it leads to none."""
        try:
            return urljoin(f"{self.scheme}://{self.authority}{self.path}", location)
        except ValueError as error:
            raise _refuse(FetchError, location, "not a URL") from error


def parse_target(url: str, rules: UrlRules) -> Target:
    """What a URL asks for; AccessError if that is not allowed, FetchError if it is no URL."""
    if len(url) > MAX_URL_CHARACTERS:
        raise _refuse(FetchError, url, f"longer than {MAX_URL_CHARACTERS} characters")
    text = url.strip()
    if _FORBIDDEN.search(text):
        raise _refuse(FetchError, url, "a character that no URL may have")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
        host = _parse_host(host, is_literal="[" in parts.netloc)
        path = quote(parts.path or "/", _PATH_SAFE)
        if parts.query:
            path += "?" + quote(parts.query, _QUERY_SAFE)
    except ValueError as error:
        raise _refuse(FetchError, url, "not a URL") from error
    _check_scheme(url, parts.scheme, rules)
    if "@" in parts.netloc:
        raise _refuse(AccessError, url, "URLs with a user name are not fetched")
    port = _PORTS[parts.scheme] if port is None else port
    _check_port(url, port, rules)
    return Target(parts.scheme, host, port, path)


def shorten(url: str) -> str:
    """A URL for messages: without its query if it is long, which may hold a secret too."""
    shown = url if len(url) <= _SHOWN_CHARACTERS else url.partition("?")[0]
    if len(shown) > _SHOWN_CHARACTERS:
        shown = shown[:_SHOWN_CHARACTERS] + "..."
    return "".join(each if each.isprintable() else "?" for each in shown)


def _parse_host(host: str, *, is_literal: bool) -> str:
    """A host in ASCII; ValueError (UnicodeError is one) if it is none."""
    if is_literal:
        if "%" in host:
            raise ValueError("an address with a zone")
        return str(IPv6Address(host))
    name = host.encode("idna").decode("ascii").lower()
    if not _HOST.fullmatch(name):
        raise ValueError("not a host")
    return name


def _check_scheme(url: str, scheme: str, rules: UrlRules) -> None:
    if scheme == "http" and not rules.allow_http:
        fix = "allow them with allow_http_urls"
        raise _refuse(AccessError, url, "http URLs are not fetched", fix)
    if scheme not in _PORTS:
        raise _refuse(AccessError, url, f"{scheme or 'such'} URLs are not fetched")


def _check_port(url: str, port: int, rules: UrlRules) -> None:
    """Refuse ports below 1024 but the web's two: mail, shells and printers listen there, and some
    of them take an HTTP request for commands. Above it many image servers are found.
    """
    is_usual = port in _PORTS.values() or port >= _FIRST_FREE_PORT
    if not is_usual and not rules.allow_private:
        raise _refuse(AccessError, url, f"port {port} is not asked for images")


def _refuse(kind: type[HffsError], url: str, why: str, fix: str = "") -> HffsError:
    return kind("cannot fetch", shorten(url), why=why, fix=fix)
