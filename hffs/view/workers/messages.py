"""What a mount and the processes that render for it say to each other.

Owns the form of it: lengths and bytes, never pickles, since whoever answers may have been taken
over by an image. Must not know processes. A request is a length and an encoded image. An answer is
a kind and a number: of files, whose lengths and bytes follow, or of the bytes of a reason.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from hffs.core.composites import Composite
from hffs.view.codecs import Reshape, Target, encoder_identity, parse_target

LENGTH = struct.Struct("<Q")
ANSWER = struct.Struct("<BI")
COMMAND = struct.Struct("<BI")
"""To the nest: an `Order` and the number of a worker."""

STATUS = struct.Struct("<i")
"""From the nest, of a worker that was to end: its exit code, below zero the signal; from
`NOT_STARTED` on it never began, and what is above is the errno.
"""

NOT_STARTED = 1 << 16


class Order(IntEnum):
    """What a nest is told: to start a worker, whose socket comes along, or to end one."""

    START = 0
    END = 1


class Kind(IntEnum):
    """What an answer is."""

    FILES = 0
    BROKEN = 1
    """The image cannot be rendered."""
    FAILED = 2
    """The worker could not do its work, which says nothing of the image."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one image may take of a worker: seconds of CPU, and memory in all."""

    cpu_s: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Job:
    """What workers do with every image, and what they may take for it."""

    target: Target
    reshape: Reshape
    limits: Limits

    @property
    def identity(self) -> str:
        """What rendered bytes depend on, in this process."""
        return encoder_identity(self.target, self.reshape)

    def to_text(self) -> str:
        """The job and its identity, for another process."""
        grid = self.reshape.composite
        composite = None if grid is None else [grid.count, grid.layout, grid.tiles]
        limits = [self.limits.cpu_s, self.limits.memory_bytes]
        return json.dumps([self.target, self.reshape.upright, composite, limits, self.identity])


def parse_job(text: str) -> tuple[Job, str]:
    """A job, and its identity in the process that wrote it."""
    target, upright, grid, limits, identity = json.loads(text)
    composite = None if grid is None else Composite(grid[0], grid[1], tuple(grid[2]))
    return Job(parse_target(target), Reshape(composite, upright), Limits(*limits)), identity


def send(
    channel: socket.socket, parts: Sequence[bytes | memoryview], until: float | None = None
) -> None:
    """Send some parts without copying them; TimeoutError if that takes longer than `until`."""
    left = [memoryview(part).cast("B") for part in parts if len(part)]
    while left:
        _limit(channel, until)
        sent = channel.sendmsg(left[:_MOST_PARTS])
        while left and sent >= len(left[0]):
            sent -= len(left.pop(0))
        if sent:
            left[0] = left[0][sent:]


_MOST_PARTS = 64  # the kernel takes 1024


def receive(channel: socket.socket, length: int, until: float | None = None) -> bytearray:
    """Exactly so many bytes; EOFError where the other end is closed, TimeoutError as in `send`."""
    data = bytearray(length)
    left = memoryview(data)
    while len(left):
        _limit(channel, until)
        got = channel.recv_into(left)
        if not got:
            raise EOFError
        left = left[got:]
    return data


def _limit(channel: socket.socket, until: float | None) -> None:
    """Have the next call end in time. Without a limit nothing is set: a worker may not poll."""
    if until is not None:
        left_s = until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        channel.settimeout(left_s)
