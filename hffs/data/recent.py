"""What was used last, held open up to a number of bytes: the small memory above the disk cache."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from mmap import mmap
from typing import Generic, TypeVar

T = TypeVar("T")


def count_held(data: memoryview) -> int:
    """Bytes of memory that go when some data do: of a map of a file none."""
    return 0 if isinstance(data.obj, mmap) else len(data)


class Recent(Generic[T]):
    """Things by key, at most `cap_bytes` and `cap_count` of them (but at least one).

    Thread-safe. What is dropped stays valid for who has it. `measure` gives the bytes of one.
    `hits` and `misses` count what was asked for.
    """

    def __init__(self, cap_bytes: int, cap_count: int, measure: Callable[[T], int]) -> None:
        self._cap_bytes, self._cap_count, self._measure = cap_bytes, cap_count, measure
        self._kept: OrderedDict[Hashable, T] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self.hits = self.misses = 0

    def get(self, key: Hashable) -> T | None:
        """What is kept, which becomes the one used last."""
        with self._lock:
            thing = self._kept.get(key)
            if thing is None:
                self.misses += 1
            else:
                self.hits += 1
                self._kept.move_to_end(key)
            return thing

    def put(self, key: Hashable, thing: T) -> None:
        """Keep a thing, dropping those unused for longest; one that is kept already stays."""
        with self._lock:
            if key in self._kept:
                return
            self._kept[key] = thing
            self._bytes += self._measure(thing)
            while self._is_over() and len(self._kept) > 1:
                _, dropped = self._kept.popitem(last=False)
                self._bytes -= self._measure(dropped)

    def drop(self, key: Hashable) -> None:
        """Keep a thing no longer, if it is."""
        with self._lock:
            if key in self._kept:
                self._bytes -= self._measure(self._kept.pop(key))

    def _is_over(self) -> bool:
        return self._bytes > self._cap_bytes or len(self._kept) > self._cap_count
