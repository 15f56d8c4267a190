"""A Hub for data sets on this machine, good enough for the real huggingface_hub and datasets.

`HubServer` owns sockets, the log of requests and the faults that tests ask for; what is answered is
in `tests/hub_routes.py`, what is kept in `tests/hub_store.py`. By hand, from the project's folder:
`python -m tests.hub ROOT`, where ROOT/user/name/ are data sets; it prints each request.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import re
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.hub_routes import Answer, Asked, Site, answer
from tests.hub_store import Repo

WAIT_S = 20
"""How long a test waits for something that has to come."""
CHUNK_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Fail:
    """Answer with an error where the pattern is found in `METHOD /path`."""

    pattern: str
    status: int
    times: int | None = 1
    """None: always."""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cut:
    """Promise a whole body, then close the connection within it."""

    pattern: str
    after_bytes: int
    times: int | None = 1


@dataclass(frozen=True, slots=True)
class Truncate:
    """Send the beginning of a file as if it were all of it, as a proxy does that kept half."""

    pattern: str
    keep_bytes: int
    times: int | None = None


@dataclass(frozen=True, slots=True)
class Stall:
    """Send the beginning of a body, then nothing for a while, then close the connection."""

    pattern: str
    after_bytes: int
    duration_s: float
    times: int | None = 1


@dataclass(frozen=True, slots=True)
class Flip:
    """Send a body with one bit that is not what it was, as a bad line may."""

    pattern: str
    at: int
    """Which byte of the body; modulo its length."""
    times: int | None = 1


@dataclass(frozen=True, slots=True)
class Garble:
    """Answer with what somebody makes of an answer's body, whatever it is an answer to."""

    pattern: str
    change: Callable[[bytes], bytes]
    times: int | None = None


Fault = Fail | Cut | Truncate | Stall | Flip | Garble
_F = TypeVar("_F", Fail, Cut, Truncate, Stall, Flip, Garble)


@dataclass(frozen=True, slots=True)
class Logged:
    """One request, and what was sent for it."""

    method: str
    path: str
    query: str
    range: str | None
    status: int
    sent_bytes: int
    """Bytes of the body."""
    token: str | None

    @property
    def line(self) -> str:
        """What faults and sums look for their pattern in."""
        return f"{self.method} {self.path}"


@dataclass(slots=True)
class _Exchange:
    """A request while it is answered, and after."""

    logged: Logged
    is_over: bool = False


def _sum_sent(requests: Iterable[Logged], pattern: str) -> int:
    return sum(each.sent_bytes for each in requests if re.search(pattern, each.line))


