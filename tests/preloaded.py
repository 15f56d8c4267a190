"""Processes in which the command has been imported already: to import it is half of what most tests
of a mount would wait for.

A process that has imported what commands and daemons import forks for each command that is asked
for, and the child is given the arguments, environment, folder and streams that a new process would
have. Imported is only what looks at no variables while it is (so not huggingface_hub), and what
leaves no thread behind; `is_alike` tells which variables a process must be started with.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NoReturn

_ROOT = Path(__file__).parents[1]

_MODULES = (
    "hffs.cli.bucket", "hffs.cli.inspect", "hffs.cli.ls", "hffs.cli.mount", "hffs.cli.umount",
    "hffs.cli.view", "hffs.cli.warm", "hffs.data.locating.acquiring", "hffs.mount.getting",
    "hffs.mount.running", "hffs.view.deciding", "hffs.view.portable.recording", "httpx2",
    "pandas", "pyarrow.compute", "pyarrow.parquet",
)  # fmt: skip
"""Without `datasets`, which looks at variables, but with pandas, half of what it brings."""

_MODULES_OF_CACHE = (
    "hffs.cli.cache", "hffs.cli.caching.exporting", "hffs.data.engines.local",
    "hffs.train.caching.preparing", "hffs.train.caching.running", "hffs.train.caching.upkeep",
    "hffs.train.planning",
)  # fmt: skip
"""What `hffs cache` takes besides, torch for the most part; loaded before the first of these."""

_AT_START = ("PYTHON", "LD_", "MALLOC_", "LC_", "LANG", "TERM", "COVERAGE", "OPENBLAS_", "OMP_")
"""What begins variables that Python, its libraries or the terminal read when they start."""

_NO_THREADS = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""For numpy and pyarrow, whose threads would be missing in a fork."""

_MOST_BYTES = 1 << 20


def is_alike(environ: Mapping[str, str]) -> bool:
    """Whether a process with these variables starts as this one did."""

    # Every command has it, to find this code wherever it is run; here it is found anyway.
    own = ("PYTHONPATH", str(_ROOT))

    def pick(variables: Mapping[str, str]) -> set[tuple[str, str]]:
        return {item for item in variables.items() if item[0].startswith(_AT_START)} - {own}

    return pick(os.environ) == pick(environ)


