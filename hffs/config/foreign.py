"""Keys that ask what files of the view's medium do not have: sizes of sounds, frames of images.

Owns which medium has what. Keys that only say something (which column, which format) have no effect
elsewhere and are told of (`hffs.config.idle`); these would have to keep everything, or nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from hffs.config.model import Config
from hffs.errors import ConfigError

_SIZES = ("min_width", "min_height", "max_width", "max_height", "min_aspect", "max_aspect")
_DURATIONS = ("min_duration_s", "max_duration_s")
_FRAMES = ("min_frames", "max_frames")


class _Refusal(NamedTuple):
    key: str
    value: object
    why: str
    fix: str = ""


def refuse_foreign_keys(config: Config) -> None:
    """Raise ConfigError, in one line, for the first key that asks of a medium what it has not."""
    found = next(_find(config), None)
    if found is not None:
        which = f"{found.key} {found.value}"
        raise ConfigError("cannot use", which, why=found.why, fix=found.fix)


def _find(config: Config) -> Iterator[_Refusal]:
    terms, video, media = config.filter_func, config.video, config.dataset_type
    sizes = [(name, getattr(terms, name)) for name in _SIZES]
    frames = [(f"video.{name}", getattr(video, name)) for name in _FRAMES]
    durations = [(name, getattr(terms, name)) for name in _DURATIONS]
    if media == "audio":
        yield from _refuse(sizes, "sounds have no size", "")
        yield from _refuse(frames, "sounds have no frames", "limit min_duration_s")
    if media == "image":
        fix = "mount videos by --dataset-type video"
        yield from _refuse(frames, "images have no frames", fix)
        fix = "mount videos or sounds by --dataset-type video or audio"
        yield from _refuse(durations, "images have no duration", fix)
    if media != "image":
        grid, plural = config.composite_image_config, "videos" if media == "video" else "sounds"
        if grid.enabled and grid.image_count > 1:
            why = f"{plural} are not taken apart"
            yield _Refusal("composite_image_config.image_count", grid.image_count, why)
        if config.orientation == "upright":
            why = f"{plural} are shown as they are"
            yield _Refusal("orientation", config.orientation, why, "leave it out")


def _refuse(limits: list[tuple[str, float | None]], why: str, fix: str) -> Iterator[_Refusal]:
    return (_Refusal(name, f"{limit:g}", why, fix) for name, limit in limits if limit is not None)
