"""Aspect-ratio buckets: which size each image is trained at, and what of it is cut away.

Pure: sizes in, arrays out. `assign` is the way in; what may be asked of it is a `BucketSpec`
(`hffs.core.buckets.spec`), what it answers an `Assignment` (`hffs.core.buckets.assignment`).
"""

from __future__ import annotations

from hffs.core.buckets.assigning import assign
from hffs.core.buckets.checking import validate

__all__ = ["assign", "validate"]
