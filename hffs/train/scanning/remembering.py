"""What is remembered of folders: rows of a scan, or of what else is found out of images, on disk.

Owns the files. Must not know how rows are found. Invariants: a file is whole or not there (written
under another name and renamed), its digest tells of any damage, and what is damaged or foreign
counts as not there; a cache that cannot be written is told of once and does without.

Of a folder there is one complete file, and while it is scanned parts beside it, each of rows that
were read; the complete one takes their place. So a scan that was killed is continued.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hffs.data.folders import prepare_private_folder, replace_file
from hffs.data.watcher import Watcher
from hffs.errors import ConfigError

ROW = np.dtype(
    [
        ("size_bytes", "<i8"),
        ("mtime_ns", "<i8"),
        ("width", "<i4"),
        ("height", "<i4"),
        ("orientation", "u1"),
        ("outcome", "u1"),
    ]
)
"""A `RECORD` of `batches_of_headers`, as numpy reads it."""

_MAGIC = b"hffs scan 1\n"
_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True, eq=False)
class Remembered:
    """Names (large_string), a row for each, why some have no size, and how many others."""

    names: pa.LargeStringArray
    rows: NDArray[Any]
    reasons: Mapping[int, str]
    others: int = 0
    problems: Mapping[str, str] = field(default_factory=dict)


class ScanCache:
    """What is remembered of one folder or view; `folder` None remembers nothing.

    `key` says what of what; `row` is the form of its rows.
    """

    def __init__(
        self, folder: Path | None, key: str, watcher: Watcher, row: np.dtype[Any] = ROW
    ) -> None:
        self._folder, self._key, self._watcher, self._row = folder, key, watcher, row
        self._name = hashlib.blake2b(key.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        if folder is not None:
            try:
                prepare_private_folder(folder)
            except ConfigError as error:
                self._give_up(str(error))

    def load(self) -> Remembered | None:
        """The complete file."""
        return self._read(self._path()) if self._folder else None

    def load_parts(self) -> list[Remembered]:
        """What scans have left that did not come to their end, or have not yet."""
        found = [self._read(path) for path in self._list_parts()]
        return [part for part in found if part is not None]

    def save(self, whole: Remembered) -> None:
        """Put a complete file in the place of the one before and of all parts."""
        parts = self._list_parts()
        self._write(f"{self._name}.scan", whole)
        for path in parts if self._folder else ():
            path.unlink(missing_ok=True)

    def save_part(self, part: Remembered) -> None:
        """Add a part."""
        self._write(f"{self._name}.{uuid.uuid4().hex}.part", part)

    def _path(self) -> Path:
        return Path(self._folder or "", f"{self._name}.scan")

    def _list_parts(self) -> list[Path]:
        return sorted(self._folder.glob(f"{self._name}.*.part")) if self._folder else []

    def _give_up(self, why: str) -> None:
        self._folder = None
        self._watcher.notice(f"{why}: what is found out of images is not remembered")

    def _write(self, name: str, remembered: Remembered) -> None:
        if self._folder is None:
            return
        try:
            with replace_file(self._folder / name) as file:
                body = _encode(self._key, remembered)
                file.write(_MAGIC + hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest())
                file.write(body)
        except OSError as error:
            self._give_up(f"cannot write {self._folder}: {error.strerror or error}")

    def _read(self, path: Path) -> Remembered | None:
        start = len(_MAGIC) + _DIGEST_BYTES
        try:
            if not path.is_file():  # to open a pipe would wait
                return None
            data = pa.memory_map(str(path)).read_buffer()
            digest = hashlib.blake2b(data[start:], digest_size=_DIGEST_BYTES).digest()
            if data[:start].to_pybytes() != _MAGIC + digest:
                return None
            return _decode(self._key, data[start:], self._row)
        except (OSError, pa.ArrowException, ValueError, KeyError, TypeError):
            return None


def _encode(key: str, remembered: Remembered) -> pa.Buffer:
    told = {
        "key": key,
        "others": remembered.others,
        "problems": dict(remembered.problems),
        "reasons": list(remembered.reasons.items()),
    }
    rows = np.ascontiguousarray(remembered.rows)
    records = pa.Array.from_buffers(
        pa.binary(rows.dtype.itemsize), len(rows), [None, pa.py_buffer(rows.view(np.uint8))]
    )
    table = pa.table({"name": remembered.names, "record": records})
    table = table.replace_schema_metadata({"told": json.dumps(told)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _decode(key: str, body: pa.Buffer, row: np.dtype[Any]) -> Remembered | None:
    table = pa.ipc.open_stream(body).read_all()
    told = json.loads(table.schema.metadata[b"told"])
    if told["key"] != key:
        return None
    names, records = (_join(column) for column in table.columns)
    data = b"" if records is None else memoryview(records.buffers()[1])
    rows = np.frombuffer(data, row, len(table))
    if names is None:
        names = pa.array([], pa.large_string())
    reasons = {int(index): str(why) for index, why in told["reasons"]}
    return Remembered(names, rows, reasons, int(told["others"]), told["problems"])


def _join(column: pa.ChunkedArray) -> pa.Array | None:
    """One array; None without rows, of which there are no chunks."""
    return pa.concat_arrays(column.chunks) if column.num_chunks else None
