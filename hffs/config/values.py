"""The types that keys of the configuration have, each with the sentence that refuses a bad value.

Owns turning one value, as JSON or TOML wrote it, into the form that the rest of hffs sees. It must
not know which key a value belongs to, files, flags, or the environment.
Invariants: nothing is guessed (text is never read as a number, except in a size with a unit);
every refusal is a ValueError whose message completes the sentence "VALUE ...".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_UNITS |= {f"{unit}I": 1024**power for power, unit in enumerate("KMGT", start=1)}
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*([KMGT]?I?)B?", re.ASCII | re.IGNORECASE)

_LARGEST = 2**53 - 1
"""Numbers up to here are the same in JSON, TOML, int64 and float64."""

_EDGE = r" *(?:-?(?:100|\d{1,2}) *%|-?\d+(?:_\d+)*)? *"
_SLICE = rf"(?:\s*\[{_EDGE}:{_EDGE}\])?(?:\s*\((?:closest|pct1_dropremainder)\))?"
"""As `datasets` has it: what it would refuse is refused before a split is downloaded for it."""

_SPLIT_NAME = r"\w+(?:\.\w+)*"
_SPLITS = re.compile(rf"{_SPLIT_NAME}{_SLICE}(?:\s*\+\s*{_SPLIT_NAME}{_SLICE})*")
_LAYOUT = re.compile(r"horizontal|vertical|auto|[1-9]\d{0,2}x[1-9]\d{0,2}", re.ASCII)
_SHARD = re.compile(r"(\d{1,9})/(\d{1,9})", re.ASCII)
_RATIO_TEXT = re.compile(r"([1-9]\d{0,5}):([1-9]\d{0,5})", re.ASCII)
_SIZE_TEXT = re.compile(r"([1-9]\d{0,5})x([1-9]\d{0,5})", re.ASCII)
_FUNCTION = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*")

DROP, ERROR, FILLER = "drop", "error", "text:"
"""What `missing_caption` may be; behind the last stand the words."""


def _whole(value: object) -> object:
    """JSON writers may say 512.0 for 512."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _size_bytes(value: object) -> object:
    if not isinstance(value, str):
        return _whole(value)
    found = _SIZE.fullmatch(value.strip())
    if not found or found[2].upper() not in _UNITS:
        raise ValueError('is not a size such as "20 GB", "500MB", "10GiB" or a number of bytes')
    return int(float(found[1]) * _UNITS[found[2].upper()])


def read_size(text: str) -> int:
    """Bytes of a size such as "20 GB"; ValueError for a text that is none."""
    size_bytes = _size_bytes(text)
    if not isinstance(size_bytes, int):
        raise ValueError("is not a size")
    return size_bytes


def _path(value: object) -> object:
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise ValueError("is not a path")
    return Path(_unicode(str(value)))


def _unicode(value: str) -> str:
    # Half of a surrogate pair: JSON can write one, and no file, hash or log could hold it.
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("is not text in valid Unicode")
    return value


def _name(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise ValueError("is blank or has characters that cannot be printed")
    return value


def _condition(value: str) -> str:
    # It may have several lines, and texts to compare with may hold anything.
    if not value.strip() or "\0" in value:
        raise ValueError("is blank or has a null character")
    return value


def _id(value: str) -> str:
    # It names folders of the cache, so that it must be one harmless part of a path.
    if "/" in value or value in (".", "..") or len(value.encode()) > 200:
        raise ValueError("cannot name a folder")
    return _name(value)


def _one_or_many(value: object) -> object:
    """A lone value stands for a list of one."""
    if isinstance(value, list | tuple):
        if not value:
            raise ValueError("is an empty list")
        return tuple(value)
    return (value,)


def _many(value: object) -> object:
    if not isinstance(value, list | tuple):
        raise ValueError("is not a list")
    return tuple(value)


def _text_or_number(value: object) -> object:
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise ValueError("is neither text nor a whole number")
    return value


def _split(value: str) -> str:
    if not _SPLITS.fullmatch(value):
        why = "is not a split such as train, train[:10%], train[100:200] or train+test"
        raise ValueError(why)
    return value


def _shard(value: str) -> str:
    found = _SHARD.fullmatch(value)
    if not found or int(found[1]) >= int(found[2]):
        raise ValueError("is not RANK/WORLD, with ranks from 0 to WORLD - 1, such as 0/8")
    return f"{int(found[1])}/{int(found[2])}"


def _missing_caption(value: str) -> str:
    if value not in (DROP, ERROR) and not (
        value.startswith(FILLER) and value.removeprefix(FILLER).strip()
    ):
        raise ValueError("is not drop, error, or text: with words behind it")
    return value


def _separator(value: str) -> str:
    # What cleaning takes out of captions must not come back between them: Unicode's controls,
    # line and paragraph separators.
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in value):
        raise ValueError(
            "has a line break or another control character, which no caption holds (caption_multi "
            '"lines" puts each on a line of its own)'
        )
    return value


def _layout(value: str) -> str:
    if not _LAYOUT.fullmatch(value):
        raise ValueError("is not horizontal, vertical, auto, or rows x columns such as 2x2")
    return value


def _function(value: str) -> str:
    if not _FUNCTION.fullmatch(value):
        raise ValueError("is not module:function")
    return value


