"""A plan as files: those that SimpleTuner keeps of its own buckets, and a table of every sample.

Owns their names and shapes. In `cache_dir/huggingface_metadata/ID/` are

    aspect_ratio_bucket_indices_ID.json    paths by aspect ratio
    aspect_ratio_bucket_metadata_ID.json   sizes and crop by path
    buckets_ID.parquet                     a row a sample

in the first two's case as https://github.com/bghira/SimpleTuner writes them
(`helpers/metadata/backends`). Invariants: each file is whole or absent, and none is of another plan
than the others: the table is written last and names the plan by its key, and the indices, without
which SimpleTuner reads neither, go before anything else is written.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hffs.core.buckets.assignment import Removal
from hffs.data.folders import open_own, prepare_private_folder, replace_file, replace_whole
from hffs.errors import DataError
from hffs.train.plan import Plan

_VERSION = 1
_KEY, _SIZES, _ROOT = b"hffs.buckets", b"hffs.sizes", b"hffs.root"
_AT_ONCE = 65_536
_MOST_DECIMALS = 10

_Replace = Callable[[Path], AbstractContextManager[BinaryIO]]

_SKIPPED = {
    Removal.NO_SIZE: "metadata_missing",
    Removal.TOO_SMALL: "too_small",
    Removal.TOO_NARROW: "too_narrow",
    Removal.TOO_WIDE: "too_wide",
    Removal.UPSCALED: "upscaled",
}
"""Why images have no sample, in words like SimpleTuner's own."""


@dataclass(frozen=True, slots=True)
class Written:
    """Files of a plan; `why_no_indices` says why SimpleTuner's two are not among them, if so.

    `replaced` is the folder that those before them were of, if that was another one.
    """

    files: tuple[Path, ...]
    why_no_indices: str = ""
    replaced: str = ""


