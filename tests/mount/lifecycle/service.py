"""A foreground mount as a service manager runs it, and the socket that it is told by."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.command import Hffs
from tests.waiting import wait_until


@dataclass
class Manager:
    """The receiving end of sd_notify; `address` is what NOTIFY_SOCKET says."""

    channel: socket.socket
    address: str
    heard: list[list[str]] = field(default_factory=list)

    def listen(self) -> list[list[str]]:
        """Every message so far, each as its lines."""
        while True:
            try:
                self.heard.append(self.channel.recv(4096).decode().split("\n"))
            except BlockingIOError:
                return self.heard

    def count(self, line: str) -> int:
        """How often a line was said so far."""
        return sum(line in message for message in self.listen())


@contextmanager
def managing() -> Iterator[Manager]:
    """Listen at an address of its own, one that is no path."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind("")  # the kernel chooses an abstract name
        channel.setblocking(False)
        yield Manager(channel, "@" + channel.getsockname()[1:].decode())


@contextmanager
def foreground(
    hffs: Hffs, source: Path, folder: Path, *flags: str | Path, environ: dict[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """A mount in the foreground, in a session without a terminal, once it answers."""
    folder.mkdir()
    command = [sys.executable, "-m", "hffs", "mount", "-f", source, folder, *flags]
    process = subprocess.Popen(
        command,
        env=hffs.environ | environ,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_until(lambda: os.path.ismount(folder) or process.poll() is not None)
        assert process.poll() is None, process.communicate()[1]
        yield process
    finally:
        process.kill()
        process.communicate()
        hffs.run("umount", "--force", folder)
