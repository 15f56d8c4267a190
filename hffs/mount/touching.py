"""Filling the caches behind a mount, through it: each image is opened once, which takes it there.

Owns finding the images and their order. What is told of them is `hffs.view.warming`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from hffs.core.formats import EXTENSIONS, Media, find_media
from hffs.data.watcher import Watcher
from hffs.view.warming import Warmed, wait_for_all

_READ_BYTES = 1 << 20

_THREADS = 64
"""Opening waits, and does no more."""


def touch_mount(mountpoint: str, watcher: Watcher, first: int | None) -> Warmed:
    """Open the images of a mount, or the first of them, in the order of their names."""
    paths = list(islice(_list_images(mountpoint), first))
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="hffs-warm") as pool:
        opened = (pool.submit(_open, path) for path in paths)
        warmed = wait_for_all(opened, len(paths), int, watcher)
    warmed.media = next(filter(None, map(_find_media, paths)), "image")
    return warmed


def _list_images(folder: str) -> Iterator[str]:
    """Images below a folder; their numbers count, as a listing of the mount has them."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _list_images(entry.path)
            elif os.path.splitext(entry.name)[1][1:] in EXTENSIONS:
                yield entry.path


def _open(path: str) -> int:
    """Have the mount get a file; its size in bytes. Of a video or sound, which it gets as it is
    read, that takes reading it.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if _find_media(path) in ("video", "audio"):
            while os.read(descriptor, _READ_BYTES):
                pass
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def _find_media(path: str) -> Media | None:
    return find_media(os.path.splitext(path)[1][1:])
