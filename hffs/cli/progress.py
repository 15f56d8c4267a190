"""What a person sees while a mount is being made: a bar on a terminal, nothing in a log."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from hffs.cli.untrusted import clean_line

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_SHOWN_AFTER = 20_000
"""Work on fewer rows than this is over before a bar could be read."""


class TerminalListener:
    """Shows progress and notices on stderr; see `hffs.mount.daemon.Listener`.

    `name` stands before each, where several mounts share a terminal.
    """

    def __init__(self, name: str = "") -> None:
        self._before = f"{name}: " if name else ""
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def close(self) -> None:
        """Take the bars away."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def progress(self, what: str, done: int, total: int) -> None:
        """Move the bar of one kind of work."""
        if total < _SHOWN_AFTER or not sys.stderr.isatty():
            return
        bars = self._bars or self._open()
        if what not in self._tasks:
            self._tasks[what] = bars.add_task(self._before + what, total=total)
        bars.update(self._tasks[what], completed=done, total=total)

    def notice(self, text: str) -> None:
        """One line that a person should read."""
        print(clean_line(f"hffs: {self._before}{text}"), file=sys.stderr)

    def ready(self) -> None:
        """Nothing is shown: the command just ends."""

    def _open(self) -> Progress:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._bars = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))
        self._bars.start()
        return self._bars
