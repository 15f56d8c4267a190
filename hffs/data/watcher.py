"""Who waits while a source is got and a view decided; imported before a daemon forks, so light."""

from __future__ import annotations

from typing import Literal, Protocol

Unit = Literal["", "B", "fetched", "encoded"]
"""What progress counts: things, bytes, things that have to be fetched, which takes longer, or that
have to be computed, which takes longest.
"""


class Watcher(Protocol):
    """Who waits while a view is opened."""

    def progress(self, what: str, done: int, total: int, unit: Unit = "") -> None:
        """Some work is `done` of `total` far; `total` is 0 where that is not known."""
        ...

    def notice(self, text: str) -> None:
        """Something a person should know; the work goes on."""
        ...
