"""Unix sockets in the state folder: where the one of a mount lies, and how it is reached.

Owns the folder. The path of a socket may have 108 bytes at most (unix(7)), which a state folder
may be longer than: so all calls go through a descriptor of the folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hffs.data.folders import open_own

_WAITING = 16
"""Connections that may wait to be taken."""


def find_socket(state: Path, mountpoint: str) -> Path:
    """Where the socket of a mount lies, if it has one."""
    digest = hashlib.blake2b(os.fsencode(mountpoint), digest_size=12).hexdigest()
    return state / "sockets" / f"{digest}.sock"


def open_socket(path: Path) -> socket.socket:
    """A socket that listens, for this user alone, in the place of what a kill has left there.

    Raises OSError.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _reaching(path) as reached:
            # Under another name until it listens: whoever finds it is answered.
            making = reached.with_name(f".{path.name}.{os.getpid()}")
            making.unlink(missing_ok=True)
            listening.bind(str(making))
            os.chmod(making, 0o600)
            listening.listen(_WAITING)
            os.replace(making, reached)
    except BaseException:
        listening.close()
        raise
    return listening


def connect_socket(path: Path, timeout_s: float) -> socket.socket:
    """A connection to a socket; OSError where nobody listens, or not within the time."""
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connected.settimeout(timeout_s)
    try:
        with _reaching(path) as reached:
            connected.connect(str(reached))
    except BaseException:
        connected.close()
        raise
    return connected


def remove_dead_socket(path: Path) -> None:
    """Remove a socket of a daemon that has ended, and none where anybody listens."""
    try:
        connect_socket(path, 0.0).close()
    except ConnectionRefusedError:
        with contextlib.suppress(OSError):
            path.unlink()
    except OSError:  # there is none, or its daemon is busy
        pass


@contextmanager
def _reaching(path: Path) -> Iterator[Path]:
    """A short path to a socket, to the end of the block."""
    with open_own(path.parent, os.O_DIRECTORY | os.O_CLOEXEC) as folder:
        yield Path(f"/proc/self/fd/{folder}") / path.name
