"""One HTTP/1.1 request on a connection, and its answer.

Owns what of HTTP is understood, and its limits: those of the library (a line of 64 KiB, a hundred
headers), a body of `_MOST_BODY_BYTES`, and `_MOST_S` from the first byte to the last.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING

from hffs.errors import UsageError
from hffs.mount.observing.sockets import ending

if TYPE_CHECKING:
    from hffs.mount.observing.control import Answers

log = logging.getLogger(__name__)

_MOST_BODY_BYTES = 64
_MOST_S = 5.0
_TEXT = "text/plain; charset=utf-8"


def converse(connection: socket.socket, answers: Answers) -> None:
    """Answer what comes on a connection, which is not asked a second time."""
    connection.settimeout(_MOST_S)
    with contextlib.suppress(OSError), ending(connection, _MOST_S):  # who asked has gone
        _Conversation(connection, answers)


class _Conversation(BaseHTTPRequestHandler):
    """A request and its answer; all of it happens while one is made."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "hffs", ""
    error_content_type = _TEXT
    error_message_format = "%(message)s\n"

    def __init__(self, connection: socket.socket, answers: Answers) -> None:
        self._answers = answers
        super().__init__(connection, ("", 0), None)  # type: ignore[arg-type] # there is no server

    def do_GET(self) -> None:
        """Tell something."""
        found = self._answers.told.get(self.path.partition("?")[0])
        if found is None:
            known = [*(f"GET {path}" for path in self._answers.told)]
            known += [f"PUT {path}" for path in self._answers.settable]
            self._answer(HTTPStatus.NOT_FOUND, _TEXT, f"try {', '.join(known)}\n".encode())
            return
        kind, tell = found
        self._answer(HTTPStatus.OK, kind, tell())

    def do_PUT(self) -> None:
        """Set something."""
        change = self._answers.settable.get(self.path)
        length = self.headers.get("Content-Length", "")
        if change is None:
            self._answer(HTTPStatus.NOT_FOUND, _TEXT, b"nothing here can be set\n")
        elif not length.isascii() or not length.isdecimal():
            self._answer(HTTPStatus.LENGTH_REQUIRED, _TEXT, b"how long is it?\n")
        elif len(length) > 3 or int(length) > _MOST_BODY_BYTES:
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _TEXT, b"it is too long\n")
        else:
            word = self.rfile.read(int(length)).decode("ascii", "replace").strip()
            try:
                change(word)
            except UsageError as error:
                self._answer(HTTPStatus.BAD_REQUEST, _TEXT, f"{error}\n".encode())
            else:
                self._answer(HTTPStatus.OK, _TEXT, f"{word}\n".encode())

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log a request where it is of interest: at DEBUG."""
        log.debug("control socket: " + format, *args)  # noqa: G003 - the library's own format
