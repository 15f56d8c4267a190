"""What `hffs bucket` tells of a plan: plain values, which are the JSON that programs read.

Owns the names and meanings: fields may be added, none changes its meaning. Must not know how
anything is found out (`hffs.train.report.gathering`) or shown. A *sample* is an image at one of the
plan's resolutions. Shares are from 0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

from hffs.core.batches import BatchSpec
from hffs.core.buckets.spec import BucketSpec
from hffs.core.histograms import Spread


@dataclass(frozen=True, slots=True)
class ProblemFacts:
    """A file that is an image by its name and cannot be read, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReasonFacts:
    """Why files cannot be read, and how many for this reason."""

    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class ScanFacts:
    """Images of the folder: `found` in all, of which `read` told their size; `others` are no
    images.

    `reasons` counts all that are `unreadable`, the most frequent first; `problems` are the first of
    them only.
    """

    folder: str
    found: int
    read: int
    unreadable: int
    others: int
    fingerprint: str
    reasons: tuple[ReasonFacts, ...]
    problems: tuple[ProblemFacts, ...]


@dataclass(frozen=True, slots=True)
class SettingsFacts:
    """What was asked for: of the buckets, of the batches, and of the entry as a whole."""

    buckets: BucketSpec
    batches: BatchSpec
    upright: bool
    caption_extension: str
    probability: float


@dataclass(frozen=True, slots=True)
class MeasureFacts:
    """A measure of samples: what it is on average, and at worst."""

    mean: float
    max: float


@dataclass(frozen=True, slots=True)
class QualityFacts:
    """What is done to samples: 0 and 1 of these are best.

    `aspect_error` is how far the shape of the bucket is from that of the image, as |log| of the
    ratio of their aspects. `crop_loss` is the share of the image that is cut away. `upscale` is how
    many times as long edges become: above 1 the image is enlarged.
    """

    aspect_error: MeasureFacts
    crop_loss: MeasureFacts
    upscale: MeasureFacts


@dataclass(frozen=True, slots=True)
class BucketFacts:
    """A size that images are trained at; `images` are distinct ones, samples without repeats.

    `batches` of the first epoch have `batch_size` samples on each rank, or fewer where remainders
    are not dropped. It leaves out `dropped` samples, and has `padded` ones once too often. There is
    no `quality` where there are no samples.
    """

    width: int
    height: int
    aspect: float
    images: int
    samples: int
    batches: int
    batch_size: int
    dropped: int
    padded: int
    quality: QualityFacts | None


@dataclass(frozen=True, slots=True)
class TotalFacts:
    """All buckets together. `images` are in at least one of them."""

    buckets: int
    images: int
    samples: int
    batches: int
    dropped: int
    padded: int
    quality: QualityFacts | None


@dataclass(frozen=True, slots=True)
class SizedName:
    """An image, and its size in pixels."""

    name: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class RemovalFacts:
    """How many samples one rule left out, and of how many images; `why` says it in words."""

    reason: str
    why: str
    samples: int
    images: int
    examples: tuple[SizedName, ...]


@dataclass(frozen=True, slots=True)
class SizeFacts:
    """Sizes of all images that could be read; aspect is width / height."""

    width: Spread | None
    height: Spread | None
    aspect: Spread | None
    megapixels: Spread | None


@dataclass(frozen=True, slots=True)
class ScatterFacts:
    """Sizes of some images, drawn evenly from `of` and the same each time.

    `bucket` is that of an image's first sample, by its place in the report; -1 if it has none.
    """

    of: int
    width: tuple[int, ...]
    height: tuple[int, ...]
    bucket: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CropFacts:
    """One sample: the image's size, the size it is resized to, and the box cut out of that."""

    name: str
    image: int
    width: int
    height: int
    resized_width: int
    resized_height: int
    left: int
    top: int
    crop_width: int
    crop_height: int
    aspect_error: float
    crop_loss: float
    upscale: float


@dataclass(frozen=True, slots=True)
class TermFacts:
    """A word or a tag, and in how many captions it is."""

    term: str
    captions: int


@dataclass(frozen=True, slots=True)
class CaptionText:
    """A caption file and the beginning of its text; `characters` are all of it."""

    name: str
    characters: int
    text: str


@dataclass(frozen=True, slots=True)
class CaptionFacts:
    """Captions of `looked_at` images, drawn evenly from `of`.

    Of some the file is `missing`, or is `unreadable` (no file, not allowed), or `blank`; the rest
    are `texts`. Of these `duplicates` say what another one before them said, and `longer` were
    read in part. `characters` and `words` tell how long they are. `tags` stand between commas;
    `frequent_words` leave out those that any English text has.
    """

    of: int
    looked_at: int
    texts: int
    missing: int
    unreadable: int
    blank: int
    longer: int
    duplicates: int
    characters: Spread | None
    words: Spread | None
    frequent_words: tuple[TermFacts, ...]
    tags: tuple[TermFacts, ...]
    longest: tuple[CaptionText, ...]
    missing_names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """An entry seen through its plan. `captions` is None where nobody asked for them.

    `buckets` are sorted by width and height. `worst_crops` lose most, `most_upscaled` are those
    others that are enlarged most; each is of another image. `files` are those that the plan was
    written to.
    """

    id: str
    scan: ScanFacts
    settings: SettingsFacts
    totals: TotalFacts
    buckets: tuple[BucketFacts, ...]
    removed: tuple[RemovalFacts, ...]
    sizes: SizeFacts
    scatter: ScatterFacts
    worst_crops: tuple[CropFacts, ...]
    most_upscaled: tuple[CropFacts, ...]
    captions: CaptionFacts | None
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CropPicture:
    """An image for a page: `jpeg` is base64 of all of it, empty where `problem` says why not."""

    crop: CropFacts
    jpeg: str
    problem: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """Pictures of the report's worst crops, of those most upscaled, and of an ordinary image of
    each of the largest buckets.
    """

    worst: tuple[CropPicture, ...]
    upscaled: tuple[CropPicture, ...]
    ordinary: tuple[CropPicture, ...]


@dataclass(frozen=True, slots=True)
class PlanReport:
    """The facts, and pictures if they were asked for."""

    facts: PlanFacts
    sheet: Sheet | None
