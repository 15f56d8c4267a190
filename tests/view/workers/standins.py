"""A program in place of the nest whose workers do what an image says: crash, hang, lie, look.

The "image" is the name of a function here, and what that is given, as JSON.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import signal
import socket
import stat
from collections.abc import Callable, Sequence
from typing import Any

from hffs.errors import RenderError
from hffs.view.workers import nest
from hffs.view.workers.messages import parse_job
from hffs.view.workers.nest import serve

ANYBODY = 12345
SMALL_BYTES = 250_000_000
_PR_SET_KEEPCAPS = 8
JPEG = b"\xff\xd8\xff and so on"


def main(descriptor: int, text: str) -> None:
    serve(descriptor, act, parse_job(text)[0].limits)


def main_of_anybody(descriptor: int, text: str) -> None:
    """As if hffs were run by an ordinary user."""
    os.setgroups([])
    os.setresgid(ANYBODY, ANYBODY, ANYBODY)
    os.setresuid(ANYBODY, ANYBODY, ANYBODY)
    main(descriptor, text)


def main_of_service(descriptor: int, text: str) -> None:
    """As if hffs were run by another user that may mount."""
    ctypes.CDLL(None).prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    main_of_anybody(descriptor, text)


def main_of_one_fork(descriptor: int, text: str) -> None:
    """As if there were no room for more than one worker."""
    fork, left = os.fork, [1]

    def fork_once() -> int:
        if not left:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        left.pop()
        return fork()

    os.fork = fork_once
    main(descriptor, text)


def main_of_small_host(descriptor: int, text: str) -> None:
    """As if hffs were started with less memory than an image may take."""
    resource.setrlimit(resource.RLIMIT_AS, (SMALL_BYTES, SMALL_BYTES))
    nest.main(descriptor, text)


def ask(name: str, *given: Any) -> bytes:
    """An image that does something."""
    return json.dumps([name, *given]).encode()


def act(data: bytearray) -> Sequence[bytes]:
    name, *given = json.loads(data)
    action: Callable[..., Sequence[bytes]] = globals()[f"do_{name}"]
    return action(*given)


def do_answer(*files: str) -> list[bytes]:
    return [file.encode("latin-1") for file in files] or [JPEG]


def do_refuse(why: str) -> list[bytes]:
    raise RenderError("cannot render", why=why)


def do_die(number: int) -> list[bytes]:
    signal.signal(number, signal.SIG_DFL) if number != signal.SIGKILL else None
    os.kill(os.getpid(), number)
    return []


def do_exit(code: int) -> list[bytes]:
    os._exit(code)


def do_stop() -> list[bytes]:
    os.kill(os.getpid(), signal.SIGSTOP)
    return []


def do_pause() -> list[bytes]:
    """Answer when told to go on (SIGCONT)."""
    os.kill(os.getpid(), signal.SIGSTOP)
    return [JPEG]


def do_swell(size_bytes: int) -> list[bytes]:
    return [JPEG.ljust(size_bytes)]


def do_spin() -> list[bytes]:
    while True:
        pass


def do_write(text: str) -> list[bytes]:
    """Say something else than an answer."""
    (channel,) = (fd for fd in range(3, 64) if is_socket(fd))
    os.write(channel, text.encode("latin-1"))
    return do_stop()


def is_socket(fd: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        return False


def do_look_around(other: int) -> list[bytes]:
    """Tell what can be done here, by what each attempt says."""
    attempts: dict[str, Callable[[], object]] = {
        "open": lambda: os.open("/etc/passwd", os.O_RDONLY),
        "list": lambda: os.listdir("/"),
        "connect": socket.socket,
        "fork": os.fork,
        "signal": lambda: os.kill(other, 0),
        "trace": lambda: os.open(f"/proc/{other}/mem", os.O_RDWR),
        "remove": lambda: os.rmdir("/hffs-there-is-none"),
    }
    told = {name: try_out(attempt) for name, attempt in attempts.items()}
    raise RenderError("cannot render", why=json.dumps(told))


def try_out(attempt: Callable[[], object]) -> int:
    try:
        attempt()
    except OSError as error:
        return error.errno or 0
    return 0
