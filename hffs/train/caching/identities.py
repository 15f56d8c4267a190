"""What names an image for caches: a digest that no other image has.

Owns how images of a folder are identified, by what is beside them. Must not know what is made of
them. Two rules:

    on a mount of hffs    `user.hffs.image`, which says the same of an image in any view, and the
                          size; so a cache serves each view that shows the image
    elsewhere             real path, size and mtime, as a scan trusts them

A writable layer over a mount passes attributes through, and keeps those of a file that was written
to: there the attribute counts while the file has the time that all files of the view have, and that
time counts as well where it is another. Attributes of a plain folder are not believed, since a copy
takes them along. Invariant: a changed file has another identity, unless its size and its time are
those from before.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from stat import S_ISLNK
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hffs.train.caching.keys import KEY_BYTES
from hffs.train.files import Stamp, changed
from hffs.train.plan import Plan
from hffs.train.scanning.file_systems import OURS, VIEW, find_type, is_far
from hffs.train.scanning.scanned import Scan

_IMAGE = "user.hffs.image"
_LAYERS = ("overlay", "fuse.fuse-overlayfs")
_BATCH_FILES = 1024
_FAR_THREADS = 8

_NO_ATTRIBUTE = (errno.ENODATA, errno.EOPNOTSUPP)


@dataclass(frozen=True, slots=True, eq=False)
class Identified:
    """The images of a scan: `digests` (n, 32) uint8, and what each file was: `sizes` and `mtimes`
    (n,) int64, bytes and ns. Of an image that no sample is of all are 0.
    """

    scan: Scan
    digests: NDArray[np.uint8]
    sizes: NDArray[np.int64]
    mtimes: NDArray[np.int64]

    def digest(self, image: int) -> bytes:
        """The identity of an image, for `make_image_key`."""
        return bytes(self.digests[image])

    def stamp(self, image: int) -> Stamp:
        """What the file of an image was."""
        return Stamp(int(self.sizes[image]), int(self.mtimes[image]))


class _Place(NamedTuple):
    """A folder: its real path, and what is known of the view that it shows, if it does.

    `view_ns` is the time of all files of that view, None where attributes are not believed.
    """

    path: str
    view_ns: int | None


class _Facts(NamedTuple):
    digest: bytes
    stamp: Stamp


def identify_images(plan: Plan, progress: Callable[[int, int], None]) -> Identified:
    """Identify the images that samples are of; `progress` hears how many of how many are done.

    DataError where a file that was scanned has vanished, or cannot be looked at.
    """
    scan = plan.scan
    images = np.unique(plan.assignment.image).astype(np.int64)
    digests = np.zeros((len(scan.names), KEY_BYTES), np.uint8)
    sizes, mtimes = (np.zeros(len(scan.names), np.int64) for _ in range(2))
    batches = [images[at : at + _BATCH_FILES] for at in range(0, len(images), _BATCH_FILES)]
    places = _Places(scan.folder)
    threads = _FAR_THREADS if places.is_far else 1
    done = 0
    with ThreadPoolExecutor(threads, thread_name_prefix="hffs-identify") as pool:
        try:
            found = pool.map(lambda batch: _identify(scan, places, batch), batches)
            for batch, facts in zip(batches, found, strict=True):
                joined = b"".join(each.digest for each in facts)
                digests[batch] = np.frombuffer(joined, np.uint8).reshape(-1, KEY_BYTES)
                stamps = np.array([each.stamp for each in facts], np.int64)
                sizes[batch], mtimes[batch] = stamps.T
                done += len(batch)
                progress(done, len(images))
        finally:
            pool.shutdown(cancel_futures=True)
    return Identified(scan, digests, sizes, mtimes)


def _identify(scan: Scan, places: _Places, images: NDArray[np.int64]) -> list[_Facts]:
    folder, names = str(scan.folder), scan.names.take(pa.array(images)).to_pylist()
    return [_look(folder, places, name) for name in names]


def _look(folder: str, places: _Places, name: str) -> _Facts:
    path = os.path.join(folder, name)
    try:
        return places.look(path)
    except OSError as error:
        gone = isinstance(error, FileNotFoundError | NotADirectoryError)
        why = "it has vanished since it was scanned" if gone else error.strerror or str(error)
        raise changed(Path(path), why) from error


class _Places:
    """The folders of a tree, each looked at once; a tree may have mounts in it. Any thread may ask,
    and two that ask at once find the same.
    """

    def __init__(self, folder: Path) -> None:
        self._places: dict[str, _Place] = {}
        self._views: dict[int, int | None] = {}
        try:
            self.is_far = is_far(_find_type(str(folder)))
        except OSError as error:
            raise changed(folder, error.strerror or str(error)) from error

    def look(self, path: str) -> _Facts:
        """The identity of a file, and what it is now. A link is what it leads to."""
        status = os.lstat(path)
        if S_ISLNK(status.st_mode):
            path = os.path.realpath(path, strict=True)
            status = os.lstat(path)
        parent, name = os.path.split(path)
        place = self._places.get(parent)
        if place is None:
            place = self._places[parent] = self._find(parent)
        stamp = Stamp(status.st_size, status.st_mtime_ns)
        image = None if place.view_ns is None else _read_image(path)
        if image is None:
            return _Facts(_digest("file", place.path, name, *stamp), stamp)
        if stamp.mtime_ns == place.view_ns:
            return _Facts(_digest("image", image, stamp.size_bytes), stamp)
        return _Facts(_digest("changed", image, *stamp), stamp)

    def _find(self, parent: str) -> _Place:
        real = os.path.realpath(parent, strict=True)
        device = os.stat(real).st_dev
        if device not in self._views:
            self._views[device] = _find_view_ns(real, device)
        return _Place(real, self._views[device])


def _find_view_ns(folder: str, device: int) -> int | None:
    """The time of the files of the view that a folder is in; None where it is in none."""
    if _find_type(folder) not in (OURS, *_LAYERS):
        return None
    for each in _climb(folder):
        if os.stat(each).st_dev != device:
            return None
        try:
            return int(json.loads(os.getxattr(each, VIEW))["mtime_ns"])
        except OSError as error:
            if error.errno not in _NO_ATTRIBUTE:
                raise
        except (ValueError, KeyError, TypeError):
            return None
    return None


def _climb(folder: str) -> Iterator[str]:
    yield folder
    yield from map(str, Path(folder).parents)


def _find_type(folder: str) -> str:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return find_type(opened)
    finally:
        os.close(opened)


def _read_image(path: str) -> str | None:
    """What a view says of an image; None of a file that was put beside its own."""
    try:
        return os.getxattr(path, _IMAGE).decode("ascii", "replace")
    except OSError as error:
        if error.errno in _NO_ATTRIBUTE:
            return None
        raise


def _digest(*facts: str | int) -> bytes:
    text = "\0".join(map(str, facts))  # no name has a zero in it
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=KEY_BYTES).digest()
