"""What decoders written for sound files raise on others.

Owns the list, for whoever calls one: Pillow and the C libraries below it raise all of these, and
Pillow a few of its own. Not a broad except: an error in the rules themselves (AttributeError,
NameError, ...) is not among them.
"""

from __future__ import annotations

import struct
import zlib

BAD_DATA = (
    OSError, SyntaxError, ValueError, TypeError, struct.error, zlib.error, EOFError, IndexError,
    KeyError, OverflowError, ZeroDivisionError, MemoryError, NotImplementedError, RuntimeError,
    AssertionError,
)  # fmt: skip
