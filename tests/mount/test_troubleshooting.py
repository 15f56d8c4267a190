"""The examples of docs/troubleshooting.md, run against a Hub that has these data sets."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.command import Hffs
from tests.documents import read_sections, run_example
from tests.hub import HubServer

pytestmark = pytest.mark.fuse

DOCUMENT = Path(__file__).parents[2] / "docs/troubleshooting.md"
TOKEN = "hf_example"  # noqa: S105 - of this Hub


def _shard() -> bytes:
    images = []
    for width in (24, 32, 48):
        file = io.BytesIO()
        Image.new("RGB", (width, 32), "red").save(file, "JPEG")
        images.append({"bytes": file.getvalue(), "path": None})
    sink = io.BytesIO()
    table = pa.table({"image": images, "title": ["a kite", "two boats", "a hill"]})
    pq.write_table(table, sink, compression="none", use_dictionary=False)
    return sink.getvalue()


@pytest.fixture
def told(hub: HubServer, hffs: Hffs, tmp_path: Path) -> dict[str, object]:
    """Where the places of the document are; the Hub has what it speaks of."""
    for name in ("photos", "private", "gated"):
        hub.add(f"owner/{name}").write("data/train-00000-of-00001.parquet", _shard())
    hub.repos["owner/private"].private = True
    hub.repos["owner/private"].token = TOKEN
    hub.repos["owner/gated"].gated = "auto"
    hub.add("owner/script").write("script.py", b"raise SystemExit\n")
    link = {"url": f"{hub.endpoint}/0.jpg"}
    hub.add("owner/links").write("train.jsonl", json.dumps(link).encode())
    home = tmp_path / "me"
    (home / ".local/state").mkdir(parents=True)
    (home / "token").write_text(TOKEN)
    (tmp_path / "mnt").mkdir()
    hffs.environ.update(hub.env(tmp_path / "cache/huggingface"))
    hffs.environ["XDG_STATE_HOME"] = str(home / ".local/state")
    return {
        "/mnt/photos": tmp_path / "mnt",
        "/home/me": home,
        "https://huggingface.co": hub.endpoint,
        "/cache": tmp_path / "cache",
    }


SECTIONS = read_sections(DOCUMENT)


def test_the_document_has_examples() -> None:
    assert sum(map(len, SECTIONS.values())) > 20


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_example_of_the_document_holds(
    hffs: Hffs, told: dict[str, object], heading: str
) -> None:
    """Section by section, as a reader comes to it."""
    for example in SECTIONS[heading]:
        shown = run_example(example, hffs, told)
        assert example.is_met_by(shown), f"$ {example.command}\n{shown}"
