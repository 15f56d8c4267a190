"""How others filter a data set of the Hub and read one image of it, each as its user would.

    .venv/bin/python -m tests.bench.remote_peers NAME POSITION

reads image POSITION of those that the filter keeps, and prints the comment in it. Imports are late:
a process loads what its contender needs and no more.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
from collections.abc import Callable, Mapping
from typing import IO, Any

from tests.bench.remote_filter import MIN_SCORE, MIN_WIDTH, REPO, WHERE

COLUMNS = ["width", "score"]


def _read_comment(image: Any) -> str:
    """What the image says of itself, once all of it is decoded."""
    image.load()
    return str(image.info["comment"].decode())


def _read_bytes(data: bytes) -> str:
    from PIL import Image

    return _read_comment(Image.open(io.BytesIO(data)))


def stream_and_filter(position: int) -> str:
    """A stream, and a filter that sees its two columns alone."""
    from datasets import load_dataset

    rows = load_dataset(REPO, split="train", streaming=True)
    rows = rows.filter(
        lambda width, score: width >= MIN_WIDTH and score >= MIN_SCORE, input_columns=COLUMNS
    )
    return _read_comment(next(iter(rows.skip(position)))["image"])


def stream_with_filters(position: int) -> str:
    """A stream whose Parquet reader filters."""
    from datasets import load_dataset

    filters = [("width", ">=", MIN_WIDTH), ("score", ">=", MIN_SCORE)]
    rows = load_dataset(REPO, split="train", streaming=True, filters=filters)
    return _read_comment(next(iter(rows.skip(position)))["image"])


def stream_twice(position: int) -> str:
    """A stream of the two columns to find the row, then one that begins at its shard.

    The best that a stream can do: with `columns=` no image is read, and then those of one shard,
    up to the row. Footers tell how many rows each shard has.
    """
    import pyarrow.parquet as pq
    from datasets import load_dataset
    from huggingface_hub import HfFileSystem

    columns = load_dataset(REPO, split="train", streaming=True, columns=COLUMNS)
    kept = (n for n, row in enumerate(columns) if _is_kept(row["width"], row["score"]))
    row = next(itertools.islice(kept, position, None))
    files = HfFileSystem()
    for path in sorted(files.glob(f"datasets/{REPO}/data/*.parquet")):
        with files.open(path, cache_type="none") as file:
            count = pq.read_metadata(file).num_rows
        if row < count:
            break
        row -= count
    one = {"train": path.removeprefix(f"datasets/{REPO}/")}
    rows = load_dataset(REPO, data_files=one, split="train", streaming=True)
    return _read_comment(next(iter(rows.skip(row)))["image"])


def download_and_filter(position: int) -> str:
    """All of the split on this host, then a filter."""
    from datasets import load_dataset

    rows = load_dataset(REPO, split="train")
    rows = rows.filter(
        lambda width, score: width >= MIN_WIDTH and score >= MIN_SCORE, input_columns=COLUMNS
    )
    return _read_comment(rows[position]["image"])


def read_row_group(position: int) -> str:
    """pyarrow over HfFileSystem: the two columns, then the row group of the row."""
    return _read_group(position, {}, {})


def read_row_group_uncached(position: int) -> str:
    """The same without the read-ahead of fsspec, with the ranges of pyarrow itself."""
    return _read_group(position, {"cache_type": "none"}, {"pre_buffer": True})


def _read_group(position: int, opened: Mapping[str, Any], how: Mapping[str, Any]) -> str:
    import pyarrow.parquet as pq
    from huggingface_hub import HfFileSystem

    files = HfFileSystem()
    for path in sorted(files.glob(f"datasets/{REPO}/data/*.parquet")):
        with files.open(path, **opened) as file:
            shard = pq.ParquetFile(file, **how)
            for group in range(shard.num_row_groups):
                found = _find_kept(shard.read_row_group(group, columns=COLUMNS))
                if position < len(found):
                    images = shard.read_row_group(group, columns=["image"])["image"]
                    return _read_bytes(images[found[position]]["bytes"].as_py())
                position -= len(found)
    raise IndexError(position)


def read_batches(position: int) -> str:
    """The same, but of its row group only what lies before the row: batches of ten, in a stream."""
    import pyarrow.parquet as pq
    from huggingface_hub import HfFileSystem

    files = HfFileSystem()
    for path in sorted(files.glob(f"datasets/{REPO}/data/*.parquet")):
        with files.open(path, cache_type="none") as file:
            shard = pq.ParquetFile(file, pre_buffer=True)
            for group in range(shard.num_row_groups):
                found = _find_kept(shard.read_row_group(group, columns=COLUMNS))
                if position < len(found):
                    return _stream_to(file, group, found[position])
                position -= len(found)
    raise IndexError(position)


def _stream_to(file: IO[bytes], group: int, row: int) -> str:
    import pyarrow.parquet as pq

    shard = pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20)
    batches = shard.iter_batches(10, row_groups=[group], columns=["image"])
    batch = next(itertools.islice(batches, row // 10, None))
    return _read_bytes(batch["image"][row % 10]["bytes"].as_py())


def scan_dataset(position: int) -> str:
    """pyarrow.dataset over HfFileSystem, with its own filter."""
    import pyarrow.dataset as ds
    from huggingface_hub import HfFileSystem

    rows = ds.dataset(f"datasets/{REPO}/data", filesystem=HfFileSystem())
    kept = (ds.field("width") >= MIN_WIDTH) & (ds.field("score") >= MIN_SCORE)
    table = rows.scanner(columns=["image"], filter=kept).head(position + 1)
    return _read_bytes(table["image"][position]["bytes"].as_py())


def query_files(position: int) -> str:
    """DuckDB over HfFileSystem."""
    import duckdb
    from huggingface_hub import HfFileSystem

    with duckdb.connect() as database:
        database.register_filesystem(HfFileSystem())
        return _query(database, f"'hf://datasets/{REPO}/data/*.parquet'", position)


def query_http(position: int) -> str:
    """DuckDB's own httpfs, which it downloads when it is first used."""
    import duckdb
    from huggingface_hub import HfFileSystem

    names = sorted(HfFileSystem().glob(f"datasets/{REPO}/data/*.parquet"))
    base = f"{os.environ['HF_ENDPOINT']}/datasets/{REPO}/resolve/main/"
    urls = [base + name.removeprefix(f"datasets/{REPO}/") for name in names]
    with duckdb.connect() as database:
        database.execute("INSTALL httpfs")
        database.execute("LOAD httpfs")
        return _query(database, repr(urls), position)


