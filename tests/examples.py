"""The section "Examples" of docs/configuration.md, as tests run it.

Owns the reading of its tables: the data set is made of the first, every other line is keys in two
spellings and what the folder then holds. Must not know whether that folder is mounted.
"""

from __future__ import annotations

import io
import json
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import ExifTags, Image, ImageOps

from tests.media_examples import write_table

DOCS = Path(__file__).parents[1] / "docs" / "configuration.md"

SET = "/data/photos"
"""Where the documentation says that the data set is."""

_IMAGE = re.compile(r"(JPEG|PNG|WEBP) (\d+)x(\d+)( turned)?")
_CODE = re.compile(r"`([^`]*)`")
_BETWEEN_CLAUSES = re.compile(r"; (?=(?:[^`]*`[^`]*`)*[^`]*$)")
_FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}


@dataclass(frozen=True, slots=True)
class Example:
    """Keys as TOML, the flags for them (None: there are none), and what comes of them."""

    toml: str
    flags: str | None
    outcome: str

    @property
    def values(self) -> dict[str, Any]:
        """The keys as JSON would have them."""
        return tomllib.loads(self.toml)

    @property
    def refusal(self) -> str:
        """The line that refuses them; empty where they are a view."""
        whole = re.fullmatch("`([^`]*)`", self.outcome)
        return whole[1] if whole else ""

    def placed(self, folder: Path) -> Example:
        """The same with `/data` below a folder."""
        toml, flags, outcome = (
            text and text.replace("/data/", f"{folder}/data/")
            for text in (self.toml, self.flags, self.outcome)
        )
        return Example(toml or "", flags, outcome or "")


class Shown(Protocol):
    """The files of a view."""

    def names(self) -> list[str]:
        """Path of every file below the root, in the order of the listing."""
        ...

    def read(self, name: str) -> bytes:
        """All of a file."""
        ...

    def facts(self, name: str) -> dict[str, str]:
        """Row, and tile if it is one, of a file."""
        ...


def section() -> str:
    """The text of the section."""
    part = DOCS.read_text(encoding="utf-8").partition("\n## Examples\n")[2]
    return part.partition("\n## ")[0]


def read_tables(heading: str) -> list[list[str]]:
    """Cells of every line of the page's tables that begin with this heading."""
    found: list[list[str]] = []
    text = DOCS.read_text(encoding="utf-8")
    below = rf"^{re.escape(heading)}\n\|[-|]+\n((?:\|.*\n)+)"
    for body in re.findall(below, text, re.MULTILINE):
        found += [line.strip("| ").split(" | ") for line in body.splitlines()]
    return found


def read_lines() -> list[Example]:
    """The lines of the tables."""
    examples = []
    for keys, flags, outcome in read_tables("| file | flags | folder |"):
        code = _CODE.fullmatch(flags)
        examples.append(Example("\n".join(_CODE.findall(keys)), code and code[1], outcome))
    return examples


def read_refusals() -> list[tuple[str, int, str]]:
    """The mistakes that only a data set shows: keys as TOML, exit code and line."""
    found = read_tables("| file | exit code | line |")
    return [("\n".join(_CODE.findall(keys)), int(code), line[1:-1]) for keys, code, line in found]


def read_blocks() -> list[Example]:
    """The files below "Together", each with what is said to come of it."""
    found = re.findall(r"```toml\n(.*?)```\n\ngives (.*?)\.\n", section(), re.DOTALL)
    return [Example(toml, None, " ".join(outcome.split())) for toml, outcome in found]


def _table() -> dict[str, tuple[str, list[str]]]:
    """Type and cells of each column of the data set, as they are written."""
    heading = "| column | type | row 0 | row 1 | row 2 | row 3 | row 4 | row 5 |"
    return {name: (kind, cells) for name, kind, *cells in read_tables(heading)}


def write_set(folder: Path) -> None:
    """Make the data set, and the function of the example, below a folder that stands for `/`."""
    columns: dict[str, list[Any]] = {}
    for name, (kind, cells) in _table().items():
        columns[name] = [_read_cell(kind, cell) for cell in cells]
    label = datasets.ClassLabel(names=["land", "sea"])
    features = datasets.Features(kind=label)
    kinds = datasets.Dataset.from_dict({"kind": columns.pop("kind")}, features=features)
    table = pa.table(columns).append_column("kind", kinds.data.column("kind"))
    table = table.replace_schema_metadata(kinds.features.arrow_schema.metadata)
    place = folder / SET[1:]
    place.mkdir(parents=True)
    pq.write_table(table, place / "train.parquet")
    pq.write_table(table.slice(5), place / "test.parquet")
    for name, rows in (("clips", 4), ("songs", 3)):
        heading = f"| {name} | type |" + "".join(f" row {row} |" for row in range(rows))
        write_table(folder / "data" / name / "train.parquet", read_tables(heading))
    (function,) = re.findall(r"```python\n(.*?)```", section(), re.DOTALL)
    (folder / "sift.py").write_text(function, encoding="utf-8")


