"""Many files of a folder at once: what is asked about them and what is answered, as bytes.

Owns the form of both, for threads and for processes (`main` runs in one of these). Must not know
who asks, nor where answers are kept. A batch is file names with what was known of each. Light to
import, since a process that reads for half a second must not take as long to start: so messages are
framed here, and not by multiprocessing.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import struct
from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

from hffs.errors import DataError
from hffs.train.scanning.headers import OPENING, read_open_header

UNKNOWN_BYTES = -1
"""The size of a file of which nothing is known."""

RECORD = struct.Struct("<qqiiBB")
"""Size in bytes, mtime in ns, width, height, orientation, and an `Outcome`."""

KNOWN = struct.Struct("<qq")
"""Size in bytes and mtime in ns."""

_COUNT = struct.Struct("<q")


class Outcome(IntEnum):
    """What came of a file: `REFUSED` will be so again, `FAILED` may pass, `SAME` is as known."""

    UNREAD = 0
    FOUND = 1
    REFUSED = 2
    FAILED = 3
    SAME = 4


class Answer(NamedTuple):
    """A `RECORD` for each name, and for those that have no size, by index, why."""

    records: bytes
    reasons: dict[int, str]


def pack_batch(names: Iterable[str], known: bytes) -> bytes:
    """What is asked: names relative to the folder, and as many `KNOWN`."""
    return _COUNT.pack(len(known)) + known + "\0".join(names).encode()


def read_batch(folder: int, batch: bytes) -> Answer:
    """Look at each file of a batch, below an open folder."""
    start = _COUNT.size + _COUNT.unpack_from(batch)[0]
    names = batch[start:].split(b"\0")
    records, reasons = list[bytes](), dict[int, str]()
    for index, known in enumerate(KNOWN.iter_unpack(batch[_COUNT.size : start])):
        try:
            records.append(_read_file(folder, names[index], known))
        except DataError as error:
            reasons[index] = error.why
            records.append(_nothing(Outcome.REFUSED))
        except OSError as error:
            reasons[index] = _explain(error)
            records.append(_nothing(Outcome.FAILED))
    return Answer(b"".join(records), reasons)


def _read_file(folder: int, name: bytes, known: tuple[int, int]) -> bytes:
    if known[0] != UNKNOWN_BYTES:
        status = os.stat(name, dir_fd=folder)
        if (status.st_size, status.st_mtime_ns) == known and stat.S_ISREG(status.st_mode):
            return RECORD.pack(*known, 0, 0, 0, Outcome.SAME)
    opened = os.open(name, OPENING, dir_fd=folder)
    try:
        status = os.fstat(opened)
        header = read_open_header(opened, status)
    finally:
        os.close(opened)
    return RECORD.pack(status.st_size, status.st_mtime_ns, *header, Outcome.FOUND)


def _nothing(outcome: Outcome) -> bytes:
    return RECORD.pack(UNKNOWN_BYTES, 0, 0, 0, 1, outcome)


def _explain(error: OSError) -> str:
    if error.errno == errno.ENXIO:  # what opening a socket says
        return "not a regular file"
    return error.strerror or str(error)


def pack_answer(answer: Answer) -> bytes:
    """An answer as one message."""
    reasons = json.dumps(list(answer.reasons.items())).encode() if answer.reasons else b""
    return _COUNT.pack(len(answer.records)) + answer.records + reasons


def unpack_answer(message: bytes) -> Answer:
    """An answer back from its message."""
    start = _COUNT.size + _COUNT.unpack_from(message)[0]
    reasons = json.loads(message[start:]) if len(message) > start else []
    return Answer(message[_COUNT.size : start], {index: why for index, why in reasons})


def send(descriptor: int, message: bytes) -> None:
    """Write a message to a socket; ConnectionError where nobody reads any more."""
    left = memoryview(_COUNT.pack(len(message)) + message)
    while left:
        left = left[os.write(descriptor, left) :]


def receive(descriptor: int) -> bytes | None:
    """The next message of a socket, None where it was closed."""
    length = _receive_bytes(descriptor, _COUNT.size)
    return None if length is None else _receive_bytes(descriptor, _COUNT.unpack(length)[0])


def _receive_bytes(descriptor: int, length: int) -> bytes | None:
    parts = list[bytes]()
    while length:
        try:
            part = os.read(descriptor, length)
        except ConnectionError:
            return None
        if not part:
            return None
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def main(descriptor: int, folder: int) -> None:
    """Answer batches on an inherited socket until nobody asks any more."""
    while (batch := receive(descriptor)) is not None:
        try:
            send(descriptor, pack_answer(read_batch(folder, batch)))
        except ConnectionError:
            return
