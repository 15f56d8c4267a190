"""Programs of this very interpreter, each at the other end of a socket: started, told how they
ended, and ended.

Owns the process and our end of the socket. Must not know what goes over it. They are started
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
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

TICK_S = 0.5
"""Longest wait for one of them without a look for signals: one that comes just before a system call
begins does not end it, and Python learns of it only afterwards.
"""

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
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def describe_end(self, within_s: float) -> str | None:
        """How it ended, behind its name in a sentence; None where it has not by then."""
        try:
            code = self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            return None
        if code < 0:
            names = {known.value: known.name for known in signal.Signals}
            return f"was killed ({names.get(-code, f'signal {-code}')})"
        return f"ended (exit code {code})"


def start_program(main: str, *given: str | int, inherits: Sequence[int] = ()) -> Program:
    """Start `main` ("package.module:function"), which is given its end of the socket, a descriptor,
    and then what else is `given`; of other descriptors it has those that it `inherits`.
    """
    module, _, name = main.partition(":")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        descriptor = theirs.fileno()
        told = json.dumps([sys.path, module, name, [descriptor, *given]])
        process = subprocess.Popen(  # noqa: S603 - this very interpreter; names are arguments
            # Unbuffered, so that nothing printed is lost; -P: no import from this folder yet.
            [sys.executable, "-uP", "-c", _START, told],
            stdin=subprocess.DEVNULL,
            stdout=2,  # hffs's standard output holds nothing but results
            pass_fds=(descriptor, *inherits),
            process_group=0,
        )
        return Program(process, Connection(ours.detach()))
