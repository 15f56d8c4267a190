"""How progress is drawn on a terminal: things as `3/10`, with a rate where it matters."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text


class _Amount(ProgressColumn):
    """How much is done, in the task's own unit."""

    def __init__(self) -> None:
        super().__init__()
        self._things, self._bytes = MofNCompleteColumn(), DownloadColumn()
        self._rate = TransferSpeedColumn()

    def render(self, task: Task) -> Text:
        if task.fields["unit"] == "encoded":
            rate = f" {task.speed:.3g}/s" if task.speed else ""
            return Text.assemble(self._things.render(task), rate)
        if task.fields["unit"] != "B":
            return self._things.render(task)
        return Text.assemble(self._bytes.render(task), " ", self._rate.render(task))


def make_bars() -> Progress:
    """Bars on standard error; each task has a `unit`.

    No thread draws them: they are drawn where `refresh` is called. A process with bars may fork.
    """
    text = TextColumn("{task.description}", markup=False)
    columns = (text, BarColumn(), _Amount(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), auto_refresh=False)
