"""A reader of a soak, as a program of its own: random operations on one mount until it is killed.

    python -m tests.soak.reader MOUNT MODEL SEED steady|restless

A mount that is `restless` is unmounted and killed meanwhile: then a call may also say that nothing
is there, but no other bytes. The first difference ends the program with one line on stderr; a line
on stdout tells of each hundred operations.
"""

from __future__ import annotations

import errno
import mmap
import os
import random
import sys
from collections.abc import Callable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tests.readers import make_draw
from tests.soak.model import Model

if TYPE_CHECKING:
    from collections.abc import Iterator

_GONE = {errno.ENOTCONN, errno.ENOENT, errno.ECONNABORTED, errno.EINTR, errno.ENOTDIR}
_DIRECT_BYTES = 1 << 16
TOLD = 100


class DifferenceError(Exception):
    """A mount did something else than the model says."""


class Reader:
    """Operations on one folder, each compared with the model."""

    def __init__(self, folder: Path, model: Model, draw: random.Random) -> None:
        self._folder, self._model, self._draw = folder, model, draw
        self._names, self._broken = sorted(model.files), sorted(model.broken)

    def operations(self, *, is_steady: bool) -> list[Callable[[], None]]:
        """What may be drawn; a map of a mount that ends would end its reader with SIGBUS."""
        always = [
            self.list_folder, self.tell_size, self.read_whole, self.read_ranges, self.read_direct,
            self.read_attribute, self.forget_pages, self.ask_for_absent, self.change,
            self.read_broken,
        ]  # fmt: skip
        return [*always, self.read_map] if is_steady else always

    def _pick(self) -> tuple[str, bytes]:
        name = self._draw.choice(self._names)
        return name, self._model.files[name]

    @contextmanager
    def _opened(self, name: str, flags: int = 0) -> Iterator[int]:
        file = os.open(self._folder / name, os.O_RDONLY | flags)
        try:
            yield file
        finally:
            with suppress(OSError):  # a mount that is gone says so to who closes its files
                os.close(file)

    def list_folder(self) -> None:
        """Every name is there, each once."""
        listed = os.listdir(self._folder)
        if listed:  # an empty one is the mount point itself
            _compare("the listing", sorted(listed), sorted(self._model.names()))

    def tell_size(self) -> None:
        """`stat` tells the size of what can be read."""
        name, data = self._pick()
        _compare(f"size of {name}", os.stat(self._folder / name).st_size, len(data))

    def read_whole(self) -> None:
        """All bytes at once."""
        name, data = self._pick()
        with self._opened(name) as file:
            _compare(name, os.pread(file, len(data) + 1, 0), data)

    def read_ranges(self) -> None:
        """Some ranges, in and behind the file."""
        self._read_ranges(0)

    def read_direct(self) -> None:
        """The same past the page cache."""
        self._read_ranges(os.O_DIRECT)

    def _read_ranges(self, flags: int) -> None:
        name, data = self._pick()
        with self._opened(name, flags) as file:
            for _ in range(4):
                start = self._draw.randrange(len(data) + 10)
                size = self._draw.randrange(_DIRECT_BYTES)
                found = os.pread(file, size, start)
                _compare(f"{name} from {start}", found, data[start : start + size])

    def read_map(self) -> None:
        """A range of a map, after the file was closed."""
        name, data = self._pick()
        with self._opened(name) as file:
            mapped = mmap.mmap(file, 0, prot=mmap.PROT_READ)
        start = self._draw.randrange(len(data))
        with mapped:
            _compare(f"map of {name}", mapped[start : start + 9999], data[start : start + 9999])

    def read_attribute(self) -> None:
        """The row of a file."""
        name, _ = self._pick()
        row = os.getxattr(self._folder / name, "user.hffs.row")
        _compare(f"row of {name}", row, name.partition(".")[0].encode())

    def forget_pages(self) -> None:
        """What the kernel keeps of a file goes, and what it reads ahead comes."""
        name, _ = self._pick()
        with self._opened(name) as file:
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_WILLNEED)

    def ask_for_absent(self) -> None:
        """A name that is not in the listing."""
        name = f"{self._draw.randrange(10**6)}.npz"
        _expect(errno.ENOENT, lambda: os.stat(self._folder / name))

    def change(self) -> None:
        """A call that would change the folder."""
        name, _ = self._pick()
        _expect(errno.EROFS, lambda: os.unlink(self._folder / name))

    def read_broken(self) -> None:
        """A row that cannot be rendered."""
        name = self._draw.choice(self._broken)
        _expect(errno.EIO, lambda: os.open(self._folder / name, os.O_RDONLY))


def _compare(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise DifferenceError(f"{what}: {str(found)[:60]!r}, not {str(expected)[:60]!r}")


def _expect(number: int, call: Callable[[], object]) -> None:
    try:
        call()
    except OSError as error:
        if error.errno in _GONE | {number}:
            if error.errno != number:
                raise
            return
        raise
    raise DifferenceError(f"no {errno.errorcode[number]}")


def main(mount: str, model: str, seed: str, kind: str) -> None:
    """Go on until something is wrong."""
    draw = make_draw(int(seed))
    reader = Reader(Path(mount), Model.load(Path(model)), draw)
    operations = reader.operations(is_steady=kind == "steady")
    count = 0
    while True:
        operation = draw.choice(operations)
        try:
            operation()
        except OSError as error:
            if kind == "steady" or error.errno not in _GONE:
                raise DifferenceError(f"{operation.__name__}: {error}") from error
        count += 1
        if count % TOLD == 0:
            os.write(1, b"%d\n" % TOLD)  # whole: others write to the same file


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except DifferenceError as difference:
        sys.exit(f"reader {sys.argv[3]} on {sys.argv[1]}: {difference}")
