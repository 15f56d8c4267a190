"""Which local Parquet or Arrow files a name stands for: the shards of a split, in row order.

Owns the rules by which a path, a glob or a folder becomes shards. It looks at names and `stat` only
(and at the small JSON files of `save_to_disk`), because it runs at every mount; it must not know
what is inside a shard, nor import pyarrow. What `datasets` has to look at is not decided here.
Invariants: shards are never mixed across splits or layouts; every path is absolute, so that a
daemon may change its folder; the same files give the same order on every host.
"""

from __future__ import annotations

import glob
import json
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from hffs.core.formats import NOUNS, list_extensions
from hffs.data.shards import (
    Layout,
    Located,
    Shard,
    os_error,
    parse_terms,
    source_identity,
    unknown_split,
)
from hffs.data.splits import SPLIT_NAME, TRAIN, group_by_split, split_of
from hffs.errors import DataError, SourceError

__all__ = ["Layout", "Located", "Shard", "locate", "locate_plain", "source_identity"]

MEDIA_EXTENSIONS = frozenset(f".{name}" for media in NOUNS for name in list_extensions(media))
"""How names of images, videos and sounds end, in lower case; which format a file has is told by its
bytes alone.
"""

_LAYOUTS: dict[str, Layout] = {".parquet": "parquet", ".arrow": "arrow"}
_HUB_ID = re.compile(r"[\w][\w.-]*(?:/[\w][\w.-]*)*", re.ASCII)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_FOLDER_METADATA = "metadata.parquet"  # of an imagefolder: what it says of images, not a shard
_README_CHARACTERS = 1 << 20
_TELLING = re.compile(r"\b(?:configs|dataset_info)\b")  # of files, and of features
# Results of `Dataset.map` that datasets leaves beside the rows they were made from.
_MAP_CACHE = re.compile(r"cache-[0-9a-f]{16}(?:_\d{5}_of_\d{5})?\.arrow")


def locate(dataset_name: str, split: str = TRAIN) -> Located:
    """Find the shards of a local data set of Parquet or Arrow files.

    Raises SourceError (nothing there, unknown split), AccessError, DataError (layouts mixed).
    """
    located = locate_plain(dataset_name, split)
    if located is None:
        found = list_files(dataset_name)
        _fail(dataset_name, f"no Parquet or Arrow file here ({describe_files(found)})")
    return located


def locate_plain(dataset_name: str, split: str = TRAIN) -> Located | None:
    """As `locate`; None where there are files, but others than Parquet and Arrow.

    None also for a folder whose README.md tells splits or features, or with a split of a name that
    `datasets` refuses.
    """
    path = _absolute(dataset_name)
    terms = parse_terms(split)
    parts = [_locate_split(dataset_name, path, term.split) for term in terms]
    found = [part for part in parts if part is not None]
    if len(found) < len(parts):
        return None
    shards = tuple(shard for part in found for shard in part.shards)
    counts = tuple((term, len(part.shards)) for term, part in zip(terms, found, strict=True))
    _require_one_layout(dataset_name, shards)
    return Located(dataset_name, found[0].root, shards, terms=counts)


def list_files(dataset_name: str) -> list[str]:
    """Absolute path of every file that a local name stands for; hidden ones are none."""
    path = _absolute(dataset_name)
    if is_glob(dataset_name):
        return list(glob.iglob(str(path), recursive=True))
    return list(_walk(dataset_name, path)) if path.is_dir() else [str(path)]


def find_base(dataset_name: str) -> Path:
    """The folder that a local name stands for files of: itself, or the one that they are in."""
    path = _absolute(dataset_name)
    if is_glob(dataset_name):
        return _find_root(path)
    return path if path.is_dir() else path.parent


def _absolute(dataset_name: str) -> Path:
    if _URL.match(dataset_name):
        fix = "give a path, owner/name on the Hub, or an address of s3, gs, az or https"
        _fail(dataset_name, "nothing here reads such an address", fix)
    text = os.path.expanduser(dataset_name)
    if not text or "\0" in text:
        _fail(repr(dataset_name), "this is no path", "give a file, a folder or a glob")
    return Path(os.path.abspath(text))


def is_glob(dataset_name: str) -> bool:
    """Whether a local name is a pattern, and no file of that name is there."""
    text = os.path.expanduser(dataset_name)
    return glob.has_magic(text) and not os.path.lexists(text)


def _locate_split(dataset_name: str, path: Path, split: str) -> Located | None:
    if is_glob(dataset_name):
        return _locate_glob(dataset_name, path, split)
    if stat.S_ISDIR(_stat(dataset_name, path).st_mode):
        return _locate_folder(dataset_name, path, split)
    return _locate_file(dataset_name, path, split)


def _locate_file(name: str, path: Path, split: str) -> Located | None:
    if path.suffix.lower() not in _LAYOUTS:
        return None
    return _located(name, path.parent, [path], choose_split(name, [path.name], split))


def _find_root(pattern: Path) -> Path:
    root = pattern
    while glob.has_magic(str(root)):
        root = root.parent
    return root


