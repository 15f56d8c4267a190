"""The videos and sounds of the section "Examples" of docs/configuration.md, made of its tables.

Owns the words of a cell such as `MP4 64x48, 30 frames at 10` or `WAV 2 s`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.clips import Clip, Sound, encode_clip, encode_sound

_VIDEO = re.compile(r"([A-Z0-9]+) (\d+)x(\d+), (\d+) frames at (\d+)")
_AUDIO = re.compile(r"([A-Z0-9]+) ([\d.]+) s")


def write_table(path: Path, lines: list[list[str]]) -> None:
    """Write the data set of a table: name, type and cells of each column in a line."""
    path.parent.mkdir(parents=True)
    features = {name: {"_type": kind.capitalize()} for name, kind, *_ in lines if kind in _ENCODERS}
    columns = {name: [_read_cell(kind, cell) for cell in cells] for name, kind, *cells in lines}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path)


def _read_cell(kind: str, cell: str) -> Any:
    if kind in _ENCODERS:
        return None if cell == "null" else {"bytes": _ENCODERS[kind](cell), "path": None}
    return json.loads(cell.strip("`"))


def _encode_video(said: str) -> bytes:
    match = _VIDEO.fullmatch(said)
    assert match, said
    width, height, frames, fps = map(int, match.groups()[1:])
    return encode_clip(Clip(match[1].lower(), width, height, frames, fps))


def _encode_audio(said: str) -> bytes:
    match = _AUDIO.fullmatch(said)
    assert match, said
    return encode_sound(Sound(match[1].lower(), seconds=float(match[2])))


_ENCODERS = {"video": _encode_video, "audio": _encode_audio}
