"""Turns at hosts: how many requests each is sent at once, and which are left alone for a while.

Owns the counts. Must not know what a request is. Thread-safe. Time is `time.monotonic`.
Invariant: a host that lets every request run into its deadline is soon left alone for a while, so
that not every image of it takes that long.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hffs.errors import DeadlineError, HffsError, OutageError

_MOST_RESTING = 10_000
_SILENT_S = 10.0
"""How long a host is left alone of which nothing came in time; after that it is tried again."""


@dataclass(frozen=True, slots=True)
class _Rest:
    """Why a host is left alone up to a point in time, and whether it is worth waiting for that."""

    until: float
    why: str
    is_waited_for: bool


_NONE = _Rest(0.0, "", True)


class Hosts:
    """At most `per_host` requests to each host and `overall` to all of them at a time."""

    def __init__(self, per_host: int, overall: int) -> None:
        self._per_host, self._overall = per_host, overall
        self._busy: dict[str, int] = {}
        self._total = 0
        self._resting: dict[str, _Rest] = {}
        self._late: dict[str, int] = {}  # requests in a row that ran into their deadline
        self._turns = threading.Condition()
        self._is_closed = False

    @contextmanager
    def turn(self, host: str, until: float) -> Iterator[None]:
        """A turn at a host, waited for up to a point in time.

        DeadlineError where it does not come; OutageError, at once, where the host rests longer.
        A DeadlineError that the body raises counts against the host.
        """
        with self._turns:
            self._wait(host, until)
            self._busy[host] = self._busy.get(host, 0) + 1
            self._total += 1
        is_late = False
        try:
            yield
        except DeadlineError:
            is_late = True
            raise
        finally:
            with self._turns:
                self._note(host, is_late=is_late)
                self._total -= 1
                self._busy[host] -= 1
                if not self._busy[host]:
                    del self._busy[host]
                self._turns.notify_all()

    def rest(self, host: str, seconds: float, why: str) -> None:
        """Send nothing to a host for a while, as it asked for; turns come later."""
        self._set_aside(host, _Rest(time.monotonic() + seconds, why, True))

    def shun(self, host: str, seconds: float, why: str) -> None:
        """Give nobody a turn at a host for a while, since it cannot be reached."""
        self._set_aside(host, _Rest(time.monotonic() + seconds, why, False))

    def close(self) -> None:
        """Let nobody wait any longer."""
        with self._turns:
            self._is_closed = True
            self._turns.notify_all()

    def _set_aside(self, host: str, rest: _Rest) -> None:
        now = time.monotonic()
        with self._turns:
            if len(self._resting) >= _MOST_RESTING:
                self._resting = {at: each for at, each in self._resting.items() if each.until > now}
            if len(self._resting) < _MOST_RESTING:
                self._resting[host] = rest
            self._turns.notify_all()

    def _note(self, host: str, *, is_late: bool) -> None:
        """Count requests that ran into their deadline. As many as a host is sent at once: one URL
        that hangs at a host that is well does not come between it and others.
        """
        if not is_late:
            self._late.pop(host, None)
            return
        if len(self._late) >= _MOST_RESTING:
            self._late.clear()
        self._late[host] = self._late.get(host, 0) + 1
        if self._late[host] >= self._per_host:
            self.shun(host, _SILENT_S, "nothing comes from it in time")

    def _wait(self, host: str, until: float) -> None:
        while True:
            now = time.monotonic()
            rest = self._resting.get(host, _NONE)
            if self._is_closed:
                raise OutageError("cannot ask", host, why="the mount ends")
            if rest.until > (until if rest.is_waited_for else now):
                raise OutageError("cannot ask", host, why=rest.why)
            if until <= now:
                raise _too_late(host)
            if rest.until > now:
                self._turns.wait(rest.until - now)
            elif self._is_free(host):
                self._resting.pop(host, None)
                return
            else:
                self._turns.wait(until - now)

    def _is_free(self, host: str) -> bool:
        return self._total < self._overall and self._busy.get(host, 0) < self._per_host


def _too_late(host: str) -> HffsError:
    return DeadlineError("cannot ask", host, why="too many other images are waited for")
