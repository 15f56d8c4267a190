"""torchvision's ImageFolder, behind a DataLoader with two workers.

Its own: datasets.ImageFolder and its loader. Stands in: compiled operators, which are not called.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from tests.trainers.drivers.standins import prepare_torchvision
from tests.trainers.pictures import digest_pixels


def main(arguments: Sequence[str]) -> dict[str, Any]:
    folder = Path(*arguments)
    declared = prepare_torchvision()
    of_vision = importlib.import_module("torchvision.datasets")
    began = time.perf_counter()
    images = of_vision.ImageFolder(folder, transform=np.asarray)
    scan_s = time.perf_counter() - began
    loader: DataLoader[Any] = DataLoader(
        images, batch_size=None, num_workers=2, multiprocessing_context="fork"
    )
    began = time.perf_counter()
    seen = [(digest_pixels(np.asarray(pixels)), kind) for pixels, kind in loader]
    epoch_s = time.perf_counter() - began
    del declared
    names = [Path(path).relative_to(folder).as_posix() for path, _ in images.samples]
    return {
        "items": len(seen),
        "classes": images.classes,
        "kinds": {name: images.classes[kind] for name, (_, kind) in zip(names, seen, strict=True)},
        "pixels": {name: digest for name, (digest, _) in zip(names, seen, strict=True)},
        "scan_s": scan_s,
        "epoch_s": epoch_s,
    }
