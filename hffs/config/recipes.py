"""What each trainer needs of a folder, as keys of the configuration: `--for NAME`.

Owns the table alone. How each need was found stands in docs/trainers.md, which quotes the table,
and is tested with the trainers' own code in tests/trainers. A recipe fills in what was not given:
a key that a flag or a file sets keeps its value.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from hffs.config.keys import Key, Kind, all_keys
from hffs.config.model import Config
from hffs.config.recorded import RecordedConfig
from hffs.errors import ConfigError, UsageError

SCRATCH_FOLDER = "scratch"
"""Where layers are kept if no folder is given: in `cache_dir`."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Keys for one trainer, each with its reason; `writes` says what it writes beside images."""

    keys: Mapping[str, object]
    why: Mapping[str, str]
    writes: str = ""


def _recipe(writes: str = "", **keys: tuple[object, str]) -> Recipe:
    values = {name: value for name, (value, _) in keys.items()}
    reasons = {name: reason for name, (_, reason) in keys.items()}
    return Recipe(MappingProxyType(values), MappingProxyType(reasons), writes)


_PADDED = (8, "it finds the cache of 1.jpg by its first letters, and would take that of 10.jpg")
_LATENTS = "latents and text embeddings (.npz), metadata_cache.json"

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "kohya": _recipe(
            _LATENTS,
            caption_extension=("caption", "what it looks for unless --caption_extension is given"),
            name_width=_PADDED,
        ),
        "kohya-finetune": _recipe(
            _LATENTS,
            metadata_jsonl=(True, "in_json: captions and sizes, so that no header is read"),
            images_only=(True, "captions are in metadata.jsonl"),
            name_width=_PADDED,
        ),
        "simpletuner": _recipe("aspect_ratio_bucket_indices_*.json and ..._metadata_*.json"),
        "ai-toolkit": _recipe(".aitk_size.json, _latent_cache/, _t_e_cache/"),
        "onetrainer": _recipe(),
        "diffusion-pipe": _recipe("cache/, with SQLite databases and mapped Arrow files"),
        "imagefolder": _recipe(
            group_by=("label", "it takes classes from folders; name another column by hand"),
            images_only=(True, "it reads images and nothing else"),
        ),
        "hf-imagefolder": _recipe(
            metadata_jsonl=(True, "it takes captions from there, and ignores .txt"),
            images_only=(True, "captions are in metadata.jsonl"),
        ),
        "diffusers-dreambooth": _recipe(
            images_only=(True, "it opens every file of the folder as an image"),
        ),
    }
)
"""For each trainer what it needs; one without keys takes a mount as it is."""


def find_recipe(name: str) -> Recipe:
    """The recipe of a trainer; UsageError where there is none."""
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, 1)
        fix = f"did you mean {near[0]}?" if near else f"there are: {', '.join(RECIPES)}"
        raise UsageError("cannot use --for", name, why="no recipe of that name", fix=fix)
    return RECIPES[name]


def apply_recipe(config: Config, trainer: str) -> Config:
    """The configuration with what a trainer's recipe adds to what was given.

    Raises ConfigError where that would make a recorded view another one.
    """
    recipe = find_recipe(trainer)
    added = {
        name: value for name, value in recipe.keys.items() if name not in config.model_fields_set
    }
    if isinstance(config, RecordedConfig):
        for name, value in added.items():
            why = f"{config.view_file} was recorded without {_as_flag(all_keys()[name], value)}"
            fix = f"record it with hffs view --for {trainer}"
            raise ConfigError("cannot use --for", trainer, why=why, fix=fix)
    if recipe.writes and config.scratch is None:
        added["scratch"] = config.cache_dir / SCRATCH_FOLDER
    return config.model_copy(update=added) if added else config


def explain_recipe(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Each flag that the recipe sets, with the reason."""
    for name, value in recipe.keys.items():
        yield _as_flag(all_keys()[name], value), recipe.why[name]
    if recipe.writes:
        flag = f"{all_keys()['scratch'].flag} CACHE_DIR/{SCRATCH_FOLDER}"
        yield flag, f"it writes beside the images: {recipe.writes}"


def _as_flag(key: Key, value: object) -> str:
    return key.flag if key.kind is Kind.SWITCH else f"{key.flag} {value}"