def _read_cell(kind: str, cell: str) -> Any:
    if kind == "image":
        return {"bytes": encode(cell), "path": None}
    if kind == "list of images":
        images = [] if cell in ("none", "null") else cell.split(", ")
        return None if cell == "null" else [{"bytes": encode(i), "path": None} for i in images]
    (code,) = _CODE.findall(cell)
    return code if kind == "JSON text" and code != "null" else json.loads(code)


def encode(said: str) -> bytes:
    """An image from words such as `JPEG 96x64 turned`: smooth, and different all over."""
    match = _IMAGE.fullmatch(said)
    assert match, said
    kind, width, height = match[1], int(match[2]), int(match[3])
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    pixels = np.stack([across, down, (across + 2 * down) % 256 / 4], -1).astype(np.uint8)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6 if match[4] else 1
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, exif=exif, quality=95, subsampling=0)
    return file.getvalue()


def check(outcome: str, shown: Shown) -> None:
    """Assert every clause of what an example gives, but those that compare it with another."""
    for clause in _BETWEEN_CLAUSES.split(outcome):
        if not _check_clause(clause, shown):
            raise AssertionError(f"nobody can check: {clause}")


def _check_clause(clause: str, shown: Shown) -> bool:
    code = _CODE.findall(clause)
    if found := re.fullmatch(r"rows (\d+(?:, \d+)*)", clause):
        rows = [shown.facts(name)["row"] for name in images(shown)]
        assert rows == found[1].split(", ")
    elif clause.startswith("files "):
        check_names(clause, shown.names())
    elif found := re.fullmatch(r"`.*` is (\d+)x(\d+)", clause):
        with Image.open(io.BytesIO(shown.read(code[0]))) as image:
            assert image.size == (int(found[1]), int(found[2]))
    elif found := re.fullmatch(r"`.*` is tile (\d+) of row (\d+)", clause):
        assert (shown.facts(code[0])["tile"], shown.facts(code[0])["row"]) == found.groups()
    elif re.fullmatch(r"`.*` (is|has the lines) `.*`", clause):
        assert shown.read(code[0]).decode().split("\n") == code[1:]
    elif re.fullmatch("`.*` begins `.*`", clause):
        assert shown.read(code[0]).decode().splitlines()[0] == code[1]
    elif re.fullmatch("`.*` is made", clause):
        assert Path(code[0]).exists()
    else:
        return clause == "no change"
    return True


def check_names(clause: str, names: Sequence[str]) -> None:
    """Assert a listing, or how it begins and how it ends."""
    begins, dots, ends = clause.partition(" ... ")
    first, last = _CODE.findall(begins), _CODE.findall(ends)
    if dots:
        assert len(names) > len(first) + len(last)
        assert names[-len(last) :] == last
        names = names[: len(first)]
    assert list(names) == first


def images(shown: Shown) -> list[str]:
    """The names of images."""
    return [name for name in shown.names() if name.rpartition(".")[2] in _FORMATS]


def check_images(shown: Shown, values: dict[str, Any]) -> None:
    """Assert that images are what their names say, and show what Pillow makes of their row."""
    grid = values.get("composite_image_config", {})
    for name in images(shown):
        facts = shown.facts(name)
        with Image.open(io.BytesIO(shown.read(name))) as image:
            assert image.format == _FORMATS[name.rpartition(".")[2]]
            expected = _find_expected(facts, grid)
            made = ImageOps.exif_transpose(image).convert("RGB")
        assert made.size == expected.size, name
        off = np.abs(np.asarray(made).astype(int) - np.asarray(expected)).mean()
        assert off < 4, name


def _find_expected(facts: dict[str, str], grid: dict[str, Any]) -> Image.Image:
    said = _table()["image"][1][int(facts["row"])]
    whole = ImageOps.exif_transpose(Image.open(io.BytesIO(encode(said)))).convert("RGB")
    if "tile" not in facts:
        return whole
    rows, columns = _grid(grid, whole)
    width, height = whole.width // columns, whole.height // rows
    down, across = divmod(int(facts["tile"]), columns)
    left, top = across * width, down * height
    return whole.crop((left, top, left + width, top + height))


def _grid(grid: dict[str, Any], image: Image.Image) -> tuple[int, int]:
    count, layout = grid["image_count"], grid.get("layout", "auto")
    named = {"vertical": (count, 1), "horizontal": (1, count)}
    if layout in named:
        return named[layout]
    if layout != "auto":
        rows, _, columns = layout.partition("x")
        return int(rows), int(columns)

    def stretch(rows: int) -> float:
        aspect: float = (image.width / (count // rows)) / (image.height / rows)
        return max(aspect, 1 / aspect)

    best = min((rows for rows in range(1, count + 1) if count % rows == 0), key=stretch)
    return best, count // best
