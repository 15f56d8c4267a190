"""Options of `hffs cache`: which encoder, where tensors are kept, and who encodes.

Owns their words. Must not know what is done with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, get_args

from hffs.cli.commands import Option
from hffs.cli.engines import EngineChoice
from hffs.cli.folders import MountedAt
from hffs.cli.sources import Entry
from hffs.config.values import read_size
from hffs.errors import UsageError
from hffs.train.caching.specs import DType, Posterior, TextSpec, VaeSpec

_ENCODER, _KEEPING, _RUN = "Encoder", "Store", "Run"

# Escaped: rich takes square brackets for markup.
_MODEL = (
    "a folder, OWNER/NAME[@REVISION][/FOLDER] on the Hub, a pipeline of diffusers, or module:Class"
)

Vae = Annotated[
    str,
    Option("--vae", metavar="MODEL", help=f"The VAE: {_MODEL}.", panel=_ENCODER),
]
TextEncoders = Annotated[
    list[str],
    Option(
        "--text-encoder",
        metavar="MODEL",
        help=f"A text encoder: {_MODEL}, of which all are taken; may be repeated.",
        panel=_ENCODER,
    ),
]
_Dtype = Annotated[
    str,
    Option(
        metavar="[float32|bfloat16|float16]",
        help="Numbers that are computed with, and kept.",
        panel=_ENCODER,
    ),
]
_Posterior = Annotated[
    str,
    Option(
        metavar="[sample|mode|parameters]",
        help="Of the distribution that the VAE gives: a sample, its mode, or its parameters.",
        panel=_ENCODER,
    ),
]
_Tiling = Annotated[
    bool,
    Option("--tiling", help="Encode large images by tiles.", panel=_ENCODER),
]
_Slicing = Annotated[
    bool,
    Option("--slicing", help="Encode the images of a batch one by one.", panel=_ENCODER),
]
_Flip = Annotated[
    bool,
    Option("--flip", help="Encode the mirror image of each image too.", panel=_ENCODER),
]
_MaxLength = Annotated[
    int | None,
    Option(
        min=1,
        metavar="TOKENS",
        help="Tokens of a text; the tokenizer's own if nothing is said.",
        panel=_ENCODER,
    ),
]
_Layer = Annotated[
    int,
    Option(
        max=-1,
        metavar="N",
        help="Which hidden states: -1 the last, -2 the last but one.",
        panel=_ENCODER,
    ),
]
_Reader = Annotated[
    str | None,
    Option(
        "--captions-of",
        metavar="[kohya|simpletuner|ai-toolkit]",
        help="Encode captions as that trainer reads them, for `hffs cache export`.",
        panel=_ENCODER,
    ),
]
_Output = Annotated[
    str | None,
    Option(
        metavar="FOLDER|URL",
        help="Keep vae/ID and text/ID there, not in cache_dir: a folder, or s3://BUCKET/...",
        panel=_KEEPING,
    ),
]
_MaxSize = Annotated[
    str | None,
    Option(
        metavar="SIZE",
        help="What a store may hold (500G): what this run does not use goes for it.",
        panel=_KEEPING,
    ),
]
_Batch = Annotated[
    int | None,
    Option(
        "--encode-batch",
        min=1,
        metavar="N",
        help="Samples encoded at once; fewer if memory does not suffice. "
        "By default a megapixel, or 32 texts.",
        panel=_RUN,
    ),
]
_Length = Annotated[
    int | None,
    Option(
        "--shard-samples",
        min=1,
        metavar="N",
        help="Samples of a shard: what a kill can cost. By default 256 images or 64 texts.",
        panel=_RUN,
    ),
]
_Devices = Annotated[
    list[str] | None,
    Option(
        "--device",
        metavar="DEVICE",
        help="cpu, cuda:0 ...; may be repeated, one process each. By default all GPUs, or cpu.",
        panel=_RUN,
    ),
]
_Decoders = Annotated[
    int | None,
    Option(
        "--decoders",
        min=1,
        metavar="N",
        help="Threads that decode images for each device. By default the cores.",
        panel=_RUN,
    ),
]
_DryRun = Annotated[
    bool,
    Option("--dry-run", help="Say what would be encoded.", panel=_RUN),
]


_RayGpus = Annotated[
    float | None,
    Option(
        min=0,
        metavar="X",
        help="GPUs of a worker: 1, a part, or 0. By default 1 where this host has any.",
        panel=_RUN,
    ),
]


@dataclass(frozen=True, slots=True)
class CacheEngine(EngineChoice):
    """Who encodes."""

    ray_gpus: _RayGpus = None

    def list_of_ray(self) -> Iterator[tuple[str, object]]:
        """Options that only Ray has, and what was said."""
        yield from EngineChoice.list_of_ray(self)
        yield "--ray-gpus", self.ray_gpus


@dataclass(frozen=True, slots=True)
class Place:
    """Which entries, and where tensors are kept."""

    entry: Entry = None
    mounted: MountedAt = None
    output: _Output = None

    def __post_init__(self) -> None:
        output = self.output
        if output is not None and (not output or re.fullmatch(r"\w+:/?", output)):
            fix = "name a folder, or a URL such as s3://BUCKET/latents"
            raise UsageError("cannot use", f"--output {output!r}", why="it names no place", fix=fix)
        if output is not None and output.startswith("memory:"):
            why = "nothing would be left of it"
            raise UsageError("cannot use", f"--output {output}", why=why, fix="name a folder")


@dataclass(frozen=True, slots=True)
class VaeOptions:
    """What is kept of images."""

    dtype: _Dtype = "float32"
    posterior: _Posterior = "sample"
    tiling: _Tiling = False
    slicing: _Slicing = False
    flip: _Flip = False


@dataclass(frozen=True, slots=True)
class TextOptions:
    """What is kept of texts."""

    dtype: _Dtype = "float32"
    max_length: _MaxLength = None
    layer: _Layer = -1
    reader: _Reader = None


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run goes about its work."""

    max_size: _MaxSize = None
    batch: _Batch = None
    length: _Length = None
    devices: _Devices = None
    decoders: _Decoders = None
    dry_run: _DryRun = False

    def __post_init__(self) -> None:
        _ = self.max_bytes  # refused before anything is looked at

    @property
    def max_bytes(self) -> int | None:
        """The size as bytes. Raises UsageError."""
        if self.max_size is None:
            return None
        try:
            return read_size(self.max_size)
        except ValueError as error:
            what = f"--max-size {self.max_size}"
            raise UsageError("cannot use", what, why=f"it {error}") from error