def run(
    arguments: Sequence[str], environ: Mapping[str, str], timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run([python, "-m", "hffs", ...], capture_output=True, text=True)`."""
    asked = json.dumps({"arguments": arguments, "environ": dict(environ), "folder": os.getcwd()})
    readers, writers = zip(os.pipe(), os.pipe(), strict=True)
    nothing = os.open(os.devnull, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as channel:
        try:
            channel.connect(f"\0{start()}")
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MOST_BYTES)
            socket.send_fds(channel, [asked.encode()], [nothing, *writers])
        finally:
            for descriptor in (nothing, *writers):
                os.close(descriptor)
        out, err, code = _follow(channel, readers, timeout_s)
    return subprocess.CompletedProcess(["hffs", *arguments], code, out, err)


def _follow(
    channel: socket.socket, readers: Sequence[int], timeout_s: float
) -> tuple[str, str, int]:
    """What a command wrote, until nobody can write any more, and its exit code."""
    until_s = time.monotonic() + timeout_s
    written: dict[int, list[bytes]] = {reader: [] for reader in readers}
    code = None
    with selectors.DefaultSelector() as selector, contextlib.ExitStack() as stack:
        for reader in readers:
            stack.callback(os.close, reader)
            selector.register(reader, selectors.EVENT_READ)
        selector.register(channel, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(until_s - time.monotonic())
            if not ready:  # the process ends with the channel
                raise subprocess.TimeoutExpired("hffs", timeout_s)
            for key, _ in ready:
                if key.fileobj is channel:
                    code = int(channel.recv(64) or b"-9")
                    selector.unregister(channel)
                elif part := os.read(key.fd, 65536):
                    written[key.fd].append(part)
                else:
                    selector.unregister(key.fd)
    out, err = (b"".join(written[reader]).decode() for reader in readers)
    return out, err, -9 if code is None else code


@cache
def start() -> str:
    """Start the process that forks, which ends with this one; the abstract address of its socket,
    without the zero that begins such.
    """
    name = f"hffs-preloaded-{os.getpid()}"
    ours, theirs = os.pipe()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(f"\0{name}")
        listening.listen()
        descriptors = listening.fileno(), ours
        code = f"from tests.preloaded import serve; serve{descriptors}"
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            env=os.environ | _NO_THREADS,
            cwd=_ROOT,
            stdin=subprocess.DEVNULL,
            pass_fds=descriptors,
            start_new_session=True,
        )
    os.close(ours)
    atexit.register(_stop, process, theirs)
    return name


def _stop(process: subprocess.Popen[bytes], parent: int) -> None:
    os.close(parent)
    process.wait()


@dataclass(frozen=True)
class _Running:
    """A command that was forked, what tells of its end, and who waits for that."""

    pid: int
    watched: int
    channel: socket.socket

    def close(self) -> None:
        os.close(self.watched)
        self.channel.close()


def serve(listening: int, parent: int) -> None:
    """Fork for every command that is asked for, until the other end of `parent` is closed."""
    _load(_MODULES)
    running: dict[int, _Running] = {}
    with socket.socket(fileno=listening) as server, selectors.DefaultSelector() as selector:
        selector.register(server, selectors.EVENT_READ)
        selector.register(parent, selectors.EVENT_READ)
        while parent not in (ready := {key.fd: key for key, _ in selector.select()}):
            for key in ready.values():
                if key.data in running:
                    _end(selector, running.pop(key.data), is_over=key.fd == key.data)
            if listening in ready:
                channel, _ = server.accept()
                message, streams, _, _ = socket.recv_fds(channel, _MOST_BYTES, 3)
                asked = json.loads(message)
                if asked["arguments"][:1] == ["cache"]:
                    _load(_MODULES_OF_CACHE)
                pid = os.fork()
                if not pid:
                    selector.close()
                    for other in running.values():
                        other.close()
                    server.close()
                    channel.close()
                    os.close(parent)
                    _become(streams, **asked)
                for stream in streams:
                    os.close(stream)
                begun = _Running(pid, os.pidfd_open(pid), channel)
                running[begun.watched] = begun
                selector.register(begun.watched, selectors.EVENT_READ, begun.watched)
                selector.register(channel, selectors.EVENT_READ, begun.watched)


def _load(modules: Sequence[str]) -> None:
    """Import for all that are forked from now on; what has been imported costs nothing more."""
    if all(module in sys.modules for module in modules):
        return
    for module in modules:
        importlib.import_module(module)
    if "huggingface_hub" in sys.modules or len(os.listdir("/proc/self/task")) > 1:
        raise SystemExit("what was imported looks at variables, or has started threads")
    gc.freeze()


def _end(selector: selectors.BaseSelector, ended: _Running, *, is_over: bool) -> None:
    """Tell of a command that ended, or end one that nobody waits for any more."""
    if not is_over:
        os.kill(ended.pid, signal.SIGKILL)
    _, status = os.waitpid(ended.pid, 0)
    with contextlib.suppress(OSError):
        ended.channel.send(str(os.waitstatus_to_exitcode(status)).encode())
    selector.unregister(ended.watched)
    selector.unregister(ended.channel)
    ended.close()


def _become(
    streams: Sequence[int], arguments: list[str], environ: dict[str, str], folder: str
) -> NoReturn:
    """Be the command, to its end."""
    from hffs.cli import run

    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, errors="backslashreplace", closefd=False)
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(folder)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["hffs", *arguments]
    sys.path[0] = folder
    code = run(arguments)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code)  # to take all modules down would cost as much as to load them
