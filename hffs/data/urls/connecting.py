"""Connections to hosts that a data set names: to addresses that were judged, within a deadline.

Owns resolving names and opening sockets, below `httpcore2`, which has no cookies, credentials,
proxies or redirects of its own. Must not know what is asked of a host.

Invariants: a name is resolved once for each connection, all its addresses are judged, and one of
these very addresses is connected to, so that a resolver that answers otherwise a moment later
(DNS rebinding) changes nothing; certificates are checked against the name. Timeouts that come down
from `httpcore2` are points in time here, so that many small steps end when one large one would.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any

import httpcore2

from hffs.data.urls.addresses import is_public
from hffs.errors import AccessError

Resolve = Callable[[str, int], list[str]]
"""Addresses of a host and port, as text; OSError if there are none."""

_MOST_ADDRESSES = 4
_MOST_LOOKUPS = 64


class UnresolvedError(httpcore2.ConnectError):
    """A name that was not resolved."""


def resolve(host: str, port: int) -> list[str]:
    """What the system's resolver knows of a host; numbers in any notation are hosts as well."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class CheckedBackend(httpcore2.NetworkBackend):
    """Opens connections by way of `sockets`, which is given addresses alone.

    `timeout` is a point in time of `time.monotonic` in every call.
    """

    def __init__(
        self, resolve: Resolve, sockets: httpcore2.NetworkBackend, *, allow_private: bool
    ) -> None:
        self._resolve = resolve
        self._sockets = sockets
        self._allow_private = allow_private
        self._lookups = threading.BoundedSemaphore(_MOST_LOOKUPS)
        self._lock = threading.Lock()
        self._open: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._is_closed = False

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        """Connect to an address of a host; AccessError if one of them is not public."""
        addresses = self._look_up(host, port, timeout)
        if not self._allow_private:
            for address in addresses:
                if not is_public(address):
                    raise _refuse(host, address)
        shown = addresses[:_MOST_ADDRESSES]
        for number, address in enumerate(shown):
            share = _remaining(timeout, httpcore2.ConnectTimeout) / (len(shown) - number)
            try:
                stream = self._sockets.connect_tcp(
                    address, port, share, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                if number == len(shown) - 1:
                    raise
            else:
                return _Stream(stream, self)
        raise UnresolvedError("no address")

    def watch(self, stream: httpcore2.NetworkStream) -> None:
        """Remember a connection, so that `close` can end it."""
        opened = stream.get_extra_info("socket")
        with self._lock:
            self._open.add(opened)
            if self._is_closed:
                _end(opened)

    def close(self) -> None:
        """End every connection: whoever waits for one gets an error at once."""
        with self._lock:
            self._is_closed = True
            for opened in self._open:
                _end(opened)

    def _look_up(self, host: str, port: int, until: float | None) -> list[str]:
        """Addresses of a host. The system's resolver knows no deadline, so it works on a thread
        that nobody waits for any longer than that.
        """
        if not self._lookups.acquire(timeout=_remaining(until, httpcore2.ConnectTimeout)):
            raise httpcore2.ConnectTimeout("too many names are being resolved")
        answer: Future[list[str]] = Future()

        def work() -> None:
            try:
                answer.set_result(self._resolve(host, port))
            except (OSError, UnicodeError) as error:
                answer.set_exception(error)
            finally:
                self._lookups.release()

        threading.Thread(target=work, name="hffs-resolve", daemon=True).start()
        try:
            addresses = answer.result(_remaining(until, httpcore2.ConnectTimeout))
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout("its name was not resolved in time") from error
        except (OSError, UnicodeError) as error:
            raise UnresolvedError(f"cannot resolve {host}") from error
        if not addresses:
            raise UnresolvedError(f"{host} has no address")
        return addresses


class _Stream(httpcore2.NetworkStream):
    """A connection whose timeouts are points in time."""

    def __init__(self, stream: httpcore2.NetworkStream, backend: CheckedBackend) -> None:
        self._stream = stream
        self._backend = backend
        backend.watch(stream)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _remaining(timeout, httpcore2.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _remaining(timeout, httpcore2.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        left = _remaining(timeout, httpcore2.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, left), self._backend)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _remaining(until: float | None, late: type[httpcore2.TimeoutException]) -> float:
    """Seconds until a point in time; `late` is raised when it has passed."""
    if until is None:
        raise ValueError("a request without a deadline")
    left = until - time.monotonic()
    if left <= 0:
        raise late("the deadline has passed")
    return left


def _end(opened: socket.socket) -> None:
    try:
        # Not SSLSocket's own, which takes the TLS state from under a thread that reads.
        socket.socket.shutdown(opened, socket.SHUT_RDWR)
    except OSError:
        return  # it is closed


def _refuse(host: str, address: str) -> AccessError:
    leads = address if host == address else f"{host} leads to {address}, which"
    why = f"{leads} is not an address of the open internet"
    fix = "allow_private_urls allows it, for a data set that you trust"
    return AccessError("cannot connect", why=why, fix=fix)
