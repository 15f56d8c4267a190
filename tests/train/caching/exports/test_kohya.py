"""Exports to kohya: names, arrays, and what is refused."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hffs.core.buckets.spec import BucketSpec, Crop
from hffs.core.types import Size
from hffs.errors import ConfigError, DataError, UsageError
from hffs.train.caching.exports import Exported, Sources, Trainer, export
from hffs.train.caching.exports.kohya import Kohya, Model
from hffs.train.plan import Plan
from tests.train.caching.stored import (
    VAE,
    embed,
    fill_images,
    fill_texts,
    make_identities,
    make_latents,
)
from tests.train.planning import plan_by_hand, write_folder
from tests.train.plans import Quiet

GRID = BucketSpec("grid", (40.0,), alignment_px=16, min_edge_px=32, max_edge_px=48,
                  crop=Crop(style="center"))  # fmt: skip
WIDE = {**VAE, "latent_channels": None}
"""A VAE that does not say how many channels it makes."""


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return replace(plan_by_hand(write_folder(tmp_path / "images", 4)), spec=GRID)


def run(plan: Plan, trainer: Trainer, vae: Any = None, **options: Any) -> Exported:
    sources = Sources(vae, options.pop("text", None), identities=make_identities(plan))
    return export(plan, trainer, sources, **options)


def counts(exported: Exported) -> tuple[int, int, int, int]:
    return exported.written, exported.unchanged, exported.kept, exported.missing


def load(path: Path) -> Mapping[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as loaded:
        return {name: loaded[name] for name in loaded.files}


def test_latents_are_named_by_size_and_model(plan: Plan, tmp_path: Path) -> None:
    store, quiet = fill_images(tmp_path / "vae", plan, flip=True), Quiet()
    exported = run(plan, Kohya("sdxl", flip=True), store, watcher=quiet)
    assert counts(exported) == (4, 0, 0, 0)
    assert quiet.seen[-1] == ("latents", 4, 4)
    folder = plan.scan.folder
    assert {file.name for file in folder.glob("*.npz")} == {
        "0_0040x0060_sdxl.npz", "1_0060x0040_sdxl.npz",
        "2_0040x0060_sdxl.npz", "3_0060x0040_sdxl.npz",
    }  # fmt: skip
    arrays = load(folder / "1_0060x0040_sdxl.npz")
    assert arrays.keys() == {"latents", "latents_flipped", "original_size", "crop_ltrb"}
    assert arrays["latents"].dtype == np.float32
    size = Size(48, 32)
    assert np.array_equal(arrays["latents"], make_latents(1, size).numpy())
    assert np.array_equal(arrays["latents_flipped"], make_latents(1, size, flipped=True).numpy())
    assert arrays["original_size"].tolist() == [60, 40]
    assert arrays["crop_ltrb"].tolist() == [0, 0, 48, 32]
    assert exported.settings == {
        "resolution": 40, "enable_bucket": True, "bucket_no_upscale": False,
        "min_bucket_reso": 32, "max_bucket_reso": 48, "bucket_reso_steps": 16,
        "caption_extension": ".txt", "flip_aug": True, "cache_latents_to_disk": True,
    }  # fmt: skip


def test_what_is_there_is_left_alone(
    plan: Plan, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = fill_images(tmp_path / "vae", plan, absent=[3])
    assert counts(run(plan, Kohya("sd"), store)) == (3, 0, 0, 1)
    own = plan.scan.folder / "0_0040x0060_sd.npz"
    written = own.read_bytes()
    own.write_bytes(b"of its own")
    assert counts(run(plan, Kohya("sd"), store)) == (0, 2, 1, 1)
    assert own.read_bytes() == b"of its own"
    assert "1 files are there and are others: they are left alone" in caplog.text
    assert counts(run(plan, Kohya("sd"), store, overwrite=True)) == (1, 2, 0, 1)
    assert own.read_bytes() == written
    # Mirror images beside what is there change nothing of it.
    flipped = fill_images(tmp_path / "flipped", plan, flip=True)
    assert counts(run(plan, Kohya("sd", flip=True), flipped)) == (4, 0, 0, 0)
    assert not list(plan.scan.folder.glob(".hffs-*"))


def test_latents_of_several_sizes_share_a_file(plan: Plan, tmp_path: Path) -> None:
    facts = {**WIDE, "shift_factor": 0.25}
    kohya, own = Kohya("flux"), plan.scan.folder / "1_0060x0040_flux.npz"
    small = replace(plan_by_hand(plan.scan.folder, (Size(16, 32), Size(32, 16))), spec=GRID)
    stores = [
        (each, fill_images(tmp_path / name, each, facts=facts))
        for name, each in (("large", plan), ("small", small))
    ]
    for each, store in stores:
        assert counts(run(each, kohya, store)) == (4, 0, 0, 0)
    for each, store in stores:
        assert counts(run(each, kohya, store)) == (0, 4, 0, 0)
    arrays = load(own)
    assert arrays.keys() == {
        f"{name}_{size}"
        for name in ("latents", "original_size", "crop_ltrb")
        for size in ("4x6", "2x4")
    }
    # Its VAE of FLUX.1 scales by itself.
    scaled = (make_latents(1, Size(48, 32)) - 0.25) * 0.5
    assert np.array_equal(arrays["latents_4x6"], scaled.numpy())
    changed = fill_images(tmp_path / "changed", plan, facts={**facts, "scaling_factor": 2.0})
    assert counts(run(plan, kohya, changed)) == (0, 0, 4, 0)
    assert counts(run(plan, kohya, changed, overwrite=True)) == (4, 0, 0, 0)
    assert load(own).keys() == arrays.keys()
    assert np.array_equal(load(own)["latents_2x4"], arrays["latents_2x4"])


def test_a_file_that_unpacks_to_too_much_is_not_read(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hffs.train.caching.exports.kohya._MOST_BYTES", 1 << 20)
    store = fill_images(tmp_path / "vae", plan, facts=WIDE)
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed:
        for number in range(3):
            packed.writestr(f"{number}.npy", bytes(500 << 10))
    own = plan.scan.folder / "1_0060x0040_sd3.npz"
    own.write_bytes(bomb.getvalue())
    assert counts(run(plan, Kohya("sd3"), store)) == (3, 0, 1, 0)


def test_a_box_is_where_the_whole_image_would_lie(tmp_path: Path) -> None:
    from hffs.train.caching.exports.kohya import _find_box

    assert _find_box(Size(64, 64), Size(200, 100)) == (0, 16.0, 64, 48.0)
    assert _find_box(Size(64, 64), Size(100, 300)) == (21.0, 0, 21.0 + 64 / 3, 64)
    assert _find_box(Size(48, 32), Size(60, 40)) == (0, 0, 48, 32)


def test_its_old_files_go_before(plan: Plan, tmp_path: Path) -> None:
    (plan.scan.folder / "2.npz").touch()
    store = fill_images(tmp_path / "vae", plan)
    with pytest.raises(DataError, match=r"2\.npz: kohya takes it before .* remove it"):
        run(plan, Kohya("sd"), store)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"generator": "aspect"}, "buckets are of the generator aspect.*aspect_bucket_generator"),
        ({"crop": Crop(style="random")}, "it crops in the middle"),
        ({"crop": Crop("square", "center")}, "it crops in the middle"),
        ({"resolution_type": "pixel"}, "it measures otherwise; resolution_type pixel_area"),
        ({"distance": "log"}, "it measures otherwise"),
        ({"resolutions": (40.0, 80.0)}, "its files of sdxl are of one resolution"),
    ],
)
def test_a_plan_that_is_not_its_own_is_refused(
    plan: Plan, tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    store = fill_images(tmp_path / "vae", plan)
    with pytest.raises(ConfigError, match=told):
        run(replace(plan, spec=replace(GRID, **change)), Kohya("sdxl"), store)
    assert not list(plan.scan.folder.glob("*.npz"))


def test_images_that_it_would_not_turn_are_refused(plan: Plan, tmp_path: Path) -> None:
    store = fill_images(tmp_path / "vae", plan)
    scan = replace(plan.scan, orientation=np.array([1, 6, 1, 1], np.uint8))
    with pytest.raises(ConfigError, match=r"it does not turn the 1 images .* orientation as-is"):
        run(replace(plan, scan=scan, upright=True), Kohya("sd"), store)
    assert counts(run(replace(plan, scan=scan), Kohya("sd"), store)) == (4, 0, 0, 0)


@pytest.mark.parametrize("model", ["flux", "sd3"])
def test_latents_of_another_model_are_refused(plan: Plan, tmp_path: Path, model: Model) -> None:
    store = fill_images(tmp_path / "vae", plan)
    with pytest.raises(ConfigError, match="latents have 4 channels, each of 8 x 8 pixels; those"):
        run(plan, Kohya(model), store)


def test_latents_without_one_scale_are_refused(plan: Plan, tmp_path: Path) -> None:
    facts = {**WIDE, "latents_mean": [0.0] * 4, "latents_std": [1.0] * 4}
    with pytest.raises(ConfigError, match="let the trainer cache them"):
        run(plan, Kohya("flux"), fill_images(tmp_path / "vae", plan, facts=facts))


def test_an_encoder_of_the_users_own_is_taken_at_its_word(plan: Plan, tmp_path: Path) -> None:
    facts = {"custom": "mine:Vae", "facts": {"scaling_factor": 2.0}}
    store = fill_images(tmp_path / "vae", plan, facts=facts)
    run(plan, Kohya("flux"), store)
    arrays = load(plan.scan.folder / "1_0060x0040_flux.npz")
    assert np.array_equal(arrays["latents_4x6"], make_latents(1, Size(48, 32)).numpy() * 2)


def text_facts(*encoders: tuple[str, int]) -> dict[str, Any]:
    return {
        "library": "transformers",
        "encoders": [{"class": kind, "layer": layer, "attends": "all"} for kind, layer in encoders],
    }


def sides(texts: list[str]) -> dict[str, dict[str, torch.Tensor]]:
    """Embeddings as of two encoders."""
    return {
        text: {
            "0.hidden": one["hidden"].to(torch.bfloat16),
            "0.pooled": one["pooled"],
            "1.hidden": one["hidden"] + 1,
            "1.pooled": one["pooled"] + 1,
            "1.mask": torch.tensor([1, 1, 1, 0, 0], dtype=torch.uint8),
        }
        for text, one in embed(texts).items()
    }


def test_embeddings_of_sdxl(plan: Plan, tmp_path: Path) -> None:
    # It takes the first line of a caption.
    (plan.scan.folder / "1.txt").write_text("a first line \nand another")
    made = sides(["caption of 0.jpg", "a first line", "caption of 2.jpg"])
    facts = text_facts(("CLIPTextModel", -2), ("CLIPTextModelWithProjection", -2))
    store = fill_texts(tmp_path / "text", made, facts)
    assert counts(run(plan, Kohya("sdxl"), text=store)) == (3, 0, 0, 1)
    arrays = load(plan.scan.folder / "1_te_outputs.npz")
    assert {name: array.dtype.name for name, array in arrays.items()} == dict.fromkeys(
        ("hidden_state1", "hidden_state2", "pool2"), "float32"
    )
    one = made["a first line"]
    assert np.array_equal(arrays["hidden_state1"], one["0.hidden"].float().numpy())
    assert np.array_equal(arrays["hidden_state2"], one["1.hidden"].numpy())
    assert np.array_equal(arrays["pool2"], one["1.pooled"].numpy())
    assert counts(run(plan, Kohya("sdxl"), text=store)) == (0, 3, 0, 1)


def test_embeddings_of_flux(plan: Plan, tmp_path: Path) -> None:
    made = sides([f"caption of {n}.jpg" for n in range(4)])
    facts = text_facts(("CLIPTextModel", -1), ("T5EncoderModel", -1))
    store = fill_texts(tmp_path / "text", made, facts)
    assert counts(run(plan, Kohya("flux"), text=store)) == (4, 0, 0, 0)
    arrays = load(plan.scan.folder / "3_flux_te.npz")
    one = made["caption of 3.jpg"]
    assert arrays.keys() == {
        "l_pooled", "t5_out", "txt_ids", "t5_attn_mask", "apply_t5_attn_mask"
    }  # fmt: skip
    assert np.array_equal(arrays["l_pooled"], one["0.pooled"].numpy())
    assert np.array_equal(arrays["t5_out"], one["1.hidden"].numpy())
    assert np.array_equal(arrays["txt_ids"], np.zeros((5, 3)))
    assert arrays["t5_attn_mask"].tolist() == [1, 1, 1, 0, 0]
    assert not arrays["apply_t5_attn_mask"]


def test_embeddings_of_other_encoders_are_refused(plan: Plan, tmp_path: Path) -> None:
    texts = [f"caption of {n}.jpg" for n in range(4)]
    facts = text_facts(("CLIPTextModel", -1), ("CLIPTextModelWithProjection", -1))
    store = fill_texts(tmp_path / "text", sides(texts), facts)
    with pytest.raises(ConfigError, match="embeddings are of CLIPTextModel, layer -1, attending"):
        run(plan, Kohya("sdxl"), text=store)
    with pytest.raises(ConfigError, match="its embeddings of sd are made of what was not kept"):
        run(plan, Kohya("sd"), text=store)
    one = fill_texts(tmp_path / "one", embed(texts))
    with pytest.raises(DataError, match=r"there is no '0.hidden'; encode by both text encoders"):
        run(plan, Kohya("sdxl"), text=one)


def test_something_is_exported(plan: Plan) -> None:
    with pytest.raises(UsageError, match="neither latents nor embeddings"):
        run(plan, Kohya("sd"))


def test_two_images_of_one_name_do_not_take_turns(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "images", 2)
    (folder / "0.png").write_bytes((folder / "0.jpg").read_bytes())
    plan = replace(plan_by_hand(folder), spec=GRID)
    store = fill_images(tmp_path / "vae", plan)
    for _ in range(2):
        exported = run(plan, Kohya("sd"), store, overwrite=True)
        assert exported.kept == 1