class HubServer(Site):
    """The server: it listens when entered and is gone, threads and connections too, when left.

    `faults` is live: a rule counts down and goes when it is used up, so an empty list says that
    all of them happened.
    """

    def __init__(
        self,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        on_end: Callable[[Logged], None] = lambda _: None,
    ) -> None:
        self._listeners = [_Listener(self, port, tls), _Listener(self, 0, tls)]
        scheme = "https" if tls else "http"
        hub, cdn = (f"{scheme}://127.0.0.1:{each.server_port}" for each in self._listeners)
        super().__init__(hub, cdn)
        self.faults: list[Fault] = []
        self.is_down = False
        self.latency_s = 0.0
        self.bytes_per_s: float | None = None
        self._on_end = on_end
        self._log: list[_Exchange] = []
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._broken: list[BaseException] = []

    def __enter__(self) -> Self:
        for each in self._listeners:
            # A short poll: that is how long it may take to stop.
            threading.Thread(target=each.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        for each in self._listeners:
            each.close()
        if self._broken and error is None:
            raise self._broken[0]

    def go_down(self) -> None:
        """Cut every connection, and let no other come to anything, until `come_back`."""
        self.is_down = True
        for each in self._listeners:
            each.cut()

    def come_back(self) -> None:
        """Answer again."""
        self.is_down = False

    def add(self, repo_id: str, kind: Literal["datasets", "models"] = "datasets") -> Repo:
        """A new, empty repository; of a name there is one, of whatever kind."""
        self.repos[repo_id] = Repo(repo_id, kind)
        return self.repos[repo_id]

    def env(self, home: Path) -> dict[str, str]:
        """What a program needs in its environment to take this for the Hub."""
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "1",
            "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1",
        }

    @property
    def requests(self) -> list[Logged]:
        """All requests in the order in which they came, once none of them is being answered."""
        with self._changed:
            self._wait_for(lambda: all(each.is_over for each in self._log))
            return [each.logged for each in self._log]

    def clear(self) -> None:
        """Forget the requests so far."""
        with self._changed:
            self._wait_for(lambda: all(each.is_over for each in self._log))
            self._log.clear()

    def sent_bytes(self, pattern: str = "") -> int:
        """Bytes of all bodies sent where the pattern is found in `METHOD /path`."""
        return _sum_sent(self.requests, pattern)

    def wait_until_sent(self, count: int, pattern: str = "") -> None:
        """Return as soon as that many bytes of bodies are sent, in the middle of one too."""
        with self._changed:
            self._wait_for(lambda: _sum_sent([each.logged for each in self._log], pattern) >= count)

    def wait_until_asked(self, count: int) -> None:
        """Return as soon as that many requests wait for their answers at once."""
        with self._changed:
            self._wait_for(lambda: sum(not each.is_over for each in self._log) >= count)

    def _wait_for(self, condition: Callable[[], bool]) -> None:
        if not self._changed.wait_for(condition, WAIT_S):
            raise TimeoutError(f"not within {WAIT_S} s: {[each.logged for each in self._log]}")

    def _begin(self, logged: Logged) -> _Exchange:
        with self._changed:
            self._log.append(exchange := _Exchange(logged))
            self._changed.notify_all()
        return exchange

    def _note(self, exchange: _Exchange, logged: Logged) -> None:
        with self._changed:
            exchange.logged = logged
            self._changed.notify_all()

    def _end(self, exchange: _Exchange) -> None:
        with self._changed:
            exchange.is_over = True
            self._changed.notify_all()
        self._on_end(exchange.logged)

    def _take(self, kind: type[_F], line: str) -> _F | None:
        """The first rule of a kind that fits; it is counted down."""
        with self._changed:
            for index, fault in enumerate(self.faults):
                if isinstance(fault, kind) and re.search(fault.pattern, line):
                    if fault.times == 1:
                        del self.faults[index]
                    elif fault.times is not None:
                        self.faults[index] = replace(fault, times=fault.times - 1)
                    return fault
        return None

    def _pause(self, duration_s: float) -> None:
        self._closing.wait(duration_s)

    def _transmit(self, count: int) -> None:
        """Wait as long as that many bytes take; each answer has the whole rate to itself."""
        self._pause(count / self.bytes_per_s if self.bytes_per_s else 0)


def fetch(
    endpoint: str, path: str, headers: Mapping[str, str] | None = None, method: str = "GET"
) -> tuple[http.client.HTTPResponse, bytes]:
    """One plain request, as it is, on a connection of its own; redirects are not followed."""
    link = http.client.HTTPConnection(urlsplit(endpoint).netloc, timeout=WAIT_S)
    try:
        link.request(method, path, headers=dict(headers or {}))
        response = link.getresponse()
        return response, response.read()
    finally:
        link.close()


