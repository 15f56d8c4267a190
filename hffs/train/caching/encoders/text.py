"""Text encoders by transformers: captions to hidden states, and what is pooled of them.

Owns how they are loaded and asked. Must not know where embeddings go. Every text is padded and cut
to the same number of tokens, so all tensors of an encoder have one shape.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hffs.errors import DataError, MissingLibraryError, UsageError
from hffs.train.caching.encoders import TextSpec
from hffs.train.caching.encoders.libraries import (
    check_loaded,
    find_class,
    model_errors,
)
from hffs.train.caching.encoders.locating import ModelFiles, read_json, settled

_LONGEST_OWN = 1024
_DEFAULT_LENGTH = 512
"""Taken where a tokenizer names no length, or one (131072) that no caption should be padded to."""

_ENCODERS = {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel", "umt5": "UMT5EncoderModel"}
_CLIP = {"clip", "clip_text_model"}

_MASKING = (
    "Allegro", "Chroma", "Cosmos", "HiDream", "HunyuanDiT", "IF", "Kandinsky3", "Latte", "Mochi",
    "PixArt",
)  # fmt: skip
"""Pipelines of diffusers that have T5 look at the tokens of a text alone; the others do not."""


@dataclass(frozen=True, slots=True, eq=False)
class _Loaded:
    model: Any
    tokenizer: Any
    device: torch.device


class _TextModel:
    """One text encoder with its tokenizer."""

    def __init__(self, spec: TextSpec, files: ModelFiles) -> None:
        self._spec, self._files = spec, files
        self._config = files.read_config()
        if "quantization_config" in self._config:
            why = "its weights are quantized, in a way that takes other libraries"
            raise DataError("cannot use", files.name, why=why)
        self._class = self._choose_class()
        self.length, self._length_from = self._choose_length()
        self._check_layer()
        self._loaded: _Loaded | None = None

    def identify(self) -> dict[str, Any]:
        return {
            "class": self._class,
            "config": settled(self._config),
            "weights": self._files.digest_weights(),
            "tokenizer": self._files.digest_tokenizer(),
            "max_length": self.length,
            "max_length_from": self._length_from,
            "layer": self._spec.layer,
            "attends": "text" if self._masks else "all",
        }

    def load(self, device: str) -> None:
        self._need_sentencepiece()
        which, kind = self._files.name, find_class("transformers", self._class)
        tokenizers = find_class("transformers", "AutoTokenizer")
        options: dict[str, Any] = {"local_files_only": True}
        if self._class == "AutoModel":
            options["trust_remote_code"] = False
        with model_errors("cannot load", which), self._files.alone() as (folder, beside):
            tokenizer = tokenizers.from_pretrained(
                str(beside), trust_remote_code=False, local_files_only=True
            )
            if tokenizer.pad_token is None:
                tokenizer.pad_token = tokenizer.eos_token
            model, info = kind.from_pretrained(
                str(folder),
                dtype=getattr(torch, self._spec.dtype),
                use_safetensors=True,
                variant=self._files.part.variant,
                output_loading_info=True,
                **options,
            )
        check_loaded(info, which)
        model = model.to(device).eval().requires_grad_(requires_grad=False)
        self._loaded = _Loaded(model, tokenizer, torch.device(device))

    def encode(self, texts: list[str]) -> dict[str, Tensor]:
        loaded = self._need_loaded()
        tokens = loaded.tokenizer(
            _plain(texts),
            padding="max_length",
            max_length=self.length,
            truncation=True,
            return_tensors="pt",
        )
        mask = tokens["attention_mask"]
        asked = {"input_ids": tokens["input_ids"].to(loaded.device)}
        if self._masks:
            asked["attention_mask"] = mask.to(loaded.device)
        layer = self._spec.layer
        with torch.no_grad():
            answer = loaded.model(**asked, output_hidden_states=layer != -1, return_dict=True)
        hidden = answer.last_hidden_state if layer == -1 else answer.hidden_states[layer]
        found = {"hidden": hidden, "pooled": _find_pooled(answer)}
        dtype = getattr(torch, self._spec.dtype)
        tensors = {name: each.to(dtype) for name, each in found.items() if each is not None}
        return tensors | {"mask": mask.to(torch.uint8)}

    def count_cut(self, texts: list[str]) -> list[int]:
        tokens = self._need_loaded().tokenizer(_plain(texts), padding=False, truncation=False)
        return [max(len(ids) - self.length, 0) for ids in tokens["input_ids"]]

    def _need_loaded(self) -> _Loaded:
        if self._loaded is None:
            raise RuntimeError("a text encoder encodes only once it is loaded")
        return self._loaded

    def _need_sentencepiece(self) -> None:
        """Say what transformers does not: it asks for another library, which would not help."""
        names = set(self._files.part.tokenizer_files)
        if names & {"tokenizer.json", "vocab.json", "vocab.txt"}:
            return
        if importlib.util.find_spec("sentencepiece") is None:
            why = "its tokenizer takes sentencepiece, which is not installed"
            fix = "pip install sentencepiece protobuf"
            raise MissingLibraryError("cannot load", self._files.name, why=why, fix=fix)

    @property
    def _masks(self) -> bool:
        """Whether padding is hidden from the model, as where it was trained."""
        if self._class.startswith("CLIP"):
            return False
        return self._class != "T5EncoderModel" or self._files.pipeline.startswith(_MASKING)

    def _choose_class(self) -> str:
        kind = self._config.get("model_type")
        if not isinstance(kind, str):
            why = "its config.json names no model_type"
            raise DataError("cannot use", self._files.name, why=why, fix="is it of transformers?")
        if kind in _CLIP:
            named = self._config.get("architectures")
            projects = isinstance(named, list) and "CLIPTextModelWithProjection" in named
            return "CLIPTextModelWithProjection" if projects else "CLIPTextModel"
        return _ENCODERS.get(kind, "AutoModel")

    def _choose_length(self) -> tuple[int, str]:
        """How many tokens a text has, and who said so."""
        own = self._of_text("max_position_embeddings")
        most = own if isinstance(own, int) else None
        asked = self._spec.max_length
        if asked is not None:
            if asked < 1 or (most is not None and asked > most):
                why = f"its texts have 1 to {most or 'any number of'} tokens"
                raise UsageError("cannot use max_length", str(asked), why=why)
            return asked, "asked"
        told = None
        if "tokenizer_config.json" in self._files.part.tokenizer_files:
            file = self._files.tokenizer / "tokenizer_config.json"
            told = read_json(file, self._files.name).get("model_max_length")
        if isinstance(told, int) and 0 < told <= min(_LONGEST_OWN, most or told):
            return told, "tokenizer"
        return min(_DEFAULT_LENGTH, most or _DEFAULT_LENGTH), "default"

    def _check_layer(self) -> None:
        own = self._of_text("num_hidden_layers")
        layers = own if own is not None else self._config.get("num_layers")
        layer = self._spec.layer
        least = -layers - 1 if isinstance(layers, int) else None
        if layer > -1 or (least is not None and layer < least):
            why = f"layers count from the last, -1, to {least or 'the first'}"
            raise UsageError("cannot use layer", str(layer), why=f"{self._files.name}: {why}")

    def _of_text(self, key: str) -> Any:
        inner = self._config.get("text_config")
        return inner.get(key) if isinstance(inner, dict) and key in inner else self._config.get(key)


class TransformersText:
    """An encoder of texts: one model of transformers, or several side by side."""

    def __init__(self, spec: TextSpec, located: Sequence[ModelFiles]) -> None:
        self._spec = spec
        self._models = [_TextModel(spec, files) for files in located]

    def identify(self) -> Mapping[str, Any]:
        """What its embeddings depend on. Raises DataError."""
        encoders = [model.identify() for model in self._models]
        return {"library": "transformers", "dtype": self._spec.dtype, "encoders": encoders}

    def load(self, device: str) -> None:
        """Read the weights of all. Raises DataError."""
        for model in self._models:
            model.load(device)

    def encode(self, batch: list[str], seeds: Sequence[int]) -> Mapping[str, Tensor]:
        """Of each encoder "hidden" (n, tokens, d), "pooled" (n, d) if it has that, and "mask".

        With several encoders the names begin with their number: "0.hidden", "1.hidden".
        """
        answers = [model.encode(batch) for model in self._models]
        if len(answers) == 1:
            return answers[0]
        return {
            f"{number}.{name}": tensor
            for number, answer in enumerate(answers)
            for name, tensor in answer.items()
        }

    def count_cut(self, texts: list[str]) -> list[int]:
        """How many tokens of each text are left out, by the encoder that leaves out most."""
        counts = [model.count_cut(texts) for model in self._models]
        return [max(each) for each in zip(*counts, strict=True)]


def _find_pooled(answer: Any) -> Tensor | None:
    for name in ("text_embeds", "pooler_output"):
        found = getattr(answer, name, None)
        if isinstance(found, Tensor):
            return found
    return None


def _plain(texts: list[str]) -> list[str]:
    """Texts without lone surrogates, which tokenizers refuse."""
    return [text.encode("utf-8", "replace").decode() for text in texts]
