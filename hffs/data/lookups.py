"""What a cache was asked for and what was put into it, counted by kinds of keys. Thread-safe."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CacheFigures:
    """What was found in a cache, what was not, and what was made or fetched to be put there."""

    hits: int = 0
    misses: int = 0
    made: int = 0

    def __add__(self, other: CacheFigures) -> CacheFigures:
        return CacheFigures(
            self.hits + other.hits, self.misses + other.misses, self.made + other.made
        )


class Lookups:
    """Counters of one cache; the kind of a key is what stands before its first slash."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hits, self._misses = Counter[str](), Counter[str]()
        self._made = Counter[str]()

    def note(self, key: str, *, is_hit: bool) -> None:
        """A key was asked for."""
        with self._lock:
            (self._hits if is_hit else self._misses)[_find_kind(key)] += 1

    def note_made(self, key: str) -> None:
        """What belongs under a key was made, or fetched."""
        with self._lock:
            self._made[_find_kind(key)] += 1

    def figures(self) -> dict[str, CacheFigures]:
        """What was counted so far, by kind."""
        with self._lock:
            kinds = sorted({*self._hits, *self._misses, *self._made})
            return {
                kind: CacheFigures(self._hits[kind], self._misses[kind], self._made[kind])
                for kind in kinds
            }


def _find_kind(key: str) -> str:
    return key.partition("/")[0]
