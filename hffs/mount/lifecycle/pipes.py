"""What a child says to who waits for it, and how: one JSON object a line, through a pipe.

Owns both ends. Must not know what is waited for, nor start or end processes.
"""

from __future__ import annotations

import json
import select
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, Protocol

from hffs.data.watcher import Unit, Watcher
from hffs.errors import HffsError, MountError


class Listener(Watcher, Protocol):
    """Who waits for a mount to become ready."""

    def starting(self, within_s: float) -> None:
        """All is prepared: `ready` comes within so many seconds, or never."""
        ...

    def ready(self) -> None:
        """The mount answers."""
        ...


class PipeListener:
    """Tells the parent, who may be gone: then nobody minds."""

    def __init__(self, pipe: IO[str]) -> None:
        self._pipe: IO[str] | None = pipe

    @property
    def is_heard(self) -> bool:
        """Whether more can be said: until `ready`."""
        return self._pipe is not None

    def progress(self, what: str, done: int, total: int, unit: Unit = "") -> None:
        """See `Watcher`."""
        self._say({"progress": [what, done, total, unit]})

    def notice(self, text: str) -> None:
        """See `Watcher`."""
        self._say({"notice": text})

    def starting(self, within_s: float) -> None:
        """See `Listener`."""
        self._say({"starting": within_s})

    def ready(self) -> None:
        """See `Listener`; nothing is said after this."""
        self._say({"ready": True})
        self._close()

    def fail(self, error: HffsError) -> None:
        """The error that the parent shall raise."""
        parts = [type(error).__name__, error.what, error.which, error.why, error.fix]
        self._say({"error": parts})
        self._close()

    def _say(self, message: dict[str, object]) -> None:
        if self._pipe is not None:
            with suppress(BrokenPipeError):
                self._pipe.write(json.dumps(message) + "\n")
                self._pipe.flush()

    def _close(self) -> None:
        if self._pipe is not None:
            with suppress(BrokenPipeError):
                self._pipe.close()
            self._pipe = None


class Words:
    """Lines that come through a pipe, as they come; once some are expected, until a deadline."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe, self._rest = pipe, b""
        self._deadline: float | None = None

    def expect(self, within_s: float) -> None:
        """The next words, and all after them, have to come within so many seconds from now."""
        self._deadline = time.monotonic() + within_s

    def __iter__(self) -> Iterator[str]:
        """Raises MountError at the deadline."""
        while True:
            line, is_whole, rest = self._rest.partition(b"\n")
            if is_whole:
                self._rest = rest
                yield line.decode()
                continue
            self._wait()
            more = self._pipe.read(1 << 16)
            if not more:
                return
            self._rest += more

    def _wait(self) -> None:
        if self._deadline is None:
            return
        left_s = max(0.0, self._deadline - time.monotonic())
        if not select.select([self._pipe], [], [], left_s)[0]:
            fix = "its log may say more"
            raise MountError("cannot mount", why="its daemon does not answer", fix=fix)
