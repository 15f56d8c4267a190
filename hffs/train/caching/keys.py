"""The keys of what is cached: a digest of everything that a tensor depends on.

Owns what is part of them. Must not know where tensors are kept. Invariants: a changed image, crop,
flip, caption, encoder or type of numbers is another key; the same are the same key on every host.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from hffs.train.plan import Cut

KEY_BYTES = 32

_VERSION = 1
"""Raised when the same facts come to mean other tensors: other resampling, other words of facts."""

_BOX = struct.Struct("<10q")
"""Stored, orientation, resized, left, top, size, flipped."""

_LEAST, _MOST = 1, (1 << 63) - 1


def identify_encoder(facts: Mapping[str, Any]) -> str:
    """A digest of what an encoder says of itself, 64 hex digits.

    `facts` are plain values: what its tensors depend on, the type of their numbers too.
    """
    text = json.dumps([_VERSION, facts], sort_keys=True)
    return blake2b(text.encode(), digest_size=KEY_BYTES).hexdigest()


def make_image_key(image: bytes, cut: Cut, encoder: str, *, flipped: bool) -> bytes:
    """The key of an encoded image: its identity, what is made of it, and by what it is encoded.

    `image` is what `hffs.train.caching.identities` says of it, `encoder` of `identify_encoder`.
    """
    box = (*cut.stored, cut.orientation, *cut.resized, cut.left, cut.top, *cut.size, flipped)
    return _digest(b"image", image, _BOX.pack(*box), encoder.encode())


def make_text_key(text: str, encoder: str) -> bytes:
    """The key of an encoded text, wherever it is a caption."""
    return _digest(b"text", text.encode("utf-8", "surrogatepass"), encoder.encode())


def _digest(*parts: bytes) -> bytes:
    framed = b"".join(len(part).to_bytes(8, "little") + part for part in parts)
    return blake2b(framed, digest_size=KEY_BYTES).digest()


def make_seed(key: bytes) -> int:
    """A seed for what chance has to do with a key: 1 to 2^63 - 1."""
    return max(int.from_bytes(key[:8], "little") & _MOST, _LEAST)
