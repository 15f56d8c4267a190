"""Latents are those that diffusers makes; what they depend on changes their encoder's identity."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hffs.data.hub.models import HubAccess
from hffs.errors import DataError, HffsError, UsageError
from hffs.train.caching.encoders import ImageEncoder, VaeSpec
from hffs.train.caching.encoders.opening import open_image_encoder, pin
from hffs.train.caching.encoders.vae import find_spatial_factor
from hffs.train.caching.keys import identify_encoder
from tests.tiny_models import SPATIAL_FACTOR, save_vae

ACCESS = HubAccess()
WEIGHTS = "diffusion_pytorch_model.safetensors"


def _pixels(count: int = 3) -> Tensor:
    return torch.rand((count, 3, 32, 48), generator=torch.Generator().manual_seed(7)) * 2 - 1


def _open(folder: Path, **asked: Any) -> ImageEncoder:
    return open_image_encoder(pin(VaeSpec(str(folder), **asked), ACCESS), ACCESS)


def _encode(folder: Path, pixels: Tensor, seeds: list[int], **asked: Any) -> Mapping[str, Tensor]:
    encoder = _open(folder, **asked)
    encoder.load("cpu")
    return encoder.encode(pixels, seeds)


def _direct(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    import diffusers

    kind: Any = diffusers.AutoencoderKL
    return kind.from_pretrained(folder, torch_dtype=dtype)


def _make(kind: str, folder: Path, **config: Any) -> Any:
    """A model of a class of diffusers, saved in a folder."""
    import diffusers

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(diffusers, kind)(**config).eval()
    model.save_pretrained(folder)
    return model


def test_a_sample_is_what_diffusers_draws_with_the_same_seeds(pipeline: Path) -> None:
    found = _encode(pipeline, _pixels(), [1, 2, 3])["latents"]
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2, 3)]
    with torch.no_grad():
        direct = _direct(pipeline / "vae").encode(_pixels()).latent_dist.sample(generators)
    assert torch.equal(found, direct)
    assert found.dtype == torch.float32
    assert found.shape == (3, 4, 32 // SPATIAL_FACTOR, 48 // SPATIAL_FACTOR)


def test_mode_and_parameters_are_those_of_diffusers(pipeline: Path) -> None:
    with torch.no_grad():
        direct = _direct(pipeline / "vae").encode(_pixels()).latent_dist
    mode = _encode(pipeline, _pixels(), [1, 2, 3], posterior="mode")
    both = _encode(pipeline, _pixels(), [1, 2, 3], posterior="parameters")
    assert torch.equal(mode["latents"], direct.mode())
    assert set(both) == {"mean", "logvar"}
    assert torch.equal(both["mean"], direct.mean)
    assert torch.equal(both["logvar"], direct.logvar)


def test_a_sample_does_not_depend_on_its_batch(pipeline: Path) -> None:
    encoder = _open(pipeline)
    encoder.load("cpu")
    whole = encoder.encode(_pixels(), [11, 12, 13])["latents"]
    single = encoder.encode(_pixels()[2:], [13])["latents"]
    # Sums of another order may differ in their last bits; another seed differs in all.
    torch.testing.assert_close(single[0], whole[2], rtol=1e-4, atol=1e-5)
    other = encoder.encode(_pixels()[2:], [14])["latents"]
    assert (other[0] - whole[2]).abs().max() > 0.01


def test_bfloat16_is_close_and_computed_in_it(pipeline: Path) -> None:
    found = _encode(pipeline, _pixels(), [1, 2, 3], dtype="bfloat16", posterior="mode")["latents"]
    with torch.no_grad():
        vae = _direct(pipeline / "vae", torch.bfloat16)
        same = vae.encode(_pixels().bfloat16()).latent_dist.mode()
    exact = _encode(pipeline, _pixels(), [1, 2, 3], posterior="mode")["latents"]
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, same)
    torch.testing.assert_close(found.float(), exact, rtol=0.1, atol=0.05)


def test_float16_is_computed_in_float32_where_it_would_overflow(pipeline: Path) -> None:
    found = _encode(pipeline, _pixels(), [1, 2, 3], dtype="float16", posterior="mode")["latents"]
    exact = _encode(pipeline, _pixels(), [1, 2, 3], posterior="mode")["latents"]
    assert torch.equal(found, exact.half())
    assert _open(pipeline, dtype="float16").identify()["computed"] == "float32"
    assert _open(pipeline, dtype="bfloat16").identify()["computed"] == "bfloat16"


def test_slicing_changes_nothing_and_tiling_changes_the_identity(pipeline: Path) -> None:
    plain, tiled = _open(pipeline), _open(pipeline, tiling=True)
    sliced = _open(pipeline, slicing=True)
    assert plain.identify() == sliced.identify()
    assert plain.identify() != tiled.identify()
    large = torch.rand((2, 3, 64, 64)) * 2 - 1  # larger than the tile, which is `sample_size`
    for each in (plain, tiled, sliced):
        each.load("cpu")
    found = [each.encode(large, [1, 2])["latents"] for each in (plain, tiled, sliced)]
    torch.testing.assert_close(found[0], found[2], rtol=1e-4, atol=1e-5)
    assert found[1].shape == found[0].shape
    assert not torch.allclose(found[0], found[1])


def test_the_identity_says_what_latents_depend_on_and_not_where_they_come_from(
    pipeline: Path, tmp_path: Path
) -> None:
    def identity(folder: Path, **asked: Any) -> str:
        return identify_encoder(_open(folder, **asked).identify())

    first = identity(pipeline)
    moved = shutil.copytree(pipeline / "vae", tmp_path / "moved")
    other = save_vae(tmp_path / "other", seed=1)
    config = json.loads((moved / "config.json").read_text())
    (moved / "config.json").write_text(json.dumps(config | {"_diffusers_version": "9"}))
    assert identity(moved) == first, "a folder, and who wrote it, say nothing of latents"
    different = [
        identity(other),
        identity(pipeline, dtype="bfloat16"),
        identity(pipeline, posterior="mode"),
        identity(pipeline, tiling=True),
    ]
    assert len({first, *different}) == 5


def test_a_silent_configuration_means_the_defaults_of_its_class(
    pipeline: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(pipeline / "vae", tmp_path / "vae")
    config = json.loads((folder / "config.json").read_text())
    del config["scaling_factor"]
    (folder / "config.json").write_text(json.dumps(config))
    facts = _open(folder).identify()
    assert facts["scaling_factor"] == 0.18215  # that of Stable Diffusion 1
    assert (facts["shift_factor"], facts["latent_channels"], facts["spatial_factor"]) == (
        None,
        4,
        4,
    )


def test_a_vae_without_a_distribution_has_one_latent_for_an_image(tmp_path: Path) -> None:
    tiny = _make(
        "AutoencoderTiny",
        tmp_path,
        encoder_block_out_channels=(8, 8, 8),
        decoder_block_out_channels=(8, 8, 8),
        num_encoder_blocks=(1, 1, 1),
        num_decoder_blocks=(1, 1, 1),
    )
    found = _encode(tmp_path, _pixels(), [1, 2, 3])
    again = _encode(tmp_path, _pixels(), [4, 5, 6], posterior="mode")
    with torch.no_grad():
        direct = tiny.encode(_pixels()).latents
    assert torch.equal(found["latents"], direct)
    assert torch.equal(again["latents"], direct)
    assert _open(tmp_path).identify()["spatial_factor"] == 4
    with pytest.raises(UsageError, match="its latents have no distribution; ask for the mode"):
        _encode(tmp_path, _pixels(), [1, 2, 3], posterior="parameters")


def test_a_vae_of_videos_takes_images_and_its_frame_axis_goes(tmp_path: Path) -> None:
    wan = _make(
        "AutoencoderKLWan",
        tmp_path,
        base_dim=4,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.5] * 4,
        latents_std=[2.0] * 4,
    )
    found = _encode(tmp_path, _pixels(2), [1, 2], posterior="mode")["latents"]
    with torch.no_grad():
        direct = wan.encode(_pixels(2).unsqueeze(2)).latent_dist.mode()
    assert found.shape == (2, 4, 4, 6)
    assert torch.equal(found, direct.squeeze(2))
    facts = _open(tmp_path).identify()
    assert (facts["latents_mean"], facts["latents_std"]) == ([0.5] * 4, [2.0] * 4)
    assert (facts["scaling_factor"], facts["spatial_factor"], facts["latent_channels"]) == (
        None, 8, 4,
    )  # fmt: skip


def test_weights_of_a_variant_and_in_parts_are_the_same(pipeline: Path, tmp_path: Path) -> None:
    exact = _encode(pipeline, _pixels(), [1, 2, 3])["latents"]
    vae = _direct(pipeline / "vae")
    vae.save_pretrained(tmp_path / "variant", variant="fp16")
    vae.save_pretrained(tmp_path / "parts", max_shard_size="50KB")
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 1
    for folder in (tmp_path / "variant", tmp_path / "parts"):
        assert torch.equal(_encode(folder, _pixels(), [1, 2, 3])["latents"], exact)


def _edit(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def _drop_weight(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    del weights["encoder.conv_in.weight"]
    save_file(weights, folder / WEIGHTS)


def _lead_astray(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "diffusion_pytorch_model-00001-of-00001.safetensors")
    index = {"metadata": {}, "weight_map": {"a": "../../secret.bin"}}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (_drop_weight, "cannot load .*: its file has no encoder.conv_in.weight; the weights"),
        (lambda at: (at / WEIGHTS).write_bytes(b"\xff" * 100), "cannot load"),
        (lambda at: _edit(at, block_out_channels=[8, 16, 32]), "cannot load"),
        (lambda at: _edit(at, _class_name="T5EncoderModel"), "no class of diffusers that encodes"),
        (lambda at: _edit(at, _class_name="UNet2DModel"), "no class of diffusers that encodes"),
        (lambda at: _edit(at, _class_name="os.system"), "its config.json names no class"),
        (lambda at: (at / "config.json").write_text("{"), "config.json is no JSON"),
        (lambda at: (at / "config.json").write_text("[]"), "config.json holds no object"),
        (lambda at: (at / "config.json").write_text(" " * (5 << 20)), "larger than any should be"),
        (_lead_astray, "index.json names files that are not among its weights"),
        (lambda at: (at / WEIGHTS).rename(at / "diffusion_pytorch_model.bin"), "may hold code"),
        (lambda at: (at / "config.json").unlink(), "a VAE has a config.json, and none is in it"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_model_is_one_line(
    pipeline: Path, tmp_path: Path, spoil: Any, line: str
) -> None:
    folder = shutil.copytree(pipeline / "vae", tmp_path / "vae")
    spoil(folder)
    with pytest.raises(DataError, match=line) as caught:
        _encode(folder, _pixels(), [1, 2, 3])
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_what_a_class_cannot_do_is_refused(tmp_path: Path) -> None:
    _make("VQModel", tmp_path, norm_num_groups=4, block_out_channels=(8,))
    with pytest.raises(UsageError, match="VQModel has no tiling; leave tiling out"):
        _encode(tmp_path, _pixels(), [1, 2, 3], tiling=True)
    assert _encode(tmp_path, _pixels(), [1, 2, 3])["latents"].shape[0] == 3


def test_the_factor_of_a_vae_is_told_by_its_configuration() -> None:
    # As the configurations of Wan 2.2, DC-AE, Stable Diffusion and Qwen-Image have it.
    assert find_spatial_factor({"scale_factor_spatial": 16, "patch_size": 2}) == 16
    assert find_spatial_factor({"encoder_block_out_channels": [1] * 6}) == 32
    assert find_spatial_factor({"block_out_channels": [128, 256, 512, 512]}) == 8
    assert find_spatial_factor({"temperal_downsample": [False, True, True]}) == 8
    assert find_spatial_factor({}) is None


def test_encoding_before_loading_is_a_mistake_of_the_caller(pipeline: Path) -> None:
    with pytest.raises(RuntimeError, match="only once it is loaded"):
        _open(pipeline).encode(_pixels(), [1, 2, 3])


@pytest.mark.parametrize("model", ["./nowhere", "nowhere", "a/b/../c", "/nowhere/vae", "a/b@"])
def test_a_name_that_is_no_model_is_refused(model: str) -> None:
    with pytest.raises(HffsError, match=r"no such folder|it is no folder here") as caught:
        pin(VaeSpec(model), ACCESS)
    assert caught.value.exit_code == 2


def test_a_file_is_no_model(pipeline: Path) -> None:
    with pytest.raises(UsageError, match="it is a file, not a folder"):
        pin(VaeSpec(str(pipeline / "model_index.json")), ACCESS)


def test_a_folder_is_pinned_to_where_it_really_is(
    pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(pipeline)
    monkeypatch.chdir(tmp_path)
    spec = VaeSpec("link", dtype="bfloat16")
    assert pin(spec, ACCESS) == replace(spec, model=str(pipeline.resolve()))
    assert pin(pin(spec, ACCESS), ACCESS) == pin(spec, ACCESS)


def test_regression_only_what_is_digested_is_loaded(pipeline: Path, tmp_path: Path) -> None:
    """diffusers takes an index before a single file, whatever else is known of the folder."""
    folder = shutil.copytree(pipeline / "vae", tmp_path / "vae")
    plain = _encode(folder, _pixels(), [1, 2, 3])["latents"]
    other = save_vae(tmp_path / "other", seed=5)
    shutil.copy(other / WEIGHTS, folder / "evil.safetensors")
    names = load_file(folder / "evil.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, "evil.safetensors")}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(index))
    assert torch.equal(_encode(folder, _pixels(), [1, 2, 3])["latents"], plain)
