"""Which files make a model: by the layouts of diffusers and transformers, never any with code."""

from __future__ import annotations

import pytest

from hffs.data.hub.model_files import Part, find_text_encoders, find_vae
from hffs.errors import DataError

VAE = "diffusion_pytorch_model"
PIPELINE = {
    "model_index.json", "README.md", "pipeline.safetensors", "unet/config.json",
    "vae/config.json", f"vae/{VAE}.safetensors", f"vae/{VAE}.fp16.safetensors", f"vae/{VAE}.bin",
    "text_encoder/config.json", "text_encoder/model.safetensors",
    "text_encoder_2/config.json", "text_encoder_2/model.fp16.safetensors",
    "tokenizer/vocab.json", "tokenizer/merges.txt", "tokenizer/tokenizer_config.json",
    "tokenizer_2/spiece.model", "tokenizer_2/evil.py", "tokenizer_2/tokenizer_config.json",
}  # fmt: skip


def test_the_parts_of_a_pipeline_are_found_in_order() -> None:
    assert find_vae(PIPELINE, "", "it") == Part("vae", (f"{VAE}.safetensors",))
    first, second = find_text_encoders(PIPELINE, "", "it")
    assert (first.folder, first.tokenizer, first.variant) == ("text_encoder", "tokenizer", None)
    assert (second.folder, second.tokenizer, second.variant) == (
        "text_encoder_2", "tokenizer_2", "fp16",
    )  # fmt: skip
    assert second.files == (
        "text_encoder_2/config.json", "text_encoder_2/model.fp16.safetensors",
        "tokenizer_2/spiece.model", "tokenizer_2/tokenizer_config.json",
    )  # fmt: skip


def test_a_folder_of_a_pipeline_may_be_named_alone_wherever_the_pipeline_is() -> None:
    deep = {f"sd/{name}" for name in PIPELINE}
    assert find_vae(deep, "sd/vae", "it").files[0] == "sd/vae/config.json"
    assert find_vae(deep, "sd", "it").folder == "sd/vae"
    (second,) = find_text_encoders(deep, "sd/text_encoder_2", "it")
    assert second.tokenizer == "sd/tokenizer_2"
    assert [part.folder for part in find_text_encoders(deep, "sd", "it")] == [
        "sd/text_encoder", "sd/text_encoder_2",
    ]  # fmt: skip


def test_a_model_at_the_root_has_its_tokenizer_with_it() -> None:
    names = {"config.json", "model.safetensors", "tokenizer.json", "pytorch_model.bin"}
    (part,) = find_text_encoders(names, "", "it")
    assert part == Part("", ("model.safetensors",), None, "", ("tokenizer.json",))


def test_parts_of_weights_come_with_their_index() -> None:
    parts = [f"vae/{VAE}-0000{n}-of-00002.safetensors" for n in (1, 2)]
    index = f"vae/{VAE}.safetensors.index.json"
    found = find_vae({"vae/config.json", index, *parts}, "vae", "it")
    assert found.files == ("vae/config.json", index, *parts)
    variant = [f"{VAE}.fp16-00001-of-00001.safetensors", f"{VAE}.safetensors.index.fp16.json"]
    assert find_vae({"config.json", *variant}, "", "it").variant == "fp16"
    with pytest.raises(DataError, match=f"in parts, and {VAE}.safetensors.index.json is missing"):
        find_vae({"vae/config.json", *parts}, "vae", "it")


@pytest.mark.parametrize(
    ("names", "line"),
    [
        ({f"{VAE}.bin"}, "only in files that may hold code, which are never loaded; convert it"),
        ({f"{VAE}.fp16.bin", "x.ckpt"}, "only in files that may hold code"),
        ({"model.safetensors"}, "it has no weights in safetensors; convert it"),
        ({f"{VAE}.fp16.safetensors", f"{VAE}.ema.safetensors"}, "only as ema, fp16, and none"),
    ],
)
def test_weights_that_cannot_be_taken_are_one_line(names: set[str], line: str) -> None:
    with pytest.raises(DataError, match=line):
        find_vae({"config.json", *names}, "", "it")


def test_what_is_missing_is_named() -> None:
    with pytest.raises(
        DataError, match=r"cannot use it: a VAE has a config.json, .* none is at vae"
    ):
        find_vae({"model_index.json", "unet/config.json"}, "", "it")
    with pytest.raises(DataError, match="a text encoder has a config"):
        find_text_encoders({"model_index.json"}, "", "it")
    names = {"text_encoder/config.json", "text_encoder/model.safetensors", "tokenizer/x.txt"}
    with pytest.raises(DataError, match=r"it \(text_encoder\): no tokenizer is in its folder, nor"):
        find_text_encoders(names, "text_encoder", "it")
