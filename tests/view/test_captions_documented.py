"""The examples of docs/configuration.md, cells in and file out, through an open view."""

import json
import re
from pathlib import Path

import pytest

from hffs.core.inodes import ROOT
from hffs.errors import DataError
from tests.view.conftest import OpenTree, encode, write_set

DOCS = Path(__file__).parents[2] / "docs" / "configuration.md"
_EXAMPLE = re.compile(r"^\| ([^`|]+) \| `(.*)` \| `(.*)` \| (?:`(.*)`|dropped) \|$", re.MULTILINE)


def _examples() -> list[tuple[str, ...]]:
    part = DOCS.read_text(encoding="utf-8").partition("#### What a caption file holds\n")[2]
    table = part.partition("\n### ")[0]
    found = _EXAMPLE.findall(table)
    assert len(found) == table.count("\n|") - 2 > 20
    return found


@pytest.mark.parametrize(("cells", "keys", "file"), [row[1:] for row in _examples()])
def test_a_caption_file_is_as_documented(
    open_tree: OpenTree, tmp_path: Path, cells: str, keys: str, file: str
) -> None:
    columns = {name: [cell] for name, cell in json.loads(cells).items()}
    source = write_set(tmp_path / "a.parquet", [encode("JPEG")], **columns)
    if not file:
        with pytest.raises(DataError, match="no caption: 1"):
            open_tree(source, **json.loads(keys))
        return
    tree = open_tree(source, **json.loads(keys))
    inode = tree.lookup(ROOT, b"0.txt")
    assert inode is not None
    assert bytes(tree.ready(inode) or b"").decode() == json.loads(file)
