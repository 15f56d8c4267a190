"""The examples of docs/semantics.md, run on a real mount."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.command import Hffs
from tests.documents import read_examples, run_example

pytestmark = pytest.mark.fuse

DOCUMENT = Path(__file__).parents[2] / "docs/semantics.md"


@pytest.fixture
def folder(hffs: Hffs, tmp_path: Path) -> Path:
    def encode(kind: str) -> bytes:
        file = io.BytesIO()
        Image.new("RGB", (48, 32), "red").save(file, kind)
        return file.getvalue()

    images = [encode("JPEG"), encode("PNG"), b"these bytes are no image"]
    table = pa.table(
        {
            "image": [{"bytes": image, "path": None} for image in images],
            "caption": ["a red square", "another one", "no image at all"],
        }
    )
    (tmp_path / "data").mkdir()
    source = tmp_path / "data/photos.parquet"
    pq.write_table(table, source, compression="none", use_dictionary=False)
    folder = tmp_path / "mnt/photos"
    folder.mkdir(parents=True)
    hffs("mount", source, folder)
    return folder


def test_every_example_of_the_document_holds(hffs: Hffs, folder: Path) -> None:
    examples = read_examples(DOCUMENT)
    assert len(examples) > 15
    try:
        for example in examples:
            shown = run_example(example, hffs, {"/mnt/photos": folder, "": folder.parent.parent})
            assert example.is_met_by(shown), (example, shown)
    finally:
        hffs("umount", "--force", folder)
