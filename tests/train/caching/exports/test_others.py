"""Exports to SimpleTuner and ai-toolkit: names, contents, and what is refused."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hffs.core.buckets.spec import BucketSpec, Crop
from hffs.core.types import Size
from hffs.errors import ConfigError, DataError, UsageError
from hffs.train.caching.exports import Sources, export
from hffs.train.caching.exports.ai_toolkit import AiToolkit, Arch
from hffs.train.caching.exports.simpletuner import SimpleTuner
from hffs.train.caching.keys import identify_encoder, make_seed
from hffs.train.caching.shards import Shard
from hffs.train.caching.store import Store
from hffs.train.plan import Plan
from tests.train.caching.exports.test_kohya import counts, run, sides, text_facts
from tests.train.caching.stored import (
    VAE,
    embed,
    fill_images,
    fill_texts,
    make_identities,
    make_key,
    make_latents,
)
from tests.train.planning import plan_by_hand, write_images

FREE = BucketSpec("free", (40.0,), alignment_px=16, crop=Crop(style="center"))


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """A picture in a folder of its own, and one that is not."""
    (tmp_path / "images/deep").mkdir(parents=True)
    shapes = {"deep/größe.jpg": Size(100, 60), "top.jpg": Size(60, 40)}
    return plan_by_hand(write_images(tmp_path / "images", shapes))


def digest(facts: dict[str, Any]) -> str:
    md5 = hashlib.md5(json.dumps(facts, sort_keys=True).encode(), usedforsecurity=False)
    return base64.urlsafe_b64encode(md5.digest()).decode().replace("=", "")


@pytest.mark.parametrize("hashed", [True, False])
@pytest.mark.parametrize("compressed", [True, False])
def test_simpletuner(plan: Plan, tmp_path: Path, hashed: bool, compressed: bool) -> None:
    target = tmp_path / "cache"
    trainer = SimpleTuner(target, hashed, compressed)
    store = fill_images(tmp_path / "vae", plan)
    exported = run(plan, trainer, store)
    assert counts(exported) == (2, 0, 0, 0)
    assert counts(run(plan, trainer, store)) == (0, 2, 0, 0)
    names = [
        hashlib.sha256(stem.encode()).hexdigest() if hashed else stem for stem in ("größe", "top")
    ]
    files = [target / "deep" / f"{names[0]}.pt", target / f"{names[1]}.pt"]
    assert sorted(target.rglob("*.pt")) == sorted(files)
    data = files[0].read_bytes()
    tensor = torch.load(io.BytesIO(gzip.decompress(data) if compressed else data))
    assert torch.equal(tensor, make_latents(0, Size(48, 32)) * 0.5)
    assert len(data) < 4 * tensor.numel() + 2048  # of a view, not all that it is of
    assert exported.settings["cache_dir_vae"] == str(target)
    assert exported.settings["hash_filenames"] is hashed


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (FREE, "the generator free"),
        (BucketSpec(resolutions=(32.0, 64.0)), "its data sets have one resolution"),
    ],
)
def test_what_simpletuner_would_not_take(
    plan: Plan, tmp_path: Path, spec: BucketSpec, told: str
) -> None:
    store = fill_images(tmp_path / "vae", plan)
    with pytest.raises(ConfigError, match=told):
        run(replace(plan, spec=spec), SimpleTuner(tmp_path), store)
    texts = fill_texts(tmp_path / "text", embed(["caption of top.jpg"]))
    with pytest.raises(ConfigError, match="its embeddings are of its own making"):
        run(plan, SimpleTuner(tmp_path), store, text=texts)


def test_a_folder_that_cannot_be_written_is_told(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    store = fill_images(tmp_path / "vae", plan)
    with pytest.raises(UsageError, match=r"cannot write .*/cache/.*\.pt: Not a dir.* --scratch"):
        run(plan, SimpleTuner(tmp_path / "cache"), store)


def test_ai_toolkit_names_latents_by_what_they_depend_on(plan: Plan, tmp_path: Path) -> None:
    plan = replace(plan, spec=FREE, upright=True)
    store = fill_images(tmp_path / "vae", plan, flip=True)
    trainer = AiToolkit("sdxl", flip=True)
    exported = run(plan, trainer, store)
    assert counts(exported) == (4, 0, 0, 0)
    assert counts(run(plan, trainer, store)) == (0, 4, 0, 0)
    about = {
        "filename": "größe.jpg", "scale_to_width": 53, "scale_to_height": 32, "crop_x": 2,
        "crop_y": 0, "crop_width": 48, "crop_height": 32, "latent_space_version": "sdxl",
        "latent_version": 1,
    }  # fmt: skip
    for flipped in (False, True):
        known = about | ({"flip_x": True} if flipped else {})
        file = plan.scan.folder / "deep/_latent_cache" / f"größe_{digest(known)}.safetensors"
        tensors = load_file(file)
        assert tensors.keys() == {"latent"}
        wanted = make_latents(0, Size(48, 32), flipped=flipped) * 0.5
        assert torch.equal(tensors["latent"], wanted)
    assert exported.settings == {
        "folder_path": str(plan.scan.folder), "caption_ext": "txt", "resolution": [40],
        "bucket_tolerance": 16, "flip_x": True, "cache_latents_to_disk": True,
    }  # fmt: skip


def test_ai_toolkit_turns_images(plan: Plan, tmp_path: Path) -> None:
    scan = replace(plan.scan, orientation=np.array([1, 6], np.uint8))
    plan = replace(plan, spec=FREE, scan=scan)
    store = fill_images(tmp_path / "vae", plan)
    with pytest.raises(ConfigError, match=r"it turns the 1 images .* orientation upright"):
        run(plan, AiToolkit("sd1"), store)


@pytest.mark.parametrize(
    ("arch", "kinds"),
    [
        ("sd1", (("CLIPTextModel", -1),)),
        ("sdxl", (("CLIPTextModel", -2), ("CLIPTextModelWithProjection", -2))),
        ("flux", (("CLIPTextModel", -1), ("T5EncoderModel", -1))),
    ],
)
def test_ai_toolkit_has_embeddings_as_batches_of_one(
    plan: Plan, tmp_path: Path, arch: Arch, kinds: tuple[tuple[str, int], ...]
) -> None:
    plan = replace(plan, spec=FREE)
    (plan.scan.folder / "top.txt").write_text("one, two")
    # It puts a blank behind each comma, whether there is one or not.
    texts = ["caption of deep/größe.jpg", "one,  two"]
    made = embed(texts) if arch == "sd1" else sides(texts)
    store = fill_texts(tmp_path / "text", made, text_facts(*kinds))
    assert counts(run(plan, AiToolkit(arch), text=store)) == (2, 0, 0, 0)
    about = {
        "caption": "one,  two",
        "text_embedding_space_version": arch,
        "text_embedding_version": 1,
    }
    tensors = load_file(plan.scan.folder / "_t_e_cache" / f"top_{digest(about)}.safetensors")
    one = made["one,  two"]
    if arch == "sd1":
        wanted = {"text_embed": one["hidden"]}
    elif arch == "sdxl":
        hidden = torch.cat([one["0.hidden"], one["1.hidden"]], dim=-1)
        wanted = {"text_embed": hidden, "pooled_embed": one["1.pooled"]}
    else:
        wanted = {"text_embed": one["1.hidden"], "pooled_embed": one["0.pooled"]}
    assert tensors.keys() == wanted.keys()
    assert all(torch.equal(tensors[name], wanted[name][None]) for name in wanted)


def test_embeddings_that_ai_toolkit_does_not_take(plan: Plan, tmp_path: Path) -> None:
    plan = replace(plan, spec=FREE)
    store = fill_texts(tmp_path / "text", embed(["caption of top.jpg"]))
    with pytest.raises(ConfigError, match="its embeddings of sd3 are made of what was not kept"):
        run(plan, AiToolkit("sd3"), text=store)
    with pytest.raises(DataError, match=r"there is no '1.hidden'; encode by all text encoders"):
        run(plan, AiToolkit("flux"), text=store)


def test_of_a_distribution_the_key_draws(plan: Plan, tmp_path: Path) -> None:
    key = make_key(plan, 0, VAE)
    tensors = {"mean": torch.full((1, 4, 4, 6), 3.0), "logvar": torch.full((1, 4, 4, 6), -2.0)}
    store = Store.open(tmp_path / "vae")
    keys = np.frombuffer(key, np.uint8).reshape(1, 32)
    store.put(Shard("a", keys, tensors, {}, VAE))
    target = tmp_path / "cache"
    assert counts(run(plan, SimpleTuner(target, hash_filenames=False), store)) == (1, 0, 0, 1)
    noise = torch.randn(4, 4, 6, generator=torch.Generator().manual_seed(make_seed(key)))
    drawn = (3.0 + torch.exp(torch.tensor(-1.0)) * noise) * 0.5
    assert torch.allclose(torch.load(target / "deep/größe.pt"), drawn)


def test_what_is_no_image_is_refused(plan: Plan, tmp_path: Path) -> None:
    keys = np.frombuffer(make_key(plan, 0, VAE), np.uint8).reshape(1, 32)
    store = Store.open(tmp_path / "vae")
    store.put(Shard("a", keys, {"hidden": torch.zeros(1, 4)}, {}, VAE))
    assert identify_encoder(VAE) in store.encoders()
    sources = Sources(store, identities=make_identities(plan))
    with pytest.raises(DataError, match="it has hidden; a trainer takes latents"):
        export(plan, SimpleTuner(tmp_path / "cache"), sources)
