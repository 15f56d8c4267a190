"""The DreamBoothDataset of diffusers' example script, with the folder for class images as well.

Its own: the data set in examples/dreambooth/train_dreambooth.py, with torchvision's transforms.
Stands in: accelerate, diffusers, transformers and wandb, which the script imports for training; the
embeddings of the prompts are given, so that no tokenizer is asked.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tests.trainers.drivers.encoder import to_pixels
from tests.trainers.drivers.standins import prepare_torchvision, stand_in_for
from tests.trainers.pictures import RESOLUTION, digest_pixels


def main(arguments: Sequence[str]) -> dict[str, Any]:
    folder = Path(*arguments)
    declared = prepare_torchvision()
    # The checkout comes first of the path, and the script is in a folder of it.
    sys.path.insert(0, str(Path(sys.path[0], "examples/dreambooth")))
    stand_in_for("accelerate", "diffusers", "transformers", "wandb")
    script = importlib.import_module("train_dreambooth")
    prompt = torch.zeros(1)
    began = time.perf_counter()
    images = script.DreamBoothDataset(
        folder, "a photo", None, class_data_root=folder, size=RESOLUTION, center_crop=True,
        encoder_hidden_states=prompt, class_prompt_encoder_hidden_states=prompt,
    )  # fmt: skip
    scan_s = time.perf_counter() - began
    began = time.perf_counter()
    seen = [images[index] for index in range(len(images))]
    epoch_s = time.perf_counter() - began
    del declared
    return {
        "items": len(seen),
        "pixels": _digest(images.instance_images_path, folder, seen, "instance_images"),
        "class_pixels": _digest(images.class_images_path, folder, seen, "class_images"),
        "scan_s": scan_s,
        "epoch_s": epoch_s,
    }


def _digest(
    paths: Sequence[Path], folder: Path, seen: Sequence[dict[str, torch.Tensor]], key: str
) -> dict[str, str]:
    names = [path.relative_to(folder).as_posix() for path in paths]
    digests = [digest_pixels(to_pixels(example[key])) for example in seen]
    return dict(zip(names, digests, strict=True))
