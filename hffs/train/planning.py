"""From a configuration and a folder to a plan: which keys mean what to bucketing.

Owns the words of the configuration on one side and those of `hffs.core` on the other. Must not know
how folders are read nor how buckets are made. Invariant: the same keys and the same files are the
same plan, on every host and rank.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hffs.config import (
    Config,
    all_keys,
    build_configs,
    build_folder,
    find_mount_folder,
    has_several_mounts,
)
from hffs.core.batches import BatchSpec
from hffs.core.buckets import assign, validate
from hffs.core.buckets.resolutions import read_resolution
from hffs.core.buckets.spec import BucketSpec, Crop, Geometric, Limits
from hffs.core.types import Size
from hffs.data.engines import Engine
from hffs.data.locating.record import find_store
from hffs.data.watcher import Watcher
from hffs.errors import ConfigError, DataError
from hffs.train.plan import Plan
from hffs.train.scanning.scan import scan_folder
from hffs.train.scanning.scanned import Scan

log = logging.getLogger(__name__)

_GRID_EDGE_PX = 1024
"""The longest edge of kohya's grid, where nothing else is said."""

_NAMES_AT_ONCE = 65_536


def make_spec(config: Config) -> BucketSpec:
    """What a configuration asks of bucketing. Raises ConfigError where that makes no sense."""
    spec = BucketSpec(
        generator=config.aspect_bucket_generator,
        resolutions=config.resolution,
        resolution_type=config.resolution_type,
        rounding=config.aspect_bucket_rounding,
        alignment_px=config.aspect_bucket_alignment,
        buckets=tuple(
            Size(*one) if isinstance(one, tuple) else one for one in config.aspect_buckets
        ),
        geometric=_make_geometric(config),
        min_edge_px=config.aspect_bucket_min_edge,
        max_edge_px=_find_max_edge(config),
        distance=config.aspect_bucket_distance,
        crop=_make_crop(config),
        limits=_make_limits(config),
        seed=config.seed,
    )
    validate(spec)
    return spec


def _make_geometric(config: Config) -> Geometric | None:
    if config.aspect_bucket_generator != "list" or config.aspect_buckets:
        return None
    least, most = config.aspect_bucket_min, config.aspect_bucket_max
    return Geometric(least, most, config.aspect_bucket_count)


def _find_max_edge(config: Config) -> int:
    if config.aspect_bucket_max_edge is not None:
        return config.aspect_bucket_max_edge
    step = config.aspect_bucket_alignment
    sizes = (read_resolution(one, config.resolution_type) for one in config.resolution)
    edges = (_GRID_EDGE_PX, *(size.edge_px for size in sizes))
    return math.ceil(max(edges) / step) * step


def _make_crop(config: Config) -> Crop:
    style = "center" if config.crop_style == "centre" else config.crop_style
    if not config.crop:
        return Crop(style=style)
    aspects = tuple(aspect for aspect, _ in config.crop_aspect_buckets)
    weights = tuple(weight for _, weight in config.crop_aspect_buckets)
    return Crop(config.crop_aspect, style, aspects, weights)


def _make_limits(config: Config) -> Limits:
    """What is left out; nothing is shrunk first where nothing is cropped, as in SimpleTuner."""
    return Limits(
        minimum_size=config.minimum_image_size or None,  # 0 is none
        maximum_size=(config.maximum_image_size or None) if config.crop else None,
        downsample_size=(config.target_downsample_size or None) if config.crop else None,
        min_aspect=config.minimum_aspect_ratio,
        max_aspect=config.maximum_aspect_ratio,
        max_upscale=config.max_upscale_threshold,
    )


def _make_batches(config: Config) -> BatchSpec:
    return BatchSpec(
        batch_size=config.train_batch_size,
        pixel_budget=config.batch_pixels,
        remainder=config.batch_remainder,
        repeats=config.repeats,
        seed=config.seed,
    )


