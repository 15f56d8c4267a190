"""Named numpy arrays and a few plain values, kept as one folder: mapped on load, never half there.

Owns the folder's form (`NAME.npy` each, `meta.json`; mode 0700), its creation and the check on
load. Must not know what the arrays mean; the caller puts what makes a folder valid into its name.

Invariants: a folder is complete or absent (it is made under another name and renamed); of two
processes that make the same folder one wins and both use the winner's; nothing is unpickled;
opening touches headers only, so the memory used is that of the pages touched later.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hffs.errors import FormatError, MountError

log = logging.getLogger(__name__)

_META = "meta.json"
_VERSION = 1
_ABANDONED_S = 24 * 3600  # a folder under a temporary name for this long has lost its maker


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
        forms = dict(meta["arrays"])
        arrays = {name: _load(folder / f"{name}.npy", *form) for name, form in forms.items()}
        return Stored(arrays, dict(meta["meta"]))
    except FileNotFoundError as error:
        if not os.path.lexists(folder):
            return None
        raise FormatError("cannot use", str(folder), why=f"{error.filename} is missing") from error
    except (OSError, ValueError, TypeError, KeyError, EOFError, OverflowError) as error:
        # everything json, numpy's header parser and mmap say about damaged files
        why = str(error) or type(error).__name__
        raise FormatError("cannot use", str(folder), why=why) from error


def load_kept(folder: Path) -> Stored | None:
    """`load_arrays`, but a damaged folder is removed with a WARNING and None: make it again."""
    try:
        return load_arrays(folder)
    except FormatError as error:
        log.warning("%s; it is made again", error)
        remove_arrays(folder)
        return None


def save_arrays(folder: Path, stored: Stored) -> Stored:
    """Create a folder and load it; if another process was first, load what it made.

    Raises MountError where the folder cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _sweep(folder)
        making = Path(tempfile.mkdtemp(prefix=_prefix(folder), dir=folder.parent))
        try:
            _write(making, stored)
            with contextlib.suppress(FileExistsError):
                _rename_once(making, folder)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    except OSError as error:
        fix = "free or choose another cache_dir"
        raise MountError("cannot write", str(folder), why=str(error.strerror), fix=fix) from error
    loaded = load_arrays(folder)
    if loaded is None:
        raise MountError("cannot write", str(folder), why="another process removed it", fix="retry")
    return loaded


def remove_arrays(folder: Path) -> None:
    """Remove a folder at once; what is mapped of it by anyone stays valid."""
    try:
        grave = Path(tempfile.mkdtemp(prefix=_prefix(folder), dir=folder.parent))
        with contextlib.suppress(FileNotFoundError):
            os.rename(folder, grave / "removed")
        shutil.rmtree(grave, ignore_errors=True)
    except OSError as error:
        raise MountError("cannot remove", str(folder), why=str(error.strerror)) from error


def _load(path: Path, dtype: str, shape: list[int]) -> NDArray[Any]:
    # an empty array cannot be mapped
    mode: Any = "r" if 0 not in shape else None
    array: NDArray[Any] = np.asarray(np.load(path, mmap_mode=mode, allow_pickle=False))
    if array.dtype.str != dtype or list(array.shape) != shape:
        raise ValueError(f"{path.name} is not what {_META} says")
    return array


def _write(folder: Path, stored: Stored) -> None:
    for name, array in stored.arrays.items():
        with (folder / f"{name}.npy").open("xb") as file:
            np.save(file, array, allow_pickle=False)
            _sync(file.fileno(), file.flush)
    forms = {name: [a.dtype.str, list(a.shape)] for name, a in stored.arrays.items()}
    meta = {"version": _VERSION, "arrays": forms, "meta": dict(stored.meta)}
    with (folder / _META).open("x") as file:
        json.dump(meta, file)
        _sync(file.fileno(), file.flush)


def _sync(descriptor: int, flush: Callable[[], None]) -> None:
    """After a power cut the rename must not have survived what it names."""
    flush()
    os.fsync(descriptor)


def _rename_once(source: Path, target: Path) -> None:
    """Rename a folder; FileExistsError if the target is there (rename(2) may say ENOTEMPTY)."""
    try:
        os.rename(source, target)
    except OSError as error:
        if target.is_dir():
            raise FileExistsError(str(target)) from error
        raise


def _prefix(folder: Path) -> str:
    return f".{folder.name}."


def _sweep(folder: Path) -> None:
    """Remove what killed makers of this folder left behind."""
    now = time.time()
    for path in folder.parent.glob(f"{_prefix(folder)}*"):
        with contextlib.suppress(FileNotFoundError):
            if now - path.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(path, ignore_errors=True)