def identify_plan(plan: Plan) -> str:
    """A digest of everything that a plan comes from: files, settings, id. 64 hex digits."""
    facts = {
        "version": _VERSION,
        "id": plan.id,
        "scan": plan.scan.fingerprint,
        "upright": plan.upright,
        "spec": asdict(plan.spec),
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    # What chance and a face detector made of it is not in the settings.
    digest.update(plan.assignment.crop.tobytes())
    digest.update(plan.assignment.bucket.tobytes())
    return digest.hexdigest()


def write_buckets(plan: Plan, cache_dir: Path, root: str) -> Written:
    """Write the files of a plan, unless they are there; `root` is what paths begin with, or "".

    Raises DataError where they cannot be written.
    """
    folder = cache_dir / "huggingface_metadata" / plan.id
    key = hashlib.sha256(f"{identify_plan(plan)}\0{root}".encode()).hexdigest()
    names, why = _name_buckets(plan)
    paths = _name_files(folder, plan.id)
    files = paths[2:] if why else paths
    replaced = ""
    try:
        prepare_private_folder(folder.parent)
        prepare_private_folder(folder)
        with _locked(folder):
            if not _is_written(files, key):
                replaced = _find_root(paths[2])
                for path in paths:
                    path.unlink(missing_ok=True)
                if not why:
                    _write_for_simpletuner(plan, paths, root, names, replace_file)
                sizes = [path.stat().st_size for path in files[:-1]]
                _write_table(plan, paths[2], {_KEY: key, _SIZES: json.dumps(sizes), _ROOT: root})
    except OSError as error:
        fix = "free or choose another cache_dir"
        why_not = error.strerror or str(error)
        raise DataError("cannot write", str(folder), why=why_not, fix=fix) from error
    return Written(files, why, replaced if replaced != root else "")


def write_beside(plan: Plan) -> Written:
    """Write SimpleTuner's two files into the folder itself, where its local backend looks.

    Raises DataError where they cannot be written, as on a mount without a writable layer.
    """
    folder = plan.scan.folder
    names, why = _name_buckets(plan)
    if why:
        raise DataError("cannot write SimpleTuner's files of", plan.id, why=why)
    paths = _name_files(folder, plan.id)
    try:
        paths[0].unlink(missing_ok=True)
        _write_for_simpletuner(plan, paths, str(folder), names, replace_whole)
    except OSError as error:
        why, fix = error.strerror or str(error), "mount with --scratch DIR, or leave --beside out"
        raise DataError("cannot write into", str(folder), why=why, fix=fix) from error
    return Written(paths[:2])


def _name_files(folder: Path, name: str) -> tuple[Path, Path, Path]:
    return (
        folder / f"aspect_ratio_bucket_indices_{name}.json",
        folder / f"aspect_ratio_bucket_metadata_{name}.json",
        folder / f"buckets_{name}.parquet",
    )


def _is_written(files: tuple[Path, ...], key: str) -> bool:
    """Whether the files are those of a plan, as large as they were written."""
    kept = _read_facts(files[-1])
    try:
        sizes = [path.stat().st_size for path in files[:-1]]
    except OSError:
        return False
    return kept.get(_KEY) == key.encode() and kept.get(_SIZES) == json.dumps(sizes).encode()


def _find_root(table: Path) -> str:
    return _read_facts(table).get(_ROOT, b"").decode("utf-8", "replace")


def _read_facts(table: Path) -> dict[bytes, bytes]:
    """What a table tells of itself; nothing where it is no table."""
    if not table.is_file():
        return {}
    try:
        return pq.read_schema(table).metadata or {}
    except (OSError, pa.ArrowInvalid):
        return {}


def _name_buckets(plan: Plan) -> tuple[list[str], str]:
    """A name for each bucket: its aspect ratio, with as many decimals as tell all apart.

    Or else why SimpleTuner cannot have them: it knows an image by its path, and a bucket by its
    aspect ratio, alone.
    """
    if len(plan.spec.resolutions) > 1:
        return [], "there are several resolutions"
    assignment = plan.assignment
    exact = assignment.sizes[:, 0] / assignment.sizes[:, 1]
    for named in (
        assignment.aspects,
        *(exact.round(digits) for digits in range(3, _MOST_DECIMALS)),
    ):
        if len(np.unique(named)) == len(named):
            return [str(float(aspect)) for aspect in named], ""
    return [], "several buckets have the same aspect ratio"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time: of two plans that are written at once, one is there whole."""
    with open_own(folder, os.O_DIRECTORY) as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield


def _write_for_simpletuner(
    plan: Plan, paths: tuple[Path, ...], root: str, names: list[str], replace: _Replace
) -> None:
    indices, metadata, *_ = paths
    with replace(metadata) as file:
        _write_metadata(plan, file, root)
    with replace(indices) as file:
        _write_indices(plan, file, root, names)


def _write_indices(plan: Plan, file: BinaryIO, root: str, names: list[str]) -> None:
    # An empty configuration is compared with nothing (`_handle_config_versioning`).
    file.write(b'{"config": {}, "aspect_ratio_bucket_indices": {')
    assignment = plan.assignment
    by_bucket = np.argsort(assignment.bucket, kind="stable")
    edges = np.searchsorted(assignment.bucket[by_bucket], np.arange(len(names) + 1))
    for bucket, name in enumerate(names):
        file.write(f"{', ' if bucket else ''}{json.dumps(name)}: [".encode())
        samples = by_bucket[edges[bucket] : edges[bucket + 1]]
        for at, paths in enumerate(_list_paths(plan, samples, root)):
            file.write((", " if at else "").encode() + ", ".join(map(json.dumps, paths)).encode())
        file.write(b"]")
    file.write(f'}}, "filtering_statistics": {json.dumps(_count_filtered(plan))}}}'.encode())


def _write_metadata(plan: Plan, file: BinaryIO, root: str) -> None:
    assignment, sizes = plan.assignment, plan.scan.sizes(upright=plan.upright)
    every = np.arange(len(assignment.image))
    file.write(b"{")
    for at, paths in enumerate(_list_paths(plan, every, root)):
        some = slice(at * _AT_ONCE, (at + 1) * _AT_ONCE)
        bucket = assignment.bucket[some]
        rows = zip(
            paths,
            sizes[assignment.image[some]].tolist(),
            assignment.crop[some, ::-1].tolist(),  # top and left there
            assignment.sizes[bucket].tolist(),
            assignment.resized[some].tolist(),
            assignment.aspects[bucket].tolist(),
            strict=True,
        )
        file.write((", " if at else "").encode() + ", ".join(map(_describe, rows)).encode())
    file.write(b"}")


_Row = tuple[str, list[int], list[int], list[int], list[int], float]


def _describe(row: _Row) -> str:
    path, original, crop, target, resized, aspect = row
    return (
        f'{json.dumps(path)}: {{"original_size": {original}, "crop_coordinates": {crop}, '
        f'"target_size": {target}, "intermediary_size": {resized}, "aspect_ratio": {aspect}}}'
    )


def _list_paths(plan: Plan, samples: NDArray[np.intp], root: str) -> Iterator[list[str]]:
    """Paths of samples, so many at once."""
    before = f"{root.rstrip('/')}/" if root else ""
    for start in range(0, len(samples), _AT_ONCE):
        images = plan.assignment.image[samples[start : start + _AT_ONCE]]
        yield [before + name for name in plan.scan.names.take(pa.array(images)).to_pylist()]


def _count_filtered(plan: Plan) -> dict[str, object]:
    counts = np.bincount(plan.assignment.removed.ravel(), minlength=len(Removal))
    skipped = {_SKIPPED[why]: int(counts[why]) for why in _SKIPPED if counts[why]}
    return {"total_processed": int(plan.assignment.removed.size), "skipped": skipped}


def _write_table(plan: Plan, path: Path, facts: dict[bytes, str]) -> None:
    """A row for each sample, in their order, by groups of so many."""
    schema = pa.schema(
        [
            ("name", pa.large_string()), ("width", pa.int32()), ("height", pa.int32()),
            ("resolution", pa.float64()), ("aspect_ratio", pa.float64()),
            ("bucket_width", pa.int32()), ("bucket_height", pa.int32()),
            ("resized_width", pa.int32()), ("resized_height", pa.int32()),
            ("crop_left", pa.int32()), ("crop_top", pa.int32()),
        ],
        facts,
    )  # fmt: skip
    assignment, sizes = plan.assignment, plan.scan.sizes(upright=plan.upright)
    resolutions = np.array(plan.spec.resolutions)
    with replace_file(path) as file, pq.ParquetWriter(file, schema) as writer:
        for start in range(0, len(assignment.image), _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            image, bucket = assignment.image[some], assignment.bucket[some]
            columns = [
                plan.scan.names.take(pa.array(image)),
                *sizes[image].T,
                resolutions[assignment.resolution[some]],
                assignment.aspects[bucket],
                *assignment.sizes[bucket].T,
                *assignment.resized[some].T,
                *assignment.crop[some].T,
            ]
            writer.write_table(pa.table([pa.array(column) for column in columns], schema=schema))
