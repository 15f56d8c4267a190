"""Any data set under any configuration, against the reference of `tests.view.reference`."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from PIL import Image

from hffs.config import build_config
from hffs.core.inodes import ROOT
from hffs.core.types import Inode
from hffs.errors import DataError, RenderError, UsageError
from hffs.view.opening import open_view
from hffs.view.tree import Tree
from tests.view.conftest import Quiet
from tests.view.reference import WHERE, DataSet, File, RefusedError, displayed, expect

LABELS = ["land", "sea", "a/b", "a_b", ".sky"]


def _picture(kind: str, size: tuple[int, int], turn: int = 1) -> bytes:
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    slopes = np.stack([x * 250 // size[0], y * 250 // size[1], (x + y) * 120 // sum(size)], 2)
    file, exif = io.BytesIO(), Image.Exif()
    exif[274] = turn
    options = {"exif": exif} if turn != 1 else {}
    Image.fromarray(slopes.astype(np.uint8)).save(file, kind, quality=95, **options)
    return file.getvalue()


IMAGES = [
    _picture("JPEG", (64, 32)),
    _picture("JPEG", (48, 48)),
    _picture("JPEG", (64, 48), 6),
    _picture("JPEG", (33, 47), 8),
    _picture("JPEG", (40, 30), 3),
    _picture("PNG", (50, 25)),
    _picture("PNG", (24, 36), 6),
    _picture("WEBP", (30, 60)),
    _picture("PNG", (2, 1)),
]
NO_IMAGE = b"no image at all"

images = st.sampled_from([*IMAGES * 3, NO_IMAGE, None])
plain = st.sampled_from(["a", "b", "ab"])
texts = st.text("ab \n\t\r\x00\x85\u2028é😀", max_size=5)
mostly = plain | plain | texts | st.none()


def rows(labels: bool) -> st.SearchStrategy[dict[str, Any]]:
    kinds = st.integers(-1, len(LABELS) - 1) if labels else st.sampled_from(LABELS)
    info = st.fixed_dictionaries(
        {"score": st.sampled_from([0, 1, 1, 2.5, None, "2", True])},
        optional={
            "by": st.sampled_from(["x", " y\n", "", None, 7, ["u", " ", "v"]]),
        },
    )
    return st.fixed_dictionaries(
        {
            "image": images,
            "views": st.none() | st.lists(images, min_size=1, max_size=3) | st.just([]),
            "caption": mostly,
            "tags": st.none() | st.just(["b", "a"]) | st.lists(mostly, max_size=3),
            "meta": st.none()
            | st.fixed_dictionaries(
                {
                    "clip": st.sampled_from([None, float("nan"), 0.0, 0.5, 1.0]),
                    "title": mostly,
                }
            ),
            "info": st.none() | info.map(json.dumps) | st.just("[1]"),
            "stars": st.none() | st.integers(0, 3),
            "kind": st.none() | kinds,
            "w": st.none() | st.integers(0, 70),
            "h": st.none() | st.integers(1, 70),
        }
    )


PATHS = ["caption", "tags", "meta.title", "info.by", "stars", "kind"]

COMPOSITES: list[dict[str, Any]] = [
    {"image_count": 1},
    {"image_count": 2},
    {"image_count": 2, "layout": "vertical", "select_index": [1]},
    {"image_count": 3, "layout": "horizontal", "select_index": "all"},
    {"image_count": 4, "select_index": "all"},
    {"image_count": 4, "layout": "2x2", "select_index": [3, 0]},
    {"image_count": 6, "layout": "2x3", "select_index": [5]},
    {"image_count": 6, "select_index": [1, 2]},
]

CHOICES: dict[str, st.SearchStrategy[Any]] = {
    "image_column": st.just("views"),
    "width_column": st.just("w"),
    "height_column": st.just("h"),
    "caption_column": st.lists(st.sampled_from(PATHS), min_size=1, max_size=3),
    "fallback_caption_column": st.sampled_from(PATHS),
    "missing_caption": st.sampled_from(["drop", "drop", "text:none", "error"]),
    "caption_multi": st.sampled_from(["lines", "join", "first"]),
    "caption_separator": st.sampled_from([" / ", "", ";"]),
    "filter_func.where": st.sampled_from(sorted(WHERE)),
    "filter_func.min_width": st.integers(1, 40),
    "filter_func.max_width": st.integers(40, 70),
    "filter_func.min_height": st.integers(1, 30),
    "filter_func.max_height": st.integers(30, 70),
    "filter_func.min_aspect": st.sampled_from([0.25, 0.5, 1.0, 1.5]),
    "filter_func.max_aspect": st.sampled_from([1.5, 2.0, 4.0]),
    "max_num_samples": st.integers(1, 4),
    "seed": st.integers(-5, 5),
    "image_format": st.sampled_from(["jpg", "png", "source"]),
    "orientation": st.sampled_from(["as-is", "upright"]),
    "names": st.just("row"),
    "name_width": st.integers(0, 4),
    "images_only": st.booleans(),
    "caption_extension": st.sampled_from(["txt", "caption"]),
    "metadata_jsonl": st.booleans(),
    "group_by": st.just("kind"),
}


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.sets(st.sampled_from(sorted(CHOICES)), max_size=5))
    keys = {name: draw(CHOICES[name]) for name in sorted(names)}
    if draw(st.integers(0, 4)) == 0:
        keys["filter_func.collection_column"] = draw(st.sampled_from(["tags", "kind"]))
        wanted = ["a", "b", "ab"] if keys["filter_func.collection_column"] == "tags" else LABELS
        chosen = st.lists(st.sampled_from(wanted), min_size=2, max_size=3)
        keys["filter_func.collection"] = draw(chosen)
    if draw(st.integers(0, 4)) == 0:
        metric = draw(st.sampled_from(["clip", "score", "stars"]))
        keys["filter_func.quality_thresholds"] = {metric: draw(st.sampled_from([0, 0.5, 1, 2]))}
        keys["filter_func.quality_column"] = "info" if metric == "score" else "meta"
    if draw(st.integers(0, 2)) == 0:
        keys["composite_image_config.enabled"] = True
        for name, value in draw(st.sampled_from(COMPOSITES)).items():
            keys[f"composite_image_config.{name}"] = value
    return keys


# Writing


def _schema(labels: bool) -> pa.Schema:
    image = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    text, small = pa.string(), pa.int32()
    meta = pa.struct({"clip": pa.float64(), "title": text})
    fields = {"image": image, "views": pa.list_(image), "caption": text, "tags": pa.list_(text)}
    fields |= {"meta": meta, "info": text, "stars": small, "kind": small if labels else text}
    features = {"kind": {"names": LABELS, "_type": "ClassLabel"}} if labels else {}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema(fields | {"w": small, "h": pa.float32()}, metadata=metadata)


def _cells(data: DataSet) -> list[dict[str, Any]]:
    def cell(image: bytes | None) -> dict[str, Any] | None:
        return image and {"bytes": image, "path": None}  # type: ignore[return-value] # None stays

    return [
        dict(row)
        | {
            "image": cell(row["image"]),
            "views": row["views"] and [cell(image) for image in row["views"]],
        }
        for row in data.rows
    ]


def write(data: DataSet, form: str, cut: int, folder: Path) -> Path:
    """One file, or shards cut at a row, of which one may be empty."""
    table = pa.Table.from_pylist(_cells(data), schema=_schema(data.labels is not None))
    path = folder / "set.parquet"
    if form == "plain":
        pq.write_table(table, path, compression="none", use_dictionary=False, row_group_size=2)
    elif form == "packed":
        pq.write_table(table, path, compression="zstd", row_group_size=3)
    elif form == "arrow":
        path = folder / "set.arrow"
        with pa.ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    else:
        path = folder / "set"
        path.mkdir(exist_ok=True)
        for number, part in enumerate((table[:cut], table[cut:])):
            pq.write_table(part, path / f"train-{number:05}-of-00002.parquet")
    return path


# Comparing


def _wait(future: Future[memoryview]) -> bytes:
    return bytes(future.result(30))


def read(tree: Tree, inode: Inode) -> bytes | None:
    try:
        ready = tree.ready(inode)
        data = _wait(tree.request(inode)) if ready is None else bytes(ready)
    except RenderError:
        return None
    assert tree.size_bytes(inode) == len(data)
    return data


def listing(tree: Tree) -> dict[str, Inode]:
    found: dict[str, Inode] = {}
    for entry in tree.entries(ROOT, 0):
        if not tree.is_folder(entry.inode):
            found[entry.name.decode()] = entry.inode
            continue
        for inner in tree.entries(entry.inode, 0):
            found[f"{entry.name.decode()}/{inner.name.decode()}"] = inner.inode
    return found


def compare(tree: Tree, expected: list[File], keys: Mapping[str, Any]) -> None:
    found = listing(tree)
    sidecar = keys.get("caption_extension", "txt")
    names: list[str] = []
    for file in expected:
        names.append(file.path)
        if file.caption is not None:
            names.append(f"{file.path.rpartition('.')[0]}.{sidecar}")
            assert read(tree, found[names[-1]]) == file.caption.encode()
    if keys.get("metadata_jsonl"):
        names.append("metadata.jsonl")
        compare_lines(read(tree, found["metadata.jsonl"]) or b"", expected)
    assert list(found) == names
    for file in expected:
        facts = tree.xattrs(found[file.path])
        assert facts["user.hffs.row"] == str(file.row).encode()
        tile = facts.get("user.hffs.tile")
        assert tile == (None if file.tile is None else str(file.tile).encode())
        compare_image(read(tree, found[file.path]), file, keys)


def compare_image(data: bytes | None, file: File, keys: Mapping[str, Any]) -> None:
    if file.shown is None:
        assert data == (NO_IMAGE if file.path.endswith(".bin") else None)
        return
    assert data is not None
    image = Image.open(io.BytesIO(data))
    assert image.format == {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}[file.path[-4:].strip(".")]
    if keys.get("orientation") == "upright":
        assert image.getexif().get(274, 1) == 1
    shown = displayed(image).convert("RGB")
    assert shown.size == file.shown.size
    off = np.abs(np.asarray(shown).astype(int) - np.asarray(file.shown).astype(int))
    assert off.mean() < 8


def compare_lines(data: bytes, expected: list[File]) -> None:
    lines = [json.loads(line) for line in data.decode().splitlines()]
    by_name = {line["file_name"]: line for line in lines}
    assert len(lines) == len(by_name) == len(expected)
    for file in expected:
        line = by_name[file.path]
        assert line["image_path"] == file.path
        assert (line["text"], line["caption"]) == (file.text, file.text)
        assert line["image_size"] == (list(file.size) if file.size else None)
        assert (line["width"], line["height"]) == (file.size or (None, None))


@st.composite
def data_sets(draw: st.DrawFn) -> DataSet:
    labels = draw(st.booleans())
    return DataSet(
        draw(st.lists(rows(labels), min_size=draw(st.sampled_from([0, 4, 5, 6])), max_size=7)),
        LABELS if labels else None,
    )


@st.composite
def changes(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two configurations of which the second says one key in another way."""
    keys = draw(configurations())
    name = draw(st.sampled_from(sorted(CHOICES)))
    return keys, keys | {name: draw(CHOICES[name])}


