"""What the tests have engines do: a module, since processes of an engine import it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

from hffs.errors import SourceError

Answer = tuple[int, str, int]
"""A task, the device and the process that it was done by."""

Work = Callable[[Iterable[int]], Iterator[Answer]]


def make_teller(device: str) -> Work:
    """Tells by whom each task is done."""

    def tell(tasks: Iterable[int]) -> Iterator[Answer]:
        for task in tasks:
            yield task, device, os.getpid()

    return tell


def make_looker(ahead: int, device: str) -> Work:
    """Looks at some tasks before it answers the first of them, and says how many it then has."""

    def look(tasks: Iterable[int]) -> Iterator[Answer]:
        left = iter(tasks)
        held = list(islice(left, ahead))
        while held:
            yield held[0], device, len(held)
            held = [*held[1:], *islice(left, 1)]

    return look


def make_mortal(folder: Path, deadly: int, lives: int, device: str) -> Work:
    """Dies at one task, as by the OOM killer, until it has done so often enough."""

    def work(tasks: Iterable[int]) -> Iterator[Answer]:
        for task in tasks:
            if task == deadly and len(list(folder.iterdir())) < lives:
                (folder / str(os.getpid())).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            yield task, device, os.getpid()

    return work


def make_refuser(device: str) -> Work:
    """Refuses the task 3."""

    def work(tasks: Iterable[int]) -> Iterator[Answer]:
        for task in tasks:
            if task == 3:
                raise SourceError("cannot open", "three.parquet", why="gone", fix="find it")
            yield task, device, os.getpid()

    return work


def make_faulty(device: str) -> Work:
    """Is wrong."""

    def work(tasks: Iterable[int]) -> Iterator[Answer]:
        for task in tasks:
            yield task // 0, device, os.getpid()

    return work


def make_sleeper(folder: Path, device: str) -> Work:
    """Leaves its number in a folder, and never answers but the task 0."""

    def work(tasks: Iterable[int]) -> Iterator[Answer]:
        (folder / str(os.getpid())).touch()
        for task in tasks:
            if task:
                threading.Event().wait()
            yield task, device, os.getpid()

    return work


def make_large(device: str) -> Callable[[Iterable[bytes]], Iterator[bytes]]:
    """Answers with as much as it was given."""
    return partial(map, bytes.swapcase)


def make_slow(device: str) -> Work:
    """Takes a little for each task, so that there is a middle."""

    def work(tasks: Iterable[int]) -> Iterator[Answer]:
        for task in tasks:
            time.sleep(0.02)
            yield task, device, os.getpid()

    return work
