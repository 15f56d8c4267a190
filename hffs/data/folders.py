"""Folders that are complete or absent: made under another name and renamed.

Must not know what is in them. Invariants: of two processes that make the same folder one wins and
both use the winner's; what a killed maker left behind goes the next time; mode 0700.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hffs.errors import MountError

_ABANDONED_S = 24 * 3600  # a folder under a temporary name for this long has lost its maker


@contextmanager
def make_whole(folder: Path) -> Iterator[Path]:
    """A new empty folder that becomes `folder` at the end, unless another process was first.

    Raises MountError where it cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _sweep(folder)
        making = Path(tempfile.mkdtemp(prefix=_prefix(folder), dir=folder.parent))
        try:
            yield making
            with contextlib.suppress(FileExistsError):
                _rename_once(making, folder)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    except OSError as error:
        fix = "free or choose another cache_dir"
        why = error.strerror or str(error)
        raise MountError("cannot write", str(folder), why=why, fix=fix) from error


def remove_whole(folder: Path) -> None:
    """Remove a folder at once; what is mapped of it by anyone stays valid."""
    try:
        grave = Path(tempfile.mkdtemp(prefix=_prefix(folder), dir=folder.parent))
        with contextlib.suppress(FileNotFoundError):
            os.rename(folder, grave / "removed")
        shutil.rmtree(grave, ignore_errors=True)
    except OSError as error:
        raise MountError("cannot remove", str(folder), why=str(error.strerror)) from error


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
