"""Libraries by which trainers decode videos: frames of each video of a folder, out of order too.

Its own: torchcodec, decord or OpenCV, as asked. Stands in: nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.trainers.media import digest


def main(arguments: Sequence[str]) -> dict[str, Any]:
    library, folder = arguments
    module: Any = importlib.import_module(library)
    files = sorted(file for file in Path(folder).iterdir() if file.suffix != ".txt")
    return {file.name: _READ[library](module, file) for file in files}


def _places(count: int) -> list[int]:
    """The first frame, one near the end, a middle one, and the one behind it."""
    return [0, count - 5, count // 2, count // 2 + 1]


def _read_by_torchcodec(module: Any, file: Path) -> list[str]:
    decoder = module.VideoDecoder(str(file))
    return [digest(decoder[place].numpy()) for place in _places(len(decoder))]


def _read_by_decord(module: Any, file: Path) -> list[str]:
    reader = module.VideoReader(str(file), num_threads=1)
    return [digest(reader[place].asnumpy()) for place in _places(len(reader))]


def _read_by_opencv(module: Any, file: Path) -> list[str]:
    capture = module.VideoCapture(str(file))
    found = []
    for place in _places(int(capture.get(module.CAP_PROP_FRAME_COUNT))):
        capture.set(module.CAP_PROP_POS_FRAMES, place)
        read, frame = capture.read()
        assert read
        found.append(digest(frame))
    return found


_READ: dict[str, Callable[[Any, Path], list[str]]] = {
    "torchcodec.decoders": _read_by_torchcodec,
    "decord": _read_by_decord,
    "cv2": _read_by_opencv,
}
