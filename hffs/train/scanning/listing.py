"""The image files below a folder, by their names, in natural order.

Owns which names count and the order. Must not open files. Invariants: names and folders with a
leading dot are left out; a folder is listed once, however many links lead to it, so that a circle
of links ends; the order depends on names alone; of a million names no Python object stays.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from hffs.core.formats import list_extensions

_CHUNK_NAMES = 1 << 16
_DIGITS = re.compile(rb"([0-9]+)")
_LENGTHS = [bytes([1 + min(length, 254)]) for length in range(4096)]
"""Before the digits of a number, so that longer ones come later; never 0."""
_DOT = ord(b".")


@dataclass(slots=True)
class Listing:
    """Names of images (large_string, relative, in natural order), how many others, what failed."""

    names: pa.LargeStringArray
    others: int
    problems: dict[str, str]


@dataclass(slots=True)
class _Walk:
    """What has been seen so far."""

    extensions: frozenset[bytes]
    others: int = 0
    problems: dict[str, str] = field(default_factory=dict)
    seen: set[tuple[int, int]] = field(default_factory=set)


def list_images(folder: Path) -> Listing:
    """All images below a folder that can be listed; OSError where it cannot itself.

    A folder below that cannot be listed is a problem by its name, as is a name that is not UTF-8.
    """
    extensions = frozenset(extension.encode() for extension in list_extensions("image"))
    walk = _Walk(extensions)
    names, keys = list[pa.Array](), list[pa.Array]()
    for chunk in _walk(os.fsencode(folder), walk):
        sound = _keep_text(chunk, walk.problems)
        if not sound:
            continue
        names.append(pa.array(sound, pa.large_binary()).cast(pa.large_string()))
        keys.append(pa.array(natural_keys(sound), pa.large_binary()))
    if not names:
        return Listing(pa.array([], pa.large_string()), walk.others, walk.problems)
    order = pc.sort_indices(pa.chunked_array(keys))
    del keys
    return Listing(pa.concat_arrays(names).take(order), walk.others, walk.problems)


def natural_keys(names: list[bytes]) -> list[bytes]:
    """What sorts as bytes like each name does naturally: numbers by value, all else as text.

    >>> names = [b"10.jpg", b"9.jpg", b"a2.jpg", b"a10.jpg", b"09.jpg"]
    >>> [name for _, name in sorted(zip(natural_keys(names), names))]
    [b'09.jpg', b'9.jpg', b'10.jpg', b'a2.jpg', b'a10.jpg']
    """
    # all at once: a call for each name takes twice as long
    parts = _DIGITS.split(b"\0".join(names))
    parts[1::2] = [
        b"0" + _LENGTHS[len(digits)] + digits
        for digits in [number.lstrip(b"0") for number in parts[1::2]]
    ]
    keys = b"".join(parts).split(b"\0")
    return [key + b"\0" + name for key, name in zip(keys, names, strict=True)]


def _walk(root: bytes, walk: _Walk) -> Iterator[list[bytes]]:
    left = [b""]
    while left:
        below = left.pop()
        path = os.path.join(root, below)
        folders = list[bytes]()
        try:
            status = os.stat(path)
            if (status.st_dev, status.st_ino) in walk.seen:
                continue
            walk.seen.add((status.st_dev, status.st_ino))
            yield from _list_folder(path, below, folders, walk)
        except OSError as error:
            if not below:
                raise
            walk.problems[below.decode("utf-8", "backslashreplace")] = error.strerror or str(error)
        left += sorted(folders, reverse=True)


def _list_folder(
    path: bytes, below: bytes, folders: list[bytes], walk: _Walk
) -> Iterator[list[bytes]]:
    """Images of one folder, some at a time; its folders are added to a list."""
    extensions = walk.extensions
    with os.scandir(path) as entries:
        while part := list(islice(entries, _CHUNK_NAMES)):
            names = []
            for entry in part:
                name = entry.name
                if name[0] == _DOT:
                    continue
                if _is_folder(entry):
                    folders.append(below + name + b"/")
                elif (dot := name.rfind(b".")) > 0 and name[dot + 1 :].lower() in extensions:
                    names.append(below + name)
                else:
                    walk.others += 1
            yield names


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    """Whether it is one; a link that leads nowhere or round is a file that cannot be read."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _keep_text(names: list[bytes], problems: dict[str, str]) -> list[bytes]:
    """Those that are UTF-8."""
    try:
        b"\0".join(names).decode()
    except UnicodeDecodeError:
        sound = [name for name in names if _is_text(name)]
        for name in set(names) - set(sound):
            problems[name.decode("utf-8", "backslashreplace")] = "its name is not UTF-8"
        return sound
    return names


def _is_text(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True
