"""Importing what a command takes, without what only makes that slower.

Measured on what a mount imports: the collector of cycles, which goes over all that was imported
before again and again, took a sixth of the time.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """No cycles are looked for in the block, nor later among what it has made: modules stay."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