_AnyVae = Annotated[
    str | None,
    Option("--vae", metavar="MODEL", help="The VAE of latents.", panel=_ENCODER),
]
_AnyTextEncoders = Annotated[
    list[str] | None,
    Option(
        "--text-encoder",
        metavar="MODEL",
        help="The text encoders of the embeddings.",
        panel=_ENCODER,
    ),
]


@dataclass(frozen=True, slots=True)
class EncoderOptions:
    """Which of the tensors in a store are meant: as they were said when these were made."""

    vae: _AnyVae = None
    text_encoder: _AnyTextEncoders = None
    dtype: _Dtype = "float32"
    posterior: _Posterior = "sample"
    tiling: _Tiling = False
    flip: _Flip = False
    max_length: _MaxLength = None
    layer: _Layer = -1
    reader: _Reader = None

    def vae_options(self) -> VaeOptions:
        """Those of images."""
        return VaeOptions(self.dtype, self.posterior, self.tiling, flip=self.flip)

    def text_options(self) -> TextOptions:
        """Those of texts."""
        return TextOptions(self.dtype, self.max_length, self.layer, self.reader)


def make_vae_spec(model: str, kept: VaeOptions) -> VaeSpec:
    """The VAE that is meant. Raises UsageError."""
    return VaeSpec(
        model,
        _choose("--dtype", kept.dtype, DType),
        _choose("--posterior", kept.posterior, Posterior),
        tiling=kept.tiling,
        slicing=kept.slicing,
    )


def make_text_spec(models: list[str], kept: TextOptions) -> TextSpec:
    """The text encoders that are meant. Raises UsageError."""
    dtype = _choose("--dtype", kept.dtype, DType)
    return TextSpec(tuple(models), dtype, kept.max_length, kept.layer)


def _choose(flag: str, value: str, choices: Any) -> Any:
    """A word, if it is one of a Literal's."""
    known = get_args(choices)
    if value not in known:
        raise UsageError("cannot use", f"{flag} {value}", why=f"it is one of {', '.join(known)}")
    return value
