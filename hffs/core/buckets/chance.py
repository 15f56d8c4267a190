"""Random numbers that belong to an image: for its crop, and for the shape of that.

Pure. Invariant: a number depends on the key of the image, the seed, the resolution and what it is
for, and on nothing else: not on other images, resolutions, nor on the release of numpy (keys of
`hffs.core.sampling`, no Generator).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from hffs.core.sampling import make_keys

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


class Purpose(IntEnum):
    """What a number is for; those of different purposes are independent."""

    ASPECT = 0
    PLACE = 1


@dataclass(frozen=True, slots=True)
class Chance:
    """Numbers of some images at one resolution. `keys`: (m,) uint64."""

    keys: NDArray[np.uint64]
    seed: int
    resolution: float

    def among(self, images: NDArray[np.bool_]) -> Chance:
        """Of some of the images."""
        return Chance(self.keys[images], self.seed, self.resolution)

    def shares(self, purpose: Purpose) -> NDArray[np.float64]:
        """One number for each image, at least 0 and less than 1."""
        return (self._draw(purpose) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def within(self, spans: NDArray[np.int64], purpose: Purpose) -> NDArray[np.int64]:
        """For each image two numbers, from 0 to its `spans`, which are (m, 2), less than 2**32."""
        drawn = self._draw(purpose)
        halves = np.stack([drawn >> _HALF, drawn & _LOW], axis=1)
        scaled: NDArray[np.uint64] = halves * (spans.astype(np.uint64) + np.uint64(1)) >> _HALF
        return scaled.astype(np.int64)

    def _draw(self, purpose: Purpose) -> NDArray[np.uint64]:
        bits = np.array([self.resolution], np.float64).view(np.int64)
        of_resolution = make_keys(bits, self.seed).view(np.int64)
        of_purpose = make_keys(of_resolution + np.int64(purpose), self.seed)
        return make_keys(self.keys.view(np.int64), int(of_purpose[0]))
