"""Every key of an entry: name, type, default, meaning, and whether it is built yet.

Owns the one place where a key is described; help texts, flags and the table of
docs/configuration.md are made from it. It must not know files, flags, trainers or the environment,
so that what depends on these (`id`, `cache_dir`) is filled in by `hffs.config.build`.
Invariants: a Config is immutable; values are checked strictly, text never becomes a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

from hffs.config.markers import FOR_TOOL, UNBUILT, key
from hffs.config.values import (
    AnyText,
    Bytes,
    ColumnList,
    Columns,
    Condition,
    Count,
    DataFiles,
    Digits,
    Folder,
    Function,
    Id,
    Layout,
    MissingCaption,
    Number,
    Positive,
    Ratio,
    SelectIndex,
    Separator,
    Shard,
    Split,
    Text,
    Values,
    Whole,
)

SOURCE, CAPTIONS, FILTERS, COMPOSITES = "Source", "Captions", "Filters", "Composites"
RENDERING, NAMES, CACHE, RUNNING = "Rendering", "Names", "Cache", "Running"
CLIPS, TOOL = "Video and audio", "Bundled tool"


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


class Config(Block):
    """One entry, complete and checked."""

    id: Id = key(
        "",
        SOURCE,
        "Names cache folders, and the folder of a mount that is one of several.",
        shown="from the source's name",
    )
    type: Annotated[Literal["huggingface", "local"], UNBUILT] = key(
        "huggingface",
        SOURCE,
        "`huggingface`, also for files on this host; `local` is a folder for the bundled tool.",
    )
    dataset_type: Literal["image", "video", "audio"] = key(
        "image",
        SOURCE,
        "What the files are: `image`, `video` or `audio`; a mount has one of these.",
    )
    dataset_name: AnyText = key(
        "", SOURCE, "The data set: a path, an id on the Hub, or an address (`s3://...`).", shown="-"
    )
    config_name: Text | None = key(
        None, SOURCE, "Which configuration of the data set.", shown="the only one"
    )
    split: Split = key(
        "train", SOURCE, "Which split, a slice of it (`train[:10%]`), or several (`train+test`)."
    )
    revision: Text = key(
        "main", SOURCE, "Branch, tag or commit on the Hub; resolved to a commit when mounting."
    )
    data_files: DataFiles | None = key(
        None, SOURCE, "Which files: a path, a list, or a map of splits, as in `load_dataset`."
    )
    streaming: bool = key(
        False, SOURCE, "Download nothing: fetch what is read from the mount, when it is read."
    )
    offline: bool = key(
        False, SOURCE, "Use only what is on this host; HF_HUB_OFFLINE=1 says the same."
    )
    token_file: Folder | None = key(
        None,
        SOURCE,
        "File with the token for the Hub, read again when it changes.",
        shown="HF_TOKEN, else that of `hf auth login`",
    )
    image_column: Text | None = key(
        None,
        SOURCE,
        "Column of the images; one of lists gives a file for each image of the list.",
        shown="image, else the only one",
    )
    allow_http_urls: bool = key(
        False, SOURCE, "Fetch images at URLs that are http as well as those that are https."
    )
    allow_private_urls: bool = key(
        False, SOURCE, "Fetch images from private addresses too: for a data set that you trust."
    )
    width_column: Text | None = key(
        None,
        SOURCE,
        "Column of image widths; without one, image headers are read if a filter asks.",
        shown="width, if present",
    )
    height_column: Text | None = key(
        None,
        SOURCE,
        "Column of image heights; without one, image headers are read if a filter asks.",
        shown="height, if present",
    )
    caption_column: Columns = key(
        (),
        CAPTIONS,
        "Column of the captions, or a path into structs or JSON text (`meta.caption`); several "
        "give a caption each.",
        shown="the first of caption, text, prompt, txt",
    )
    fallback_caption_column: Text | None = key(
        None, CAPTIONS, "Read where the caption is null or blank."
    )
    description_column: Text | None = key(
        None,
        CAPTIONS,
        "Read where the fallback is null or blank too; of a struct or JSON object its "
        "`main_subject`, `description` and `text`.",
    )
    missing_caption: MissingCaption = key(
        "drop",
        CAPTIONS,
        "Rows without a caption: `drop` them, make it an `error`, or `text:WORDS` for all of them.",
    )
    caption_multi: Literal["lines", "join", "first"] = key(
        "lines", CAPTIONS, "Several captions: one a line, joined, or the first of them."
    )
    caption_separator: Separator = key(
        ", ", CAPTIONS, "What stands between captions that are joined."
    )
    filter_func: FilterFunc = FilterFunc()
    max_num_samples: Positive | None = key(
        None,
        FILTERS,
        "Keep a random sample of this many of the rows that all filters kept and that have a "
        "caption, in their order.",
    )
    seed: Whole = key(0, FILTERS, "Seed of that sample; each gives another one.")
    shard: Shard | None = key(
        None,
        FILTERS,
        "`RANK/WORLD`: one of WORLD parts of the view, for each of several ranks; files are called "
        "as in the whole view.",
    )
    composite_image_config: CompositeImageConfig = CompositeImageConfig()
    video: VideoConfig = VideoConfig()
    video_column: Text | None = key(
        None, CLIPS, "Column of the videos.", shown="video, else the only one"
    )
    audio_column: Text | None = key(
        None, CLIPS, "Column of the sounds.", shown="audio, else the only one"
    )
    audio_caption_fields: ColumnList = key(
        ("prompt", "tags"),
        CLIPS,
        "Columns that are joined to the caption of a sound, by `caption_separator`, where there is "
        "no `caption_column` or it is blank.",
    )
    lyrics_column: Text | None = key(
        None,
        CLIPS,
        "Column of the words that are sung: the `.lyrics` beside a sound.",
        shown="lyrics; norm_lyrics where that is null",
    )
    duration_column: Text | None = key(
        None,
        CLIPS,
        "Column of durations in seconds; without one, headers are read if a filter asks.",
        shown="duration, if present",
    )
    image_format: Literal["jpg", "png", "source"] = key(
        "jpg",
        RENDERING,
        "`jpg`: JPEGs pass untouched, the rest is encoded once; `png`; `source`: bytes and "
        "extension as they are.",
    )
    orientation: Literal["as-is", "upright"] = key(
        "as-is", RENDERING, "`upright` applies the rotation that EXIF asks for."
    )
    names: Literal["position", "row"] = key(
        "position",
        NAMES,
        "Number files by their position, or by their row in the source, which no filter changes.",
    )
    name_width: Digits = key(0, NAMES, "Pad numbers with zeros to this many digits.")
    caption_extension: Literal["txt", "caption"] = key(
        "txt", NAMES, "Extension of the caption files."
    )
    images_only: bool = key(False, NAMES, "Leave caption and lyrics files out.")
    metadata_jsonl: bool = key(
        False, NAMES, "Add a `metadata.jsonl` with names, captions and sizes."
    )
    group_by: Text | None = key(None, NAMES, "One folder for each value of this column.")
    cache_dir: Folder = key(..., CACHE, "Folder of everything that is kept.", shown="XDG cache")
    cache_size: Bytes = key(
        20 * 10**9,
        CACHE,
        "Most that images which were rendered or fetched, and decoded row groups, may take: bytes, "
        "or with a unit (`500MB`, `10GiB`).",
        shown="20 GB",
    )
    scratch: Folder | None = key(
        None,
        CACHE,
        "Folder of a writable layer over the mount, for what trainers write beside the images.",
    )
    num_proc: Positive | None = key(
        None, RUNNING, "Workers for measuring, rendering and the Python filter.", shown="cores"
    )
    instance_data_dir: Annotated[Folder | None, FOR_TOOL] = key(
        None, TOOL, "The folder of an entry of type `local`."
    )
    probability: Annotated[Number, FOR_TOOL] = key(1.0, TOOL, "How often the entry is drawn from.")
    repeats: Annotated[Count, FOR_TOOL] = key(
        0, TOOL, "How many more times than once an epoch has every sample."
    )
    resolution: Annotated[Ratio, FOR_TOOL] = key(
        1024.0, TOOL, "Size to train at, in the unit of `resolution_type`."
    )
    resolution_type: Annotated[Literal["pixel", "area", "pixel_area"], FOR_TOOL] = key(
        "pixel_area",
        TOOL,
        "`pixel`: the shorter edge; `pixel_area`: edge of a square of that area; "
        "`area`: megapixels.",
    )
    minimum_image_size: Annotated[Number | None, FOR_TOOL] = key(
        None, TOOL, "Leave out smaller images, in the unit of `resolution_type`."
    )
    maximum_image_size: Annotated[Number | None, FOR_TOOL] = key(
        None, TOOL, "Shrink larger images before they are cropped."
    )
    target_downsample_size: Annotated[Number | None, FOR_TOOL] = key(
        None, TOOL, "Size that larger images are shrunk to."
    )
    crop: Annotated[bool, FOR_TOOL] = key(False, TOOL, "Whether images are cropped.")
    crop_aspect: Annotated[Literal["square", "preserve", "closest", "random"], FOR_TOOL] = key(
        "square", TOOL, "Shape of the crop: `square`, `preserve`, `closest` or `random`."
    )
    crop_style: Annotated[Literal["random", "center", "centre", "corner", "face"], FOR_TOOL] = key(
        "random", TOOL, "Place of the crop: `random`, `center`, `corner` or `face`."
    )
    aspect_bucket_rounding: Annotated[Positive, FOR_TOOL] = key(
        2, TOOL, "Decimals that aspect ratios are rounded to."
    )
    aspect_bucket_alignment: Annotated[Positive, FOR_TOOL] = key(
        64, TOOL, "Edges of buckets are multiples of this, in pixels."
    )

    @property
    def media_column(self) -> str | None:
        """The column that is named for the files, if one is."""
        columns: Mapping[str, str | None] = {
            "image": self.image_column,
            "video": self.video_column,
            "audio": self.audio_column,
        }
        return columns[self.dataset_type]

    @model_validator(mode="after")
    def _require_data(self) -> Self:
        if self.type == "huggingface" and (not self.dataset_name or "\0" in self.dataset_name):
            raise ValueError("dataset_name is missing")
        if self.type == "local" and self.instance_data_dir is None:
            raise ValueError("instance_data_dir is missing, which type local needs")
        return self


BLOCKS: Mapping[str, type[Block]] = {
    "filter_func": FilterFunc,
    "composite_image_config": CompositeImageConfig,
    "video": VideoConfig,
}
"""Keys of Config whose values are sets of keys."""
