"""The control socket of a mount: HTTP over a Unix socket, for the owner of the mount and root.

    GET /metrics      all metrics, in the text format of Prometheus
    GET /status       the same and more as JSON (`hffs.mount.observing.reporting`)
    PUT /log-level    one word (`hffs.mount.lifecycle.logs`); logs so much from then on

Owns the socket and the threads that answer on it. Must not know what is told. It never asks the
event loop of the mount, so that it answers also where that is stuck.
Invariants: at most `_MOST_CONNECTIONS` at a time, each of which ends within seconds; whatever is
sent, the mount goes on; what HTTP takes is loaded by the first who asks.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hffs.mount.observing.sockets import open_socket, read_peer

log = logging.getLogger(__name__)

_MOST_CONNECTIONS = 8
_REST_S = 0.2
_PASSING = {
    errno.ECONNABORTED, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EINTR,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answers:
    """What can be asked, by path: what is told (with its type), and what may be set."""

    told: Mapping[str, tuple[str, Callable[[], bytes]]]
    settable: Mapping[str, Callable[[str], None]]
    """Each raises UsageError for a word that it does not take."""


@contextmanager
def answering(path: Path, answers: Answers) -> Iterator[Path | None]:
    """Answer on a socket to the end of the block; None where it cannot be made, which is warned of:
    a mount is of use without it.
    """
    try:
        listening = open_socket(path)
        made = path.lstat()
    except OSError as error:
        why = error.strerror or str(error)
        log.warning("cannot make the control socket %s: %s; going on without", path, why)
        yield None
        return
    thread = threading.Thread(
        target=_accept, args=(listening, answers), name="hffs-control", daemon=True
    )
    thread.start()
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)  # which wakes who waits for a connection
        thread.join()
        listening.close()
        with contextlib.suppress(OSError):
            if os.path.samestat(made, path.lstat()):  # else a new mount on the folder has its own
                path.unlink()


def _accept(listening: socket.socket, answers: Answers) -> None:
    """Take connections until the socket is shut down."""
    places = threading.BoundedSemaphore(_MOST_CONNECTIONS)
    while True:
        try:
            connection, _ = listening.accept()
        except OSError as error:
            if error.errno not in _PASSING:
                return
            time.sleep(_REST_S)  # no descriptors are left, say: one is free again at some time
            continue
        if not _is_allowed(connection) or not places.acquire(blocking=False):
            connection.close()
            continue
        serving = threading.Thread(
            target=_serve, args=(connection, answers, places), name="hffs-control", daemon=True
        )
        try:
            serving.start()
        except RuntimeError:  # no thread is left
            places.release()
            connection.close()


def _serve(connection: socket.socket, answers: Answers, places: threading.BoundedSemaphore) -> None:
    try:
        with connection:
            from hffs.mount.observing.http import converse

            converse(connection, answers)
    finally:
        places.release()


def _is_allowed(connection: socket.socket) -> bool:
    """Whether who asks is the user of the mount, or root."""
    return read_peer(connection) in (0, os.geteuid())
