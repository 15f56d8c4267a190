"""Every key of an entry: name, type, default and meaning.

Owns the one place where a key is described; help texts, flags and the table of
docs/configuration.md are made from it. It must not know files, flags, trainers or the environment,
so that what depends on these (`id`, `cache_dir`) is filled in by `hffs.config.build`.
Invariants: a Config is immutable; values are checked strictly, text never becomes a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import model_validator

from hffs.config.blocks import Block, CompositeImageConfig, FilterFunc, VideoConfig
from hffs.config.markers import (
    CACHE,
    CAPTIONS,
    CLIPS,
    FILTERS,
    FOR_TOOL,
    NAMES,
    RENDERING,
    RUNNING,
    SOURCE,
    TOOL,
    key,
)
from hffs.config.values import (
    AnyText,
    AspectBuckets,
    Bytes,
    ColumnList,
    Columns,
    Count,
    CropAspects,
    DataFiles,
    Decimals,
    Digits,
    Folder,
    Id,
    MissingCaption,
    Number,
    Positive,
    Ratio,
    Ratios,
    Separator,
    Shard,
    Share,
    Split,
    Text,
    Whole,
)


class Config(Block):
    """One entry, complete and checked."""

    id: Id = key(
        "",
        SOURCE,
        "Names cache folders, and the folder of a mount that is one of several.",
        shown="from the source's name",
    )
    type: Literal["huggingface", "local"] = key(
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
    seed: Whole = key(
        0, FILTERS, "Seed of that sample, and of what the bundled tool leaves to chance."
    )
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
    probability: Annotated[Share, FOR_TOOL] = key(1.0, TOOL, "How often the entry is drawn from.")
    repeats: Annotated[Count, FOR_TOOL] = key(
        0, TOOL, "How many more times than once an epoch has every sample."
    )
    resolution: Annotated[Ratios, FOR_TOOL] = key(
        (1024.0,),
        TOOL,
        "Size to train at, in the unit of `resolution_type`; of several, each image is trained at "
        "every one.",
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
    minimum_aspect_ratio: Annotated[Ratio | None, FOR_TOOL] = key(
        None, TOOL, "Leave out images whose width / height is less."
    )
    maximum_aspect_ratio: Annotated[Ratio | None, FOR_TOOL] = key(
        None, TOOL, "Leave out images whose width / height is more."
    )
    max_upscale_threshold: Annotated[Share | None, FOR_TOOL] = key(
        None, TOOL, "Leave out images whose edges would get longer by more than this: 0.2 is 20 %."
    )
    crop: Annotated[bool, FOR_TOOL] = key(
        False, TOOL, "Whether `crop_aspect` says what shape is cut out; else each keeps its own."
    )
    crop_aspect: Annotated[Literal["square", "preserve", "closest", "random"], FOR_TOOL] = key(
        "square", TOOL, "Shape of the crop: `square`, `preserve`, `closest` or `random`."
    )
    crop_aspect_buckets: Annotated[CropAspects, FOR_TOOL] = key(
        (),
        TOOL,
        "Aspect ratios that `closest` and `random` choose from; in a file also "
        '`{"aspect": 1.5, "weight": 0.3}`.',
    )
    crop_style: Annotated[Literal["random", "center", "centre", "corner", "face"], FOR_TOOL] = key(
        "random", TOOL, "Place of the crop: `random`, `center`, `corner` or `face`."
    )
    aspect_bucket_rounding: Annotated[Decimals, FOR_TOOL] = key(
        2, TOOL, "Decimals that aspect ratios are rounded to."
    )
    aspect_bucket_alignment: Annotated[Positive, FOR_TOOL] = key(
        64, TOOL, "Edges of buckets are multiples of this, in pixels."
    )
    aspect_bucket_generator: Annotated[Literal["aspect", "grid", "list", "free"], FOR_TOOL] = key(
        "aspect",
        TOOL,
        "Where buckets come from: `aspect` as in SimpleTuner, `grid` as in kohya, `list` as in "
        "diffusion-pipe, `free` as in ai-toolkit.",
    )
    aspect_bucket_distance: Annotated[Literal["log", "linear"] | None, FOR_TOOL] = key(
        None,
        TOOL,
        "How `grid` and `list` compare aspect ratios.",
        shown="linear of grid, log of list",
    )
    aspect_bucket_min_edge: Annotated[Positive, FOR_TOOL] = key(
        256, TOOL, "Shortest edge of buckets of `grid`, in pixels."
    )
    aspect_bucket_max_edge: Annotated[Positive | None, FOR_TOOL] = key(
        None,
        TOOL,
        "Longest edge of buckets of `grid`, in pixels.",
        shown="1024, or the edge of the resolution if that is longer",
    )
    aspect_buckets: Annotated[AspectBuckets, FOR_TOOL] = key(
        (),
        TOOL,
        "Buckets of `list`: aspect ratios (`1.5`, `3:2`), or sizes (`832x1216`).",
    )
    aspect_bucket_count: Annotated[Positive, FOR_TOOL] = key(
        7,
        TOOL,
        "Without `aspect_buckets`: how many ratios `list` has, evenly spaced in log.",
    )
    aspect_bucket_min: Annotated[Ratio, FOR_TOOL] = key(0.5, TOOL, "The least of these.")
    aspect_bucket_max: Annotated[Ratio, FOR_TOOL] = key(2.0, TOOL, "The greatest of these.")
    train_batch_size: Annotated[Positive, FOR_TOOL] = key(
        4, TOOL, "Images in a batch of one process."
    )
    batch_pixels: Annotated[Positive | None, FOR_TOOL] = key(
        None, TOOL, "Instead, as many images in a batch as have no more pixels than this."
    )
    batch_remainder: Annotated[Literal["drop", "pad", "partial"], FOR_TOOL] = key(
        "drop",
        TOOL,
        "What fills no batch: `drop` it, `pad` it with images of the bucket, or a `partial` batch.",
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
