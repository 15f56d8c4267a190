"""Trainers find the latents and embeddings that were exported, and encode nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hffs.train import FolderDataset, plan_folder
from hffs.train.caching.exports import Sources, export
from hffs.train.caching.exports.ai_toolkit import AiToolkit
from hffs.train.caching.exports.kohya import Kohya
from hffs.train.caching.exports.simpletuner import SimpleTuner
from hffs.train.caching.finding import identify
from hffs.train.caching.keys import identify_encoder, make_sample_keys, make_text_keys
from hffs.train.caching.shards import Shard
from hffs.train.caching.store import Store
from hffs.train.plan import Plan
from tests.command import Mount
from tests.trainers.drivers.encoder import FACTOR
from tests.trainers.driving import drive, find_checkout
from tests.trainers.pictures import RESOLUTION, Picture, digest_folder, unchanged

pytestmark = pytest.mark.fuse

LOSSLESS = {"custom": "tests:LosslessVae", "facts": {"scaling_factor": 1.0}}
TEXTS = {"custom": "tests:Texts", "facts": {}}


def plan(folder: Path, generator: str, **keys: Any) -> Plan:
    """The plan that a trainer makes with the settings of its driver."""
    return plan_folder(
        folder,
        resolution=RESOLUTION,
        aspect_bucket_generator=generator,
        aspect_bucket_alignment=64,
        crop_style="center",
        **keys,
    )


def encode_images(planned: Plan, store: Store) -> None:
    """Keep what the trainers' stand-in for a VAE makes of the images."""
    data, encoder = FolderDataset(planned), identify_encoder(LOSSLESS)
    keys = make_sample_keys(planned, identify(planned), encoder, flipped=False)
    for bucket in np.unique(planned.assignment.bucket):
        own = np.flatnonzero(planned.assignment.bucket == bucket)
        images = torch.stack([data[index]["image"] for index in own.tolist()])
        latents = torch.pixel_unshuffle(images, FACTOR)
        store.put(Shard(f"size-{bucket}", keys[own], {"latents": latents}, {}, LOSSLESS))


def encode_texts(
    texts: Sequence[str], store: Store, make: Callable[[str], Mapping[str, Tensor]]
) -> None:
    keys = make_text_keys(texts, identify_encoder(TEXTS))
    made = [make(text) for text in texts]
    tensors = {name: torch.stack([each[name] for each in made]) for name in made[0]}
    store.put(Shard("texts", keys, tensors, {}, TEXTS))


def test_kohya(mount: Mount, source: Path, pictures: list[Picture], tmp_path: Path) -> None:
    checkout = find_checkout("sd-scripts")
    folder = mount(source, "--for", "kohya")
    planned = plan(
        folder, "grid", caption_extension="caption", aspect_bucket_min_edge=64,
        aspect_bucket_max_edge=2 * RESOLUTION,
    )  # fmt: skip
    images, texts = Store.open(tmp_path / "vae"), Store.open(tmp_path / "text")
    encode_images(planned, images)
    captions = [picture.caption for picture in pictures]
    shapes = {"0.hidden": (77, 768), "1.hidden": (77, 1280), "1.pooled": (1280,)}
    encode_texts(captions, texts, lambda _: {n: torch.zeros(s) for n, s in shapes.items()})
    with unchanged(folder):
        export(planned, Kohya("sd"), Sources(images))
        exported = export(planned, Kohya("sdxl"), Sources(text=texts))
        assert exported.missing == 0
        said = drive("kohya", checkout, folder, "--cache-latents", "disk", "--cache-texts")
    assert (said["encoded"], said["encoded_texts"], said["measured"]) == (0, 0, 0)
    assert said["pixels"] == digest_folder(folder)
    assert len(said["texts"]) == len(pictures)
    assert all(
        text == [[1, *shape] for shape in shapes.values()] for text in said["texts"].values()
    )


def test_ai_toolkit(mount: Mount, source: Path, pictures: list[Picture], tmp_path: Path) -> None:
    checkout = find_checkout("ai-toolkit")
    folder = mount(source, "--for", "ai-toolkit")
    planned = plan(folder, "free", orientation="upright")
    images, texts = Store.open(tmp_path / "vae"), Store.open(tmp_path / "text")
    encode_images(planned, images)
    captions = [", ".join(picture.caption.split(",")) for picture in pictures]
    encode_texts(captions, texts, _spell)
    options = ("--cache-latents-to-disk", "--cache-text-embeddings", "--space", "sd1")
    with unchanged(folder):
        exported = export(planned, AiToolkit("sd1"), Sources(images, texts))
        assert (exported.written, exported.missing) == (2 * len(pictures), 0)
        said = drive("ai_toolkit", checkout, folder, *options)
    assert (said["encoded"], said["encoded_texts"]) == (0, 0)
    assert said["pixels"] == digest_folder(folder)
    found = {name: text.rstrip("\0") for name, text in said["texts_of_embeddings"].items()}
    assert found == {f"{number}.jpg": text for number, text in enumerate(captions)}


def _spell(text: str) -> dict[str, Tensor]:
    """The bytes of a text, as the driver's stand-in has them, padded to one length."""
    padded = text.encode().ljust(100, b"\0")
    return {"hidden": torch.tensor(list(padded), dtype=torch.uint8)[:, None]}


def test_simpletuner(mount: Mount, source: Path, pictures: list[Picture], tmp_path: Path) -> None:
    checkout = find_checkout("SimpleTuner")
    folder = mount(source, "--for", "simpletuner")
    planned = plan(folder, "aspect", resolution_type="pixel_area")
    images = Store.open(tmp_path / "vae")
    encode_images(planned, images)
    with unchanged(folder):
        export(planned, SimpleTuner(tmp_path / "cache"), Sources(images))
        said = drive("simpletuner_latents", checkout, folder, tmp_path / "cache")
    assert (said["items"], said["unprocessed"]) == (len(pictures), 0)
    assert said["pixels"] == digest_folder(folder)
