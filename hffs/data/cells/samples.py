"""Cells that are sounds as `datasets` decodes them, `{array, sampling_rate}`: made WAV files.

Owns what of such a cell is a sound: samples as a list, or a list of them for each channel. Must not
know where cells are read from. Invariant: a cell makes the same bytes wherever its part begins.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hffs.core.wav import make_wav
from hffs.data.arrow import format_errors
from hffs.data.source import is_list
from hffs.errors import FormatError

NO_SOUND = b"\0"
"""Stands for samples that are no sound (channels of different lengths, numbers beyond 32 bits):
bytes in no format, so that the row is left out, and counted.
"""


def make_sounds(which: str, cells: pa.Array) -> list[bytes | None]:
    """A WAV file for each cell; None where there is none, and `NO_SOUND`. Raises FormatError where
    the cells themselves are damaged.
    """
    with format_errors("cannot decode", which):
        cells.validate(full=True)
        arrays, rates = cells.field("array"), cells.field("sampling_rate")
        present = cells.is_valid().to_numpy(zero_copy_only=False)
        present &= arrays.is_valid().to_numpy(zero_copy_only=False)
        hertz = pc.fill_null(rates.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
        present &= hertz > 0
        sounds: list[bytes | None] = [None] * len(cells)
        for number in np.flatnonzero(present).tolist():
            try:
                samples = _take_samples(arrays[number].values)
                sounds[number] = make_wav(samples, int(hertz[number])) if samples.size else b""
            except FormatError:
                sounds[number] = NO_SOUND
    return sounds


def _take_samples(values: pa.Array) -> NDArray[Any]:
    """Samples (frames, channels) of one cell."""
    if not is_list(values.type):
        return _as_numbers(values)[:, None]
    channels = [_as_numbers(channel.values) for channel in values if channel.is_valid]
    if len({len(channel) for channel in channels}) > 1:
        raise FormatError("", why="its channels are not of one length")
    return np.stack(channels, axis=1) if channels else np.zeros((0, 1), np.int16)


def _as_numbers(values: pa.Array) -> NDArray[Any]:
    if is_list(values.type):
        raise FormatError("", why="its samples are nested deeper than channels")
    numbers: NDArray[Any] = pc.fill_null(values, 0).to_numpy(zero_copy_only=False)
    return numbers
