"""Small data sets of any format, drawn at random: a view has the rows of `load_dataset`.

Hostile to names: blanks, brackets, `#`, words of splits, beyond ASCII. The process is one of its
own, since getting a data set sets up the libraries for all of it.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import random
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hffs.config import build_config
from hffs.core.inodes import ROOT
from hffs.core.types import Inode
from hffs.errors import HffsError
from hffs.view.opening import open_view
from hffs.view.tree import Tree
from tests.command import Hffs
from tests.formats import PHOTOS, write_files
from tests.view.conftest import Quiet

SPLITS = ("train", "train", "train[1:]", "train[:50%]", "train[-2:]+train")
NAMES = (
    "a b", "x[1]", "#h", "ü", "test", "train-1", "0001", "c%20d", "q?", "semi;colon", "a*b", "__s",
    "d.e",
)  # fmt: skip
CAPTIONS = ("a kite", 'Hügel, "grün"', "line\nbreak", "a,b")

Row = Mapping[str, Any]
Rows = list[tuple[bytes, str | None]]


def _csv(rows: Sequence[Row]) -> bytes:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def _jsonl(rows: Sequence[Row]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _parquet(rows: Sequence[Row]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), sink)
    return sink.getvalue()


WRITERS = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}


class Draw:
    """A data set drawn from a seed: its files, keys of its configuration, and a split."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - the same data set each time
        self.keys: dict[str, Any] = {}
        kind = (self._folder, self._classes, self._tars, self._texts, self._zip)[seed % 5]
        self.top = self.random.choice(("", "train/", "data/", "sub dir/", "train/deep/"))
        self.files: dict[str, bytes] = kind()
        self.split = self.random.choice(SPLITS)

    def _name(self, number: int) -> str:
        return f"{self.random.choice(NAMES)}{number}.{self.random.choice(('jpg', 'JPG', 'jpeg'))}"

    def _photo(self) -> bytes:
        return self.random.choice(PHOTOS)

    def _caption(self, number: int) -> str:
        return f"{self.random.choice(CAPTIONS)} {number}"

    def _count(self) -> int:
        return self.random.randint(1, 8)

    def _folder(self) -> dict[str, bytes]:
        folder = self.top + self.random.choice(("", "two [2]/"))
        rows: list[Row] = []
        files = {f"{folder}unnamed.jpg": self._photo()}
        for number in range(self._count()):
            name = self.random.choice(("", "n/")) + self._name(number)
            rows.append({"file_name": name, "caption": self._caption(number)})
            files[folder + name] = self._photo()
        self.random.shuffle(rows)
        extension = self.random.choice(list(WRITERS))
        return files | {f"{folder}metadata.{extension}": WRITERS[extension](rows)}

    def _classes(self) -> dict[str, bytes]:
        self.keys["images_only"] = True
        classes = ("cat", "dog", "a b", "ü")
        names = (f"{self.random.choice(classes)}/{self._name(n)}" for n in range(self._count()))
        return {self.top + name: self._photo() for name in names}

    def _tars(self) -> dict[str, bytes]:
        return {f"{self.top}s-{number}.tar": self._tar() for number in range(2)}

    def _tar(self) -> bytes:
        sink = io.BytesIO()
        kind = self.random.choice((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))
        with tarfile.open(fileobj=sink, mode="w", format=kind) as tar:
            for number in range(self._count()):
                caption = self._caption(number).encode()
                for extension, data in (("jpg", self._photo()), ("txt", caption)):
                    stem = NAMES[number].replace(".", "_")
                    member = tarfile.TarInfo(f"p/{stem}{number}.{extension}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
        return sink.getvalue()

    def _texts(self) -> dict[str, bytes]:
        start = self.random.choice(("", "data:image/jpeg;base64,", "pics/"))
        files, rows = {}, []
        for number in range(self._count()):
            photo, image = self._photo(), f"pics/{self._name(number)}"
            if start == "pics/":
                files[image] = photo
            else:
                image = start + base64.b64encode(photo).decode()
            rows.append({"image": image, "caption": self._caption(number)})
        name = self.random.choice(("rows.csv", "rows.jsonl"))
        self.keys["data_files"] = [name]
        return files | {name: WRITERS[name.partition(".")[2]](rows)}

    def _zip(self) -> dict[str, bytes]:
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w", self.random.choice((0, 8))) as archive:
            for name, data in self._folder().items():
                archive.writestr(name, data)
        return {self.random.choice(("train.zip", "x [1].zip")): sink.getvalue()}


def _read(tree: Tree, inode: Inode) -> bytes:
    tree.prepare(inode)
    ready = tree.ready(inode)
    return bytes(tree.request(inode).result(20) if ready is None else ready)


def _view(root: Path, drawn: Draw) -> Rows | str:
    """Images and captions of the view, or why it is refused."""
    config = build_config(str(root), {**drawn.keys, "split": drawn.split}, None, os.environ)
    try:
        with open_view(config, Quiet(), 1) as tree:
            found = {entry.name.decode(): entry.inode for entry in tree.entries(ROOT, 0)}
            read = {name: _read(tree, inode) for name, inode in found.items()}
    except HffsError as error:
        return str(error)
    return [
        (read[f"{number}.jpg"], read[f"{number}.txt"].decode() if f"{number}.txt" in read else None)
        for number in range(sum(name.endswith(".jpg") for name in read))
    ]


def _load(root: Path, drawn: Draw) -> Rows | None:
    """The same by `load_dataset`; None where it fails."""
    import datasets

    files = drawn.keys.get("data_files")
    try:
        rows = datasets.load_dataset(str(root), split=drawn.split, data_files=files)
    except (ValueError, LookupError, OSError, datasets.exceptions.DatasetsError, pa.ArrowException):
        return None
    column = "image" if "image" in rows.column_names else "jpg"
    if isinstance(rows.features[column], datasets.Image):
        rows = rows.cast_column(column, datasets.Image(decode=False))
    return [(_find(root, row[column]), _say(row)) for row in rows]


def _say(row: Row) -> str | None:
    caption = row.get("caption", row.get("txt"))
    return None if caption is None else caption.replace("\n", " ")


def _find(root: Path, cell: Any) -> bytes:
    if isinstance(cell, str):
        is_path = cell.startswith("pics/")
        return (root / cell).read_bytes() if is_path else base64.b64decode(cell.split(",")[-1])
    if cell["bytes"] is not None:
        return bytes(cell["bytes"])
    if cell["path"].startswith("zip://"):
        member, _, archive = cell["path"].removeprefix("zip://").partition("::")
        with zipfile.ZipFile(archive) as opened:
            return opened.read(member)
    return Path(cell["path"]).read_bytes()


def compare(seed: int, folder: Path) -> str:
    """What differs; empty if nothing does."""
    drawn = Draw(seed)
    root = write_files(drawn.files, folder / "my set")
    theirs, ours = _load(root, drawn), _view(root, drawn)
    if theirs == ours or (theirs is None and isinstance(ours, str)):
        return ""
    return f"{seed} {drawn.split} {sorted(drawn.files)}: {theirs!r:.200} {ours!r:.200}\n"


@pytest.mark.parametrize("first", range(5))
def test_a_view_has_the_rows_of_load_dataset(first: int, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "import datasets; datasets.disable_progress_bars()\n"
        "from tests.view.test_any_format import compare\n"
        "for seed in range(int(sys.argv[1]), 40, 5):\n"
        "    print(compare(seed, Path(sys.argv[2], str(seed))), end='')\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, str(first), str(tmp_path)]
    environ = Hffs.below(tmp_path).environ
    done = subprocess.run(command, capture_output=True, text=True, env=environ, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
