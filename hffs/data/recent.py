"""Buffers used last, held open up to a number of bytes: the small memory above the disk cache."""

from __future__ import annotations

import threading
from collections import OrderedDict


class Recent:
    """Buffers by number, at most `cap_bytes` and `cap_count` of them (but at least one).

    Thread-safe. What is dropped stays valid for who has it.
    """

    def __init__(self, cap_bytes: int, cap_count: int) -> None:
        self._cap_bytes, self._cap_count = cap_bytes, cap_count
        self._buffers: OrderedDict[int, memoryview] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, number: int) -> memoryview | None:
        """A buffer, which becomes the one used last."""
        with self._lock:
            buffer = self._buffers.get(number)
            if buffer is not None:
                self._buffers.move_to_end(number)
            return buffer

    def put(self, number: int, buffer: memoryview) -> None:
        """Keep a buffer, dropping those unused for longest; one that is kept already stays."""
        with self._lock:
            if number in self._buffers:
                return
            self._buffers[number] = buffer
            self._bytes += len(buffer)
            while self._is_over() and len(self._buffers) > 1:
                _, dropped = self._buffers.popitem(last=False)
                self._bytes -= len(dropped)

    def _is_over(self) -> bool:
        return self._bytes > self._cap_bytes or len(self._buffers) > self._cap_count
