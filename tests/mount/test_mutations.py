"""The table of docs/semantics.md: which errno each call answers that would change the mount."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.command import Hffs
from tests.mixed_photos import hollow_jpeg
from tests.mutations import CALLS, TARGETS, answer

pytestmark = pytest.mark.fuse

DOCUMENT = Path(__file__).parents[2] / "docs/semantics.md"
ROWS = 3


def _read_table() -> dict[str, list[tuple[str, str]]]:
    """For each call, of each target what root sees and what another user does."""
    _, _, rest = DOCUMENT.read_text().partition("<!-- mutations -->\n")
    lines = [line.strip("| ") for line in rest.partition("\n\n")[0].splitlines()]
    head, _, *rows = (re.split(r" \| ", line) for line in lines)
    assert head[1:] == list(TARGETS)
    cells = {row[0].strip("`"): [cell.split(", ") for cell in row[1:]] for row in rows}
    return {call: [(each[0], each[-1]) for each in told] for call, told in cells.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    base = tmp_path_factory.mktemp("mutations")
    base.chmod(0o755)
    images = [{"bytes": hollow_jpeg(5000, row), "path": None} for row in range(ROWS)]
    pq.write_table(pa.table({"image": images}), base / "a.parquet", compression="none")
    hffs = Hffs.below(base)
    (base / "mnt").mkdir()
    hffs("mount", base / "a.parquet", base / "mnt", "--allow-other")
    yield base / "mnt"
    hffs("umount", "--force", base / "mnt")


@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_would_change_something_answers_as_the_document_says(
    call: str, folder: Path, as_nobody: Callable[[], AbstractContextManager[None]]
) -> None:
    told = _read_table()
    assert list(told) == list(CALLS)
    by_root = [answer(call, target, folder) for target in TARGETS]
    with as_nobody():
        by_another = [answer(call, target, folder) for target in TARGETS]
    assert list(zip(by_root, by_another, strict=True)) == told[call]
    assert (folder / "0.jpg").read_bytes() == hollow_jpeg(5000, 0)
    assert len(list(folder.iterdir())) == ROWS
