"""The text of every caption file of a view, found in a source's metadata columns.

Owns which columns are looked at, in which order, and what a row without a caption means; what a
text looks like is `hffs.core.captions`. It must not know positions, names or files.
The text is the file's exact content, without a line break at its end: kohya takes the first line,
SimpleTuner and OneTrainer split lines and strip them, others take the text as it is.
Invariant: no text is both empty and kept, unless the source has no captions at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hffs.core.captions import UNCLEAN, clean_caption, lookup, render_caption
from hffs.data.metadata import ColumnPath, find_column, metadata_columns, read_batches
from hffs.data.source import Source
from hffs.errors import ConfigError, DataError

DEFAULT_COLUMNS = ("caption", "text", "prompt")
"""Where captions are looked for if no column is named: the first of these that exists."""

DROP, ERROR, TEXT_PREFIX = "drop", "error", "text:"
_TEXT = pa.large_string()
_LINE_BREAK = pa.scalar("\n", _TEXT)


@dataclass(frozen=True, slots=True)
class CaptionRules:
    """Which captions a view has.

    `columns` (names or dotted paths; none: `DEFAULT_COLUMNS`) give a line each; `fallback` is read
    where all of these are blank; `missing` is `drop`, `error` or `text:WORDS`.
    """

    columns: tuple[str, ...] = ()
    fallback: str | None = None
    missing: str = DROP

    def __post_init__(self) -> None:
        if self.missing not in (DROP, ERROR) and not self.filler:
            why = "it is not drop, error, or text: with words behind it"
            raise ConfigError("cannot use missing_caption", repr(self.missing), why=why)

    @property
    def filler(self) -> str:
        """Text for a row without a caption; empty where it gets none."""
        words = self.missing.removeprefix(TEXT_PREFIX)
        return clean_caption(words) if words != self.missing else ""


@dataclass(frozen=True, slots=True, eq=False)
class Captions:
    """Texts of m rows as UTF-8: text i is `blob[offsets[i]:offsets[i + 1]]`.

    `missing` marks rows to drop because they have no caption. `column` says where the texts come
    from; it is None where the source has no captions: then nothing is missing, and every text is
    the filler, or empty: no file should be made of it.
    """

    offsets: NDArray[np.int64]
    blob: NDArray[np.uint8]
    missing: NDArray[np.bool_]
    column: str | None


@dataclass(frozen=True, slots=True)
class _Reader:
    """A column of captions; `labels` are a ClassLabel's names."""

    path: ColumnPath
    labels: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is read for each row: a line from each of `lines`, else the fallback."""

    lines: tuple[_Reader, ...]
    fallback: _Reader | None

    @property
    def columns(self) -> list[str]:
        """Names of the columns to read."""
        readers = (*self.lines, self.fallback) if self.fallback else self.lines
        return sorted({reader.path.column for reader in readers})

    def __str__(self) -> str:
        return ", ".join(str(reader.path) for reader in self.lines)


def read_captions(source: Source, rules: CaptionRules, rows: NDArray[np.int64]) -> Captions:
    """Captions of these source rows (ascending, repeats allowed), in their order.

    Raises ConfigError for columns that are not there or cannot be captions, DataError for a row
    without a caption where `rules` do not allow it. Holds one batch of rows beside the result.
    """
    plan = _plan_columns(source, rules)
    if plan is None:
        return _without_columns(source, rules, len(rows))
    lengths = np.zeros(len(rows), np.int64)
    missing = np.zeros(len(rows), np.bool_)
    blob = bytearray()
    for start, batch in _wanted_batches(source, plan.columns, rows):
        texts = _render_batch(plan, batch)
        part = slice(start, start + len(texts))
        blank: NDArray[np.bool_] = texts.is_null().to_numpy(zero_copy_only=False)
        if rules.missing == ERROR and blank.any():
            which = f"row {rows[start + int(blank.argmax())]} of {source.name}"
            fix = "set missing_caption to drop or text:WORDS"
            raise DataError("cannot caption", which, why=f"{plan} is null or blank", fix=fix)
        missing[part] = blank & (rules.missing == DROP)
        texts = pc.fill_null(texts, rules.filler)
        lengths[part] = pc.binary_length(texts)
        blob += _bytes_of(texts)
    return Captions(_offsets(lengths), np.frombuffer(blob, np.uint8), missing, str(plan))


def _plan_columns(source: Source, rules: CaptionRules) -> _Plan | None:
    key = "fallback_caption_column"
    fallback = None if rules.fallback is None else _find_reader(source, rules.fallback, key)
    known = metadata_columns(source)
    columns = rules.columns or tuple(name for name in DEFAULT_COLUMNS if name in known)[:1]
    if columns:
        lines = tuple(_find_reader(source, path, "caption_column") for path in columns)
        return _Plan(lines, fallback)
    return None if fallback is None else _Plan((fallback,), None)


def _find_reader(source: Source, path: str, key: str) -> _Reader:
    column = find_column(source, path, key)
    kind = column.type
    if pa.types.is_large_list(kind) and not column.inner:
        kind = kind.value_type
    is_caption = kind == _TEXT or (_is_scalar(kind) and not column.inner)
    if not is_caption:
        fix = "name a column, field or JSON key of text"
        raise ConfigError(f"cannot use {key}", path, why=f"it leads to {kind}", fix=fix)
    return _Reader(column, None if column.inner else _labels(source.schema, column))


def _is_scalar(kind: pa.DataType) -> bool:
    checks = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
    return any(check(kind) for check in checks)


def _labels(schema: pa.Schema, column: ColumnPath) -> tuple[str, ...] | None:
    """Names of a ClassLabel, or of a list of them, by the features that `datasets` wrote."""
    text = (schema.metadata or {}).get(b"huggingface", b"{}")
    feature = lookup(text, ("info", "features", column.column, *column.fields))
    while isinstance(feature, dict) and "feature" in feature:
        feature = feature["feature"]
    names = lookup(feature, ("names",)) if lookup(feature, ("_type",)) == "ClassLabel" else None
    return tuple(map(str, names)) if isinstance(names, list) else None


def _wanted_batches(
    source: Source, columns: list[str], rows: NDArray[np.int64]
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Batches of the wanted rows alone, each with the index in `rows` that it begins at."""
    first = 0
    for batch in read_batches(source, columns):
        low, high = np.searchsorted(rows, (first, first + batch.num_rows)).tolist()
        wanted = rows[low:high] - first
        if np.array_equal(wanted, np.arange(batch.num_rows)):
            yield low, batch
        elif low < high:
            yield low, batch.take(pa.array(wanted))
        first += batch.num_rows


