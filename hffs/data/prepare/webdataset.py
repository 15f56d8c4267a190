"""Tars of samples (webdataset) as a table: values of texts, and where media lie in their tars.

Owns grouping members into samples and the table's columns; they are those that `datasets` gives,
but that samples may differ in fields. An image, video or sound is never copied, and of its bytes
only the first are looked at: a cell is `{bytes: null, path: "tar://OFFSET:LENGTH:FORMAT::TAR"}`,
FORMAT being what these say. Only those of a compressed tar are copied, into the table, as they lie
nowhere: it is unpacked to be indexed, and again to be copied, rather than kept beside the table.
Invariants: samples and columns are in the order of the tars; a value that cannot be decoded is
null, counted and told of; at most `_BATCH_BYTES` of values are held beside the index of one tar.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa

from hffs.core.formats import count_sniffed, sniff
from hffs.data.prepare.fields import FieldKind
from hffs.data.prepare.job import Job
from hffs.data.prepare.paths import shorten_path
from hffs.data.prepare.samples import SampleIndex, TarSamples, read_value
from hffs.data.prepare.table import TableWriter
from hffs.data.prepare.tars import LocalTar, OpenTar, Tar
from hffs.errors import DataError

KEY, URL = "__key__", "__url__"
_BATCH_ROWS = 1 << 13
_BATCH_BYTES = 8 << 20
_MOST_COPIED_BYTES = 256 << 20
"""A larger image is not rendered either (`hffs.view.codecs`); it is in memory as a whole."""
_SHOWN = 8

_MEDIA = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@dataclass(frozen=True, slots=True)
class _Columns:
    """The table's columns; `places` says for each field of the index which column it is in: media
    whose samples have different extensions are in one, which is called as they are.

    `features` are those of media columns; `as_text` are fields of JSON that has no one type.
    """

    schema: pa.Schema
    places: tuple[int, ...]
    as_text: frozenset[int]


def write_webdataset(job: Job, path: Path) -> None:
    """Write the table of a job's tars. Raises FormatError, DataError, SourceError, StaleError."""
    index, tars = SampleIndex(), _list_tars(job)
    samples = list(_index_tars(job, tars, index))
    rows = sum(len(each.keys) for each in samples)
    if not index.fields:
        known = ", ".join(sorted(index.left_out)[:_SHOWN]) or "none"
        why = f"its tars hold no samples (KEY.jpg, KEY.mp4, KEY.wav, KEY.txt; found: {known})"
        raise DataError("cannot use", job.name, why=why)
    columns = _plan_columns(index)
    problems = _Problems()
    done = 0
    with TableWriter(path, columns.schema) as writer:
        for each, tar in zip(samples, tars, strict=True):
            with tar.open(_tell_nobody) as opened:
                for batch in _read_batches(_Source(each, opened), index, columns, problems):
                    writer.add(batch)
                    done += batch.num_rows
                    job.progress("writing rows", done, rows)
    _tell(job, index.left_out, problems)


def _list_tars(job: Job) -> Sequence[Tar]:
    if job.far_tars is not None:
        return job.far_tars
    return [LocalTar(path, shorten_path(str(path), job.root), job.folder) for path in job.files]


def _index_tars(job: Job, tars: Sequence[Tar], index: SampleIndex) -> Iterator[TarSamples]:
    starts = list(accumulate((tar.size_bytes for tar in tars), initial=0))
    for tar, start in zip(tars, starts, strict=False):

        def report(at: int, start: int = start) -> None:
            job.progress("indexing tars", start + at, starts[-1])

        with tar.open(report) as opened:
            yield index.read_tar(opened)
    job.progress("indexing tars", starts[-1], starts[-1])


def _tell_nobody(at: int) -> None:
    """Of values, which are told of by rows."""


def _plan_columns(index: SampleIndex) -> _Columns:
    merged = index.find_merged()
    names: dict[str, tuple[pa.DataType, str]] = {}
    places, as_text = [], set()
    for number, (name, kind) in enumerate(index.fields.items()):
        column = (kind in merged and kind.media) or name
        kinds = {FieldKind.TEXT: pa.string(), FieldKind.INT: pa.int64()}
        if kind is FieldKind.JSON:
            found = index.shapes[name].arrow_type()
            kinds[kind] = pa.string() if found is None else found
            if found is None:
                as_text.add(number)
        names.setdefault(column, (kinds.get(kind, _MEDIA), kind.value if kind.media else ""))
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


@dataclass(frozen=True, slots=True, eq=False)
class _Source:
    """The samples of a tar that is open."""

    samples: TarSamples
    tar: OpenTar

    def read(self, name: str, kind: FieldKind, offset: int, length: int) -> object:
        """The value of a member, of media bytes and path. ValueError says why there is none."""
        tar = self.tar
        media = kind.media
        if media is None:
            return read_value(tar, name, kind, offset, length)
        if not tar.is_copied:
            head = tar.take(offset, min(length, count_sniffed(media)))
            return None, f"tar://{offset}:{length}:{sniff(head, media).extension}::{tar.url}"
        if length > _MOST_COPIED_BYTES:
            raise ValueError(f"larger than {_MOST_COPIED_BYTES >> 20} MB")
        return bytes(tar.take(offset, length)), None


def _read_batches(
    source: _Source, index: SampleIndex, columns: _Columns, problems: _Problems
) -> Iterator[pa.RecordBatch]:
    """A tar's samples as rows, some at a time."""
    kinds = list(index.fields.items())
    samples = source.samples
    rows: list[list[object]] = []
    size = 0
    for sample, members in enumerate(samples.list_samples()):
        row: list[object] = [None] * (len(columns.schema) - 2)
        for number, offset, length in members:
            name, kind = kinds[number]
            try:
                value = source.read(name, kind, offset, length)
                if number in columns.as_text:
                    value = source.read(name, FieldKind.TEXT, offset, length)
            except ValueError as error:
                key = samples.keys[sample].as_py()
                problems.add(name, str(error), f"{key}.{name} in {samples.url}")
                continue
            row[columns.places[number]] = value
            if source.tar.is_copied or not kind.media:
                size += length
        rows.append(row)
        if len(rows) >= _BATCH_ROWS or size >= _BATCH_BYTES:
            yield _make_batch(samples, sample + 1, rows, columns.schema)
            rows, size = [], 0
    if rows:
        yield _make_batch(samples, len(samples.keys), rows, columns.schema)


def _make_batch(
    tar: TarSamples, end: int, rows: list[list[object]], schema: pa.Schema
) -> pa.RecordBatch:
    arrays = [
        _make_cells(list(values)) if field.type == _MEDIA else pa.array(values, field.type)
        for field, values in zip(schema, zip(*rows, strict=True), strict=False)
    ]
    arrays += [tar.keys[end - len(rows) : end], pa.array([tar.url] * len(rows), pa.string())]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _make_cells(cells: list[Any]) -> pa.Array:
    """An array of cells, each of which is bytes and path, or None."""
    data, paths = zip(*(cell or (None, None) for cell in cells), strict=True)
    is_null = pa.array([cell is None for cell in cells])
    parts = [pa.array(data, pa.binary()), pa.array(paths, pa.string())]
    return pa.StructArray.from_arrays(parts, fields=list(_MEDIA), mask=is_null)


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
