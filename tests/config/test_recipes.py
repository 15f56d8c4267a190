"""Recipes fill in what a trainer needs, and nothing that was given."""

from pathlib import Path
from typing import Any

import pytest

from hffs.config import RECIPES, Config, apply_recipe, build_configs, explain_recipe, find_recipe
from hffs.config.keys import all_keys
from hffs.errors import UsageError

ENVIRON = {"HOME": "/home/me"}


def cook(name: str, **flags: Any) -> Config:
    (config,) = build_configs("owner/set", flags, None, ENVIRON).configs
    return apply_recipe(config, name)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_sets_what_it_says_and_no_other_key(name: str) -> None:
    (plain,) = build_configs("owner/set", {}, None, ENVIRON).configs
    recipe, cooked = RECIPES[name], cook(name)
    changed = {
        key.name for key in all_keys().values() if key.read_from(plain) != key.read_from(cooked)
    }
    assert changed - {"scratch"} == set(recipe.keys) == set(recipe.why)
    assert ("scratch" in changed) == bool(recipe.writes)
    # What is set so is what the same values would be if they were given.
    given = build_configs("owner/set", dict(recipe.keys), None, ENVIRON).configs[0]
    assert {key: getattr(cooked, key) for key in recipe.keys} == {
        key: getattr(given, key) for key in recipe.keys
    }


def test_what_is_given_wins() -> None:
    config = cook("kohya", caption_extension="txt", scratch="/fast/layers")
    assert (config.caption_extension, config.name_width) == ("txt", 8)
    assert config.scratch == Path("/fast/layers")
    assert cook("imagefolder", images_only=False, group_by="kind").images_only is False
    assert cook("imagefolder", group_by="kind").group_by == "kind"


def test_layers_are_kept_in_the_cache_if_no_folder_is_given() -> None:
    assert cook("simpletuner").scratch == Path("/home/me/.cache/hffs/scratch")
    assert cook("ai-toolkit", cache_dir="/big").scratch == Path("/big/scratch")
    assert cook("onetrainer").scratch is None


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_explained_can_be_typed(name: str) -> None:
    flags = {flag.partition(" ")[0] for flag, _ in explain_recipe(RECIPES[name])}
    known = {key.flag: key.name for key in all_keys().values()}
    expected = set(RECIPES[name].keys) | ({"scratch"} if RECIPES[name].writes else set())
    assert {known[flag] for flag in flags} == expected
    assert all(why for _, why in explain_recipe(RECIPES[name]))


def test_an_unknown_trainer_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"cannot use --for koya: .*; did you mean kohya"):
        find_recipe("koya")
    with pytest.raises(UsageError, match=r"there are: kohya, kohya-finetune, .*dreambooth$"):
        find_recipe("xyz")
