"""What a person sees while a mount is being made: bars on a terminal, lines in a log."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from hffs.cli.untrusted import clean_line

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from hffs.data.watcher import Unit

_SHOWN_AFTER = {"": 20_000, "B": 1_000_000, "fetched": 50, "encoded": 1}
"""Work on less than this is over before a bar could be read."""

_LINES_APART_S = 10.0
_DRAWN_EVERY_S = 0.1


class DownloadLog:
    """Tells how far a download is where no bar can be drawn: a line now and then.

    With `counts`, it is so many things, else so many bytes.
    """

    def __init__(self, now_s: float, *, counts: bool = False) -> None:
        self._begun_s = self._told_s = now_s
        self._at_first: int | None = None
        self._show = _show_count if counts else _show_bytes

    def describe(self, what: str, done: int, total: int, now_s: float) -> str | None:
        """The line to print now, if it is time for one."""
        if self._at_first is None:
            self._at_first = done
        if now_s - self._told_s < _LINES_APART_S or done >= total:
            return None
        self._told_s = now_s
        rate = (done - self._at_first) / (now_s - self._begun_s)
        left = f", {_show_time((total - done) / rate)} left" if rate > 0 else ""
        share = f"{100 * done // total} %"
        amount = f"{self._show(done)} of {self._show(total)}"
        return f"{what}: {amount} ({share}), {self._show(rate)}/s{left}"


def _show_count(count: float) -> str:
    return f"{count:.0f}"


def _show_bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def _show_time(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{seconds} s"


class TerminalListener:
    """Shows progress and notices on stderr; see `hffs.mount.lifecycle.pipes.Listener`.

    `name` stands before each, where several mounts share a terminal.
    """

    def __init__(self, name: str = "") -> None:
        self._before = f"{name}: " if name else ""
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._logs: dict[str, DownloadLog] = {}
        self._drawn_s = 0.0

    def close(self) -> None:
        """Take the bars away."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def progress(self, what: str, done: int, total: int, unit: Unit = "") -> None:
        """Move the bar of one kind of work."""
        if max(done, total) < _SHOWN_AFTER[unit]:
            return
        if not sys.stderr.isatty():
            if unit and total:
                self._log(what, done, total, counts=unit != "B")
            return
        bars = self._bars or self._open()
        if what not in self._tasks:
            self._tasks[what] = bars.add_task(
                clean_line(self._before + what), total=total or None, unit=unit, completed=done
            )
        bars.update(self._tasks[what], completed=done, total=total or None)
        now_s = time.monotonic()
        if now_s - self._drawn_s >= _DRAWN_EVERY_S or done == total:
            self._drawn_s = now_s
            bars.refresh()

    def _log(self, what: str, done: int, total: int, *, counts: bool) -> None:
        now_s = time.monotonic()
        log = self._logs.setdefault(what, DownloadLog(now_s, counts=counts))
        line = log.describe(what, done, total, now_s)
        if line is not None:
            self.notice(line)

    def notice(self, text: str) -> None:
        """One line that a person should read."""
        print(clean_line(f"hffs: {self._before}{text}"), file=sys.stderr)

    def starting(self, within_s: float) -> None:
        """Nothing is shown any more: the rest does not take long."""
        self.close()

    def ready(self) -> None:
        """Nothing is shown: the command just ends."""

    def _open(self) -> Progress:
        from hffs.cli.bars import make_bars

        self._bars = make_bars()
        self._bars.start()
        return self._bars
