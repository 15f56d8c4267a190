"""Programs of this very interpreter, each at the other end of a socket: started, told how they
ended, and ended.

Owns the process and our end of the socket. Must not know what goes over it. `start_program` speaks
by `multiprocessing`'s messages and hands our environment on; `start_bare` has a plain socket and
hands on nothing that may be a secret. They are started
afresh: a fork would carry the locks of pyarrow's threads along, CUDA does not survive one, and
`multiprocessing` (so also its ProcessPoolExecutor) would import hffs's own `__main__` in each of
them, would not say how one ended, and would leave them behind if hffs were killed. Each is the
leader of a process group: a Ctrl-C of the terminal does not reach it, and what it started ends with
it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # late below: a daemon that serves for weeks needs none of it
    from multiprocessing.connection import Connection

TICK_S = 0.5
"""Longest wait for one of them without a look for signals: one that comes just before a system call
begins does not end it, and Python learns of it only afterwards.
"""

_KEPT_VARIABLES = ("LD_LIBRARY_PATH", "PYTHONHOME")
"""What the interpreter may need to start; where modules are it is told."""

_START = (
    "import importlib, json, sys; "
    "sys.path[:], module, name, given = json.loads(sys.argv[1]); "
    "getattr(importlib.import_module(module), name)(*given)"
)


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """A process, and our end of the socket to it."""

    process: subprocess.Popen[bytes]
    channel: Connection[Any, Any]

    def kill(self) -> None:
        """End it at once, and all that it started."""
        self.channel.close()
        _kill(self.process)

    def describe_end(self, within_s: float) -> str | None:
        """How it ended, behind its name in a sentence; None where it has not by then."""
        try:
            return describe_code(self.process.wait(within_s))
        except subprocess.TimeoutExpired:
            return None


@dataclass(frozen=True, slots=True, eq=False)
class BareProgram:
    """A process that was given no environment, and our end of the socket to it."""

    process: subprocess.Popen[bytes]
    channel: socket.socket

    def kill(self) -> None:
        """End it at once, and all that it started."""
        self.channel.close()
        _kill(self.process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def describe_code(code: int) -> str:
    """How a process ended, behind its name in a sentence; a signal's code is below zero."""
    if code < 0:
        names = {known.value: known.name for known in signal.Signals}
        return f"was killed ({names.get(-code, f'signal {-code}')})"
    return f"ended (exit code {code})"


def start_program(main: str, *given: str | int, inherits: Sequence[int] = ()) -> Program:
    """Start `main` ("package.module:function"), which is given its end of the socket, a descriptor,
    and then what else is `given`; of other descriptors it has those that it `inherits`.
    """
    from multiprocessing.connection import Connection

    process, ours = _start(main, given, inherits, None)
    return Program(process, Connection(ours.detach()))


def start_bare(main: str, *given: str | int, environ: Mapping[str, str]) -> BareProgram:
    """Start `main` as `start_program` does, in the folder / and with an environment of its own: no
    token, no key and no address is in it for whoever takes the program over.
    """
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return BareProgram(*_start(main, given, (), {**kept, **environ}))


def _start(
    main: str, given: Sequence[str | int], inherits: Sequence[int], environ: dict[str, str] | None
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    module, _, name = main.partition(":")
    ours, theirs = socket.socketpair()
    with theirs:
        descriptor = theirs.fileno()
        told = json.dumps([sys.path, module, name, [descriptor, *given]])
        try:
            process = subprocess.Popen(  # noqa: S603 - this very interpreter; names are arguments
                # Unbuffered, so that nothing printed is lost; -P: no import from this folder yet.
                [sys.executable, "-uP", "-c", _START, told],
                stdin=subprocess.DEVNULL,
                stdout=2,  # hffs's standard output holds nothing but results
                pass_fds=(descriptor, *inherits),
                process_group=0,
                env=environ,
                cwd=None if environ is None else "/",
            )
        except BaseException:
            ours.close()
            raise
    return process, ours
