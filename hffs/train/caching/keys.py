"""The keys of what is cached: a digest of everything that a tensor depends on.

Owns what is part of them. Must not know where tensors are kept. Invariants: a changed image, crop,
flip, caption, encoder or type of numbers is another key; the same are the same key on every host.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hffs.core.types import Size
from hffs.train.plan import Cut, Plan

KEY_BYTES = 32

_VERSION = 1
"""Raised when the same facts come to mean other tensors: other resampling, other words of facts."""

_BOX = struct.Struct("<10q")
"""Stored, orientation, resized, left, top, size, flipped."""

_AT_ONCE = 4096
"""Samples whose columns are lists at a time."""

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


def make_sample_keys(
    plan: Plan, identities: NDArray[np.uint8], encoder: str, *, flipped: bool
) -> NDArray[np.uint8]:
    """The key of each sample, (s, 32); `identities` are those of the scan's images, (n, 32)."""
    scan, assignment = plan.scan, plan.assignment
    count = len(assignment.image)
    keys = np.empty((count, KEY_BYTES), np.uint8)
    shapes = [Size(*size) for size in assignment.sizes.tolist()]
    for begin in range(0, count, _AT_ONCE):
        part = slice(begin, begin + _AT_ONCE)
        image = assignment.image[part]
        turns = scan.orientation[image] if plan.upright else np.ones(len(image), np.uint8)
        columns = (
            [one.tobytes() for one in identities[image]],
            scan.stored[image].tolist(),
            turns.tolist(),
            assignment.resized[part].tolist(),
            assignment.crop[part].tolist(),
            assignment.bucket[part].tolist(),
        )
        made = [
            make_image_key(
                identity,
                Cut(Size(*stored), turn, Size(*resized), left, top, shapes[bucket]),
                encoder,
                flipped=flipped,
            )
            for identity, stored, turn, resized, (left, top), bucket in zip(*columns, strict=True)
        ]
        keys[part] = np.frombuffer(b"".join(made), np.uint8).reshape(-1, KEY_BYTES)
    return keys


def make_text_keys(texts: Sequence[str], encoder: str) -> NDArray[np.uint8]:
    """The key of each text, (n, 32)."""
    joined = b"".join(make_text_key(text, encoder) for text in texts)
    return np.frombuffer(joined, np.uint8).reshape(-1, KEY_BYTES)


def _digest(*parts: bytes) -> bytes:
    framed = b"".join(len(part).to_bytes(8, "little") + part for part in parts)
    return blake2b(framed, digest_size=KEY_BYTES).digest()


def make_seed(key: bytes) -> int:
    """A seed for what chance has to do with a key: 1 to 2^63 - 1."""
    return max(int.from_bytes(key[:8], "little") & _MOST, _LEAST)
