"""Where faces are: the centre of the largest frontal one of each image, for crops around it.

Owns the detector, OpenCV's cascade of Haar features (Viola and Jones 2001; Lienhart and Maydt
2002), how large an image it is shown, and what of its answers is believed when they were
remembered. Must not know buckets or crops. Invariants: an image is shown upright, whatever
coordinates are asked for, as no face is found that lies on its side; what cannot be read has no
face, here, and fails where it is loaded; the same files, OpenCV and cascade give the same centres,
whatever was remembered.
"""

from __future__ import annotations

import hashlib
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image

from hffs.core.types import Size
from hffs.data.watcher import Watcher
from hffs.errors import SourceError, UsageError
from hffs.train.decoding import BAD_DATA, TURNS, find_turn, make_rgb, open_image, open_regular
from hffs.train.scanning.file_systems import find_type, find_view
from hffs.train.scanning.remembering import Remembered, ScanCache
from hffs.train.scanning.scanned import Scan

# Measured with 5 portraits, 40 times pasted into 9 photos without a face, a 25th to a third of the
# longer edge wide: as it is 37 are found where they are, 1 elsewhere, and none in the photos alone.

EDGE_PX = 640
"""Longest edge of what the detector is shown; larger images are shrunk to it.

At 1024 px 39 of the 40 are found, and one in 2 of the photos alone, in 1.6 times the time.
"""

_SMALLEST_SHARE, _LARGE_SHARE = 24, 7
"""Parts of the longer edge that a face is wide: the smallest that is looked for, and a large one.

Small ones take nearly all of the time, so they are looked for only where no large one is: a third
less for the 40.
"""

_SMALLEST_PX = 24
"""Edge of the window that the cascade was trained on: it finds nothing smaller."""

_STEP = 1.15
"""Each size of face that is looked for is larger by this factor; by 1.2 35 of the 40 are found."""

_NEIGHBOURS = 5
"""So many windows have to agree on a face.

By steps of 1.2, 4 find 37, and one in a photo alone; 5 find 35; 6 find 29.
"""

_CASCADE = "haarcascade_frontalface_default.xml"

PART_FILES = 4096
"""After so many images that were looked at, they are remembered."""

_AT_ONCE = 16
_WHAT = "faces"

_ENDS_LEFT, _ENDS_ABOVE = (2, 3, 7, 8), (3, 4, 6, 7)
"""Orientations whose turn begins at the end of what was stored in a row, and in a column."""

_VERSION = np.dtype(
    [
        ("size_bytes", "<i8"),
        ("mtime_ns", "<i8"),
        ("width", "<i4"),
        ("height", "<i4"),
        ("orientation", "u1"),
    ]
)
FACE = np.dtype([("version", _VERSION), ("x", "<i4"), ("y", "<i4")])
"""What is remembered of an image: what it was, and the centre in its upright pixels, or -1."""


def find_faces(
    scan: Scan, cache: Path | None, workers: int, watcher: Watcher, *, upright: bool
) -> NDArray[np.int32]:
    """Centre of the largest face of each image, (n, 2), x and y; -1 where none is found.

    In pixels of the images as `scan.sizes(upright=upright)` has them. `cache` is a folder of this
    user's for what is remembered. UsageError where OpenCV is missing, SourceError where the folder
    is.
    """
    detector = Detector()
    opened = _open_folder(scan.folder)
    try:
        view = find_view(opened, find_type(opened))
        versions = _find_versions(scan, None if view else opened)
    finally:
        os.close(opened)
    where = f"view {view}" if view else f"folder {os.path.realpath(scan.folder)}"
    key = f"faces by {detector.identity} in {where}"
    kept = ScanCache(cache, key, watcher, FACE)
    work = _Work(scan, versions, kept, watcher)
    parts = kept.load_parts()
    for found in (kept.load(), _join(parts)):
        if found is not None:
            work.recall(found)
    with detector.alone():
        work.look(detector, workers)
    if work.has_news or parts:
        work.keep()
    return _turn_back(scan, work.centres, upright=upright)


def _open_folder(folder: Path) -> int:
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        why = error.strerror or str(error)
        raise SourceError("cannot look for faces in", str(folder), why=why) from error


