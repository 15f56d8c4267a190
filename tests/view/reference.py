"""What a view holds, worked out row by row from the documentation: slow, obvious, and on its own.

Owns the rules of docs/configuration.md, docs/rendering.md and docs/semantics.md, as plain Python
over dicts and Pillow. It must not import hffs: `test_model.py` compares the two.
"""

from __future__ import annotations

import io
import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

Row = Mapping[str, Any]
Keys = Mapping[str, Any]


class RefusedError(Exception):
    """The view is one line on stderr instead."""


@dataclass(frozen=True)
class DataSet:
    """Rows; `labels` are the names of the ClassLabel `kind`, None where it is text."""

    rows: Sequence[Row]
    labels: Sequence[str] | None


@dataclass(frozen=True)
class File:
    """One image of a view and its sidecar; `shown` is None where it cannot be rendered."""

    path: str
    row: int
    tile: int | None
    caption: str | None
    text: str | None
    size: tuple[int, int] | None
    shown: Image.Image | None = field(compare=False)


@dataclass
class Cell:
    """An image of the source on its way into the view."""

    row: int
    item: int
    data: bytes
    size: tuple[int, int] | None = None
    text: str | None = None


WHERE: dict[str, Callable[[Row], bool]] = {
    "stars > 1": lambda row: row["stars"] is not None and row["stars"] > 1,
    "stars IS NULL OR stars = 0": lambda row: row["stars"] in (None, 0),
    # NaN is above every number to DuckDB.
    "meta.clip >= 0.5": lambda row: not ((row["meta"] or {}).get("clip") or 0) < 0.5,
    "meta.clip >= 0.5 AND NOT isnan(meta.clip)": lambda row: (
        ((row["meta"] or {}).get("clip") or 0) >= 0.5
    ),
    "len(tags) > 0": lambda row: bool(row["tags"]),
    "list_contains(tags, 'a')": lambda row: "a" in (row["tags"] or ()),
    "caption LIKE '%a%'": lambda row: "a" in (row["caption"] or ""),
    "info->>'by' = 'x'": lambda row: inside(row["info"], "by") == "x",
    "true": lambda row: True,
}
"""Conditions, and what they mean."""


def inside(text: str | None, key: str) -> Any:
    try:
        found = json.loads(text or "null")
    except ValueError:
        return None
    return found.get(key) if isinstance(found, dict) else None


def expect(data: DataSet, keys: Keys) -> list[File]:
    """Every image of the view, in the order of a listing; RefusedError where there is none."""
    cells = list(find_cells(data, keys))
    most_items = max((cell.item for cell in cells), default=0) + 1
    cells = [cell for cell in cells if passes_rows(data, keys, data.rows[cell.row])]
    check_metrics(data, keys)
    cells = [cell for cell in cells if passes_sizes(data.rows[cell.row], keys, cell)]
    if keys.get("group_by"):
        cells = [cell for cell in cells if label_of(data, data.rows[cell.row]) is not None]
    cells = list(keep_captioned(cells, data, keys))
    if keys.get("max_num_samples"):
        chosen = draw(sorted({cell.row for cell in cells}), keys)
        cells = [cell for cell in cells if cell.row in chosen]
    if not cells:
        raise RefusedError("nothing is left")
    return list(name_files(cells, most_items, data, keys))


# Rows


def find_cells(data: DataSet, keys: Keys) -> Iterator[Cell]:
    column = keys.get("image_column", "image")
    for number, row in enumerate(data.rows):
        images = row[column] if column == "views" else [row[column]]
        for item, image in enumerate(images or ()):
            if image:
                yield Cell(number, item, image)


def label_of(data: DataSet, row: Row) -> str | None:
    value = row["kind"]
    if data.labels is None or value is None:
        return value  # type: ignore[no-any-return] # a text column
    return data.labels[value] if 0 <= value < len(data.labels) else None


def passes_rows(data: DataSet, keys: Keys, row: Row) -> bool:
    wanted = keys.get("filter_func.collection", ())
    if wanted:
        by_tags = keys["filter_func.collection_column"] == "tags"
        has = row["tags"] or () if by_tags else (label_of(data, row),)
        if not set(wanted) & (set(has) - {None}):
            return False
    for metric, least in keys.get("filter_func.quality_thresholds", {}).items():
        value = metric_of(row, metric)
        if not is_number(value) or not value >= least:
            return False
    where = keys.get("filter_func.where")
    return where is None or WHERE[where](row)


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def metric_of(row: Row, metric: str) -> Any:
    if metric == "clip":
        return (row["meta"] or {}).get("clip")
    return row["stars"] if metric == "stars" else inside(row["info"], metric)


