"""Named numpy arrays and a few plain values, kept as one folder: mapped on load, never half there.

Owns the folder's form (`NAME.npy` each, `meta.json`) and the check on load. Must not know what the
arrays mean; the caller puts what makes a folder valid into its name.

Invariants: a folder is complete or absent (`hffs.data.folders`); nothing is unpickled; a folder is
loaded only if every byte in it is what was written, by checksums. That keeps nothing in memory:
what is used of it is the pages touched later.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from hffs.data.folders import is_sealed, make_whole, remove_whole, seal
from hffs.errors import FormatError, MountError

log = logging.getLogger(__name__)

_META = "meta.json"
_VERSION = 2
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """What a folder holds; loaded arrays are read-only maps."""

    arrays: Mapping[str, NDArray[Any]]
    meta: Mapping[str, Any]


def load_arrays(folder: Path) -> Stored | None:
    """Map a folder's arrays; None if there is no such folder, FormatError if it is damaged."""
    try:
        meta = json.loads((folder / _META).read_bytes())
        if meta["version"] != _VERSION:
            raise FormatError("cannot use", str(folder), why=f"its version is {meta['version']!r}")
        if not is_sealed(meta):
            raise ValueError(f"{_META} is not what was written")
        forms = dict(meta["arrays"])
        arrays = {name: _load(array_path(folder, name), *form) for name, form in forms.items()}
        return Stored(arrays, dict(meta["meta"]))
    except FileNotFoundError as error:
        if not os.path.lexists(folder):
            return None
        raise FormatError("cannot use", str(folder), why=f"{error.filename} is missing") from error
    except (
        OSError, ValueError, TypeError, KeyError, EOFError, OverflowError, RecursionError,
    ) as error:  # fmt: skip
        # everything json, numpy's header parser and mmap say about damaged files
        why = str(error) or type(error).__name__
        raise FormatError("cannot use", str(folder), why=why) from error


def array_path(folder: Path, name: str) -> Path:
    """The file of an array, which ends with the bytes of that."""
    return folder / f"{name}.npy"


def load_kept(folder: Path) -> Stored | None:
    """`load_arrays`, but a damaged folder is removed with a WARNING and None: make it again."""
    try:
        return load_arrays(folder)
    except FormatError as error:
        log.warning("%s; it is made again", error)
        remove_whole(folder)
        return None


def let_go(*arrays: NDArray[Any]) -> None:
    """Have the pages of mapped arrays no longer count as this process's, after it went through all
    of them: the kernel has them still, and drops them where it needs the memory.
    """
    for array in arrays:
        owner: Any = array
        while isinstance(owner, np.ndarray):
            owner = owner.base
        if isinstance(owner, mmap.mmap):
            owner.madvise(mmap.MADV_DONTNEED)


def save_arrays(folder: Path, stored: Stored) -> Stored:
    """Create a folder and load it; if another process was first, load what it made.

    Raises MountError where the folder cannot be written.
    """
    with make_whole(folder) as making:
        _write(making, stored)
    loaded = load_arrays(folder)
    if loaded is None:
        raise MountError("cannot write", str(folder), why="another process removed it", fix="retry")
    return loaded


def _load(path: Path, dtype: str, shape: list[int], checksum: int) -> NDArray[Any]:
    with path.open("rb", buffering=0) as file:
        if _sum(file) != checksum:
            raise ValueError(f"{path.name} is not what was written")
    # an empty array cannot be mapped
    mode: Any = "r" if 0 not in shape else None
    array: NDArray[Any] = np.asarray(np.load(path, mmap_mode=mode, allow_pickle=False))
    if array.dtype.str != dtype or list(array.shape) != shape:
        raise ValueError(f"{path.name} is not what {_META} says")
    return array


def _write(folder: Path, stored: Stored) -> None:
    forms = {}
    for name, array in stored.arrays.items():
        with array_path(folder, name).open("x+b") as file:
            np.save(file, array, allow_pickle=False)
            _sync(file.fileno(), file.flush)
            file.seek(0)
            forms[name] = [array.dtype.str, list(array.shape), _sum(file)]
    meta = {"version": _VERSION, "arrays": forms, "meta": dict(stored.meta)}
    with (folder / _META).open("x") as text:
        json.dump(seal(meta), text)
        _sync(text.fileno(), text.flush)


def _sum(file: IO[bytes]) -> int:
    """CRC-32 of a file from where it is. It is not mapped: all of it would count as used."""
    checksum = 0
    while piece := file.read(_PIECE_BYTES):
        checksum = zlib.crc32(piece, checksum)
    return checksum


def _sync(descriptor: int, flush: Callable[[], None]) -> None:
    """After a power cut the rename must not have survived what it names."""
    flush()
    os.fsync(descriptor)
