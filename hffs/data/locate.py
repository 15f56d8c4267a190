"""Which local files a data set's name stands for: one split's shards, in row order.

Owns the rules by which a path, a glob or a folder becomes shards, and their identity. It looks at
names and `stat` only (and at the small JSON files of `save_to_disk`), because it runs at every
mount; it must not know what is inside a shard, nor import pyarrow.
Invariants: shards are never mixed across splits or layouts; every path is absolute, so that a
daemon may change its folder; the same files give the same order and identity on every host.
"""

from __future__ import annotations

import glob
import json
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Literal, NoReturn

from hffs.errors import AccessError, DataError, SourceError

Layout = Literal["parquet", "arrow"]

DEFAULT_SPLIT = "train"
"""The split of files that name none, as in `datasets`."""

IDENTITY_BYTES = 64 * 1024
"""How much of each end of a shard its identity hashes: both hold a Parquet file's metadata."""

_LAYOUTS: dict[str, Layout] = {".parquet": "parquet", ".arrow": "arrow"}
_SPLIT_WORDS = {
    "train": "train|training",
    "validation": "validation|valid|dev|val",
    "test": "test|testing|eval|evaluation",
}
_SPLIT_PATTERNS = {
    split: re.compile(rf"(?:^|[-._ 0-9])(?:{words})(?:[-._ 0-9]|$)", re.IGNORECASE)
    for split, words in _SPLIT_WORDS.items()
}
# What push_to_hub writes; the only place where a split may have any name (datasets.data_files).
_HUB_SHARD = re.compile(r"data/(\w+(?:\.\w+)*)-\d{5}-of-\d{5}[^/]*")
_SPLIT_NAME = re.compile(r"\w+(?:\.\w+)*")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# Results of `Dataset.map` that datasets leaves beside the rows they were made from.
_MAP_CACHE = re.compile(r"cache-[0-9a-f]{16}(?:_\d{5}_of_\d{5})?\.arrow")


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of rows, as it was when it was found (`mtime_ns`, `size_bytes` pin it).

    `name` is its path below the source's root, with `/`.
    """

    path: Path
    name: str
    size_bytes: int
    mtime_ns: int
    layout: Layout


@dataclass(frozen=True, slots=True)
class Located:
    """The shards of one split in row order; none has been opened.

    `name` is what the user called the data set, for messages; cell paths are relative to `root`.
    """

    name: str
    root: Path
    shards: tuple[Shard, ...]


def locate(dataset_name: str, split: str = DEFAULT_SPLIT) -> Located:
    """Find the shards of one split of a local data set.

    Raises SourceError (nothing there, unknown split), AccessError, DataError (layouts mixed).
    """
    if _URL.match(dataset_name):
        _fail(dataset_name, "data sets at a URL are not built yet", "give a local path")
    text = os.path.expanduser(dataset_name)
    if not text or "\0" in text:
        _fail(repr(dataset_name), "this is no path", "give a file, a folder or a glob")
    path = Path(os.path.abspath(text))
    if glob.has_magic(text) and not os.path.lexists(text):
        return _locate_glob(dataset_name, path, split)
    if stat.S_ISDIR(_stat(dataset_name, path).st_mode):
        return _locate_folder(dataset_name, path, split)
    return _locate_file(dataset_name, path, split)


def source_identity(shards: Sequence[Shard]) -> str:
    """Hash of every shard's name, size, mtime and both ends; where the data set lies is no part."""
    digest = blake2b(digest_size=16)
    for shard in shards:
        facts = json.dumps([shard.name, shard.size_bytes, shard.mtime_ns, shard.layout])
        digest.update(facts.encode())
        try:
            with shard.path.open("rb") as file:
                digest.update(file.read(IDENTITY_BYTES))
                file.seek(max(shard.size_bytes - IDENTITY_BYTES, 0))
                digest.update(file.read(IDENTITY_BYTES))
        except OSError as error:
            raise _os_error(str(shard.path), error) from error
    return digest.hexdigest()


def _locate_file(name: str, path: Path, split: str) -> Located:
    if path.suffix.lower() not in _LAYOUTS:
        _fail(name, "its name ends in neither .parquet nor .arrow", "other files are not built yet")
    return _located(name, path.parent, [path], _explicit(name, [path.name], split))


def _locate_glob(name: str, pattern: Path, split: str) -> Located:
    root = pattern
    while glob.has_magic(str(root)):
        root = root.parent
    found = [Path(match) for match in glob.iglob(str(pattern), recursive=True)]
    paths = [path for path in found if path.suffix.lower() in _LAYOUTS and not path.is_dir()]
    if not paths:
        _fail(name, f"no Parquet or Arrow file matches ({_census(found)})", "check the pattern")
    names = [path.relative_to(root).as_posix() for path in paths]
    return _located(name, root, paths, _explicit(name, names, split))


def _locate_folder(name: str, root: Path, split: str) -> Located:
    if (root / "dataset_dict.json").is_file():
        listed = _read_json(root / "dataset_dict.json").get("splits")
        splits = [s for s in _texts(listed) if _SPLIT_NAME.fullmatch(s)]
        if split not in splits:
            _unknown_split(name, split, splits)
        return _saved(name, root, root / split)
    if (root / "state.json").is_file():
        return _saved(name, root, root)
    found = list(_walk(name, root))
    paths = [path for path in found if path.suffix.lower() in _LAYOUTS]
    if not paths:
        _fail(name, f"no Parquet or Arrow file in this folder ({_census(found)})")
    splits = [split_of(path.relative_to(root).as_posix()) for path in paths]
    if split not in splits:
        _unknown_split(name, split, splits)
    chosen = [path for path, own in zip(paths, splits, strict=True) if own == split]
    return _located(name, root, chosen, None)