def check_metrics(data: DataSet, keys: Keys) -> None:
    """A metric in JSON text that no row has as a number is an error."""
    for metric in keys.get("filter_func.quality_thresholds", ()):
        if metric == "score" and data.rows:
            found = [metric_of(row, metric) for row in data.rows if has_key(row["info"], metric)]
            if not found or not (any(map(is_number, found)) or set(found) == {None}):
                raise RefusedError("no such metric")


def has_key(text: str | None, key: str) -> bool:
    try:
        found = json.loads(text or "null")
    except ValueError:
        return False
    return isinstance(found, dict) and key in found


# Sizes


def open_image(data: bytes) -> Image.Image | None:
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except (UnidentifiedImageError, OSError):
        return None
    return image


def displayed(image: Image.Image) -> Image.Image:
    shown: Image.Image = ImageOps.exif_transpose(image)
    return shown


def grid_of(keys: Keys, width: float, height: float) -> tuple[int, int] | None:
    """Rows and columns, None where images are whole."""
    count = keys.get("composite_image_config.image_count", 1)
    if not keys.get("composite_image_config.enabled") or count == 1:
        return None
    layout = keys.get("composite_image_config.layout", "auto")
    if layout in ("horizontal", "vertical"):
        return (1, count) if layout == "horizontal" else (count, 1)
    if layout != "auto":
        rows, columns = layout.split("x")
        return int(rows), int(columns)
    grids = [(rows, count // rows) for rows in range(1, count + 1) if count % rows == 0]
    ratios = {grid: (width / grid[1]) / (height / grid[0]) for grid in grids}
    return min(grids, key=lambda grid: (round(max(ratios[grid], 1 / ratios[grid]), 9), -grid[1]))


LIMITS = ("min_width", "min_height", "max_width", "max_height", "min_aspect", "max_aspect")


def passes_sizes(row: Row, keys: Keys, cell: Cell) -> bool:
    """Whether an image is within the limits; its file's size is noted where it is known."""
    limits = {name: keys[f"filter_func.{name}"] for name in LIMITS if f"filter_func.{name}" in keys}
    count = keys.get("composite_image_config.image_count", 1)
    composite = bool(keys.get("composite_image_config.enabled")) and count > 1
    upright = keys.get("orientation") == "upright"
    both = composite or upright or any("aspect" in name for name in limits)
    needed = {side for side in ("width", "height") if both or any(side in name for name in limits)}
    told = {
        side: row[column] for side in ("width", "height") if (column := keys.get(f"{side}_column"))
    }
    cell.size = size_of_file(cell, keys, told)
    if not (limits or composite):
        return True
    if any(side in needed and not (told[side] and told[side] > 0) for side in told):
        return False
    if needed - set(told) and open_image(cell.data) is None:
        return False
    if not both:
        image = open_image(cell.data)
        width, height = told.get("width"), told.get("height")
        if needed == {"width", "height"}:
            width, height = cell.size or (None, None)
        width = width if width is not None else image and image.width
        height = height if height is not None else image and image.height
    else:
        if cell.size is None:
            return False
        width, height = cell.size
    values: dict[str, float] = {"width": width or 0, "height": height or 0}
    values["aspect"] = (width or 0) / (height or 1)
    return all(
        values[side] >= limit if bound == "min" else values[side] <= limit
        for (bound, side), limit in ((name.split("_"), limit) for name, limit in limits.items())
    )


def size_of_file(cell: Cell, keys: Keys, told: Mapping[str, int | None]) -> tuple[int, int] | None:
    """Size of the file as filters and metadata.jsonl mean it: by columns, else by its header."""
    image = open_image(cell.data)
    if len(told) < 2 and image is None:
        return None
    turned = image is not None and image.size != displayed(image).size
    reshaped = keys.get("orientation") == "upright" or grid_of(keys, 1, 1) is not None
    stored = image.size if image else (0, 0)
    if image is not None and (reshaped or told):  # a column tells what is displayed
        stored = displayed(image).size
    width, height = (
        told[side] if side in told else stored[at] for at, side in enumerate(("width", "height"))
    )
    if not (width and height and width > 0 and height > 0):
        return None
    grid = grid_of(keys, width, height)
    if grid is not None:
        width, height = width // grid[1], height // grid[0]
        if not (width and height):
            return None
    if reshaped and not told and turned and keys.get("orientation") != "upright":
        return height, width  # as it is stored
    return width, height


# Captions


def clean(text: str) -> str:
    lines = re.split("[\n\r\v\f\x85\u2028\u2029]", text)
    kept = (
        "".join(c for c in line.replace("\t", " ") if unicodedata.category(c) != "Cc")
        for line in lines
    )
    return " ".join(filter(None, map(str.strip, kept)))


def captions_at(data: DataSet, row: Row, path: str) -> list[str]:
    name, _, key = path.partition(".")
    value = row[name]
    if key:
        value = inside(value, key) if name == "info" else (value or {}).get(key)
    elif name == "kind":
        value = label_of(data, row)
    items = value if isinstance(value, list) else [value]
    texts = (str(i) if is_number(i) or isinstance(i, bool) else i for i in items)
    return [cleaned for text in texts if isinstance(text, str) and (cleaned := clean(text))]


def text_of(data: DataSet, row: Row, keys: Keys) -> str | None:
    multi = keys.get("caption_multi", "lines")
    for group in (
        keys.get("caption_column", ["caption"]),
        [keys[key] for key in ("fallback_caption_column",) if key in keys],
    ):
        found = [text for path in group for text in captions_at(data, row, path)]
        if found:
            joint = keys.get("caption_separator", ", ") if multi == "join" else "\n"
            return found[0] if multi == "first" else joint.join(found)
    return None


def keep_captioned(cells: Sequence[Cell], data: DataSet, keys: Keys) -> Iterator[Cell]:
    if keys.get("images_only") and not keys.get("metadata_jsonl"):
        yield from cells
        return
    missing = keys.get("missing_caption", "drop")
    for cell in cells:
        cell.text = text_of(data, data.rows[cell.row], keys)
        if cell.text is None and missing == "error":
            raise RefusedError("no caption")
        if cell.text is None and missing.startswith("text:"):
            cell.text = missing.removeprefix("text:")
        if cell.text is not None:
            yield cell


# Samples and names


def draw(rows: Sequence[int], keys: Keys) -> set[int]:
    """The rows with the smallest outputs of SplitMix64."""

    seed: int = keys.get("seed", 0)

    def key(row: int) -> int:
        state = ((row + 1) * 0x9E3779B97F4A7C15 + seed) % 2**64
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
        return state ^ (state >> 31)

    return set(sorted(rows, key=key)[: keys["max_num_samples"]])


def name_files(cells: Sequence[Cell], most_items: int, data: DataSet, keys: Keys) -> Iterator[File]:
    composite = grid_of(keys, 1, 1) is not None
    count = keys.get("composite_image_config.image_count", 1)
    select = keys.get("composite_image_config.select_index", [0])
    tiles = sorted(range(count) if select == "all" else select) if composite else [0]
    files = []
    folders = name_folders({label_of(data, data.rows[c.row]) or "" for c in cells})
    position = 0
    for cell in cells:
        for tile in tiles:
            number = position
            if keys.get("names") == "row":
                number = cell.row * most_items + cell.item
                number = number * count + tile if len(tiles) > 1 else number
            stem = str(number).zfill(keys.get("name_width", 0))
            name = f"{stem}.{extension_of(cell.data, keys, composite)}"
            label = ""
            if keys.get("group_by"):
                label = label_of(data, data.rows[cell.row]) or ""
                name = f"{folders[label]}/{name}"
            shown = show(cell.data, keys, tile)
            text = None if keys.get("images_only") else cell.text
            row_tile = tile if composite else None
            file = File(name, cell.row, row_tile, text, cell.text, cell.size, shown)
            files.append((label, position, file))
            position += 1
    yield from (file for _, _, file in sorted(files, key=lambda each: each[:2]))


def name_folders(labels: set[str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for label in sorted(labels):
        plain = re.sub(r"^\.", "_", label.replace("/", "_").strip()) or "_"
        name, again = plain, 1
        while name in names.values() or name == "metadata.jsonl":
            again += 1
            name = f"{plain} ({again})"
        names[label] = name
    return names


def extension_of(data: bytes, keys: Keys, composite: bool) -> str:
    target = keys.get("image_format", "jpg")
    if target != "source":
        return str(target)
    image = open_image(data)
    kind = image.format if image else None
    turned = image is not None and image.getexif().get(274, 1) != 1
    if composite or (turned and keys.get("orientation") == "upright"):
        return "jpg" if kind == "JPEG" else "png"
    return {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", None: "bin"}[kind]


def show(data: bytes, keys: Keys, tile: int) -> Image.Image | None:
    """What a viewer shows of a file."""
    image = open_image(data)
    if image is None:
        return None
    whole = displayed(image).convert("RGB")
    grid = grid_of(keys, *whole.size)
    if grid is None:
        return whole
    width, height = whole.width // grid[1], whole.height // grid[0]
    if not (width and height):  # a column told of a larger one
        return None
    row, column = divmod(tile, grid[1])
    left, top = column * width, row * height
    return whole.crop((left, top, left + width, top + height))
