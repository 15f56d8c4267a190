"""Recording views and opening them, in this process: what tests of the portable view share."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hffs.cli.sources import choose_configs
from hffs.config import Config, build_config
from hffs.data.mapped import open_mapped
from hffs.data.viewfile.file import ViewFile, write_view_file
from hffs.data.viewfile.header import Header, make_seal, read_header
from hffs.errors import FormatError
from hffs.view.opening import open_view
from hffs.view.portable.recording import Summary, record_view
from hffs.view.tree import Tree
from tests.view.conftest import Quiet
from tests.view.test_model import listing, read

Files = dict[str, tuple[Any, ...]]


def environ(cache: Path) -> dict[str, str]:
    return os.environ | {"XDG_CACHE_HOME": str(cache)}


def build(source: Path | str, cache: Path, keys: Mapping[str, Any]) -> Config:
    entry: dict[str, Any] = {"dataset_name": str(source)}
    for name, value in keys.items():
        block, _, leaf = name.rpartition(".")
        (entry.setdefault(block, {}) if block else entry)[leaf] = value
    path = cache / "entry.json"
    cache.mkdir(exist_ok=True)
    path.write_text(json.dumps(entry))
    return build_config(str(path), {}, None, environ(cache))


def record(
    source: Path | str, view: Path, cache: Path, keys: Mapping[str, Any] = {}, *, reads: bool = True
) -> Summary:
    with view.open("wb") as file:
        return record_view(build(source, cache, keys), file, Quiet(), 1, reads=reads)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a view file consists of, to make others that are like it."""

    header: Header
    batches: list[pa.RecordBatch]
    arrays: dict[str, NDArray[Any]]

    @classmethod
    def of(cls, path: Path) -> Parts:
        found = read_header(path)
        assert found is not None
        header, batches = found[0], pq.read_table(path).combine_chunks().to_batches()
        with open_mapped(path) as file:
            view = ViewFile(path, file.view, header, path.parent)
            arrays = {
                name: np.array(view.array(name, np.dtype(packed.dtype).type))
                for name, packed in header.arrays.items()
            }
        return cls(header, batches, arrays)

    def write(
        self,
        path: Path,
        arrays: dict[str, NDArray[Any]],
        change: Callable[[dict[str, Any]], None] = lambda values: None,
    ) -> Path:
        """A file with other arrays, and with a header that was changed; both sealed."""

        def make_header(packed: dict[str, Any]) -> Header:
            values = self.header.model_dump(mode="json")
            values["arrays"] = {name: one.model_dump(mode="json") for name, one in packed.items()}
            change(values)
            return _Anything(values)  # type: ignore[return-value] # it need not be one

        with path.open("wb") as file:
            write_view_file(file, self.batches, arrays, make_header)
        return path


class _Anything:
    """A header of any form."""

    def __init__(self, values: object) -> None:
        self._text = json.dumps(values).encode()

    def seal(self) -> tuple[bytes, str]:
        return self._text, make_seal(self._text)


@contextmanager
def opened(view: Path, cache: Path, **flags: object) -> Iterator[Tree]:
    (config,) = choose_configs(str(view), flags, None, environ(cache)).configs
    with open_view(config, Quiet(), 1) as tree:
        yield tree


def facts_of(tree: Tree) -> Files:
    """Of every file its inode, size, bytes (None where they cannot be had), row and time."""
    found: Files = {}
    for name, inode in listing(tree).items():
        try:
            data = read(tree, inode)
        except FormatError:
            data = None
        size = tree.size_bytes(inode)
        rows = tree.xattrs(inode).get("user.hffs.row")
        found[name] = (inode, data, size, rows, tree.mtime_ns)
    return found | {"": (tree.manifest.info.fingerprint,)}
