"""Every knob: typed, checked, from flags and files; see docs/configuration.md."""

from hffs.config.blocks import CompositeImageConfig, FilterFunc, VideoConfig
from hffs.config.build import (
    Chosen,
    build_config,
    build_configs,
    build_folder,
    find_mount_folder,
    has_several_mounts,
    load_file,
)
from hffs.config.entries import Entry
from hffs.config.idle import find_idle_keys, find_idle_keys_of_folder
from hffs.config.keys import Key, Kind, all_keys
from hffs.config.model import Config
from hffs.config.recipes import RECIPES, Recipe, apply_recipe, explain_recipe, find_recipe

__all__ = [
    "RECIPES",
    "Chosen",
    "CompositeImageConfig",
    "Config",
    "Entry",
    "FilterFunc",
    "Key",
    "Kind",
    "Recipe",
    "VideoConfig",
    "all_keys",
    "apply_recipe",
    "build_config",
    "build_configs",
    "build_folder",
    "explain_recipe",
    "find_idle_keys",
    "find_idle_keys_of_folder",
    "find_mount_folder",
    "find_recipe",
    "has_several_mounts",
    "load_file",
]
