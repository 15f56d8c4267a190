"""A web server in this process that answers as a test says, and counts who is there at once.

Owns sockets and counts. An answer is a function that is given the connection and writes to it
whatever it likes, so that what no decent server would send can be sent.
"""

from __future__ import annotations

import re
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpcore2

JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 8
PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 100

Answer = Callable[["Exchange"], None]


@dataclass
class Exchange:
    """One request, and the way to answer it."""

    path: str
    head: str
    send: Callable[[bytes], None]
    server: Server

    def answer(self, body: bytes, status: str = "200 OK", headers: str = "") -> None:
        """A decent answer, after which the connection goes on."""
        length = f"Content-Length: {len(body)}\r\n"
        self.send(f"HTTP/1.1 {status}\r\n{length}{headers}\r\n".encode() + body)

    def answer_range(self, data: bytes) -> None:
        """The range that is asked for of a file."""
        found = re.search(r"range: bytes=(\d+)-(\d+)", self.head, re.IGNORECASE)
        assert found
        start, last = int(found[1]), int(found[2])
        told = f'ETag: "v1"\r\nContent-Range: bytes {start}-{last}/{len(data)}\r\n'
        self.answer(data[start : last + 1], "206 Partial Content", told)

    def redirect(self, location: str) -> None:
        self.answer(b"", "302 Found", f"Location: {location}\r\n")


@dataclass
class Server:
    """Answers by path; `asked` has the head of each request in order."""

    answers: dict[str, Answer]
    port: int = 0
    asked: list[Exchange] = field(default_factory=list)
    busy: int = 0
    busiest: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    stopping: threading.Event = field(default_factory=threading.Event)

    def paths(self) -> list[str]:
        return [exchange.path for exchange in self.asked]

    def url(self, path: str, host: str = "images.test", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"


def _make_handler(server: Server) -> type[socketserver.BaseRequestHandler]:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                while head := self._read_head():
                    self._answer(head)

        def _read_head(self) -> str:
            lines = []
            while (line := self.rfile.readline()) not in (b"\r\n", b""):
                lines.append(line.decode())
            return "".join(lines)

        def _answer(self, head: str) -> None:
            path = head.split(" ", 2)[1]
            exchange = Exchange(path, head, self._send, server)
            with server.lock:
                server.asked.append(exchange)
                server.busy += 1
                server.busiest = max(server.busiest, server.busy)
            try:
                server.answers[path.partition("?")[0]](exchange)
            finally:
                with server.lock:
                    server.busy -= 1

        def _send(self, data: bytes) -> None:
            self.connection.sendall(data)

    return Handler


class _Listener(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    context: ssl.SSLContext | None = None

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.context is not None:
            try:
                request = self.context.wrap_socket(request, server_side=True)
            except OSError:
                return
        super().finish_request(request, client_address)
        with suppress(OSError):
            request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """An answer that a client breaks off is no error here."""


def serving_signed(path: str, data: bytes) -> AbstractContextManager[Server]:
    """A file whose ranges are given to who has a signature that begins with `secret`."""

    def answer(exchange: Exchange) -> None:
        if "?X-Amz-Signature=secret" not in exchange.path:
            exchange.answer(b"", "403 Forbidden")
            return
        exchange.answer_range(data)

    return serving({path: answer})


@contextmanager
def serving(answers: dict[str, Answer], context: ssl.SSLContext | None = None) -> Iterator[Server]:
    """A server on a free port of this host, with TLS if there is a context."""
    server = Server(answers)
    with _Listener(("127.0.0.1", 0), _make_handler(server)) as listener:
        listener.context = context
        server.port = listener.server_address[1]
        thread = threading.Thread(target=listener.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.stopping.set()
            listener.shutdown()
            thread.join()


class Dialer(httpcore2.SyncBackend):
    """Stands for the internet: whatever address is dialled, a server of this host answers."""

    def __init__(self, *unreachable: str) -> None:
        self.unreachable = unreachable
        self.dialled: list[str] = []

    def connect_tcp(self, host: str, port: int, *rest: Any, **more: Any) -> Any:
        self.dialled.append(host)
        if host in self.unreachable:
            raise httpcore2.ConnectError("unreachable")
        return super().connect_tcp("127.0.0.1", port, *rest, **more)


class Names:
    """Resolves names: each answer is given once, but the last one ever after."""

    def __init__(self, **answers: list[list[str]]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        answers = self.answers.get(host.partition(".")[0])
        if answers is None:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return answers.pop(0) if len(answers) > 1 else answers[0]
