"""Who waits while a view is decided and opened; imported before a daemon forks, so it is light."""

from __future__ import annotations

from typing import Protocol


class Watcher(Protocol):
    """Who waits while a view is opened."""

    def progress(self, what: str, done: int, total: int) -> None:
        """Some work is `done` of `total` far."""
        ...

    def notice(self, text: str) -> None:
        """Something a person should know; the work goes on."""
        ...
