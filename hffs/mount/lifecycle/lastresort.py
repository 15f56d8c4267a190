"""The end of a daemon that does not end: after its time is over it ends whatever it waits for.

Owns one thread, which waits to be armed, and what it does then: abort the connection (who waits
gets an error), take the mount out of the table, say where the process was stuck, and exit. Where
even a thread cannot run, because native code holds the interpreter, faulthandler exits later.
Invariant: nothing that is said comes before what is done, nor holds up the exit.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from hffs.errors import HffsError, MountError
from hffs.mount.detaching import detach
from hffs.mount.lifecycle.aborting import abort_own
from hffs.mount.lifecycle.limits import ABORT_S, DRAIN_S, WIND_DOWN_S
from hffs.mount.lifecycle.unblocked import open_for_dump, write_unblocked
from hffs.mount.mountinfo import find_mount

log = logging.getLogger(__name__)

_END_S = DRAIN_S + WIND_DOWN_S
_SAY_S = 1.0


class LastResort:
    """Ends this process some seconds after `arm`, unless it has ended by then."""

    def __init__(self, mountpoint: Path, shown: Sequence[Path]) -> None:
        """`shown` are what else is mounted over it, from the top."""
        self._mountpoint, self._shown = mountpoint, shown
        self._device = ""
        self._failures = list[Exception]()
        self._reading, self._writing = os.pipe()
        threading.Thread(target=self._wait, name="last resort", daemon=True).start()

    def learn(self) -> None:
        """It is mounted now."""
        found = find_mount(str(self._mountpoint))
        self._device = found.device if found else ""

    def arm(self) -> None:
        """From now on it has `DRAIN_S` and `WIND_DOWN_S`. A signal handler may call this."""
        with suppress(OSError):
            os.write(self._writing, b"!")

    def _wait(self) -> None:
        os.read(self._reading, 1)
        dump = open_for_dump(2)
        faulthandler.dump_traceback_later(_END_S + 2 * ABORT_S, exit=True, file=dump)
        time.sleep(_END_S)
        self._end()

    def _end(self) -> NoReturn:
        try:
            stuck = _find_stuck()
            try:
                self._take_away()
            finally:
                speaking = threading.Thread(target=self._say, args=(stuck,), daemon=True)
                speaking.start()
                speaking.join(_SAY_S)
        finally:
            os._exit(MountError.exit_code)

    def _say(self, stuck: bytes) -> None:
        log.error("%s did not end within %.0f s: it is aborted", self._mountpoint, _END_S)
        for failure in self._failures:
            log.warning("%s", failure)
        write_unblocked(2, stuck)

    def _take_away(self) -> None:
        try:
            abort_own(str(self._mountpoint), self._device)
        except (HffsError, OSError) as error:
            self._failures.append(error)
        found = find_mount(str(self._mountpoint))
        if found is None or found.device != self._device:
            return
        for place in (*self._shown, self._mountpoint):
            with suppress(HffsError):
                detach(place)


def _find_stuck() -> bytes:
    """Where every thread of this process is now, as a person reads it."""
    with suppress(OSError), open(os.memfd_create("stuck"), "w+b", buffering=0) as dumped:
        faulthandler.dump_traceback(file=dumped.fileno(), all_threads=True)
        dumped.seek(0)
        return dumped.read()
    return b""
