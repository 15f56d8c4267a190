"""`metadata.jsonl`: one line a file, for readers that want captions and sizes in one place.

Owns the form of a line. One file serves HF imagefolder (`file_name`, and every other key a column
with one type) and kohya's fine-tuning (`image_path` relative to its `image_dir`, `caption`,
`image_size`). It is made once, when a view is decided, line by line into a file, so that a view of
ten million images is never held in memory; a mount maps it.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

NAME = "metadata.jsonl"

_escape = json.encoder.encode_basestring  # UTF-8 as it is: a tenth of what \u escapes take


def write_lines(folder: Path, lines: Iterable[str]) -> NDArray[np.uint8]:
    """The file that these lines make, mapped; its space is given back with the array."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.writelines(line.encode() for line in lines)
        file.flush()
        return np.memmap(file, np.uint8, "r")


def make_lines(
    names: Iterable[str],
    captions: Iterable[str] | None,
    sizes: Sequence[NDArray[np.int32]],
) -> Iterator[str]:
    """A line for each name; without captions lines have none. `sizes` are widths and heights, 0
    where nobody can tell: null in the line.
    """
    sides = zip(*(map(int, side) for side in sizes), strict=True)
    if captions is None:
        for name, (width, height) in zip(names, sides, strict=True):
            yield f"{{{_place(name)}, {_shape(width, height)}}}\n"
        return
    for name, caption, (width, height) in zip(names, captions, sides, strict=True):
        text = _escape(caption)
        yield (f'{{{_place(name)}, "text": {text}, "caption": {text}, {_shape(width, height)}}}\n')


def make_media_lines(
    names: Iterable[str], captions: Iterable[str] | None, lyrics: Iterable[str] | None
) -> Iterator[str]:
    """A line for each video or sound: its name, its caption and its lyrics, if there are such."""
    columns = {"file_name": names, "text": captions, "lyrics": lyrics}
    given = {key: texts for key, texts in columns.items() if texts is not None}
    for values in zip(*given.values(), strict=True):
        pairs = dict(zip(given, map(_escape, values), strict=True))
        if "text" in pairs:
            pairs["caption"] = pairs["text"]
        yield "{" + ", ".join(f'"{key}": {value}' for key, value in pairs.items()) + "}\n"


def _place(name: str) -> str:
    quoted = _escape(name)
    return f'"file_name": {quoted}, "image_path": {quoted}'


def _shape(width: int, height: int) -> str:
    if not (width and height):
        return '"image_size": null, "width": null, "height": null'
    return f'"image_size": [{width}, {height}], "width": {width}, "height": {height}'
