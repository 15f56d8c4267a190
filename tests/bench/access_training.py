"""A training epoch over a folder, for `tests.bench.access`: images a second, printed.

    .venv/bin/python -m tests.bench.access_training FOLDER

Two workers of a torch DataLoader open, decode and resize to 224 pixels, in a random order. The
clock starts with the first batch: a worker's start is no matter of the folder.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

WORKERS, BATCH, SIDE_PX = 2, 16, 224


class Photos(Dataset[torch.Tensor]):
    """The photos of a folder with their captions, as a trainer that knows folders reads them."""

    def __init__(self, folder: Path) -> None:
        self._paths = sorted(folder.glob("*.jpg"))

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        path = self._paths[index]
        path.with_suffix(".txt").read_text()
        with Image.open(path) as image:
            small = image.convert("RGB").resize((SIDE_PX, SIDE_PX))
        return torch.from_numpy(np.array(small))


def main() -> None:
    """Time an epoch and print how many images it has had a second."""
    torch.manual_seed(0)
    photos = Photos(Path(sys.argv[1]))
    loader = DataLoader(photos, batch_size=BATCH, shuffle=True, num_workers=WORKERS)
    batches = iter(loader)
    next(batches)
    started = time.perf_counter()
    count = sum(len(batch) for batch in batches)
    print(count / (time.perf_counter() - started))


if __name__ == "__main__":
    main()