def _find_versions(scan: Scan, folder: int | None) -> NDArray[Any]:
    """What a file has to be for what was remembered of it; of a view (no folder) its name tells.

    They are found before a file is looked at: if it changes in between, it is looked at again.
    """
    versions = np.zeros(len(scan.names), _VERSION)
    versions["width"], versions["height"] = scan.stored.T
    versions["orientation"] = scan.orientation
    if folder is not None:
        for place, name in enumerate(scan.names):
            versions[place]["size_bytes"], versions[place]["mtime_ns"] = _stat(name.as_py(), folder)
    return versions


def _stat(name: str, folder: int) -> tuple[int, int]:
    try:
        status = os.stat(name, dir_fd=folder)
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def _join(parts: Sequence[Remembered]) -> Remembered | None:
    """All parts as one, since of each a table of all names is made."""
    if not parts:
        return None
    names = pa.concat_arrays([part.names for part in parts])
    return Remembered(names, np.concatenate([part.rows for part in parts]), {})


def _turn_back(scan: Scan, centres: NDArray[np.int32], *, upright: bool) -> NDArray[np.int32]:
    """Upright pixels as they are, or as those of the images as stored."""
    if upright:
        return centres
    turned = scan.orientation[:, None] >= 5
    stored = np.where(turned, centres[:, ::-1], centres)
    ends = np.stack([np.isin(scan.orientation, one) for one in (_ENDS_LEFT, _ENDS_ABOVE)], axis=1)
    stored = np.where(ends, scan.stored - 1 - stored, stored)
    return np.where(centres < 0, np.int32(-1), stored)


@dataclass(slots=True)
class _Work:
    """The images of a scan, and which of them have been looked at by now.

    `centres`: (n, 2), in upright pixels.
    """

    scan: Scan
    versions: NDArray[Any]
    kept: ScanCache
    watcher: Watcher
    centres: NDArray[np.int32] = field(init=False)
    known: NDArray[np.bool_] = field(init=False)
    fresh: list[int] = field(default_factory=list)
    has_news: bool = False

    def __post_init__(self) -> None:
        self.centres = np.full((len(self.versions), 2), -1, np.int32)
        self.known = np.zeros(len(self.versions), np.bool_)

    def recall(self, found: Remembered) -> None:
        """Believe what was remembered of files that are as they were."""
        places = pc.index_in(self.scan.names, value_set=found.names).fill_null(-1).to_numpy()
        here = np.flatnonzero(places >= 0)
        rows = found.rows[places[here]]
        versions = self.versions[here]
        same = (rows["version"] == versions) & (versions["size_bytes"] >= 0)
        self.known[here[same]] = True
        self.centres[here[same]] = np.stack([rows["x"][same], rows["y"][same]], axis=1)

    def look(self, detector: Detector, workers: int) -> None:
        """Look at the images that are not known, and remember them now and then."""
        wanted = np.flatnonzero(~self.known)
        done, at_once = 0, _AT_ONCE * workers
        try:
            with (
                # Of damaged and of large images; here, as what is ignored is so for all threads.
                warnings.catch_warnings(action="ignore"),
                ThreadPoolExecutor(workers, thread_name_prefix="hffs-faces") as pool,
            ):
                for start in range(0, len(wanted), at_once):
                    places = wanted[start : start + at_once].tolist()
                    found = pool.map(partial(self._find, detector), places)
                    for place, centre in zip(places, found, strict=True):
                        self._take(place, centre)
                    done += len(places)
                    self.watcher.progress(_WHAT, done, len(wanted))
        except BaseException:
            self._keep_part()
            raise

    def _find(self, detector: Detector, place: int) -> tuple[int, int] | None:
        """The centre in one image, -1 where there is none; None where it cannot be read."""
        size = Size(*self.scan.stored[place].tolist())
        try:
            with open_regular(self.scan.folder / self.scan.names[place].as_py()) as file:
                shown = _show(file, size, int(self.scan.orientation[place]))
        except BAD_DATA:
            return None
        return detector.find(*shown)

    def _take(self, place: int, centre: tuple[int, int] | None) -> None:
        # What cannot be read may be readable the next time: a network that was down.
        if centre is None:
            return
        self.centres[place] = centre
        self.known[place] = self.has_news = True
        self.fresh.append(place)
        if len(self.fresh) >= PART_FILES:
            self._keep_part()

    def _keep_part(self) -> None:
        """Remember what was found since the last time."""
        if self.fresh:
            self.kept.save_part(self._pack(np.array(self.fresh)))
            self.fresh.clear()

    def keep(self) -> None:
        """Remember all of it."""
        self.kept.save(self._pack(np.flatnonzero(self.known)))

    def _pack(self, places: NDArray[np.int64]) -> Remembered:
        rows = np.empty(len(places), FACE)
        rows["version"] = self.versions[places]
        rows["x"], rows["y"] = self.centres[places].T
        return Remembered(self.scan.names.take(pa.array(places)), rows, {})


