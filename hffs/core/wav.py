"""A WAV file of samples that are in memory: the way back from a sound that was decoded.

Owns which of WAV's forms keeps samples as they came, and its header
(https://www.mmsp.ece.mcgill.ca/Documents/AudioFormats/WAVE/WAVE.html). Pure.
Invariant: what a reader decodes are the very samples that went in, float or whole numbers.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hffs.errors import FormatError

_PCM, _FLOAT = 1, 3
_MOST_SAMPLES = 1 << 28
"""Of 8 bytes at most: a WAV has 4 GB at most, and memory should hold several."""

_MOST_CHANNELS = 255
_MOST_RATE = 1 << 24


def make_wav(samples: NDArray[Any], sample_rate: int) -> bytes:
    """A WAV file of `samples` (frames, channels): 16 bits where whole numbers fit, else 32, floats
    of 32 or 64 bits as they are.

    Raises FormatError for what no WAV can be.
    """
    frames, channels = samples.shape
    if not 1 <= channels <= _MOST_CHANNELS or not 1 <= sample_rate <= _MOST_RATE:
        raise FormatError("cannot write a WAV", why=f"{channels} channels at {sample_rate} Hz")
    if samples.size > _MOST_SAMPLES:
        raise FormatError("cannot write a WAV", why=f"{samples.size} samples")
    plain = _choose_type(samples)
    data = plain.tobytes()
    is_float = plain.dtype.kind == "f"
    frame = plain.dtype.itemsize * channels
    form = struct.pack(
        "<HHIIHHH",
        _FLOAT if is_float else _PCM,
        channels,
        sample_rate,
        min(sample_rate * frame, (1 << 32) - 1),
        frame,
        plain.dtype.itemsize * 8,
        0,
    )
    chunks = _chunk(b"fmt ", form if is_float else form[:16])
    if is_float:  # how many frames there are has to stand beside all that is not PCM
        chunks += _chunk(b"fact", struct.pack("<I", frames))
    chunks += _chunk(b"data", data)
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WAVE" + chunks


def _choose_type(samples: NDArray[Any]) -> NDArray[Any]:
    """The samples in a type that WAV has, little-endian."""
    if samples.dtype.kind == "f":
        return samples.astype("<f8" if samples.dtype.itemsize == 8 else "<f4", copy=False)
    low, high = (int(samples.min()), int(samples.max())) if samples.size else (0, 0)
    for kind in ("<i2", "<i4"):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return samples.astype(kind, copy=False)
    raise FormatError("cannot write a WAV", why=f"samples from {low} to {high}")


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
