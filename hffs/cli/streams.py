"""The three standard streams, which whoever started a command may have closed.

Owns that all three numbers are taken before anything is opened: else the next file would have one,
and what is printed or logged would go into it.
"""

from __future__ import annotations

import os
import sys


def open_missing() -> None:
    """Have what is closed lead nowhere; to be called before any file is opened."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
            os.set_inheritable(number, True)
    # Python has none where a descriptor was closed; `print` would then take standard output.
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, closefd=False)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", 1, errors="backslashreplace", closefd=False)


def end_output() -> None:
    """Write nothing more to standard output, which nobody reads, at the end of Python either."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