def _saved(name: str, root: Path, folder: Path) -> Located:
    """Shards of one `Dataset.save_to_disk` folder, in the order that its state gives."""
    state = folder / "state.json"
    entries = _read_json(state).get("_data_files")
    listed = entries if isinstance(entries, list) else []
    names = _texts([entry.get("filename") for entry in listed if isinstance(entry, dict)])
    if not names or any(Path(file).name != file for file in names):
        raise DataError("cannot use", str(state), why="it lists no data files of its own folder")
    return Located(name, root, tuple(_shard(root, folder / file) for file in names))


def _located(name: str, root: Path, paths: Iterable[Path], split: str | None) -> Located:
    shards = [_shard(root, path) for path in paths]
    if split is not None:
        shards = [shard for shard in shards if split_of(shard.name) == split]
    shards.sort(key=lambda shard: _natural(shard.name))
    by_layout = {shard.layout: shard.name for shard in shards}
    if len(by_layout) > 1:
        why = f"Parquet and Arrow files are mixed ({by_layout['parquet']}, {by_layout['arrow']})"
        raise DataError("cannot use", name, why=why, fix="name one kind by a glob")
    return Located(name, root, tuple(shards))


def _shard(root: Path, path: Path) -> Shard:
    found = _stat(str(path), path)
    if not stat.S_ISREG(found.st_mode):
        _fail(str(path), "it is not a regular file")
    if not found.st_size:
        raise DataError("cannot use", str(path), why="the file is empty")
    name = path.relative_to(root).as_posix()
    layout = _LAYOUTS[path.suffix.lower()]
    return Shard(path, name, found.st_size, found.st_mtime_ns, layout)


def split_of(name: str) -> str:
    """Split that a shard's path below the root names, by the rules of `datasets`.

    >>> split_of("data/it-00000-of-00002.parquet"), split_of("val/0.parquet"), split_of("a.arrow")
    ('it', 'validation', 'train')
    """
    if hub := _HUB_SHARD.fullmatch(name):
        return hub[1]
    for part in name.split("/"):
        for split, pattern in _SPLIT_PATTERNS.items():
            if pattern.search(part):
                return split
    return DEFAULT_SPLIT


def _explicit(name: str, names: list[str], split: str) -> str | None:
    """Split to choose among files that the user named one by one; None takes them all.

    Files of a single split need no `split` beside their name: `test.parquet` is what was asked for.
    """
    splits = [split_of(file) for file in names]
    if split in splits:
        return split
    if split != DEFAULT_SPLIT or len(set(splits)) > 1:
        _unknown_split(name, split, splits)
    return None


def _walk(name: str, root: Path) -> Iterator[Path]:
    """Every file below `root` that is not hidden; linked folders are entered, each once."""

    def refuse(error: OSError) -> NoReturn:
        raise _os_error(name, error) from error

    seen = set()
    for folder, folders, files in os.walk(root, onerror=refuse, followlinks=True):
        folders[:] = [f for f in folders if not f.startswith(".")]
        identity = os.stat(folder)
        if (key := (identity.st_dev, identity.st_ino)) in seen:
            folders.clear()
            continue
        seen.add(key)
        for file in files:
            if not file.startswith(".") and not _MAP_CACHE.fullmatch(file):
                yield Path(folder, file)


def _natural(name: str) -> tuple[tuple[tuple[int, str], ...], str]:
    """Sort key in which `part-2` comes before `part-10`; equal only for equal names."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return tuple((int(p), "") if p[0] in "0123456789" else (-1, p) for p in parts), name


def _census(paths: Sequence[Path]) -> str:
    """What is there instead: `12 .jpg files, 1 .csv file`."""
    if not paths:
        return "nothing found"
    kinds = Counter(path.suffix.lower() or "no-suffix" for path in paths)
    most = sorted(kinds, key=lambda kind: (-kinds[kind], kind))[:3]
    return "found " + ", ".join(
        f"{kinds[kind]} {kind} file{'s' * (kinds[kind] > 1)}" for kind in most
    )


def _stat(name: str, path: Path) -> os.stat_result:
    try:
        return path.stat()
    except FileNotFoundError as error:
        if _HUB_ID.fullmatch(name):
            why = "no such file or folder, and Hub data sets are not built yet"
            raise SourceError("cannot open", name, why=why, fix="give a local path") from error
        raise _os_error(name, error) from error
    except OSError as error:
        raise _os_error(name, error) from error


def _read_json(path: Path) -> dict[str, object]:
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise _os_error(str(path), error) from error
    except (ValueError, RecursionError) as error:
        raise DataError("cannot read", str(path), why=f"not JSON ({error})") from error
    if not isinstance(value, dict):
        raise DataError("cannot read", str(path), why="not a JSON object")
    return value


def _texts(value: object) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _os_error(which: str, error: OSError) -> SourceError:
    why = (error.strerror or str(error)).lower()
    if isinstance(error, FileNotFoundError):
        return SourceError("cannot open", which, why="no such file or folder", fix="check the path")
    kind = AccessError if isinstance(error, PermissionError) else SourceError
    return kind("cannot open", which, why=why)


def _unknown_split(name: str, split: str, present: Iterable[str]) -> NoReturn:
    why = f'no split "{split}"; present: {", ".join(sorted(set(present))) or "none"}'
    raise SourceError("cannot open", name, why=why)


def _fail(which: str, why: str, fix: str = "") -> NoReturn:
    raise SourceError("cannot open", which, why=why, fix=fix)
