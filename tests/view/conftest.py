"""Views of small data sets, opened in this process."""

import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hffs.config import build_config
from hffs.view.opening import open_view
from hffs.view.tree import Tree

WORKERS = 2
OpenTree = Callable[..., Tree]


class Quiet:
    """A watcher that remembers what it was told."""

    def __init__(self) -> None:
        self.notices: list[str] = []

    def progress(self, what: str, done: int, total: int, unit: str = "") -> None:
        assert 0 <= done <= (total or done)  # 0: nobody knows

    def notice(self, text: str) -> None:
        self.notices.append(text)


def encode(kind: str, seed: int = 0, size: tuple[int, int] = (40, 30)) -> bytes:
    """A noisy image in a format."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def write_set(path: Path, images: Sequence[object], **columns: Sequence[object]) -> Path:
    """A Parquet file of `{bytes, path}` cells (bytes, None, or cells as they are)."""
    cells = [{"bytes": i, "path": None} if isinstance(i, bytes) else i for i in images]
    table = pa.table({"image": cells, **columns})
    pq.write_table(table, path, compression="none", use_dictionary=False)
    return path


@pytest.fixture
def watcher() -> Quiet:
    return Quiet()


@pytest.fixture
def open_tree(tmp_path: Path, watcher: Quiet) -> Iterator[OpenTree]:
    """Open the view of a source with some keys; all are closed at the end."""
    with ExitStack() as stack:

        def open_it(source: Path, **keys: object) -> Tree:
            environ = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
            flags = {name.replace("__", "."): value for name, value in keys.items()}
            config = build_config(str(source), flags, None, environ)
            return stack.enter_context(open_view(config, watcher, WORKERS))

        yield open_it
