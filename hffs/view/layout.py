"""Where each position of a view lies and what it is called: its number, and its folder.

Owns both directions of the mapping, over arrays that never change. It must not know what a file
holds, nor extensions. Invariants: numbers are unique in a view, also across folders; they grow
with positions; folders are not nested and never empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hffs.core.types import Position


@dataclass(frozen=True, eq=False)
class Folders:
    """Folders by number: `of` (int32) the folder of each position; the positions of folder k in
    order are `members[starts[k]:starts[k + 1]]` (int64); `names` are unique.
    """

    names: tuple[str, ...]
    of: NDArray[np.int32]
    members: NDArray[np.int64]
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.names)

    def positions(self, folder: int, skip: int = 0) -> Iterable[int]:
        """Positions of a folder in order, but for the first `skip`."""
        start, end = int(self.starts[folder]), int(self.starts[folder + 1])
        members: memoryview = self.members.data
        return members[min(start + skip, end) : end]


def make_folders(names: Sequence[str], of: NDArray[np.int32]) -> Folders:
    """Folders from the folder of each position; each has at least one."""
    members = np.argsort(of, kind="stable").astype(np.int64, copy=False)
    ends = np.cumsum(np.bincount(of, minlength=len(names)))
    return Folders(tuple(names), of, members, np.concatenate(([0], ends)).astype(np.int64))


class Layout:
    """Numbers and folders of a view's positions.

    `numbers` (int64, ascending) are the positions themselves where None, counted from `first` on;
    `folders` None is a flat root. `width` is the least number of digits in a name.
    """

    def __init__(
        self,
        positions: int,
        numbers: NDArray[np.int64] | None = None,
        folders: Folders | None = None,
        width: int = 0,
        first: int = 0,
    ) -> None:
        self.positions = positions
        self.numbers, self.folders, self.width, self.first = numbers, folders, width, first
        self._numbers: memoryview | range = range(first, first + positions)
        if numbers is not None:
            self._numbers = numbers.data
        self._folder_of = None if folders is None else folders.of.data
        self._by_name = {}
        if folders is not None:
            self._by_name = {name.encode(): number for number, name in enumerate(folders.names)}

    @property
    def padding(self) -> int:
        """The least digits of a name, 0 where every number has as many by itself."""
        return self.width if len(str(self.number(Position(0)))) < self.width else 0

    def number(self, position: Position) -> int:
        """The number in a position's names."""
        number: int = self._numbers[position]
        return number

    def find_number(self, number: int) -> Position | None:
        """The position that has a number."""
        if self.numbers is None:
            place = number - self.first
            return Position(place) if 0 <= place < self.positions else None
        # As an array: numpy would take a number beyond int64 for a float, or an object.
        if number > np.iinfo(np.int64).max:
            return None
        place = int(np.searchsorted(self.numbers, np.int64(number)))
        found = place < self.positions and self._numbers[place] == number
        return Position(place) if found else None

    def find_numbers(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """The positions that have some numbers, -1 for each that none has."""
        if self.numbers is None:
            places = numbers - self.first
            return np.where((numbers >= self.first) & (places < self.positions), places, -1)
        if not self.positions:
            return np.full(len(numbers), -1)
        places = np.minimum(np.searchsorted(self.numbers, numbers), self.positions - 1)
        return np.where(self.numbers[places] == numbers, places, -1)

    def folder_of(self, position: Position) -> int | None:
        """Number of a position's folder, None in a flat root."""
        return None if self._folder_of is None else self._folder_of[position]

    def find_folder(self, name: bytes) -> int | None:
        """Number of the folder with a name."""
        return self._by_name.get(name)

    def slice_numbers(self, start: int, stop: int) -> NDArray[np.int64]:
        """The numbers of positions from `start` up to `stop`, ascending."""
        if self.numbers is None:
            return np.arange(self.first + start, self.first + stop, dtype=np.int64)
        return self.numbers[start:stop]

    def name_numbers(self, start: int) -> Iterable[tuple[int, int]]:
        """Position and number of all positions from `start` on."""
        positions = range(start, self.positions)
        return zip(positions, self._numbers[start:], strict=True)
