"""Readers of a folder as trainers start them, as a program of its own: its result is JSON.

    python -m tests.readers pool fork|spawn|forkserver FOLDER
    python -m tests.readers list FOLDER COUNT
    python -m tests.readers inherited FILE
    python -m tests.readers passed FILE
    python -m tests.readers mapped FILE...
    python -m tests.readers direct FILE...
    python -m tests.readers forever FOLDER

It imports nothing but the standard library, so that a process which is spawned is there at once,
and forks before it starts any thread.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import mmap
import multiprocessing
import os
import random
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

WORKERS = 4
CHUNK_BYTES = 10_000
TIMEOUT_S = 60
_DIRECT_BYTES = 1 << 20
_CLONE_NEWNS = 0x20000


def start(*arguments: str | int | Path) -> subprocess.Popen[str]:
    """Readers as a program of its own, under way."""
    command = [sys.executable, "-m", "tests.readers", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]
    )


def finish(reader: subprocess.Popen[str]) -> list[object]:
    """What readers have found."""
    told, _ = reader.communicate(timeout=TIMEOUT_S)
    assert reader.returncode == 0
    found: list[object] = json.loads(told)
    return found


def digest(data: bytes | bytearray | mmap.mmap) -> str:
    """What is told of some bytes."""
    return hashlib.sha256(data).hexdigest()


def make_draw(seed: int) -> random.Random:
    """The same draws each time."""
    return random.Random(seed)  # noqa: S311 - an order, no secret


def _read_all(folder: str, seed: int) -> dict[str, str]:
    """Every file whole, in an order of this reader's own, twice: the digests of both times."""
    found: dict[str, str] = {}
    for epoch in range(2):
        names = os.listdir(folder)
        make_draw(seed * 10 + epoch).shuffle(names)
        for name in names:
            told = digest(Path(folder, name).read_bytes())
            if found.setdefault(name, told) != told:
                raise SystemExit(f"{name} has changed")
    return found


def read_in_pool(method: str, folder: str) -> list[dict[str, str]]:
    """What each worker of a pool has read."""
    with multiprocessing.get_context(method).Pool(WORKERS) as pool:
        return pool.starmap(_read_all, [(folder, seed) for seed in range(WORKERS)], chunksize=1)


def list_often(folder: str, count: str) -> list[list[str]]:
    """The listings that differ from each other, of many."""
    found: list[list[str]] = []
    for _ in range(int(count)):
        names = os.listdir(folder)
        if names not in found:
            found.append(names)
    return found


def read_inherited(path: str) -> list[str]:
    """Digest of what two processes read in turn through one descriptor, with one offset.

    The parent also reads at offsets of its own, which moves nothing.
    """
    file = os.open(path, os.O_RDONLY)
    ours, theirs = socket.socketpair()
    child = os.fork()
    mine = theirs if child == 0 else ours
    (ours if child == 0 else theirs).close()
    read = bytearray()
    if child == 0:
        while mine.recv(1):
            mine.sendall(os.read(file, CHUNK_BYTES).ljust(CHUNK_BYTES + 1, b"\0"))
        os._exit(0)
    size = os.fstat(file).st_size
    while len(read) < size:
        read += os.read(file, CHUNK_BYTES)
        os.pread(file, 100, 7)
        mine.sendall(b"x")
        theirs_now = mine.recv(CHUNK_BYTES + 1, socket.MSG_WAITALL)
        read += theirs_now[: max(0, min(CHUNK_BYTES, size - len(read)))]
    mine.close()
    os.waitpid(child, 0)
    return [digest(read)]


def read_passed(path: str) -> list[str]:
    """Digests of what others read of a file that this process has opened: sent through a socket, to
    a process that is elsewhere, and (as root) to one whose namespace has lost the mount.
    """
    file = os.open(path, os.O_RDONLY)
    found = []
    for step in (_go_away, _lose_the_mount):
        ours, theirs = socket.socketpair()
        child = os.fork()
        if child == 0:
            os.close(file)
            _, files, _, _ = socket.recv_fds(theirs, 1, 1)
            step(path)
            with os.fdopen(files[0], "rb") as got:
                theirs.sendall(digest(got.read()).encode())
            os._exit(0)
        socket.send_fds(ours, [b"x"], [file])
        theirs.close()
        with ours.makefile("r") as told:
            found.append(told.read())
        os.waitpid(child, 0)
        os.lseek(file, 0, os.SEEK_SET)  # the offset is everybody's
    return found


def _go_away(_: str) -> None:
    os.chdir("/")


def _lose_the_mount(path: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() or libc.unshare(_CLONE_NEWNS):
        return
    private, detach = 1 << 18 | 1 << 14, 2
    if libc.mount(b"none", b"/", None, private, None):
        raise SystemExit("cannot make mounts private")
    if libc.umount2(os.path.dirname(path).encode(), detach):
        raise SystemExit("cannot unmount in a namespace of its own")


def map_files(*paths: str) -> list[str]:
    """Digests of files through maps, all of which are there at once, in pieces at random."""
    maps = []
    for path in paths:
        with Path(path).open("rb") as file:
            maps.append(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
    copies = [bytearray(len(mapped)) for mapped in maps]
    pieces = [(n, at) for n, mapped in enumerate(maps) for at in range(0, len(mapped), 5000)]
    make_draw(0).shuffle(pieces)
    for n, at in pieces:
        copies[n][at : at + 5000] = maps[n][at : at + 5000]
    return [digest(copy) for copy in copies]


def read_directly(*paths: str) -> list[str]:
    """Digests of files past the page cache."""
    found = []
    for path in paths:
        file = os.open(path, os.O_RDONLY | os.O_DIRECT)
        buffer, read = mmap.mmap(-1, _DIRECT_BYTES), bytearray()
        while count := os.preadv(file, [buffer], len(read)):
            read += buffer[:count]
        os.close(file)
        found.append(digest(read))
    return found


def read_forever(folder: str) -> list[str]:
    """Read until killed, or until the folder fails; says when it has begun."""
    names = os.listdir(folder)
    print("reading", flush=True)
    while True:
        for name in names:
            Path(folder, name).read_bytes()


ROLES: dict[str, Callable[..., object]] = {
    "pool": read_in_pool,
    "list": list_often,
    "inherited": read_inherited,
    "passed": read_passed,
    "mapped": map_files,
    "direct": read_directly,
    "forever": read_forever,
}


if __name__ == "__main__":
    print(json.dumps(ROLES[sys.argv[1]](*sys.argv[2:])))