def _render_batch(plan: _Plan, batch: pa.RecordBatch) -> pa.Array:
    """Text of each row, null where there is none."""
    texts = reduce(_join_lines, (_render_column(reader, batch) for reader in plan.lines))
    if plan.fallback is not None and texts.null_count:
        texts = pc.coalesce(texts, _render_column(plan.fallback, batch))
    return texts


def _join_lines(above: pa.Array, below: pa.Array) -> pa.Array:
    # Not null_handling="skip": with it, pyarrow 26 leaves out rows that are null in every column.
    both = pc.binary_join_element_wise(above, below, _LINE_BREAK)
    return pc.coalesce(both, above, below)


def _render_column(reader: _Reader, batch: pa.RecordBatch) -> pa.Array:
    values = reader.path.take_from(batch)
    if values.type == _TEXT and not reader.path.inner:
        return _clean_texts(values)
    if values.type == _TEXT:
        values = values.cast(pa.large_binary())  # as bytes: a shard's text need not be UTF-8
    elif values.type == pa.large_list(_TEXT):
        values = values.cast(pa.large_list(pa.large_binary()))
    cells = (lookup(cell, reader.path.inner) for cell in values.to_pylist())
    if (labels := reader.labels) is not None:
        cells = (_name_label(cell, labels) for cell in cells)
    return pa.array([render_caption(cell) or None for cell in cells], _TEXT)


def _name_label(value: object, labels: tuple[str, ...]) -> object:
    """Name of a label, or of each in a list; `datasets` writes -1 for none."""
    if isinstance(value, list):
        return [_name_label(item, labels) for item in value]
    return labels[value] if isinstance(value, int) and 0 <= value < len(labels) else None


def _clean_texts(texts: pa.Array) -> pa.Array:
    """`clean_caption` of a whole column; Python sees only texts with something unclean inside.

    1M captions take 0.2 s so, and 0.8 s one by one.
    """
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:  # not UTF-8
        cells = texts.cast(pa.large_binary()).to_pylist()
        return pa.array([clean_caption(cell) or None for cell in cells], _TEXT)
    unclean = pc.fill_null(pc.match_substring_regex(texts, UNCLEAN), False)
    if pc.any(unclean).as_py():
        cleaned = [clean_caption(text) for text in texts.filter(unclean).to_pylist()]
        texts = pc.replace_with_mask(texts, unclean, pa.array(cleaned, _TEXT))
    return _blank_to_null(pc.utf8_trim_whitespace(texts))


def _blank_to_null(texts: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(pc.binary_length(texts), 0), None, texts)


def _bytes_of(texts: pa.Array) -> memoryview:
    """UTF-8 of all texts, one behind the other; none is null."""
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int64, len(texts) + 1, texts.offset * 8)
    return memoryview(data or b"")[int(ends[0]) : int(ends[-1])]


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths)))


def _without_columns(source: Source, rules: CaptionRules, count: int) -> Captions:
    if rules.missing == ERROR:
        why = f"{source.name} has none of the columns {', '.join(DEFAULT_COLUMNS)}"
        raise ConfigError("cannot use missing_caption", ERROR, why=why, fix="name a caption_column")
    filler = rules.filler.encode()
    blob = np.frombuffer(filler * count, np.uint8)
    offsets = np.arange(count + 1, dtype=np.int64) * len(filler)
    return Captions(offsets, blob, np.zeros(count, np.bool_), None)
