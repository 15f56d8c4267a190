"""Which encoder is meant, in words; cheap to import.

Owns what may be said of one. Must not know how one is found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

Kind = Literal["vae", "text"]
Posterior = Literal["sample", "mode", "parameters"]
DType = Literal["float32", "float16", "bfloat16"]


@dataclass(frozen=True, slots=True)
class VaeSpec:
    """Which VAE, and how it is asked.

    `model` is a folder, or `OWNER/NAME[@REVISION][/SUBFOLDER]` on the Hub, of a VAE or of a
    pipeline that has one; or `module:Class`. `posterior` says what is kept of the distribution:
    a sample drawn by each sample's seed, its mode, or its parameters.
    """

    model: str
    dtype: DType = "float32"
    posterior: Posterior = "sample"
    tiling: bool = False
    slicing: bool = False

    kind: ClassVar[Kind] = "vae"

    @property
    def models(self) -> tuple[str, ...]:
        """The models that are named: one."""
        return (self.model,)


@dataclass(frozen=True, slots=True)
class TextSpec:
    """Which text encoders, and what is kept of each.

    `models` are as in `VaeSpec`; of a pipeline all text encoders are taken, in order. `max_length`
    is in tokens, the tokenizer's own if None; `layer` counts hidden states from the last, which is
    -1 (with its final norm), -2 is the last but one.
    """

    models: tuple[str, ...]
    dtype: DType = "float32"
    max_length: int | None = None
    layer: int = -1

    kind: ClassVar[Kind] = "text"
