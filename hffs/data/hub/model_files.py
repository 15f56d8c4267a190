"""Of which files a model is made: told by their names alone, on the Hub and in a folder alike.

Owns the layouts of diffusers and transformers: a model in a folder of its own, or a pipeline of
them with a `model_index.json`. Invariants: weights are safetensors, of one variant, and whole.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from hffs.errors import DataError

CONFIG, INDEX = "config.json", "model_index.json"

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "vocab.txt", "merges.txt", "spiece.model", "sentencepiece.bpe.model",
    "tokenizer.model",
)  # fmt: skip
"""What tokenizers of transformers are kept in; nothing else of a folder is looked at."""

_VOCABULARIES = {"tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "tokenizer.model"}
_WEIGHTS = re.compile(
    r"(?P<base>diffusion_pytorch_model|model)(?:\.(?P<variant>(?!safetensors)[\w-]+?))?"
    r"(?:-\d+-of-\d+)?\.safetensors"
)
_PICKLES = re.compile(r".*\.(?:bin|pt|pth|ckpt|pkl|msgpack|h5)(?:\.index\.json)?")
_TEXT_ENCODER = re.compile(r"text_encoder(?:_\d+)?")


@dataclass(frozen=True, slots=True)
class Part:
    """A model: its folder, that of its tokenizer ("" is the root; None: it has none), and files.

    `weights` are the names in the folder, in order; `variant` is what they are named by, if that
    is not the plain one.
    """

    folder: str
    weights: tuple[str, ...]
    variant: str | None = None
    tokenizer: str | None = None
    tokenizer_files: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """The paths of all that is read, without what may or may not be there."""
        own = [join(self.folder, name) for name in (CONFIG, *self.weights)]
        beside = [join(self.tokenizer or "", name) for name in self.tokenizer_files]
        return tuple(dict.fromkeys([*own, *beside]))


def join(folder: str, name: str) -> str:
    """The path of a name in a folder, of which "" is the root."""
    return f"{folder}/{name}" if folder else name


def find_vae(names: Collection[str], folder: str, which: str) -> Part:
    """The VAE in a folder, or of the pipeline that is in it; `which` is it in messages."""
    if join(folder, INDEX) in names:
        folder = join(folder, "vae")
    if join(folder, CONFIG) not in names:
        raise _missing("a VAE", folder, which)
    return _find_part(names, folder, "diffusion_pytorch_model", which)


def find_text_encoders(names: Collection[str], folder: str, which: str) -> tuple[Part, ...]:
    """The text encoder in a folder, or all of the pipeline that is in it, in order."""
    folders = [folder]
    if join(folder, INDEX) in names:
        prefix = join(folder, "")
        inner = {name[len(prefix) :].split("/")[0] for name in names if name.startswith(prefix)}
        # text_encoder before text_encoder_2, which is before text_encoder_10
        own = sorted((n for n in inner if _TEXT_ENCODER.fullmatch(n)), key=lambda n: (len(n), n))
        folders = [join(folder, name) for name in own]
    if not folders or not all(join(each, CONFIG) in names for each in folders):
        raise _missing("a text encoder", folder, which)
    return tuple(_with_tokenizer(names, each, which) for each in folders)


def _missing(what: str, folder: str, which: str) -> DataError:
    why = f"{what} has a {CONFIG}, and none is {f'at {folder}' if folder else 'in it'}"
    return DataError("cannot use", which, why=why, fix="name the folder that it is in")


def _names_in(names: Collection[str], folder: str) -> list[str]:
    prefix = join(folder, "") if folder else ""
    inner = (name[len(prefix) :] for name in names if name.startswith(prefix))
    return sorted(name for name in inner if "/" not in name)


def _find_part(names: Collection[str], folder: str, base: str, which: str) -> Part:
    """Weights as the library looks for them: one file, or an index and parts, named by `base`.

    The plain ones if there are any; else the only variant.
    """
    own = _names_in(names, folder)
    found = [match for name in own if (match := _WEIGHTS.fullmatch(name)) and match["base"] == base]
    variants = sorted({match["variant"] for match in found if match["variant"]})
    plain = [match for match in found if not match["variant"]]
    at = f"{which} ({folder})" if folder else which
    if not found:
        why = "it has no weights in safetensors"
        if any(map(_PICKLES.fullmatch, own)):
            why += ", only in files that may hold code, which are never loaded"
        raise DataError(
            "cannot use", at, why=why, fix="convert it by save_pretrained, or ask its author"
        )
    if not plain and len(variants) > 1:
        why = f"it has weights only as {', '.join(variants)}, and none is the plain one"
        raise DataError("cannot use", at, why=why, fix="keep one of them")
    chosen = plain or found
    variant = None if plain else variants[0]
    whole = [m[0] for m in chosen if "-of-" not in m[0]]
    if whole:
        return Part(folder, tuple(whole[:1]), variant)
    index = f"{base}.safetensors.index{f'.{variant}' if variant else ''}.json"
    if index not in own:
        raise DataError("cannot use", at, why=f"its weights are in parts, and {index} is missing")
    return Part(folder, (index, *(match[0] for match in chosen)), variant)


def _with_tokenizer(names: Collection[str], folder: str, which: str) -> Part:
    """A text encoder with its tokenizer: in the folder, or beside it under the same number."""
    part = _find_part(names, folder, "model", which)
    parent, _, own = folder.rpartition("/")
    beside = (
        [join(parent, own.replace("text_encoder", "tokenizer"))]
        if own.startswith("text_encoder")
        else []
    )
    for place in [*beside, folder]:
        files = [name for name in _names_in(names, place) if name in TOKENIZER_FILES]
        if _VOCABULARIES & set(files):
            return Part(folder, part.weights, part.variant, place, tuple(files))
    why = "no tokenizer is in its folder, nor beside it"
    raise DataError("cannot use", f"{which} ({folder})" if folder else which, why=why)