def _show(file: BinaryIO, stored: Size, orientation: int) -> tuple[NDArray[np.uint8], Size]:
    """What the detector is shown, (h, w), grey and upright, and the upright size of all of it."""
    share = min(1, EDGE_PX / max(stored))
    shown = (max(1, round(stored.width * share)), max(1, round(stored.height * share)))
    with open_image(file) as image:
        if image.size != stored:
            raise ValueError("the scan found another size")
        image.draft("L", shown)  # of a JPEG neither colours nor all pixels are decoded
        turn = TURNS[find_turn(image, orientation)]
        grey = (image if image.mode == "L" else make_rgb(image)).convert("L")
    if grey.size != shown:
        grey = grey.resize(shown, Image.Resampling.BILINEAR, reducing_gap=2)
    if turn is not None:
        grey = grey.transpose(turn)
    return np.array(grey), stored.turned(orientation)


class Detector:
    """OpenCV's detector of frontal faces; UsageError where there is none.

    `identity` is of all that its answers depend on.
    """

    def __init__(self) -> None:
        try:
            import cv2
        except ImportError as error:
            raise _refuse("no OpenCV here") from error
        try:
            self._make = cv2.CascadeClassifier
            self._path = os.path.join(cv2.data.haarcascades, _CASCADE)  # type: ignore[attr-defined]
            digest = hashlib.sha256(Path(self._path).read_bytes()).hexdigest()
        except (AttributeError, OSError) as error:
            raise _refuse(f"OpenCV {cv2.__version__} here has no {_CASCADE}") from error
        settings = (EDGE_PX, _SMALLEST_SHARE, _LARGE_SHARE, _STEP, _NEIGHBOURS)
        self.identity = f"OpenCV {cv2.__version__} {digest[:32]} {settings}"
        self._cv2 = cv2
        self._own = threading.local()  # threads must not share a classifier

    @contextmanager
    def alone(self) -> Iterator[None]:
        """OpenCV without threads of its own: there are ours, and they make its order chance."""
        before = self._cv2.getNumThreads()
        self._cv2.setNumThreads(1)
        try:
            yield
        finally:
            self._cv2.setNumThreads(before)

    def find(self, shown: NDArray[np.uint8], size: Size) -> tuple[int, int]:
        """Centre of the largest face in pixels of `size`, which is shown as (h, w); or -1, -1."""
        height, width = shown.shape
        longer = max(width, height)
        least = max(_SMALLEST_PX, longer // _SMALLEST_SHARE)
        large = max(least, longer // _LARGE_SHARE)
        boxes = self._find_boxes(shown, large, longer)
        if not len(boxes):
            # A size more than is left, as windows of several have to agree.
            boxes = self._find_boxes(shown, least, int(large * _STEP))
        if not len(boxes):
            return -1, -1
        # Of equal ones the highest, then the leftmost: the order they come in means nothing.
        edge, top, left = max((int(edge), -int(y), -int(x)) for x, y, edge, _ in boxes)
        across = (edge / 2 - left) * size.width / width
        down = (edge / 2 - top) * size.height / height
        return int(across), int(down)

    def _find_boxes(
        self, shown: NDArray[np.uint8], least: int, most: int
    ) -> Sequence[Sequence[int]]:
        """Left, top, width and height of faces whose edges are from `least` to `most`."""
        if min(shown.shape) < least:
            return ()
        if not hasattr(self._own, "classifier"):
            self._own.classifier = self._make(self._path)
        found: Sequence[Sequence[int]] = self._own.classifier.detectMultiScale(
            shown,
            scaleFactor=_STEP,
            minNeighbors=_NEIGHBOURS,
            minSize=(least, least),
            maxSize=(most, most),
        )
        return found


def _refuse(why: str) -> UsageError:
    return UsageError("cannot use crop_style face", why=why, fix="pip install 'hffs-mount[faces]'")