def _query(database: Any, files: str, position: int) -> str:
    rows = f"SELECT image.bytes FROM read_parquet({files}) WHERE {WHERE}"  # noqa: S608 - ours
    found = database.execute(f"{rows} LIMIT 1 OFFSET {position}").fetchone()
    return _read_bytes(found[0])


def _is_kept(width: int, score: float) -> bool:
    return width >= MIN_WIDTH and score >= MIN_SCORE


def _find_kept(table: Any) -> list[int]:
    """Rows of a table that the filter keeps."""
    pairs = zip(*(table[name].to_pylist() for name in COLUMNS), strict=True)
    return [row for row, pair in enumerate(pairs) if _is_kept(*pair)]


PEERS: Mapping[str, Callable[[int], str]] = {
    "datasets, streaming, filter": stream_and_filter,
    "datasets, streaming, filters=": stream_with_filters,
    "datasets, streaming, columns= then a shard": stream_twice,
    "datasets, download, filter": download_and_filter,
    "pyarrow, row group": read_row_group,
    "pyarrow, row group, cache_type=none": read_row_group_uncached,
    "pyarrow, batches, cache_type=none": read_batches,
    "pyarrow.dataset, filter": scan_dataset,
    "DuckDB, HfFileSystem": query_files,
    "DuckDB, httpfs": query_http,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", choices=PEERS)
    parser.add_argument("position", type=int)
    options = parser.parse_args()
    print(PEERS[options.name](options.position))


if __name__ == "__main__":
    main()
