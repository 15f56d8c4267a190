"""What goes into a generator of buckets, and what comes out.

Owns the two records. All arrays in them are of the same images, in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Images:
    """Sizes, and the shapes that are wanted of them.

    `sizes`: (m, 2) int64, width and height in pixels, all positive. `wanted`: (m,) float64, the
    aspect ratio that a crop asks for; None where each image keeps its own.
    """

    sizes: NDArray[np.int64]
    wanted: NDArray[np.float64] | None = None

    @property
    def own(self) -> NDArray[np.float64]:
        """Each image's own aspect ratio, (m,) float64."""
        own: NDArray[np.float64] = self.sizes[:, 0] / self.sizes[:, 1]
        return own

    @property
    def aspects(self) -> NDArray[np.float64]:
        """What is wanted, else its own."""
        return self.own if self.wanted is None else self.wanted


@dataclass(frozen=True, slots=True)
class Fitted:
    """Of each image, (m, 2) int64 width and height: of its bucket, and of itself before the crop.

    A bucket may reach out of the resized image by what a generator truncates; see
    `hffs.core.buckets.fitting`, where that is mended.
    """

    buckets: NDArray[np.int64]
    resized: NDArray[np.int64]
