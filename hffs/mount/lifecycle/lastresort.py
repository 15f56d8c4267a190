"""The end of a daemon that does not end: after its time is over it ends whatever it waits for.

Owns one thread, which waits to be armed, and what it does then: say where the process is stuck,
abort the connection (who waits gets an error), take the mount out of the table, and exit. Where
even a thread cannot run, because native code holds the interpreter, faulthandler exits later.
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
from hffs.mount.mountinfo import find_mount

log = logging.getLogger(__name__)

_END_S = DRAIN_S + WIND_DOWN_S


class LastResort:
    """Ends this process some seconds after `arm`, unless it has ended by then."""

    def __init__(self, mountpoint: Path, shown: Sequence[Path]) -> None:
        """`shown` are what else is mounted over it, from the top."""
        self._mountpoint, self._shown = mountpoint, shown
        self._device = ""
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
        faulthandler.dump_traceback_later(_END_S + 2 * ABORT_S, exit=True, file=2)
        time.sleep(_END_S)
        self._end()

    def _end(self) -> NoReturn:
        try:
            log.error("%s did not end within %.0f s: aborting it", self._mountpoint, _END_S)
            faulthandler.dump_traceback(file=2, all_threads=True)
            self._take_away()
        finally:
            os._exit(MountError.exit_code)

    def _take_away(self) -> None:
        try:
            abort_own(str(self._mountpoint), self._device)
        except HffsError as error:
            log.warning("%s", error)
        found = find_mount(str(self._mountpoint))
        if found is None or found.device != self._device:
            return
        for place in (*self._shown, self._mountpoint):
            with suppress(HffsError):
                detach(place)
