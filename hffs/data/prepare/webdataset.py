"""Tars of samples (webdataset) as a table: values of texts, and where images lie in their tars.

Owns grouping members into samples and the table's columns; they are those that `datasets` gives,
but that samples may differ in fields. Image bytes are never looked at, let alone copied: a cell is
`{bytes: null, path: "tar://OFFSET:LENGTH::TAR"}`.
Invariants: samples and columns are in the order of the tars; a value that cannot be decoded is
null, counted and told of; at most `_BATCH_BYTES` of values are held beside the index of one tar.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import pyarrow as pa

from hffs.data.mapped import open_mapped
from hffs.data.prepare.fields import FieldKind, decode_value
from hffs.data.prepare.job import Job
from hffs.data.prepare.paths import shorten_path
from hffs.data.prepare.samples import SampleIndex, TarSamples
from hffs.data.prepare.table import TableWriter
from hffs.errors import DataError

KEY, URL = "__key__", "__url__"
MERGED = "image"
"""The one column of images whose samples have different extensions."""

_BATCH_ROWS = 1 << 13
_BATCH_BYTES = 8 << 20
_SHOWN = 8

_MEDIA = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@dataclass(frozen=True, slots=True)
class _Columns:
    """The table's columns; `places` says for each field of the index which column it is in.

    `features` are those of media columns; `as_text` are fields of JSON that has no one type.
    """

    schema: pa.Schema
    places: tuple[int, ...]
    as_text: frozenset[int]


def write_webdataset(job: Job, path: Path) -> None:
    """Write the table of a job's tars. Raises FormatError, DataError, SourceError, StaleError."""
    index = SampleIndex()
    tars = list(_index_tars(job, index))
    rows = sum(len(tar.keys) for tar in tars)
    if not index.fields:
        known = ", ".join(sorted(index.left_out)[:_SHOWN]) or "none"
        why = f"its tars hold no images or texts of samples (KEY.jpg, KEY.txt; found: {known})"
        raise DataError("cannot use", job.name, why=why)
    columns = _plan_columns(index)
    problems = _Problems()
    done = 0
    with TableWriter(path, columns.schema) as writer:
        for tar in tars:
            for batch in _read_batches(tar, index, columns, problems):
                writer.add(batch)
                done += batch.num_rows
                job.progress("writing rows", done, rows)
    _tell(job, index.left_out, problems)


def _index_tars(job: Job, index: SampleIndex) -> Iterator[TarSamples]:
    sizes = [file.stat().st_size for file in job.files]
    starts = list(accumulate(sizes, initial=0))
    for path, start in zip(job.files, starts, strict=False):

        def report(at: int, start: int = start) -> None:
            job.progress("indexing tars", start + at, starts[-1])

        yield index.read_tar(path, shorten_path(str(path), job.root), report)
    job.progress("indexing tars", starts[-1], starts[-1])


def _plan_columns(index: SampleIndex) -> _Columns:
    merges = index.images_are_one
    names: dict[str, tuple[pa.DataType, str]] = {}
    places, as_text = [], set()
    for number, (name, kind) in enumerate(index.fields.items()):
        column = MERGED if kind is FieldKind.IMAGE and merges else name
        kinds = {FieldKind.TEXT: pa.string(), FieldKind.INT: pa.int64()}
        if kind is FieldKind.JSON:
            found = index.shapes[name].arrow_type()
            kinds[kind] = pa.string() if found is None else found
            if found is None:
                as_text.add(number)
        names.setdefault(column, (kinds.get(kind, _MEDIA), kind.value if kind.is_media else ""))
        places.append(list(names).index(column))
    features = {name: {"_type": label} for name, (_, label) in names.items() if label}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    fields = [(name, kind) for name, (kind, _) in names.items()]
    schema = pa.schema([*fields, (KEY, pa.string()), (URL, pa.string())], metadata)
    return _Columns(schema, tuple(places), frozenset(as_text))


class _Problems:
    """Values that could not be decoded: how many by field and reason, and the first of each."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.first: dict[tuple[str, str], str] = {}

    def add(self, field: str, why: str, place: str) -> None:
        """Count one."""
        self.counts[field, why] += 1
        self.first.setdefault((field, why), place)


def _read_batches(
    tar: TarSamples, index: SampleIndex, columns: _Columns, problems: _Problems
) -> Iterator[pa.RecordBatch]:
    """A tar's samples as rows, some at a time."""
    kinds = list(index.fields.items())
    rows: list[list[object]] = []
    size = 0
    with open_mapped(tar.path) as file:
        for sample, members in enumerate(tar.list_samples()):
            row: list[object] = [None] * (len(columns.schema) - 2)
            for number, offset, length in members:
                name, kind = kinds[number]
                if kind.is_media:
                    row[columns.places[number]] = f"tar://{offset}:{length}::{tar.url}"
                    continue
                data = file.view[offset : offset + length]
                try:
                    value = decode_value(name, kind, data)
                    if number in columns.as_text:
                        value = decode_value(name, FieldKind.TEXT, data)
                except ValueError as error:
                    key = tar.keys[sample].as_py()
                    problems.add(name, str(error), f"{key}.{name} in {tar.url}")
                    continue
                row[columns.places[number]] = value
                size += length
            rows.append(row)
            if len(rows) >= _BATCH_ROWS or size >= _BATCH_BYTES:
                yield _make_batch(tar, sample + 1, rows, columns.schema)
                rows, size = [], 0
        file.check()
    if rows:
        yield _make_batch(tar, len(tar.keys), rows, columns.schema)


def _make_batch(
    tar: TarSamples, end: int, rows: list[list[object]], schema: pa.Schema
) -> pa.RecordBatch:
    arrays = [
        _make_cells(list(values)) if field.type == _MEDIA else pa.array(values, field.type)
        for field, values in zip(schema, zip(*rows, strict=True), strict=False)
    ]
    arrays += [tar.keys[end - len(rows) : end], pa.array([tar.url] * len(rows), pa.string())]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _make_cells(paths: list[object]) -> pa.Array:
    texts = pa.array(paths, pa.string())
    parts = [pa.nulls(len(paths), pa.binary()), texts]
    return pa.StructArray.from_arrays(parts, fields=list(_MEDIA), mask=texts.is_null())


def _tell(job: Job, left_out: Mapping[str, int], problems: _Problems) -> None:
    """Tell once of the fields, and once of the values, that are not in the table."""
    if left_out:
        named = [f"{name} ({count})" for name, count in Counter(left_out).most_common(_SHOWN)]
        more = f" and {len(left_out) - _SHOWN} more" if len(left_out) > _SHOWN else ""
        job.notice(f"files left out of {job.name}, by extension: {', '.join(named)}{more}")
    if problems.counts:
        named = [
            f"{count} of {field} ({why}; the first is {problems.first[field, why]})"
            for (field, why), count in problems.counts.most_common(_SHOWN)
        ]
        job.notice(f"values left out of {job.name}: {', '.join(named)}")
