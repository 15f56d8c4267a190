"""Which column of a source holds its images, videos or sounds.

Owns the rules: what the Hugging Face metadata says, what types can hold such, which names speak
of them. Reads no values but the first few of a column of texts: names of files, or base64.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import replace

import pyarrow as pa

from hffs.core.formats import NOUNS, Media
from hffs.data.cells.peeking import holds_base64
from hffs.data.mediacolumn import MediaColumn
from hffs.data.source import Source, is_binary, is_list, is_number, is_text
from hffs.errors import ConfigError, DataError

_LIST_LABELS = ("List", "LargeList", "Sequence")
_LABELS: dict[str, Media] = {"Image": "image", "Video": "video", "Audio": "audio"}
_NO_LABELS = ("Value", "")

_NAMES: dict[Media, tuple[str, ...]] = {
    "image": ("image", "img", "image_base64", "image_path", "image_url"),
    "video": ("video", "clip", "video_base64", "video_path", "video_url"),
    "audio": ("audio", "sound", "audio_base64", "audio_path", "audio_url"),
}
_ANY_NAMES = ("file_name", "path", "url")
"""Names of columns of texts that stand for images, from certain to likely: those that speak of
images before those that may name any file; of each kind what the data set holds itself before the
files that should lie beside it, and these before what other hosts may have taken away since.
"""


def media_columns_of(schema: pa.Schema, media: Media = "image") -> list[MediaColumn]:
    """Columns that hold a medium, of the most certain kind that there is.

    From certain to likely: what the Hugging Face metadata calls so; a struct with binary `bytes`
    (of sounds also one with an `array` of samples), or a binary column named as the medium; any
    binary column; a string column that has one of the names of these, the first of them.
    """
    labels = _labels(schema)
    names = (*_NAMES[media], *_ANY_NAMES)
    ranked: list[list[MediaColumn]] = [[] for _ in range(3 + len(names))]
    for field in schema:
        label = labels.get(field.name, "")
        column = _media_column(field, media)
        if column is None or not _may_be(label, media):
            continue
        if label in _LABELS:
            ranked[0].append(column)
        elif column.kind in ("struct", "samples"):
            ranked[1].append(column)
        elif column.kind == "binary":
            ranked[1 if field.name == media else 2].append(column)
        elif field.name in names:
            ranked[3 + names.index(field.name)].append(column)
    return next(filter(None, ranked), [])


def find_media_column(
    source: Source, wanted: str | None = None, media: Media = "image"
) -> MediaColumn:
    """The column to mount: `wanted`, else the one that is named as the medium, else the only one.

    The first values of a column of texts are read, to tell base64 from names. Raises FormatError
    if they cannot be, ConfigError where the choice is the user's to make or to correct, DataError
    where the data set has no such column at all.
    """
    if wanted is None:
        column = _only_column(source, media)
    else:
        column = _wanted_column(source, wanted, media)
    if column.kind != "path":
        return column
    return replace(column, kind="base64") if holds_base64(source, column) else column


def _only_column(source: Source, media: Media) -> MediaColumn:
    noun = NOUNS[media][0]
    columns = media_columns_of(source.schema, media)
    others = _find_others(source.schema, media)
    are_names = all(column.kind == "path" for column in columns)
    if not columns or (others and are_names):
        why = f"it has no {noun} column; {_list_columns(source.schema)}"
        fix = ""
        if others:
            why = f"it has no {noun} column, but {_describe_others(others)}"
            fix = f"mount these by --dataset-type {next(iter(others))}"
        raise DataError("cannot mount", source.name, why=why, fix=fix)
    named = [column for column in columns if column.name == media] or columns
    if len(named) > 1:
        why = f"it has several {noun} columns: {', '.join(column.name for column in named)}"
        raise ConfigError(
            "cannot mount", source.name, why=why, fix=f"choose one by --{media}-column"
        )
    return named[0]


def require_one_medium(schema: pa.Schema, name: str) -> None:
    """Raise ConfigError where a data set says that it has several media, and nobody has chosen."""
    found = {
        _LABELS[label]: column for column, label in _labels(schema).items() if label in _LABELS
    }
    if len(found) > 1:
        why = f"it has {_describe_others({media: [each] for media, each in found.items()})}"
        fix = f"choose one by --dataset-type {'|'.join(found)}"
        raise ConfigError("cannot mount", name, why=why, fix=fix)


def _find_others(schema: pa.Schema, media: Media) -> dict[Media, list[str]]:
    """Columns that the Hugging Face metadata says to hold other media."""
    found: dict[Media, list[str]] = {}
    for name, label in _labels(schema).items():
        if label in _LABELS and _LABELS[label] != media:
            found.setdefault(_LABELS[label], []).append(name)
    return found


def _describe_others(columns: dict[Media, list[str]]) -> str:
    return " and ".join(
        f"{NOUNS[media][1]} ({', '.join(names)})" for media, names in columns.items()
    )


def _wanted_column(source: Source, wanted: str, media: Media) -> MediaColumn:
    key = f"cannot use {media}_column"
    if wanted not in source.schema.names:
        near = difflib.get_close_matches(wanted, source.schema.names, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        fix = f"{hint}columns: {', '.join(source.schema.names)}"
        raise ConfigError(key, wanted, why="there is no such column", fix=fix)
    field = source.schema.field(wanted)
    label = _labels(source.schema).get(wanted, "")
    column = _media_column(field, media)
    if column is None or not _may_be(label, media):
        why = f"it holds {label if column else field.type}, not {NOUNS[media][1]}"
        raise ConfigError(key, wanted, why=why)
    return column


def _may_be(label: str, media: Media) -> bool:
    return label in _NO_LABELS or _LABELS.get(label) == media


def _list_columns(schema: pa.Schema) -> str:
    return "columns: " + ", ".join(f"{field.name} ({field.type})" for field in schema)


def _media_column(field: pa.Field, media: Media) -> MediaColumn | None:
    """The column as one of a medium, if its type can hold it at all."""
    listed = is_list(field.type)
    kind = field.type.value_type if listed else field.type
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        if index >= 0 and is_binary(kind.field(index).type):
            return MediaColumn(field.name, "struct", listed, media)
        if media == "audio" and not listed and _holds_samples(kind):
            return MediaColumn(field.name, "samples", listed, media)
        return None
    if is_binary(kind):
        return MediaColumn(field.name, "binary", listed, media)
    return MediaColumn(field.name, "path", listed, media) if is_text(kind) else None


def _holds_samples(kind: pa.StructType) -> bool:
    """Whether a struct is a sound as `datasets` decodes it: `{array, sampling_rate}`."""
    names = [field.name for field in kind]
    if not {"array", "sampling_rate"} <= set(names):
        return False
    samples = kind.field("array").type
    while is_list(samples):
        samples = samples.value_type
    return is_number(samples) and pa.types.is_integer(kind.field("sampling_rate").type)


def _labels(schema: pa.Schema) -> dict[str, str]:
    """What the Hugging Face metadata calls each column's values, lists taken off; often nothing.

    The metadata is advice beside the types, so that a form unknown to us counts as none.
    """
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"][
            "features"
        ]
        return {name: _label(feature) for name, feature in features.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _label(feature: object) -> str:
    if isinstance(feature, list) and len(feature) == 1:  # how datasets < 4 wrote a list
        return _label(feature[0])
    if not isinstance(feature, dict):
        return ""
    kind = feature.get("_type")
    if kind in _LIST_LABELS:
        return _label(feature.get("feature"))
    return kind if isinstance(kind, str) else ""
