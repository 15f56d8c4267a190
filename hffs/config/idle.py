"""Keys that were given and change nothing, since another key that they need was not.

Owns which keys need which. Nothing here is an error: an entry that a trainer reads as well may hold
such keys on purpose, but who forgot the other key has to be told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from hffs.config.blocks import CompositeImageConfig, FilterFunc, VideoConfig
from hffs.config.keys import Key, all_keys
from hffs.config.model import Config

_OF_CAPTIONS = (
    "caption_column", "fallback_caption_column", "description_column", "missing_caption",
    "caption_multi", "caption_separator", "caption_extension", "audio_caption_fields",
    "lyrics_column",
)  # fmt: skip


_OF_IMAGES = ("image_column", "image_format", "orientation")
_REFUSED = ("min_frames", "max_frames")
_OF_VIDEOS = (
    "video_column",
    *(f"video.{name}" for name in VideoConfig.model_fields if name not in _REFUSED),
)
_OF_SOUNDS = ("audio_column", "audio_caption_fields", "lyrics_column")
_OF_MEDIA: Mapping[str, tuple[str, ...]] = {
    "image": (*_OF_VIDEOS, *_OF_SOUNDS, "duration_column"),
    "video": (*_OF_IMAGES, *_OF_SOUNDS),
    "audio": (*_OF_IMAGES, *_OF_VIDEOS, "width_column", "height_column"),
}
"""For each medium the keys that are about others, but those that `hffs.config.foreign` refuses."""


_OF_FOLDER = {
    "id", "type", "dataset_type", "orientation", "caption_extension", "cache_dir", "num_proc",
    "seed", "offline",
}  # fmt: skip
"""Keys that are not the bundled tool's alone, and say something of a folder too."""


def is_of_mounts(key: Key) -> bool:
    """Whether a key says nothing of a folder, which is what it is."""
    return not key.for_tool and key.name not in _OF_FOLDER


def find_idle_keys_of_folder(config: Config) -> Iterator[str]:
    """As `find_idle_keys`, of an entry that is a folder."""
    keys = [key for key in all_keys().values() if is_of_mounts(key)]
    idle = [key.name for key in keys if key.read_from(config) != key.default]
    if idle:
        yield _line(idle, f"entry {config.id} is a folder")


def find_idle_keys(config: Config) -> Iterator[str]:
    """A line for each reason: the keys that have no effect, and why."""
    of_media = _list_given(config, _OF_MEDIA[config.dataset_type])
    why_media = f"dataset_type is {config.dataset_type}"
    for keys, why in (
        (of_media, why_media), *_of_entry(config), *_of_filters(config.filter_func)
    ):  # fmt: skip
        if keys:
            yield _line(keys, why)
    yield from _of_composites(config.composite_image_config)


def _list_given(config: Config, names: Iterable[str]) -> list[str]:
    """Those of some keys that were given."""
    given = set(config.model_fields_set) | {
        f"video.{name}" for name in config.video.model_fields_set
    }
    return [name for name in names if name in given]


def _of_entry(config: Config) -> Iterator[tuple[list[str], str]]:
    given = config.model_fields_set
    if config.images_only:
        needed = ("caption_extension",) if config.metadata_jsonl else _OF_CAPTIONS
        yield [key for key in needed if key in given], "images_only leaves captions out"
    elif config.caption_multi != "join" and config.dataset_type != "audio":
        yield [key for key in ("caption_separator",) if key in given], "caption_multi is not join"
    if config.max_num_samples is None:
        yield [key for key in ("seed",) if key in given], "max_num_samples is not set"


def _of_filters(terms: FilterFunc) -> Iterator[tuple[list[str], str]]:
    for key, needed in (
        ("collection_column", "collection"), ("quality_column", "quality_thresholds"),
    ):  # fmt: skip
        if key in terms.model_fields_set and not getattr(terms, needed):
            yield [f"filter_func.{key}"], f"filter_func.{needed} is not set"


def _of_composites(grid: CompositeImageConfig) -> Iterator[str]:
    # Who says that composites are off means it.
    given = [key for key in type(grid).model_fields if key in grid.model_fields_set]
    if given and "enabled" not in given:
        yield _line([f"composite_image_config.{key}" for key in given], "enabled is not set there")
    elif grid.enabled and grid.image_count == 1:
        yield _line(["composite_image_config"], "its image_count is 1")


def _line(keys: list[str], why: str) -> str:
    verb = "have" if len(keys) > 1 else "has"
    return f"{', '.join(keys)} {verb} no effect: {why}"
