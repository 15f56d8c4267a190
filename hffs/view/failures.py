"""What went wrong with the files of a view: told once, and remembered where it is for good.

Owns what a failure is called, which of them are news to the log, and which cells are broken: they
fail from then on at once. Thread-safe.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from hffs.data.rows import RowStore
from hffs.errors import DeadlineError, FormatError, HffsError, OutageError, RenderError
from hffs.view.figures import FailureFigures

log = logging.getLogger(__name__)

_MOST_TOLD = 1 << 16

MOST_NAMED = 1000
"""Broken files that are named in the log: a set of millions of them must not fill the disk."""

_MOST_REASONS = 4096
_OTHER_REASON = "it is broken; why is not kept, of so many different reasons"


class Failures:
    """The failures of one view, by cell."""

    def __init__(self, rows: RowStore) -> None:
        self._rows = rows
        self._what = "cannot render" if rows.media == "image" else "cannot read"
        self._broken: dict[int, str] = {}  # why, by cell: all of a set may be broken
        self._reasons: dict[str, str] = {}  # each that cells have, once
        self._told: set[int | str] = set()  # what of `tell` is in the log: cells at URLs, errors
        self._passing = 0
        self._lock = threading.Lock()
        self._is_closed = False

    def figures(self) -> FailureFigures:
        """How many there were so far."""
        return FailureFigures(len(self._broken), self._passing)

    def find(self, cell: int, name: Callable[[], str]) -> RenderError | None:
        """Why a cell, which is shown as `name` tells, is known to be broken, if it is."""
        why = self._broken.get(cell)
        return None if why is None else RenderError(self._what, name(), why=why)

    def settle(self, cell: int, name: str, error: RenderError | FormatError) -> RenderError:
        """Remember and log that a cell, which is shown as `name`, is broken.

        No part of the error that was raised is kept: its frames hold the pixels decoded so far.
        """
        failure = RenderError(self._what, name, why=error.why or error.what)
        with self._lock:
            is_news = cell not in self._broken
            self._broken[cell] = self._share(failure.why)
            count = len(self._broken)
        if is_news and count <= MOST_NAMED:
            log.error("%s", failure)
        if is_news and count == MOST_NAMED:
            log.error("%d files are broken; further ones are not named", count)
        return failure

    def _share(self, why: str) -> str:
        """A reason to keep, the same object for all cells that have it; the caller has the lock."""
        if why not in self._reasons and len(self._reasons) >= _MOST_REASONS:
            return _OTHER_REASON
        return self._reasons.setdefault(why, why)

    def tell(self, cell: int, name: str, error: HffsError) -> None:
        """Log once why the bytes of a cell cannot be had; what is wrong with the file that many
        cells lie in, or with the network, is said of the first of them.
        """
        about: int | str = str(error)
        if self._rows.names_url(cell):
            about = cell
        elif isinstance(error, DeadlineError | OutageError):
            about = error.why
        with self._lock:
            self._passing += 1
            is_news = about not in self._told and not self._is_closed
            if len(self._told) >= _MOST_TOLD:
                self._told.clear()
            self._told.add(about)
        if is_news:
            log.error("%s", error.within(name))

    def close(self) -> None:
        """Tell nothing any more: what ends with the view is no news."""
        self._is_closed = True
