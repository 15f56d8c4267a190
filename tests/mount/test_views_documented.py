"""The examples of docs/views.md, run against a Hub and a host that have these data sets."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.command import Hffs
from tests.documents import read_examples, run_example
from tests.hub import HubServer

pytestmark = pytest.mark.fuse

DOCUMENT = Path(__file__).parents[2] / "docs/views.md"


def _shard(widths: tuple[int, ...]) -> bytes:
    images = []
    for width in widths:
        file = io.BytesIO()
        Image.new("RGB", (width, 32), "red").save(file, "JPEG")
        images.append({"bytes": file.getvalue(), "path": None})
    captions = ["a kite", "two boats", "a hill"][: len(widths)]
    table = pa.table({"image": images, "caption": captions, "width": widths})
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="none", use_dictionary=False, write_page_index=True)
    return sink.getvalue()


def test_every_example_holds(hub: HubServer, hffs: Hffs, tmp_path: Path) -> None:
    hub.add("owner/photos").write("data/train-00000-of-00001.parquet", _shard((24, 32, 48)))
    for name in ("data", "shared", "mnt"):
        (tmp_path / name).mkdir()
    (tmp_path / "data/photos.parquet").write_bytes(_shard((24, 32, 48)))
    (tmp_path / "data/other.parquet").write_bytes(_shard((24, 32)))
    hffs.environ.update(hub.env(tmp_path / "huggingface"))
    hffs.environ["PATH"] = f"{Path(sys.executable).parent}:{hffs.environ['PATH']}"
    places = {
        "/mnt/photos": tmp_path / "mnt",
        "/shared": tmp_path / "shared",
        "/data/": f"{tmp_path}/data/",
    }
    examples = read_examples(DOCUMENT)
    assert len(examples) > 8
    for example in examples:
        shown = run_example(example, hffs, places)
        assert example.is_met_by(shown), f"$ {example.command}\n{shown}"
