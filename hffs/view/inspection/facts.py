"""What `hffs inspect` tells of a view: plain values, which are the JSON that programs read.

Owns the names and meanings of docs/inspecting.md: fields may be added, none changes its meaning.
It must not know how anything is found out (`hffs.view.inspection.gathering`) or shown. It is light,
as the process that shows it is not the one that reads the data set.
"""

from __future__ import annotations

from dataclasses import dataclass

from hffs.core.formats import Media
from hffs.core.histograms import Number, Spread


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """A column of the source, with its Arrow type."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Example:
    """One file that a step left out: where it is in the source, and what the step looked at."""

    row: int
    item: int
    values: dict[str, str]


@dataclass(frozen=True, slots=True)
class StepFacts:
    """How many images one step left out that those before it had kept, and why.

    `asked` is False where a filter did not ask for it: the image cannot be shown as configured.
    """

    step: str
    count: int
    why: str
    asked: bool
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class FormatFacts:
    """Images of one format in the source, and the files of the view that are made of them.

    Those that are in no known format cannot be rendered: reading such a file `fails`.
    """

    format: str
    images: int
    passes: int
    rendered: int
    fails: int


@dataclass(frozen=True, slots=True)
class Dimensions:
    """Width and height in pixels, and in how many images."""

    width: int
    height: int
    count: int


@dataclass(frozen=True, slots=True)
class SizeFacts:
    """Sizes of the view's image files, one for each image: all tiles of an image have the same; of
    videos as they are stored. Of sounds none is `looked_at`.

    Taken of `looked_at` images, all that are shown unless `sampled`, of which `known` told a size.
    `origin` is `columns` or `headers`. `common` are the most frequent sizes.
    """

    looked_at: int
    known: int
    sampled: bool
    origin: str
    width: Spread | None
    height: Spread | None
    aspect: Spread | None
    largest: Dimensions | None
    smallest: Dimensions | None
    common: tuple[Dimensions, ...]


@dataclass(frozen=True, slots=True)
class MeasureFacts:
    """A measure of videos or sounds: `known` of the `looked_at` ones told it, together `total`.

    `origin` is `columns` or `headers`.
    """

    looked_at: int
    known: int
    origin: str
    total: Number
    spread: Spread | None


@dataclass(frozen=True, slots=True)
class CountFacts:
    """A number or a name, and how many files have it."""

    value: Number | str
    count: int


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """What videos or sounds are made of, by the headers of `looked_at` files, of which `known`
    could be read; all that are shown unless `sampled`.

    Durations and frames are of the same files, or by columns of all. The rest are the most frequent
    values, the most frequent first; rates in frames a second and in Hz.
    """

    looked_at: int
    known: int
    sampled: bool
    duration_s: MeasureFacts
    frames: MeasureFacts | None
    fps: tuple[CountFacts, ...]
    sample_rates: tuple[CountFacts, ...]
    channels: tuple[CountFacts, ...]
    video_codecs: tuple[CountFacts, ...]
    audio_codecs: tuple[CountFacts, ...]


@dataclass(frozen=True, slots=True)
class CaptionSample:
    """One caption file, or the caption of an image where there are no such files."""

    file: str
    row: int
    text: str


@dataclass(frozen=True, slots=True)
class CaptionFacts:
    """Captions of the images that are shown; `length` counts characters."""

    column: str | None
    count: int
    blank: int
    length: Spread | None
    samples: tuple[CaptionSample, ...]


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """A folder of the view, and how many images are in it."""

    folder: str
    images: int


@dataclass(frozen=True, slots=True)
class CompositeFacts:
    """How each image is taken apart, and which tiles of it are files."""

    image_count: int
    layout: str
    tiles: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """A source seen through a configuration.

    `media` is what it shows: images, or videos or sounds where fields speak of images. `rows` of
    the source hold `images`, of which `shown` are left; they become `image_files`, `caption_files`
    and `lyrics_files`. `dropped` counts by reason what is no image. `source_bytes` are those of the
    images that are shown, as the source holds them.
    """

    id: str
    media: Media
    source: str
    identity: str
    image_column: str
    image_column_kind: str
    columns: tuple[ColumnFacts, ...]
    rows: int
    images: int
    shown: int
    image_files: int
    caption_files: int
    lyrics_files: int
    lyrics_column: str | None
    source_bytes: int
    removed: tuple[StepFacts, ...]
    dropped: dict[str, int]
    formats: tuple[FormatFacts, ...]
    passes: int
    rendered: int
    fails: int
    image_format: str
    orientation: str
    composite: CompositeFacts | None
    sizes: SizeFacts
    clips: ClipFacts | None
    captions: CaptionFacts | None
    groups: tuple[GroupFacts, ...] | None


@dataclass(frozen=True, slots=True)
class Picture:
    """One file for a contact sheet: `jpeg` is base64, empty where `problem` says why not.

    `width` and `height` are those that a viewer shows the file at, `text` is its caption. Of a
    video or a sound `data` is base64 that a browser plays, of a `media_type`; empty where `problem`
    says why not. `jpeg` is then a video's first picture, `seconds` how long all of it lasts.
    """

    name: str
    row: int
    jpeg: str
    width: int
    height: int
    problem: str
    text: str
    media_type: str = ""
    data: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Sheet:
    """Pictures of what is shown, and of the examples of each step of the report, in its order."""

    shown: tuple[Picture, ...]
    removed: tuple[tuple[Picture, ...], ...]


@dataclass(frozen=True, slots=True)
class Inspection:
    """The facts, and pictures if they were asked for."""

    report: Report
    sheet: Sheet | None
