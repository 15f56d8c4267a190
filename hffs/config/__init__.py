"""Every knob: typed, checked, from flags and files; see docs/configuration.md."""

from hffs.config.build import Chosen, build_config, build_configs, load_file, refuse_unbuilt
from hffs.config.entries import Entry
from hffs.config.idle import find_idle_keys
from hffs.config.keys import Key, Kind, all_keys
from hffs.config.model import CompositeImageConfig, Config, FilterFunc, VideoConfig

__all__ = [
    "Chosen",
    "CompositeImageConfig",
    "Config",
    "Entry",
    "FilterFunc",
    "Key",
    "Kind",
    "VideoConfig",
    "all_keys",
    "build_config",
    "build_configs",
    "find_idle_keys",
    "load_file",
    "refuse_unbuilt",
]
