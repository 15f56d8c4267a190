"""Which column of a source holds its images.

Owns the rules: what the Hugging Face metadata says, what types can hold images, which names speak
of them. Reads no values but the first few of a column of texts: names of files, or base64.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import replace

import pyarrow as pa

from hffs.data.cells.peeking import holds_base64
from hffs.data.source import ImageColumn, Source, is_binary, is_list, is_text
from hffs.errors import ConfigError, DataError

_LIST_LABELS = ("List", "LargeList", "Sequence")
_IMAGE_LABELS = ("Image", "Value", "")

_TEXT_NAMES = (
    "image", "img", "image_base64", "image_path", "image_url", "file_name", "path", "url",
)  # fmt: skip
"""Names of columns of texts that stand for images, from certain to likely: those that speak of
images before those that may name any file; of each kind what the data set holds itself before the
files that should lie beside it, and these before what other hosts may have taken away since.
"""


def image_columns(schema: pa.Schema) -> list[ImageColumn]:
    """Columns that hold images, of the most certain kind that there is.

    From certain to likely: what the Hugging Face metadata calls an Image; a struct with binary
    `bytes`, or a binary column named `image`; any binary column; a string column that has one of
    the names of these (`_TEXT_NAMES`), the first of them.
    """
    labels = _labels(schema)
    ranked: list[list[ImageColumn]] = [[] for _ in range(3 + len(_TEXT_NAMES))]
    for field in schema:
        label = labels.get(field.name, "")
        column = _image_column(field)
        if column is None or label not in _IMAGE_LABELS:
            continue
        if label == "Image":
            ranked[0].append(column)
        elif column.kind == "struct" or (column.kind == "binary" and field.name == "image"):
            ranked[1].append(column)
        elif column.kind == "binary":
            ranked[2].append(column)
        elif field.name in _TEXT_NAMES:
            ranked[3 + _TEXT_NAMES.index(field.name)].append(column)
    return next(filter(None, ranked), [])


def find_image_column(source: Source, wanted: str | None) -> ImageColumn:
    """The image column to mount: `wanted`, else the one named `image`, else the only one.

    The first values of a column of texts are read, to tell base64 from names. Raises FormatError
    if they cannot be, ConfigError where the choice is the user's to make or to correct, DataError
    where the data set has no image column at all.
    """
    column = _only_column(source) if wanted is None else _wanted_column(source, wanted)
    if column.kind != "path":
        return column
    return replace(column, kind="base64") if holds_base64(source, column) else column


def _only_column(source: Source) -> ImageColumn:
    columns = image_columns(source.schema)
    if not columns:
        why = f"it has no image column; {_list_columns(source.schema)}"
        raise DataError("cannot mount", source.name, why=why)
    named = [column for column in columns if column.name == "image"] or columns
    if len(named) > 1:
        why = f"it has several image columns: {', '.join(column.name for column in named)}"
        raise ConfigError("cannot mount", source.name, why=why, fix="choose one by --image-column")
    return named[0]


def _wanted_column(source: Source, wanted: str) -> ImageColumn:
    if wanted not in source.schema.names:
        near = difflib.get_close_matches(wanted, source.schema.names, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        fix = f"{hint}columns: {', '.join(source.schema.names)}"
        raise ConfigError("cannot use image_column", wanted, why="there is no such column", fix=fix)
    field = source.schema.field(wanted)
    label = _labels(source.schema).get(wanted, "")
    column = _image_column(field)
    if column is None or label not in _IMAGE_LABELS:
        why = f"it holds {label if column else field.type}, not images"
        raise ConfigError("cannot use image_column", wanted, why=why)
    return column


def _list_columns(schema: pa.Schema) -> str:
    return "columns: " + ", ".join(f"{field.name} ({field.type})" for field in schema)


def _image_column(field: pa.Field) -> ImageColumn | None:
    """The column as images, if its type can hold them at all."""
    listed = is_list(field.type)
    kind = field.type.value_type if listed else field.type
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        if index >= 0 and is_binary(kind.field(index).type):
            return ImageColumn(field.name, "struct", listed)
        return None
    if is_binary(kind):
        return ImageColumn(field.name, "binary", listed)
    return ImageColumn(field.name, "path", listed) if is_text(kind) else None


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
