"""Models of the real classes, tiny and random, saved as their libraries save them.

The same seed gives the same weights, byte for byte. Nothing is downloaded: tokenizers are built of
a vocabulary that is written here.
"""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import torch

MAX_TOKENS = 16
"""How many tokens the CLIP models have positions for."""

CLIP_WIDTH, PROJECTED_WIDTH, T5_WIDTH = 16, 24, 12
LATENT_CHANNELS, SPATIAL_FACTOR = 4, 4

_LETTERS = string.ascii_lowercase + string.digits + ",.'"


def save_vae(
    folder: Path, *, seed: int = 0, channels: int = LATENT_CHANNELS, blocks: int = 3
) -> Path:
    """An AutoencoderKL whose latents have so many channels, and are a quarter as wide as images;
    with 4 blocks an eighth, as those of Stable Diffusion.
    """
    from diffusers import AutoencoderKL

    vae = _make(
        seed,
        lambda: AutoencoderKL(  # type: ignore[no-untyped-call]
            down_block_types=("DownEncoderBlock2D",) * blocks,
            up_block_types=("UpDecoderBlock2D",) * blocks,
            block_out_channels=(8, 16, 16, 16)[:blocks],
            layers_per_block=1,
            latent_channels=channels,
            norm_num_groups=4,
            sample_size=32,
            scaling_factor=0.13025,
        ),
    )
    vae.save_pretrained(folder)
    return folder


def save_clip(
    folder: Path, *, projection: bool = False, seed: int = 0, tokenizer: Path | None = None
) -> Path:
    """A CLIP text model, with its tokenizer beside it or in a folder of its own."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    kind = CLIPTextModelWithProjection if projection else CLIPTextModel
    config = CLIPTextConfig(
        vocab_size=len(_clip_vocabulary()),
        hidden_size=CLIP_WIDTH,
        intermediate_size=32,
        projection_dim=PROJECTED_WIDTH,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=MAX_TOKENS,
        bos_token_id=_clip_vocabulary()["<|startoftext|>"],
        eos_token_id=_clip_vocabulary()["<|endoftext|>"],
        pad_token_id=_clip_vocabulary()["<|endoftext|>"],
    )
    _make(seed, lambda: kind(config)).save_pretrained(folder)
    save_clip_tokenizer(tokenizer or folder)
    return folder


def save_clip_tokenizer(folder: Path) -> Path:
    """The tokenizer of CLIP, with a token for each letter, and few for words."""
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer(
        vocab=_clip_vocabulary(),
        merges=[tuple(merge.split()) for merge in _MERGES],  # type: ignore[misc] # it takes no texts
        model_max_length=MAX_TOKENS,
    )
    tokenizer.save_pretrained(folder)
    return folder


_MERGES = ("c a", "ca t</w>", "d o", "do g</w>")


def _clip_vocabulary() -> dict[str, int]:
    tokens = [*_LETTERS, *(f"{letter}</w>" for letter in _LETTERS)]
    tokens += [merge.replace(" ", "") for merge in _MERGES]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return {token: number for number, token in enumerate(tokens)}


def save_t5(folder: Path, seed: int = 0) -> Path:
    """The encoder of a T5, with its tokenizer, which like the real one names no length."""
    from transformers import T5Config, T5EncoderModel, T5Tokenizer

    letters = [(letter, -5.0) for letter in _LETTERS]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *letters]
    vocabulary += [("▁cat", -1.0), ("▁dog", -1.0)]
    tokenizer = T5Tokenizer(vocab=vocabulary, extra_ids=0)
    tokenizer.save_pretrained(folder)
    config = T5Config(
        vocab_size=len(vocabulary),
        d_model=T5_WIDTH,
        d_kv=6,
        d_ff=24,
        num_layers=2,
        num_heads=2,
        feed_forward_proj="gated-gelu",
    )
    _make(seed, lambda: T5EncoderModel(config)).save_pretrained(folder)
    return folder


def save_pipeline(folder: Path, *, seed: int = 0) -> Path:
    """A folder as of Stable Diffusion XL, without what only denoising takes."""
    save_vae(folder / "vae", seed=seed)
    save_clip(folder / "text_encoder", seed=seed, tokenizer=folder / "tokenizer")
    save_clip(
        folder / "text_encoder_2",
        projection=True,
        seed=seed + 1,
        tokenizer=folder / "tokenizer_2",
    )
    parts = {
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
    }
    index = {"_class_name": "StableDiffusionXLPipeline", "_diffusers_version": "0.36.0", **parts}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2))
    return folder


def _make(seed: int, make: Any) -> Any:
    """A model whose weights come from a seed alone, and leave the state of chance as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make().eval()