class _Listener(ThreadingHTTPServer):
    """One socket of the server, a thread for each connection to it."""

    daemon_threads = False  # so that server_close waits for them
    request_queue_size = 128

    def __init__(self, hub: HubServer, port: int, tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.hub = hub
        self._open: set[socket.socket] = set()
        if tls:
            # The handshake is made by the connection's own thread, at the first read.
            self.socket = tls.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection: a client may keep it open for ever."""
        if self.hub.is_down:
            super().shutdown_request(request)
            return
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep what a test has to see; a client that goes away, or trusts no one, is no error."""
        error = sys.exception()
        if error and not isinstance(error, OSError):
            self.hub._broken.append(error)

    def cut(self) -> None:
        """End every connection."""
        for connection in list(self._open):
            with contextlib.suppress(OSError):  # it may just be going
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Stop to listen, end every connection, wait for their threads."""
        self.shutdown()
        self.cut()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    """One connection: reads requests, sends answers, with the faults that are asked for."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Listener

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: the log is kept in order elsewhere."""

    def do_HEAD(self) -> None:
        """Answer without a body."""
        self.do_GET()

    def do_POST(self) -> None:
        """Answer what comes with a form."""
        self.do_GET()

    def do_GET(self) -> None:
        """Answer."""
        hub, url = self.server.hub, urlsplit(self.path)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        ranged = self.headers.get("Range")
        logged = Logged(self.command, unquote(url.path), url.query, ranged, 0, 0, token)
        form = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        exchange = hub._begin(logged)
        try:
            hub._pause(hub.latency_s)
            asked = Asked(
                self.command,
                url.path,
                dict(parse_qsl(url.query)),
                token,
                ranged,
                form,
                self.headers.get("Content-Type") or "",
                self.headers.get("Accept-Encoding") or "",
            )
            self._send(exchange, self._decide(asked, logged.line))
        finally:
            hub._end(exchange)

    def _decide(self, asked: Asked, line: str) -> Answer:
        hub = self.server.hub
        if failing := hub._take(Fail, line):
            return Answer(failing.status, failing.headers, memoryview(b"failing as asked for"))
        answered = answer(hub, asked)
        if garbling := hub._take(Garble, line):
            answered = replace(answered, body=memoryview(garbling.change(bytes(answered.body))))
        if answered.is_file and (cutting := hub._take(Truncate, line)):
            return replace(answered, body=answered.body[: cutting.keep_bytes])
        return answered

    def _send(self, exchange: _Exchange, answered: Answer) -> None:
        hub, line = self.server.hub, exchange.logged.line
        hub._note(exchange, replace(exchange.logged, status=answered.status))
        self.send_response(answered.status)
        for name, value in answered.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answered.body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        body = answered.body
        if answered.is_file and (cutting := hub._take(Cut, line)):
            body = body[: cutting.after_bytes]
            self.close_connection = True
        if answered.is_file and len(body) and (flipping := hub._take(Flip, line)):
            flipped = bytearray(body)
            flipped[flipping.at % len(body)] ^= 1
            body = memoryview(flipped)
        if answered.is_file and (stalling := hub._take(Stall, line)):
            self._send_body(exchange, body[: stalling.after_bytes])
            hub._pause(stalling.duration_s)
            self.close_connection = True
            return
        self._send_body(exchange, body)

    def _send_body(self, exchange: _Exchange, body: memoryview) -> None:
        hub, sent = self.server.hub, 0
        while sent < len(body):
            rate = hub.bytes_per_s
            # Twenty pieces a second, so that what is sent is known well while it is.
            piece = body[sent : sent + (max(1, int(rate / 20)) if rate else CHUNK_BYTES)]
            hub._transmit(len(piece))
            self.wfile.write(piece)
            sent += len(piece)
            hub._note(exchange, replace(exchange.logged, sent_bytes=sent))


def _add_folders(hub: HubServer, root: Path) -> None:
    for folder in sorted(root.glob("*/*/")):
        files = {
            path.relative_to(folder).as_posix(): path
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        repo = hub.add(folder.relative_to(root).as_posix())
        print(repo.id, repo.write_all(files), len(files), "files", flush=True)


def _print(logged: Logged) -> None:
    print(logged, flush=True)


def main() -> None:
    """Serve the data sets below a folder, as they are now, until interrupted."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("root", type=Path, help="holds user/name/ folders")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    with HubServer(options.port, on_end=_print) as hub, contextlib.suppress(KeyboardInterrupt):
        _add_folders(hub, options.root)
        print(f"HF_ENDPOINT={hub.endpoint}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