def plan_entry(
    config: Config, folder: Path, watcher: Watcher, workers: int, engine: Engine | None = None
) -> Plan:
    """Scan the folder of an entry, by an engine if there is one, and find the bucket of each image.

    What was scanned is kept in the entry's `cache_dir`. Raises SourceError for a folder that is not
    there, DataError for one without images, ConfigError for keys that make no sense, UsageError
    where faces are wanted and OpenCV is missing.
    """
    spec = make_spec(config)
    if spec.crop.style == "face":
        from hffs.train.faces import Detector, find_faces  # late: they load Pillow

        Detector()  # refused before a scan, which may take minutes
    cache = find_store(config) / "scans"
    scan = scan_folder(folder, cache, workers, watcher, engine)
    if not len(scan.names):
        raise DataError("no images in", str(folder), why=_explain_empty(scan), fix=_EMPTY_FIX)
    upright = config.orientation == "upright"
    focus = None
    if spec.crop.style == "face":
        focus = find_faces(scan, cache, workers, watcher, upright=upright)
    sizes = scan.sizes(upright=upright)
    return Plan(
        id=config.id,
        scan=scan,
        spec=spec,
        assignment=assign(sizes, spec, make_keys(scan.names), focus),
        upright=upright,
        caption_extension=config.caption_extension,
        probability=config.probability,
        batch=_make_batches(config),
    )


_EMPTY_FIX = "name a folder of images; a data set is mounted first"


def _explain_empty(scan: Scan) -> str:
    if scan.problems:
        name, why = next(iter(scan.problems.items()))
        return f"none of {len(scan.problems)} can be read; one: {name}: {why}"
    return f"{scan.others} other files are in it" if scan.others else "it is empty"


def make_keys(names: pa.LargeStringArray) -> NDArray[np.uint64]:
    """A number for each name, (n,): what chance makes of an image depends on nothing else."""
    keys = np.empty(len(names), np.uint64)
    for start in range(0, len(names), _NAMES_AT_ONCE):
        some = names.slice(start, _NAMES_AT_ONCE).to_pylist()
        digests = b"".join(
            hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest()
            for name in some
        )
        keys[start : start + len(some)] = np.frombuffer(digests, "<u8")
    return keys


class _Logger:
    """A watcher for programs, which draw bars of their own."""

    def progress(self, what: str, done: int, total: int, unit: str = "") -> None:
        """Nothing is shown."""

    def notice(self, text: str) -> None:
        """A warning, for whoever listens."""
        log.warning("%s", text)


def plan_folder(folder: str | Path, *, watcher: Watcher | None = None, **keys: object) -> Plan:
    """The plan of a folder, a mount or not; `keys` are those of the configuration.

    `plan_folder("/mnt/photos", resolution=512, aspect_bucket_alignment=32)`. Raises ConfigError,
    SourceError and DataError.
    """
    config = build_folder(str(folder), _check_keys(keys), os.environ)
    return plan_entry(config, Path(folder), watcher or _Logger(), _count_workers(config))


def plan_entries(
    file: str | Path,
    mounted: str | Path | None = None,
    *,
    watcher: Watcher | None = None,
    **keys: object,
) -> dict[str, Plan]:
    """The plan of each entry of a configuration file, by id; `keys` go over all of them.

    `mounted` is the folder that `hffs mount FILE MOUNTPOINT` mounted the file's data sets in: each
    is in the folder of its id there, or is all of it where the file has one. Entries of type
    `local` are where they say. Raises ConfigError, SourceError and DataError.
    """
    chosen = build_configs(str(file), _check_keys(keys), None, os.environ, folders=True)
    several = has_several_mounts(Path(file))
    plans = {}
    for config in chosen.configs:
        folder = _find_folder(config, mounted, several=several)
        plans[config.id] = plan_entry(config, folder, watcher or _Logger(), _count_workers(config))
    return plans


def _find_folder(config: Config, mounted: str | Path | None, *, several: bool) -> Path:
    """Where the files of an entry are; ConfigError where nothing says so."""
    if config.type == "local" and config.instance_data_dir is not None:
        return config.instance_data_dir
    if mounted is None:
        why, fix = "it is a data set", "mount the file and say where: mounted=MOUNTPOINT"
        raise ConfigError("cannot plan", f"entry {config.id}", why=why, fix=fix)
    return find_mount_folder(config, Path(mounted), several=several)


def _check_keys(keys: Mapping[str, object]) -> Mapping[str, object]:
    """Keys without their block too, as flags are."""
    leaves = {key.leaf: key.name for key in all_keys().values()}
    return {leaves.get(name, name): value for name, value in keys.items()}


def _count_workers(config: Config) -> int:
    return config.num_proc or len(os.sched_getaffinity(0))
