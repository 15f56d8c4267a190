"""The sets of keys inside an entry: filters, composites, videos.

Owns what each key there means. It must not know the entry around them (`hffs.config.model`).
Invariant: a key that a set does not have is refused.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from hffs.config.markers import CLIPS, COMPOSITES, FILTERS, key
from hffs.config.values import (
    Condition,
    Function,
    Layout,
    Number,
    Positive,
    Ratio,
    SelectIndex,
    Text,
    Values,
)


class Block(BaseModel):
    """A set of keys; one that the set does not have is refused."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)


class FilterFunc(Block):
    """Which rows are kept; every term that is set must hold."""

    where: Condition | None = key(
        None, FILTERS, "Keep rows for which this SQL condition (DuckDB) over the columns holds."
    )
    min_width: Positive | None = key(None, FILTERS, "Keep images at least this wide, in pixels.")
    min_height: Positive | None = key(None, FILTERS, "Keep images at least this high, in pixels.")
    max_width: Positive | None = key(None, FILTERS, "Keep images at most this wide, in pixels.")
    max_height: Positive | None = key(None, FILTERS, "Keep images at most this high, in pixels.")
    min_aspect: Ratio | None = key(
        None, FILTERS, "Keep images whose width / height is at least this."
    )
    max_aspect: Ratio | None = key(
        None, FILTERS, "Keep images whose width / height is at most this."
    )
    collection: Values = key(
        (), FILTERS, "Keep rows whose collection column has this value, or one of these."
    )
    collection_column: Text = key(
        "collection", FILTERS, "Column that `collection` is compared with."
    )
    quality_thresholds: Mapping[Text, Number] = key(
        {}, FILTERS, "Keep rows whose metrics are all at least these: a number for each name."
    )
    quality_column: Text = key(
        "quality_assessment",
        FILTERS,
        "Column (struct or JSON text) that metrics are looked up in, before columns of their name.",
    )
    min_duration_s: Number | None = key(
        None, FILTERS, "Keep videos or sounds that last at least this many seconds."
    )
    max_duration_s: Number | None = key(
        None, FILTERS, "Keep videos or sounds that last at most this many seconds."
    )
    python: Function | None = key(
        None, FILTERS, "Keep rows for which this `module:function` is true of their metadata."
    )


class CompositeImageConfig(Block):
    """How an image that is a grid of images is taken apart."""

    enabled: bool = key(False, COMPOSITES, "Whether images are grids to be taken apart.")
    image_count: Positive = key(
        1, COMPOSITES, "How many tiles a grid has; the flag turns composites on."
    )
    select_index: SelectIndex = key(
        (0,), COMPOSITES, "Which tiles are kept, from 0: a number, a list of them, or `all`."
    )
    layout: Layout = key(
        "auto",
        COMPOSITES,
        "`horizontal`, `vertical`, rows x columns such as `2x2`, or `auto`: the tile nearest to "
        "a square.",
    )


class VideoConfig(Block):
    """Which videos are kept."""

    num_frames: Positive | None = key(None, CLIPS, "How many frames the trainer takes of a video.")
    min_frames: Positive | None = key(
        None, CLIPS, "Keep videos with at least this many frames.", shown="num_frames"
    )
    max_frames: Positive | None = key(None, CLIPS, "Keep videos with at most this many frames.")
    num_frames_column: Text | None = key(
        None,
        CLIPS,
        "Column with the number of frames; without one, headers are read if a filter asks.",
    )
    fps_column: Text | None = key(
        None, CLIPS, "Column with the frames a second: with that of frames it tells durations."
    )


BLOCKS: Mapping[str, type[Block]] = {
    "filter_func": FilterFunc,
    "composite_image_config": CompositeImageConfig,
    "video": VideoConfig,
}
"""Keys of an entry whose values are sets of keys."""
