"""What systemd is told of a mount: sd_notify(3), over the socket that it names.

Owns the messages and the self-check before each WATCHDOG=1. Must not know what runs, nor ask the
event loop: whether that answers is what the check is about.
Invariants: where nobody asked to be told, nothing is done; a message that cannot be sent is lost,
and harms nothing. The variables are taken out of the environment: what a mount starts does not
speak for it.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Self

from hffs.data.watcher import Unit
from hffs.mount.lifecycle.logs import escape
from hffs.mount.lifecycle.pipes import Listener

log = logging.getLogger(__name__)

_SEND_S = 1.0
_TELL_EACH_S = 1.0
_EXTEND_S = 300.0
"""How long a start may say nothing before systemd counts it as hung."""


class Notifier:
    """Tells the service manager, if there is one; every method may be called from any thread."""

    def __init__(self, address: str = "", watchdog_s: float = 0.0) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.watchdog_s = watchdog_s
        self._is_stopping = False

    @classmethod
    def take(cls, environ: MutableMapping[str, str]) -> Self:
        """The one that an environment names, which names it no more."""
        address, usec, pid = (
            environ.pop(key, "") for key in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
        )
        is_for_us = pid in ("", str(os.getpid()))
        watchdog_s = int(usec) / 1e6 if usec.isascii() and usec.isdecimal() and is_for_us else 0.0
        return cls(address if address[:1] in ("/", "@") else "", watchdog_s)

    def ready(self, status: str) -> None:
        """All that was asked for is mounted and answers; this process is who serves it."""
        self._send("READY=1", f"MAINPID={os.getpid()}", f"STATUS={escape(status)}")

    def preparing(self, status: str) -> None:
        """It is at work, which may take longer than a start usually does."""
        extend = f"EXTEND_TIMEOUT_USEC={_EXTEND_S * 1e6:.0f}"
        self._send(f"STATUS={escape(status)}", extend)

    def reloading(self) -> None:
        """What follows is `reloaded`."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def reloaded(self) -> None:
        """As ready as before."""
        self._send("READY=1")

    def stopping(self) -> None:
        """It ends, on whoever's wish; said once."""
        if self._is_stopping:
            return
        self._is_stopping = True
        self._send("STOPPING=1", "STATUS=unmounting")

    def alive(self) -> None:
        """It answers."""
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.settimeout(_SEND_S)
                channel.sendto("\n".join(lines).encode(errors="backslashreplace"), self._address)
        except OSError as error:
            log.debug("cannot notify the service manager: %s", error)


SILENT = Notifier()
"""Of a mount that nobody asked to be told of."""


def start_watchdog(notifier: Notifier, mountpoints: Sequence[Path]) -> Callable[[], None]:
    """Say that mounts are alive as often as was asked for, while all of them answer.

    To the end of the process, or until what is returned is called.

    One thread asks, through the kernel, and speaks once it is answered. While a mount is stuck so
    is that thread, and nothing is said: no second one ever waits beside it.
    """
    is_over = threading.Event()

    def run() -> None:
        devices: dict[Path, int] = {}
        while not is_over.is_set():
            try:
                for mountpoint in mountpoints:
                    _check(mountpoint, devices)
            except OSError as error:
                log.warning("the self-check of %s failed: %s", mountpoint, error.strerror)
            else:
                notifier.alive()
            is_over.wait(notifier.watchdog_s / 2)

    if notifier.watchdog_s:
        threading.Thread(target=run, name="watchdog", daemon=True).start()
    return is_over.set


def _check(mountpoint: Path, devices: dict[Path, int]) -> None:
    """OSError unless what was first found on a mount point is there and answers."""
    os.statvfs(mountpoint)
    device = os.stat(mountpoint).st_dev
    if devices.setdefault(mountpoint, device) != device:
        raise OSError(errno.ENOTCONN, "it is not mounted there any more")


class TellingListener:
    """Passes on what it hears, and tells the service manager how far a start has come."""

    def __init__(self, listener: Listener, notifier: Notifier) -> None:
        self._listener, self._notifier = listener, notifier
        self._told_s = float("-inf")

    def progress(self, what: str, done: int, total: int, unit: Unit = "") -> None:
        """See `Watcher`."""
        self._listener.progress(what, done, total, unit)
        now_s = time.monotonic()
        if now_s - self._told_s >= _TELL_EACH_S:
            self._told_s = now_s
            share = f": {100 * done // total} %" if total else ""
            self._notifier.preparing(f"{what}{share}")

    def notice(self, text: str) -> None:
        """See `Watcher`."""
        self._listener.notice(text)

    def starting(self, within_s: float) -> None:
        """See `Listener`."""
        self._listener.starting(within_s)

    def ready(self) -> None:
        """See `Listener`."""
        self._listener.ready()
