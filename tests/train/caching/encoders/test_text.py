"""Embeddings are those that transformers makes; what they depend on changes the identity."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hffs.data.hub.models import HubAccess
from hffs.errors import DataError, HffsError, MissingLibraryError, UsageError
from hffs.train.caching.encoders import TextSpec
from hffs.train.caching.encoders.locating import read_json
from hffs.train.caching.encoders.opening import open_text_encoder, pin
from hffs.train.caching.encoders.text import TransformersText
from hffs.train.caching.keys import identify_encoder
from tests.tiny_models import MAX_TOKENS, T5_WIDTH, save_clip

ACCESS = HubAccess()
TEXTS = ["a cat", "", "a dog and a cat and a dog and a cat"]


def _open(*folders: Path, **asked: Any) -> TransformersText:
    spec = pin(TextSpec(tuple(map(str, folders)), **asked), ACCESS)
    opened = open_text_encoder(spec, ACCESS)
    assert isinstance(opened, TransformersText)
    return opened


def _encode(*folders: Path, **asked: Any) -> Mapping[str, Tensor]:
    encoder = _open(*folders, **asked)
    encoder.load("cpu")
    return encoder.encode(TEXTS, [1, 2, 3])


def _direct(kind: str, folder: Path, tokenizer: Path, length: int = MAX_TOKENS) -> tuple[Any, Any]:
    import transformers

    tokens = transformers.AutoTokenizer.from_pretrained(tokenizer)(
        TEXTS, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    )
    model = getattr(transformers, kind).from_pretrained(folder).eval()
    with torch.no_grad():
        return model(tokens["input_ids"], output_hidden_states=True), tokens["attention_mask"]


def test_all_encoders_of_a_pipeline_answer_as_in_transformers(pipeline: Path) -> None:
    found = _encode(pipeline)
    first, mask = _direct("CLIPTextModel", pipeline / "text_encoder", pipeline / "tokenizer")
    second, _ = _direct(
        "CLIPTextModelWithProjection", pipeline / "text_encoder_2", pipeline / "tokenizer_2"
    )
    assert set(found) == {f"{n}.{name}" for n in (0, 1) for name in ("hidden", "pooled", "mask")}
    assert torch.equal(found["0.hidden"], first.last_hidden_state)
    assert torch.equal(found["0.pooled"], first.pooler_output)
    assert torch.equal(found["1.hidden"], second.last_hidden_state)
    assert torch.equal(found["1.pooled"], second.text_embeds)
    assert torch.equal(found["0.mask"].long(), mask)
    assert found["0.mask"].dtype == torch.uint8


def test_a_layer_is_taken_as_diffusers_takes_it(pipeline: Path) -> None:
    found = _encode(pipeline / "text_encoder_2", layer=-2)
    folders = pipeline / "text_encoder_2", pipeline / "tokenizer_2"
    direct, _ = _direct("CLIPTextModelWithProjection", *folders)
    assert torch.equal(found["hidden"], direct.hidden_states[-2])
    assert torch.equal(found["pooled"], direct.text_embeds)
    for layer in (0, 1, -6):
        with pytest.raises(
            UsageError, match=f"cannot use layer {layer}: .*from the last, -1, to -4"
        ):
            _open(pipeline / "text_encoder_2", layer=layer)


def test_t5_is_asked_as_flux_and_stable_diffusion_3_ask_it(t5: Path) -> None:
    found = _encode(t5, max_length=20)
    direct, mask = _direct("T5EncoderModel", t5, t5, 20)
    assert set(found) == {"hidden", "mask"}
    assert found["hidden"].shape == (3, 20, T5_WIDTH)
    assert torch.equal(found["hidden"], direct.last_hidden_state)
    assert torch.equal(found["mask"].long(), mask)


def test_pipelines_that_hide_padding_from_t5_have_it_hidden(t5: Path, tmp_path: Path) -> None:
    import transformers

    shutil.copytree(t5, tmp_path / "text_encoder")
    shutil.copytree(t5, tmp_path / "tokenizer")
    (tmp_path / "model_index.json").write_text('{"_class_name": "PixArtSigmaPipeline"}')
    found = _encode(tmp_path, max_length=20)["hidden"]
    tokens = transformers.AutoTokenizer.from_pretrained(t5)(
        TEXTS, padding="max_length", max_length=20, truncation=True, return_tensors="pt"
    )
    with torch.no_grad():
        model: Any = transformers.T5EncoderModel.from_pretrained(t5)
        direct = model(tokens["input_ids"], attention_mask=tokens["attention_mask"])
    assert torch.equal(found, direct.last_hidden_state)
    assert not torch.equal(found, _encode(t5, max_length=20)["hidden"])


def test_the_length_is_asked_for_or_the_tokenizers_or_a_default(pipeline: Path, t5: Path) -> None:
    facts = [_open(folder).identify()["encoders"][0] for folder in (pipeline, t5)]
    assert [(each["max_length"], each["max_length_from"]) for each in facts] == [
        (MAX_TOKENS, "tokenizer"), (512, "default"),
    ]  # fmt: skip
    asked = _open(pipeline, max_length=5)
    assert asked.identify()["encoders"][1]["max_length_from"] == "asked"
    asked.load("cpu")
    assert asked.encode(TEXTS, [1, 2, 3])["0.hidden"].shape[1] == 5
    for wrong in (0, MAX_TOKENS + 1):
        with pytest.raises(
            UsageError, match=f"cannot use max_length {wrong}: its texts have 1 to 16"
        ):
            _open(pipeline, max_length=wrong)


def test_tokens_that_are_left_out_are_counted(pipeline: Path) -> None:
    encoder = _open(pipeline, max_length=5)
    encoder.load("cpu")
    cut = encoder.count_cut(TEXTS)
    assert cut[:2] == [0, 0]
    assert cut[2] > 5


def test_a_lone_surrogate_in_a_caption_harms_nothing(t5: Path) -> None:
    encoder = _open(t5, max_length=8)
    encoder.load("cpu")
    found = encoder.encode(["a \ud800 cat", "a ? cat"], [1, 2])["hidden"]
    assert torch.equal(found[0], found[1])


def test_bfloat16_is_close(t5: Path) -> None:
    exact, found = _encode(t5, max_length=8), _encode(t5, max_length=8, dtype="bfloat16")
    assert found["hidden"].dtype == torch.bfloat16
    torch.testing.assert_close(found["hidden"].float(), exact["hidden"], rtol=0.1, atol=0.1)


def test_other_models_are_found_by_their_type(tmp_path: Path, t5: Path) -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=64, hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
        intermediate_size=8, max_position_embeddings=12,
    )  # fmt: skip
    BertModel(config).save_pretrained(tmp_path)
    for file in t5.glob("tokenizer*"):
        shutil.copy(file, tmp_path)
    encoder = _open(tmp_path)
    facts = encoder.identify()["encoders"][0]
    assert (facts["class"], facts["attends"], facts["max_length"]) == ("AutoModel", "text", 12)
    encoder.load("cpu")
    found = encoder.encode(TEXTS, [1, 2, 3])
    assert found["hidden"].shape == (3, 12, 8)
    assert found["pooled"].shape == (3, 8)


def test_the_identity_says_what_embeddings_depend_on(pipeline: Path, tmp_path: Path) -> None:
    def identity(folder: Path, **asked: Any) -> str:
        return identify_encoder(_open(folder, **asked).identify())

    moved = shutil.copytree(pipeline, tmp_path / "moved")
    first = identity(pipeline)
    assert identity(moved) == first
    tokenizer = moved / "tokenizer/tokenizer.json"
    tokenizer.write_bytes(tokenizer.read_bytes() + b"\n")
    different = [
        identity(moved),
        identity(pipeline / "text_encoder_2"),
        identity(save_clip(tmp_path / "other", projection=True, seed=5)),
        identity(pipeline, dtype="bfloat16"),
        identity(pipeline, max_length=5),
        identity(pipeline, layer=-2),
    ]
    assert len({first, *different}) == 7


def _drop(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["text_projection.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def _edit(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def _bring_code(folder: Path) -> None:
    _edit(folder, model_type="mine", auto_map={"AutoModel": "mine.Model", "AutoConfig": "mine.C"})
    (folder / "mine.py").write_text("raise SystemExit('this ran')")


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (_drop, "its file has no text_projection.weight; the weights belong to another class"),
        (lambda at: _edit(at, hidden_size=32), "cannot load"),
        (lambda at: (at / "model.safetensors").write_bytes(b"no weights"), "cannot load"),
        (_bring_code, "cannot load"),
        (lambda at: _edit(at, model_type=None), "its config.json names no model_type"),
        (lambda at: _edit(at, quantization_config={}), "its weights are quantized"),
        (lambda at: (at / "tokenizer.json").unlink(), "no tokenizer is in its folder"),
        (lambda at: (at / "tokenizer.json").write_text("{}"), "cannot load"),
        (lambda at: (at / "config.json").unlink(), "a text encoder has a config.json"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_model_is_one_line(tmp_path: Path, spoil: Any, line: str) -> None:
    folder = save_clip(tmp_path / "clip", projection=True)
    spoil(folder)
    with pytest.raises(DataError, match=line) as caught:
        _encode(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_a_vocabulary_that_takes_another_library_says_which(
    t5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(t5, tmp_path / "t5")
    (folder / "tokenizer.json").rename(folder / "spiece.model")
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(
        MissingLibraryError, match=r"its tokenizer takes sentencepiece, .*; pip inst"
    ):
        _encode(folder)


def test_a_tokenizer_as_clip_came_with_it_is_the_same(tmp_path: Path) -> None:
    folder = save_clip(tmp_path / "text_encoder", tokenizer=tmp_path / "tokenizer")
    new = _encode(folder)
    tokenizer = tmp_path / "tokenizer/tokenizer.json"
    model = json.loads(tokenizer.read_text())["model"]
    merges = ["#version: 0.2", *(" ".join(pair) for pair in model["merges"])]
    (tmp_path / "tokenizer/merges.txt").write_text("\n".join(merges) + "\n")
    (tmp_path / "tokenizer/vocab.json").write_text(json.dumps(model["vocab"]))
    tokenizer.unlink()
    assert torch.equal(_encode(folder)["hidden"], new["hidden"])


def test_a_model_that_is_gone_is_one_line(tmp_path: Path) -> None:
    folder = save_clip(tmp_path / "clip")
    encoder = _open(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(DataError, match=r"cannot read .*clip: .*No such file or directory"):
        encoder.identify()
    with pytest.raises(DataError, match="cannot read it: nowhere: No such file or directory"):
        read_json(tmp_path / "nowhere", "it")


def test_no_model_is_a_wrong_use() -> None:
    with pytest.raises(UsageError, match="no text encoder is named"):
        open_text_encoder(TextSpec(()), ACCESS)


def test_encoding_before_loading_is_a_mistake_of_the_caller(t5: Path) -> None:
    with pytest.raises(RuntimeError, match="only once it is loaded"):
        _open(t5).encode(TEXTS, [1, 2, 3])


def test_regression_a_configuration_cannot_name_other_weights(tmp_path: Path) -> None:
    folder = save_clip(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    other = save_clip(tmp_path / "other", seed=3)
    (folder / "x.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    wanted = _encode(folder)["hidden"]
    other_weights = config | {"transformers_weights": "x.safetensors"}
    (folder / "config.json").write_text(json.dumps(other_weights))
    with pytest.raises(DataError, match="cannot load"):
        _encode(folder)
    assert wanted.isfinite().all()


@pytest.mark.parametrize("change", [{"num_hidden_layers": "x"}, {"architectures": 5}])
def test_regression_what_a_configuration_says_is_no_traceback(
    tmp_path: Path, change: dict[str, object]
) -> None:
    folder = save_clip(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    raised = ""
    try:
        _encode(folder)
    except HffsError as error:
        raised = str(error)
    assert "\n" not in raised
