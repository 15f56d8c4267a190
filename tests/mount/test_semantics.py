"""The examples of docs/semantics.md, run on a real mount."""

import doctest
import io
import re
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.command import Hffs

pytestmark = pytest.mark.fuse

DOCUMENT = Path(__file__).parents[2] / "docs/semantics.md"


def _read_examples() -> list[tuple[str, str]]:
    """Commands of the document's console blocks, each with what it prints."""
    examples = []
    for block in re.findall(r"```console\n(.*?)```", DOCUMENT.read_text(), re.DOTALL):
        for example in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = example.partition("\n")
            examples.append((command, output))
    return examples


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


def _run(command: str, hffs: Hffs) -> str:
    """Output and errors of a shell command, as a terminal would show them."""
    environ = hffs.environ | {"LC_ALL": "C"}
    shell = ["bash", "-c", f"exec 2>&1; {command}"]
    return subprocess.run(shell, stdout=subprocess.PIPE, text=True, env=environ, check=False).stdout


def test_every_example_of_the_document_holds(hffs: Hffs, folder: Path) -> None:
    checker = doctest.OutputChecker()
    examples = _read_examples()
    assert len(examples) > 15
    try:
        for command, expected in examples:
            shown = _run(command.replace("/mnt/photos", str(folder)), hffs)
            shown = shown.replace(str(folder.parent.parent), "")
            if shown and not shown.endswith("\n"):
                shown += "\n"
            assert checker.check_output(expected, shown, doctest.ELLIPSIS), (command, shown)
    finally:
        hffs("umount", "--force", folder)
