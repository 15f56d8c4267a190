"""Unix sockets in the state folder: where the one of a mount lies, and how it is reached.

Owns the folder. The path of a socket may have 108 bytes at most (unix(7)), which a state folder
may be longer than: so all calls go through a descriptor of the folder.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

from hffs.data.folders import make_private_folder, open_own

_PEER = struct.Struct("iII")  # struct ucred: the process, user and group at the other end
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
    make_private_folder(path.parent)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with open_own(path.parent, os.O_DIRECTORY | os.O_CLOEXEC) as folder:
            reached = _reach(folder, path)
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
    """A connection to a socket; OSError where nobody listens, or not within the time.

    Root may ask the daemons of others, and has to mind what they say.
    """
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connected.settimeout(timeout_s)
    try:
        folder = os.open(path.parent, os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            connected.connect(str(_reach(folder, path)))
        finally:
            os.close(folder)
        if os.geteuid() not in (0, read_peer(connected)):
            raise PermissionError(errno.EPERM, "it belongs to another user", str(path))
    except BaseException:
        connected.close()
        raise
    return connected


@contextlib.contextmanager
def ending(connection: socket.socket, within_s: float) -> Iterator[None]:
    """Shut a connection down when its time is over, however slowly bytes come and go on it."""

    def shut_down() -> None:
        with contextlib.suppress(OSError):  # it is closed
            connection.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(within_s, shut_down)
    timer.daemon = True
    try:
        timer.start()
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, "no thread is left") from error
    try:
        yield
    finally:
        timer.cancel()


def read_peer(connection: socket.socket) -> int:
    """The user at the other end."""
    told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    user: int = _PEER.unpack(told)[1]
    return user


def remove_dead_socket(path: Path) -> None:
    """Remove a socket of a daemon that has ended, and none where anybody listens."""
    try:
        connect_socket(path, 0.0).close()
    except ConnectionRefusedError:
        with contextlib.suppress(OSError):
            path.unlink()
    except OSError:  # there is none, or its daemon is busy
        pass


def _reach(folder: int, path: Path) -> Path:
    """A short path to a socket in an open folder."""
    return Path(f"/proc/self/fd/{folder}") / path.name
