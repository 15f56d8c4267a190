"""The names of what a view file has beside the index, for who writes it and who reads it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

CELLS, FORMS, NUMBERS, METADATA = "cells", "forms", "numbers", "metadata"
FOLDER_OF, FOLDER_NAMES = "folder_of", "folder_names"

SIZES = "sizes"
"""Sizes of rendered images, of all tiles of each; 0 where one was not known."""


def pack_names(names: Sequence[str]) -> NDArray[Any]:
    """Names of folders as one array."""
    return np.frombuffer(json.dumps(list(names)).encode(), np.uint8)