def _select(value: object) -> object:
    chosen = value if isinstance(value, list | tuple) else (value,)
    if value == "all":
        return value
    if not chosen or not all(_is_index(index) for index in chosen):
        raise ValueError('is not a number from 0, a list of them, or "all"')
    return tuple(chosen)


def _is_index(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST


def _is_ratio(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= _LARGEST


def _ratios(value: object) -> object:
    ratios = value if isinstance(value, list | tuple) else (value,)
    if not ratios or not all(map(_is_ratio, ratios)):
        raise ValueError("is not a number above 0, or a list of them")
    return tuple(map(float, ratios))


def _crop_aspects(value: object) -> object:
    """Pairs of an aspect ratio and how often it is taken: those of a list of both kinds."""
    pairs = [_weigh(one) for one in (value if isinstance(value, list | tuple) else (value,))]
    if not all(_is_ratio(number) for pair in pairs for number in pair):
        why = 'is not a list of numbers above 0, or of {"aspect": NUMBER, "weight": NUMBER}'
        raise ValueError(why)
    return tuple((float(aspect), float(weight)) for aspect, weight in pairs)


def _weigh(value: object) -> tuple[Any, Any]:
    if isinstance(value, Mapping) and set(value) == {"aspect", "weight"}:
        return value["aspect"], value["weight"]
    return (value, 1.0) if not isinstance(value, list | tuple) or len(value) != 2 else tuple(value)


def _aspect_buckets(value: object) -> object:
    """Aspect ratios, and sizes as pairs."""
    given = value if isinstance(value, list | tuple) else (value,)
    found = [_aspect_bucket(one) for one in given]
    if None in found:
        raise ValueError("is not a list of aspect ratios (1.5, 3:2) or of sizes (832x1216)")
    return tuple(found)


def _aspect_bucket(value: object) -> float | tuple[int, int] | None:
    if isinstance(value, str):
        ratio, size = _RATIO_TEXT.fullmatch(value), _SIZE_TEXT.fullmatch(value)
        if size:
            return int(size[1]), int(size[2])
        return int(ratio[1]) / int(ratio[2]) if ratio else None
    if isinstance(value, list | tuple):
        edges = [edge for edge in value if isinstance(edge, int) and _is_ratio(edge)]
        return (edges[0], edges[1]) if len(edges) == len(value) == 2 else None
    return float(value) if isinstance(value, int | float) and _is_ratio(value) else None


def _data_files(value: object) -> object:
    """As in `load_dataset`: a path, a list of paths, or either of them for each split."""
    by_split = value if isinstance(value, Mapping) else {"": value}
    listed = {name: _one_or_many(paths) for name, paths in by_split.items()}
    paths = [path for some in listed.values() if isinstance(some, tuple) for path in some]
    if not paths or not all(isinstance(path, str) and _unicode(path) for path in paths):
        raise ValueError("is not a path, a list of paths, or a map from splits to these")
    return listed if isinstance(value, Mapping) else listed[""]


AnyText = Annotated[str, AfterValidator(_unicode)]
Text = Annotated[AnyText, AfterValidator(_name)]
Condition = Annotated[AnyText, AfterValidator(_condition)]
Id = Annotated[AnyText, AfterValidator(_id)]
Folder = Annotated[Path, BeforeValidator(_path)]
Whole = Annotated[int, BeforeValidator(_whole), Field(ge=-_LARGEST, le=_LARGEST)]
Count = Annotated[Whole, Field(ge=0)]
Positive = Annotated[Whole, Field(ge=1)]
Digits = Annotated[Whole, Field(ge=0, le=18)]
Decimals = Annotated[Whole, Field(ge=0, le=9)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Ratio = Annotated[Number, Field(gt=0)]
Share = Annotated[Number, Field(ge=0)]
Ratios = Annotated[tuple[float, ...], BeforeValidator(_ratios)]
CropAspects = Annotated[tuple[tuple[float, float], ...], BeforeValidator(_crop_aspects)]
AspectBuckets = Annotated[tuple[float | tuple[int, int], ...], BeforeValidator(_aspect_buckets)]
Bytes = Annotated[int, BeforeValidator(_size_bytes), Field(ge=0, le=2**63 - 1)]
Columns = Annotated[tuple[Text, ...], BeforeValidator(_one_or_many)]
ColumnList = Annotated[tuple[Text, ...], BeforeValidator(_many)]
Values = Annotated[
    tuple[Annotated[str | int, BeforeValidator(_text_or_number)], ...],
    BeforeValidator(_one_or_many),
]
Split = Annotated[str, AfterValidator(_split)]
Shard = Annotated[str, AfterValidator(_shard)]
MissingCaption = Annotated[AnyText, AfterValidator(_missing_caption)]
Separator = Annotated[AnyText, AfterValidator(_separator)]
Layout = Annotated[str, AfterValidator(_layout)]
Function = Annotated[str, AfterValidator(_function)]
# Both are checked whole by their validators: pydantic would report every branch of a union.
SelectIndex = Annotated[Literal["all"] | tuple[int, ...], BeforeValidator(_select)]
DataFiles = Annotated[tuple[str, ...] | Mapping[str, tuple[str, ...]], BeforeValidator(_data_files)]
