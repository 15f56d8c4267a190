"""Filling the caches of a view: every image asked for once, before anybody reads it.

Owns how many are asked for at a time, and what is told of those that cannot be had. What is cached
already costs no more than finding it there, so that who is interrupted goes on where it was.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

from hffs.config import Config
from hffs.core.formats import Media
from hffs.core.inodes import Kind, make_inode
from hffs.core.types import Position
from hffs.data.watcher import Watcher
from hffs.errors import DataError, OutageError
from hffs.view.opening import open_view_apart
from hffs.view.tree import Tree

T = TypeVar("T")

_AT_ONCE = 256
"""Images that are asked for at a time: of some tens of pages, more than there are fetchers."""

_MOST_MISSED = 2 * _AT_ONCE
"""After so many in a row that could not be fetched, nobody waits for the rest."""


@dataclass(slots=True)
class Warmed:
    """How many images (or videos, or sounds: `media`) are in the caches now, and their bytes; how
    many can never be had (`broken`), and how many could not be fetched this time (`missed`), with
    what was said of the first of each.
    """

    images: int = 0
    size_bytes: int = 0
    broken: int = 0
    missed: int = 0
    why_broken: str = ""
    why_missed: str = ""
    media: Media = "image"


def warm_view(config: Config, watcher: Watcher, workers: int, first: int | None) -> Warmed:
    """Fill the caches for a view, or for its `first` images; raises as opening it does."""
    with open_view_apart(config, watcher, workers) as tree:
        count = tree.positions if first is None else min(first, tree.positions)
        warmed = warm(tree, count, watcher)
        warmed.media = tree.manifest.info.media
        return warmed


def warm(tree: Tree, count: int, watcher: Watcher) -> Warmed:
    """Ask for the first images of a view, in order, and wait for all of them."""
    inodes = (make_inode(Position(position), Kind.IMAGE) for position in range(count))
    return wait_for_all(map(tree.fetch, inodes), count, int, watcher)


def wait_for_all(
    images: Iterable[Future[T]], count: int, size: Callable[[T], int], watcher: Watcher
) -> Warmed:
    """Wait for images, of which there are `count`; each is asked for when it is its turn.

    `size` gives the bytes of what comes.
    """
    asking = Asking()
    for number, image in enumerate(images):
        asking.begin(image, size)
        watcher.progress("warming", number, count, "fetched")
        if not asking.may_go_on():
            break
    warmed = asking.finish()
    warmed.missed = count - warmed.images - warmed.broken
    watcher.progress("warming", count - warmed.missed, count, "fetched")
    return warmed


class Asking:
    """The images that are waited for, and what came of those before."""

    def __init__(self) -> None:
        self._warmed = Warmed()
        self._missed_in_a_row = 0
        self._under_way = 0
        self._changed = threading.Condition()

    def may_go_on(self) -> bool:
        """Wait for a turn; False where there is no use in asking for more."""
        with self._changed:
            self._changed.wait_for(lambda: self._under_way < _AT_ONCE)
            return self._missed_in_a_row < _MOST_MISSED

    def begin(self, image: Future[T], size: Callable[[T], int]) -> None:
        """Wait for one more; `size` gives the bytes of what comes."""
        with self._changed:
            self._under_way += 1
        image.add_done_callback(lambda done: self._settle(done, size))

    def finish(self) -> Warmed:
        """What came of all of them, once all have come."""
        with self._changed:
            self._changed.wait_for(lambda: not self._under_way)
            return self._warmed

    def _settle(self, image: Future[T], size: Callable[[T], int]) -> None:
        error = image.exception()
        warmed = self._warmed
        with self._changed:
            self._under_way -= 1
            self._changed.notify_all()
            if error is None:
                warmed.images += 1
                warmed.size_bytes += size(image.result())
                self._missed_in_a_row = 0
            elif _is_lasting(error):
                warmed.broken += 1
                warmed.why_broken = warmed.why_broken or str(error)
            else:
                warmed.missed += 1
                warmed.why_missed = warmed.why_missed or str(error)
                self._missed_in_a_row += 1


def _is_lasting(error: BaseException) -> bool:
    """Whether an image can never be had, by what was raised in this process or told by a mount."""
    if isinstance(error, OSError):
        return error.errno in (errno.EIO, errno.ESTALE)
    return isinstance(error, DataError) and not isinstance(error, OutageError)