def check(source: Path, data: DataSet, keys: Mapping[str, Any]) -> dict[str, bytes | str | None]:
    """Open a view beside its source, compare it; all files that it has, and its fingerprint."""
    folder = source.parent
    entry: dict[str, Any] = {"dataset_name": str(source)}
    for name, value in keys.items():
        block, _, leaf = name.rpartition(".")
        (entry.setdefault(block, {}) if block else entry)[leaf] = value
    path = folder / "entry.json"
    path.write_text(json.dumps(entry))
    try:
        expected = expect(data, keys)
    except RefusedError:
        expected = []
    event("a view" if expected else "a line")
    refusal, files = "", dict[str, bytes | str | None]()
    try:
        config = build_config(str(path), {}, None, os.environ | {"XDG_CACHE_HOME": str(folder)})
        with open_view(config, Quiet(), 1) as tree:
            compare(tree, expected, keys)
            files = {name: read(tree, inode) for name, inode in listing(tree).items()}
            files[""] = tree.manifest.info.fingerprint
    except (UsageError, DataError) as error:
        refusal = str(error)
    assert bool(refusal) == (not expected), refusal
    return files


many = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
forms = st.sampled_from(["plain", "packed", "arrow", "shards"])


@settings(many, max_examples=120)
@given(data_sets(), configurations(), forms, st.integers(0, 6))
def test_a_view_is_what_the_documentation_says(
    tmp_path_factory: pytest.TempPathFactory,
    data: DataSet,
    keys: dict[str, Any],
    form: str,
    cut: int,
) -> None:
    check(write(data, form, cut, tmp_path_factory.mktemp("model")), data, keys)


@settings(many, max_examples=60)
@given(data_sets(), changes())
def test_a_changed_key_never_reopens_another_view(
    tmp_path_factory: pytest.TempPathFactory,
    data: DataSet,
    pair: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    source = write(data, "plain", 0, tmp_path_factory.mktemp("model"))
    first, second, again = (check(source, data, keys) for keys in (*pair, pair[0]))
    assert again == first
    if first.pop("", 1) == second.pop("", 2):
        assert first == second
