"""The text of every caption file of a view, found in a source's metadata columns.

Owns which columns are looked at, in which order, and what a row without a caption means; what a
text looks like is `hffs.core.captions`. It must not know positions, names or files.
The text is the file's exact content, without a line break at its end: kohya takes the first line,
SimpleTuner and OneTrainer split lines and strip them, others take the text as it is.
Invariant: no text is both empty and kept, unless the source has no captions at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hffs.core.captions import (
    DESCRIPTION_FIELDS,
    UNCLEAN,
    clean_caption,
    find_description,
    lookup,
    render_caption,
)
from hffs.data.metadata import (
    ColumnPath,
    find_column,
    label_names,
    metadata_columns,
    read_rows,
)
from hffs.data.source import Source
from hffs.errors import ConfigError, DataError

DEFAULT_COLUMNS = ("caption", "text", "prompt", "txt")
"""Where captions are looked for if no column is named: the first of these that exists."""

DROP, ERROR, TEXT_PREFIX = "drop", "error", "text:"
Multi = Literal["lines", "join", "first"]
_TEXT = pa.large_string()
_BINARY = pa.large_binary()


@dataclass(frozen=True, slots=True)
class CaptionRules:
    """Which captions a view has.

    `columns` (names or dotted paths; none: `DEFAULT_COLUMNS`) give a caption each, or several if
    they hold lists; `fields` are joined by `separator` to one, where there are no columns or these
    are blank; `fallback` is read where all of these are blank, `description` where that is
    blank too. Of several captions, `multi` makes lines, or one line with `separator` (no line
    break is in it) between them, or takes the first. `missing` is `drop`, `error` or `text:WORDS`.
    """

    columns: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    fallback: str | None = None
    description: str | None = None
    multi: Multi = "lines"
    separator: str = ", "
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

    @property
    def joint(self) -> str | None:
        """What stands between several captions; None: only the first of them is taken."""
        return {"lines": "\n", "join": self.separator, "first": None}[self.multi]


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
    labels: tuple[str, ...] | None = None
    is_description: bool = False


@dataclass(frozen=True, slots=True)
class _Group:
    """Columns whose captions make one text, with `joint` between them; None: the first of them."""

    readers: tuple[_Reader, ...]
    joint: str | None

    def __str__(self) -> str:
        return ", ".join(str(reader.path) for reader in self.readers)


def read_captions(source: Source, rules: CaptionRules, rows: NDArray[np.int64]) -> Captions:
    """Captions of these source rows (ascending, repeats allowed), in their order.

    Raises ConfigError for columns that are not there or cannot be captions, DataError for a row
    without a caption where `rules` do not allow it. Holds one batch of rows beside the result.
    """
    plan = _plan_columns(source, rules)
    if not plan:
        return _without_columns(source, rules, len(rows))
    columns = sorted({reader.path.column for group in plan for reader in group.readers})
    lengths = np.zeros(len(rows), np.int64)
    missing = np.zeros(len(rows), np.bool_)
    blob = bytearray()
    for start, batch in read_rows(source, columns, rows):
        texts = _render_batch(plan, batch)
        part = slice(start, start + len(texts))
        blank: NDArray[np.bool_] = texts.is_null().to_numpy(zero_copy_only=False)
        if rules.missing == ERROR and blank.any():
            which = f"row {rows[start + int(blank.argmax())]} of {source.name}"
            fix = "set missing_caption to drop or text:WORDS"
            raise DataError("cannot caption", which, why=f"{plan[0]} is null or blank", fix=fix)
        missing[part] = blank & (rules.missing == DROP)
        texts = pc.fill_null(texts, rules.filler)
        lengths[part] = pc.binary_length(texts)
        blob += _bytes_of(texts)
    return Captions(_offsets(lengths), np.frombuffer(blob, np.uint8), missing, str(plan[0]))


def keep_captions(captions: Captions, keep: NDArray[np.bool_]) -> Captions:
    """The captions of some rows alone; `keep` has an entry a row."""
    buffers = [None, pa.py_buffer(captions.offsets), pa.py_buffer(captions.blob)]
    texts = pa.Array.from_buffers(_BINARY, len(keep), buffers).filter(pa.array(keep))
    blob = np.frombuffer(_bytes_of(texts), np.uint8)
    lengths = np.diff(captions.offsets)[keep]
    return replace(captions, offsets=_offsets(lengths), blob=blob, missing=captions.missing[keep])


def _plan_columns(source: Source, rules: CaptionRules) -> list[_Group]:
    """What is read for a row, in order: the first group that is not blank is its text."""
    known = metadata_columns(source)
    columns = rules.columns
    if not columns:
        others = [name for name in DEFAULT_COLUMNS if name in known and name not in rules.fields]
        columns = tuple(others[:1])
    plan = []
    if columns:
        readers = tuple(_find_reader(source, path, "caption_column") for path in columns)
        plan.append(_Group(readers, rules.joint))
    if rules.fields:
        readers = tuple(_find_reader(source, path, "audio_caption_fields") for path in rules.fields)
        plan.insert(1 if rules.columns else 0, _Group(readers, rules.separator))
    if rules.fallback is not None:
        reader = _find_reader(source, rules.fallback, "fallback_caption_column")
        plan.append(_Group((reader,), rules.joint))
    if rules.description is not None:
        plan.append(_plan_description(source, rules.description, rules.joint))
    return plan


def _plan_description(source: Source, path: str, joint: str | None) -> _Group:
    key = "description_column"
    column = find_column(source, path, key)
    kind = column.type
    if not pa.types.is_struct(kind):
        return _Group((replace(_make_reader(source, column, key), is_description=True),), joint)
    fields = [
        replace(column, type=kind.field(name).type, fields=(*column.fields, name))
        for name in DESCRIPTION_FIELDS
        if kind.get_field_index(name) >= 0
    ]
    if not fields:
        why = f"it is a struct without {', '.join(DESCRIPTION_FIELDS)}"
        raise ConfigError(f"cannot use {key}", path, why=why, fix="name a field of text")
    return _Group(tuple(_make_reader(source, field, key) for field in fields), " ")


def _find_reader(source: Source, path: str, key: str) -> _Reader:
    return _make_reader(source, find_column(source, path, key), key)


def _make_reader(source: Source, column: ColumnPath, key: str) -> _Reader:
    kind = column.type
    if pa.types.is_large_list(kind) and not column.inner:
        kind = kind.value_type
    is_caption = kind == _TEXT or (_is_scalar(kind) and not column.inner)
    if not is_caption:
        fix = "name a column, field or JSON key of text"
        raise ConfigError(f"cannot use {key}", str(column), why=f"it leads to {kind}", fix=fix)
    return _Reader(column, None if column.inner else label_names(source.schema, column))


def _is_scalar(kind: pa.DataType) -> bool:
    checks = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
    return any(check(kind) for check in checks)


def _render_batch(plan: list[_Group], batch: pa.RecordBatch) -> pa.Array:
    """Text of each row, null where there is none."""
    texts = _render_group(plan[0], batch)
    for group in plan[1:]:
        if texts.null_count:
            blank = texts.is_null()
            texts = pc.replace_with_mask(texts, blank, _render_group(group, batch.filter(blank)))
    return texts


def _render_group(group: _Group, batch: pa.RecordBatch) -> pa.Array:
    texts, *others = (_render_column(reader, group.joint, batch) for reader in group.readers)
    for more in others:
        if group.joint is None:
            texts = pc.coalesce(texts, more)
        else:
            # Not null_handling="skip": pyarrow 26 leaves out rows that are null in every column.
            both = pc.binary_join_element_wise(texts, more, pa.scalar(group.joint, _TEXT))
            texts = pc.coalesce(both, texts, more)
    return texts


def _render_column(reader: _Reader, joint: str | None, batch: pa.RecordBatch) -> pa.Array:
    values, inner = reader.path.take_from(batch), reader.path.inner
    if values.type == _TEXT and not inner:
        return _clean_texts(_open_descriptions(values) if reader.is_description else values)
    if values.type == pa.large_list(_TEXT):
        return _render_lists(values, joint)
    if values.type == _TEXT:
        values = values.cast(_BINARY)  # as bytes: a shard's text need not be UTF-8
    cells: Iterable[object] = (lookup(cell, inner) for cell in values.to_pylist())
    if reader.is_description:
        cells = map(find_description, cells)
    if (labels := reader.labels) is not None:
        cells = (_name_label(cell, labels) for cell in cells)
    return pa.array([render_caption(cell, joint) or None for cell in cells], _TEXT)


def _render_lists(lists: pa.Array, joint: str | None) -> pa.Array:
    """`render_caption` of a whole column of lists of text."""
    captions = _clean_texts(lists.flatten())
    counts = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    valid = captions.is_valid().to_numpy(zero_copy_only=False)
    # Where each row's captions begin among those that are not blank.
    offsets = _offsets(valid.astype(np.int64))[_offsets(counts)]
    captions = captions.drop_null()
    if joint is None:
        return captions.take(pa.array(offsets[:-1], mask=offsets[:-1] == offsets[1:]))
    lists = pa.LargeListArray.from_arrays(pa.array(offsets), captions)
    return _blank_to_null(pc.binary_join(lists, pa.scalar(joint, _TEXT)))


def _open_descriptions(texts: pa.Array) -> pa.Array:
    """`find_description` of a whole column; Python sees only what may be a JSON object."""
    texts = texts.cast(_BINARY)  # as bytes: a shard's text need not be UTF-8
    objects = pc.fill_null(pc.match_substring_regex(texts, r"^\s*\{"), False)
    if pc.any(objects).as_py():
        found = [find_description(text) for text in texts.filter(objects).to_pylist()]
        texts = pc.replace_with_mask(texts, objects, pa.array(found, _BINARY))
    return texts.view(_TEXT)


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
