"""The order in which files of a view will be read, as a file of the user's says it.

Owns the two formats of that file: text with one number or name an entry, and `.npy` with numbers.
It must not know what the order is for. Invariants: every entry is a file of the view, or the whole
is refused; memory is 8 bytes an entry, twice where they are joined, and one block.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from hffs.errors import ConfigError
from hffs.view.layout import Layout

_BLOCK_BYTES = 4 << 20
_BLOCK_NUMBERS = 1 << 20
_ENTRIES_MAX = 200_000_000
_SHOWN = 60
"""Characters of a wrong entry that are told."""

_PLAIN = b"0123456789 \t\r\n"
_PLAIN_NAME = re.compile(rb"^(?:\S*/)?([0-9]{1,18})(?:\.[A-Za-z0-9]+)?\r?$", re.MULTILINE)
_NAME = re.compile(rb"(?:.*/)?([0-9]{1,18})(?:\.[A-Za-z0-9]+)?", re.DOTALL)
_FIX = "write one number or file name a line, as the mount lists them"


def read_order(path: Path, layout: Layout, positions: int) -> NDArray[np.int64]:
    """Positions in the order of a file (int64), all of them under `positions`; repeats are kept.

    Text has entries between white space or, where a path has spaces, one a line: a number, or a
    name or path whose stem is one. A `#` begins a comment. Raises ConfigError for anything else.
    """
    finder = _Finder(path, layout, positions)
    try:
        blocks = list(finder.read_array() if path.suffix == ".npy" else finder.read_text())
    except OSError as error:
        raise ConfigError("cannot use", finder.flag, why=error.strerror or str(error)) from error
    except (EOFError, ValueError) as error:  # of numpy, which would advise to unpickle it
        raise finder.refuse("it is no array as numpy.save writes one") from error
    if not sum(map(len, blocks)):
        raise finder.refuse("it has no entries")
    return np.concatenate(blocks)


class _Finder:
    def __init__(self, path: Path, layout: Layout, positions: int) -> None:
        self.flag = f"--order {path}"
        self._path, self._layout, self._positions = path, layout, positions
        self._count = 0

    def refuse(self, why: str) -> ConfigError:
        """The error that says why the file cannot be used."""
        return ConfigError("cannot use", self.flag, why=why, fix=_FIX)

    def read_text(self) -> Iterator[NDArray[np.int64]]:
        """Positions of a text file, a block of it at a time."""
        line = 1
        with self._path.open("rb") as file:
            for block in _read_blocks(file):
                found = self._find_plain(block)
                if found is None:
                    found = self._find_names(block, line)
                self._add(len(found))
                yield found
                line += block.count(b"\n")

    def read_array(self) -> Iterator[NDArray[np.int64]]:
        """Positions of an array, a block of it at a time."""
        numbers: NDArray[Any] = np.load(self._path, mmap_mode="r", allow_pickle=False)
        if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
            raise self.refuse(
                f"it has {numbers.ndim} dimensions of {numbers.dtype}, not one of int"
            )
        for start in range(0, len(numbers), _BLOCK_NUMBERS):
            block = np.asarray(numbers[start : start + _BLOCK_NUMBERS])
            found = self._find(block.astype(np.int64))  # uint64 beyond it becomes negative
            if (found < 0).any():
                first = int(np.argmin(found >= 0))
                raise self.refuse(f"entry {start + first}: {block[first]} is no file of the view")
            self._add(len(found))
            yield found

    def _add(self, count: int) -> None:
        self._count += count
        if self._count > _ENTRIES_MAX:
            raise self.refuse(f"it has more than {_ENTRIES_MAX} entries")

    def _find(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions of numbers, -1 where there is none."""
        found = self._layout.find_numbers(numbers)
        return np.where(found < self._positions, found, -1)

    def _find_plain(self, block: bytes) -> NDArray[np.int64] | None:
        """Positions of a block of numbers alone, or of one name a line; None if it has others."""
        if not block.strip():
            return np.zeros(0, np.int64)
        if block.translate(None, _PLAIN):
            names = _PLAIN_NAME.findall(block)
            if len(names) != block.count(b"\n") + (not block.endswith(b"\n")):
                return None
            block = b" ".join(names)
        # A number beyond int64 becomes the largest, which is no file.
        found = self._find(np.fromstring(block.decode("ascii"), np.int64, sep=" "))
        return None if (found < 0).any() else found

    def _find_names(self, block: bytes, line: int) -> NDArray[np.int64]:
        """Positions of a block whose first line has this number."""
        numbers, lines = list[int](), list[int]()
        for count, text in enumerate(block.split(b"\n"), line):
            read = _parse_line(text)
            if isinstance(read, bytes):
                raise self._refuse_entry(count, read)
            numbers += read
            lines += [count] * len(read)
        found = self._find(np.array(numbers, np.int64))
        if (found < 0).any():
            first = int(np.argmin(found >= 0))
            raise self._refuse_entry(lines[first], str(numbers[first]).encode())
        return found

    def _refuse_entry(self, line: int, entry: bytes) -> ConfigError:
        shown = entry.decode("utf-8", "replace")[:_SHOWN]
        return self.refuse(f"line {line}: {shown!a} is no file of the view")


def _parse_line(text: bytes) -> list[int] | bytes:
    """Numbers of a line, or the first entry that is none."""
    tokens = text.split()
    comment = next((at for at, token in enumerate(tokens) if token.startswith(b"#")), None)
    tokens = tokens[:comment]
    matches = [_NAME.fullmatch(token) for token in tokens]
    if None in matches and (whole := _NAME.fullmatch(b" ".join(tokens))):
        matches = [whole]
    numbers = []
    for match, token in zip(matches, tokens, strict=False):
        if match is None:
            return token
        numbers.append(int(match[1]))
    return numbers


def _read_blocks(file: BinaryIO) -> Iterator[bytes]:
    """Blocks of a file, cut between lines; between entries where a line is larger than a block."""
    rest = b""
    while block := file.read(_BLOCK_BYTES):
        block = rest + block
        end = block.rfind(b"\n") + 1 or block.rfind(b" ") + 1
        rest = block[end:]
        if len(rest) > 2 * _BLOCK_BYTES:
            end, rest = len(block), b""
        if end:
            yield block[:end]
    yield rest