def _locate_glob(name: str, pattern: Path, split: str) -> Located | None:
    root = _find_root(pattern)
    found = [Path(match) for match in glob.iglob(str(pattern), recursive=True)]
    paths = [path for path in found if path.suffix.lower() in _LAYOUTS and not path.is_dir()]
    if not found:
        _fail(name, "no file matches this pattern", "check it")
    if not paths:
        return None
    names = [path.relative_to(root).as_posix() for path in paths]
    return _located(name, root, paths, choose_split(name, names, split))


def _locate_folder(name: str, root: Path, split: str) -> Located | None:
    if (root / "dataset_dict.json").is_file():
        listed = _read_json(root / "dataset_dict.json").get("splits")
        splits = [s for s in _texts(listed) if SPLIT_NAME.fullmatch(s)]
        if split not in splits:
            raise unknown_split(name, split, splits)
        return _saved(name, root, root / split)
    if (root / "state.json").is_file():
        return _saved(name, root, root)
    found = _walk(name, root)
    paths = [Path(path) for path in found if os.path.splitext(path)[1].lower() in _LAYOUTS]
    if all(path.name == _FOLDER_METADATA for path in paths) or _is_described(root):
        return None
    groups = group_by_split([path.relative_to(root).as_posix() for path in paths])
    if groups is None:
        return None
    if split not in groups:
        raise unknown_split(name, split, groups)
    return Located(name, root, tuple(_shard(root, root / file) for file in groups[split]))


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
    shards.sort(key=lambda shard: shard.name)
    return Located(name, root, tuple(shards))


def _require_one_layout(name: str, shards: Sequence[Shard]) -> None:
    by_layout = {shard.layout: shard.name for shard in shards}
    if len(by_layout) > 1:
        why = f"Parquet and Arrow files are mixed ({by_layout['parquet']}, {by_layout['arrow']})"
        raise DataError("cannot use", name, why=why, fix="name one kind by a glob")


def _is_described(root: Path) -> bool:
    """Whether a README.md begins with YAML that may tell files or features of the data set."""
    try:
        with (root / "README.md").open(encoding="utf-8", errors="replace") as file:
            head = file.read(_README_CHARACTERS).lstrip()
    except OSError:
        return False
    parts = head.split("\n---", 1)
    return parts[0].startswith("---") and _TELLING.search(parts[0]) is not None


def _shard(root: Path, path: Path) -> Shard:
    found = _stat(str(path), path)
    if not stat.S_ISREG(found.st_mode):
        _fail(str(path), "it is not a regular file")
    if not found.st_size:
        raise DataError("cannot use", str(path), why="the file is empty")
    name = path.relative_to(root).as_posix()
    layout = _LAYOUTS[path.suffix.lower()]
    return Shard(path, name, found.st_size, found.st_mtime_ns, layout)


def choose_split(name: str, names: list[str], split: str) -> str | None:
    """Split to choose among files that the user named one by one; None takes them all.

    Files of a single split need no `split` beside their name: `test.parquet` is what was asked for.
    """
    splits = [split_of(file) for file in names]
    if split in splits:
        return split
    if split != TRAIN or len(set(splits)) > 1:
        raise unknown_split(name, split, splits)
    return None


def _walk(name: str, root: Path) -> Iterator[str]:
    """Path of every file below `root` that is not hidden; linked folders are entered, each once.

    As for `datasets`, a folder whose name begins with `__` is none of the data set.
    """

    def refuse(error: OSError) -> NoReturn:
        raise os_error(name, error) from error

    seen = set()
    for folder, folders, files in os.walk(root, onerror=refuse, followlinks=True):
        folders[:] = [f for f in folders if not f.startswith((".", "__"))]
        identity = os.stat(folder)
        if (key := (identity.st_dev, identity.st_ino)) in seen:
            folders.clear()
            continue
        seen.add(key)
        for file in files:
            if not file.startswith(".") and not _MAP_CACHE.fullmatch(file):
                yield os.path.join(folder, file)  # a Path would take five times as long


def describe_files(paths: Sequence[str]) -> str:
    """What is there: `12 .jpg files, 1 .csv file`."""
    if not paths:
        return "nothing found"
    kinds = Counter(os.path.splitext(path)[1].lower() or "no-suffix" for path in paths)
    most = sorted(kinds, key=lambda kind: (-kinds[kind], kind))[:3]
    return "found " + ", ".join(
        f"{kinds[kind]} {kind} file{'s' * (kinds[kind] > 1)}" for kind in most
    )


def _stat(name: str, path: Path) -> os.stat_result:
    try:
        return path.stat()
    except FileNotFoundError as error:
        if _HUB_ID.fullmatch(name):
            why = "no such file or folder"
            fix = "check the path; a data set on the Hub is owner/name"
            raise SourceError("cannot open", name, why=why, fix=fix) from error
        raise os_error(name, error) from error
    except OSError as error:
        raise os_error(name, error) from error


def _read_json(path: Path) -> dict[str, object]:
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise os_error(str(path), error) from error
    except (ValueError, RecursionError) as error:
        raise DataError("cannot read", str(path), why=f"not JSON ({error})") from error
    if not isinstance(value, dict):
        raise DataError("cannot read", str(path), why="not a JSON object")
    return value


def _texts(value: object) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _fail(which: str, why: str, fix: str = "") -> NoReturn:
    raise SourceError("cannot open", which, why=why, fix=fix)
