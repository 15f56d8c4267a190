"""Where in the resized image the bucket's box lies.

Invariant: it lies inside, whatever the style.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hffs.core.buckets.chance import Chance, Purpose
from hffs.core.buckets.fitted import Fitted
from hffs.core.buckets.spec import CropStyle


def place_crops(
    fitted: Fitted, style: CropStyle, chance: Chance, centres: NDArray[np.float64] | None
) -> NDArray[np.int64]:
    """Left and top of the box of each image, (m, 2).

    `centres`: (m, 2), of faces as shares of width and height, negative where there is none; used
    by style `face` alone, which places at random what has none.
    """
    spans = fitted.resized - fitted.buckets
    if style == "corner":
        return np.zeros_like(spans)
    if style == "center":
        return spans // 2
    places = chance.within(spans, Purpose.PLACE)
    if style == "face" and centres is not None:
        known = (centres >= 0).all(axis=1)
        wanted = centres[known] * fitted.resized[known] - fitted.buckets[known] / 2
        places[known] = np.clip(np.floor(wanted).astype(np.int64), 0, spans[known])
    return places
