"""A shard: samples of one shape as one safetensors file.

Owns what is in the file. Must not know where files are kept. A file holds the tensors under their
names, each (n, ...), and `keys` (n, 32) uint8; its one metadata value says as JSON by what encoder
and of what. Invariant: the same samples are the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Shard:
    """Encoded samples that belong into one file.

    `name` is that of the file without its suffix; `keys` are (n, 32) uint8, `tensors` by name
    (n, ...) on the CPU. `refused` says by key (hex) why a sample that was planned for it could not
    be read, which would be so again. `encoder` is what the encoder says of itself.
    """

    name: str
    keys: NDArray[np.uint8]
    tensors: Mapping[str, Tensor]
    refused: Mapping[str, str]
    encoder: Mapping[str, Any]
