"""Images at URLs: fetched when they are read, kept in the disk cache, the same ones ever after.

Owns when a URL is asked, again, or not any more. Must not know who reads what. Thread-safe.

Invariants: a URL is asked by one thread at a time, whoever waits; what was read once is never read
as anything else (StaleError); a URL that will never give an image is not asked again while this
lives, one that may is not asked again for `RETRY_S`; every `read` ends within its rules' deadlines.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

import httpcore2

from hffs.data.cache import DiskCache
from hffs.data.traffic import Traffic
from hffs.data.urls.connecting import CheckedBackend, Resolve, resolve
from hffs.data.urls.digests import Digests, hash_url
from hffs.data.urls.hosts import Hosts
from hffs.data.urls.requesting import Patience, Requester, Trouble
from hffs.data.urls.targets import UrlRules, shorten
from hffs.errors import DeadlineError, HffsError, OutageError, StaleError

__all__ = ["Network", "UrlFetcher", "UrlRules"]

RETRY_S = 5.0
"""A URL that gave no image is not asked again before."""

_TRIES = 4
_FIRST_WAIT_S = 0.5
_UNREACHABLE_S = 10.0
_MOST_FAILURES = 1 << 16


@dataclass(frozen=True, slots=True)
class Network:
    """What fetching takes of the host: how names are resolved, what opens sockets to addresses,
    and whose certificates are believed (those that the system believes, if there is no context).
    """

    resolve: Resolve = resolve
    sockets: httpcore2.NetworkBackend = field(default_factory=httpcore2.SyncBackend)
    ssl_context: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True)
class _Failure:
    error: HffsError
    until: float
    """Point in time up to which it holds."""


class UrlFetcher:
    """Reads images by URL; `records` is a folder of its own, kept beside the cache."""

    def __init__(
        self,
        rules: UrlRules,
        cache: DiskCache,
        records: Path,
        network: Network | None = None,
        traffic: Traffic | None = None,
    ) -> None:
        network = network or Network()
        self._traffic = traffic or Traffic()
        self._rules = rules
        self._cache = cache
        self._digests = Digests(records)
        self._hosts = Hosts(rules.per_host, rules.overall)
        backend = CheckedBackend(
            network.resolve, network.sockets, allow_private=rules.allow_private
        )
        self._requester = Requester(rules, backend, self._hosts, network.ssl_context)
        self._lock = threading.Lock()
        self._flights: dict[bytes, Future[memoryview]] = {}
        self._failures: OrderedDict[bytes, _Failure] = OrderedDict()
        self._closed = threading.Event()

    def read(self, url: str) -> memoryview:
        """The image at a URL.

        Raises FetchError (it will not give one), OutageError or DeadlineError (not now),
        AccessError (it may not be asked), StaleError (it gives another one than before).
        """
        key = hash_url(url)
        kept = self._cache.get(_cache_key(key))
        if kept is not None:
            return kept
        with self._lock:
            self._recall(key)
            flight = self._flights.get(key)
            is_ours = flight is None
            if flight is None:
                flight = self._flights[key] = Future()
        return self._fly(url, key, flight) if is_ours else self._wait(url, flight)

    def is_here(self, url: str) -> bool:
        """Whether nobody has to be asked for an image."""
        return self._cache.has(_cache_key(hash_url(url)))

    def close(self) -> None:
        """End every request; whoever waits for one gets an error."""
        self._closed.set()
        self._hosts.close()
        self._requester.close()

    def _fly(self, url: str, key: bytes, flight: Future[memoryview]) -> memoryview:
        try:
            image = self._cache.get(_cache_key(key)) or self._fetch(url, key)
        except HffsError as error:
            failure = _name(error, url)
            self._remember(key, failure)
            flight.set_exception(failure.anew())
            raise failure from error
        else:
            flight.set_result(image)
            return image
        finally:
            with self._lock:
                del self._flights[key]
            flight.cancel()  # has no effect where there is an outcome

    def _wait(self, url: str, flight: Future[memoryview]) -> memoryview:
        """What another thread gets of the same URL."""
        try:
            return flight.result(self._rules.queue_s + self._rules.deadline_s)
        except TimeoutError as error:
            raise DeadlineError("cannot fetch", shorten(url), why="it takes too long") from error

    def _fetch(self, url: str, key: bytes) -> memoryview:
        if self._rules.offline:
            raise OutageError("cannot fetch", why="offline, and it is not in the cache")
        data = self._try(url, key)
        if not self._digests.agree(key, data):
            raise StaleError("cannot fetch", why="it is not what it was when first read")
        return self._cache.put(_cache_key(key), data)

    def _try(self, url: str, key: bytes) -> bytearray:
        """The bytes at a URL, asked for again where that may help."""
        patience = Patience(self._rules)
        for number in range(_TRIES):
            if number:
                self._traffic.count_retries()
            try:
                return self._ask(url, patience)
            except Trouble as trouble:
                met = trouble
            wait_s = _plan_wait(key, number)
            if met.rest_s is not None:
                self._hosts.rest(met.host, met.rest_s, met.why)
                wait_s += met.rest_s
            is_last = number == _TRIES - 1 or time.monotonic() + wait_s >= patience.until
            if is_last or not met.is_worth_another or self._closed.wait(wait_s):
                break
        if not met.is_reached:
            self._hosts.shun(met.host, _UNREACHABLE_S, met.why)
        raise OutageError("cannot fetch", why=met.why) from met

    def _ask(self, url: str, patience: Patience) -> bytearray:
        try:
            with self._traffic.requesting():
                data = self._requester.get(url, patience)
        except DeadlineError:
            self._traffic.count_late()
            raise
        self._traffic.count_fetched(len(data))
        return data

    def _recall(self, key: bytes) -> None:
        failure = self._failures.get(key)
        if failure is not None and time.monotonic() < failure.until:
            raise failure.error.anew()

    def _remember(self, key: bytes, error: HffsError) -> None:
        passes = isinstance(error, OutageError | DeadlineError)
        until = time.monotonic() + RETRY_S if passes else float("inf")
        with self._lock:
            self._failures[key] = _Failure(error.anew(), until)
            self._failures.move_to_end(key)
            if len(self._failures) > _MOST_FAILURES:
                self._failures.popitem(last=False)


def _plan_wait(key: bytes, number: int) -> float:
    """Seconds before the next try: longer each time, and spread so that not all come at once.

    The hash of the URL spreads as well as chance does, and needs no seed.
    """
    return _FIRST_WAIT_S * float(1 << number) * (0.5 + key[number] / 256)


def _cache_key(key: bytes) -> str:
    return f"url/{key.hex()}"


def _name(error: HffsError, url: str) -> HffsError:
    """The same error, said of the URL that was read."""
    shown = shorten(url)
    why = error.why if error.which in ("", shown) else f"{error.which}: {error.why}"
    return type(error)("cannot fetch", shown, why=why, fix=error.fix)
