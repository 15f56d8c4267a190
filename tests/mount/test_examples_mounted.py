"""Examples and errors of docs/configuration.md through the real command and the kernel."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import examples
from tests.command import Hffs, Mount
from tests.examples import Example

pytestmark = pytest.mark.fuse

MOUNTED = (
    'caption_column = ["title", "tags"]', 'image_column = "views"', 'image_format = "source"',
    'orientation = "upright"', "metadata_jsonl = true", 'group_by = "kind"', 'names = "row"',
    'filter_func.python = "sift:has_stars"', 'cache_dir = "/data/cache"',
    'composite_image_config = { enabled = true, image_count = 3, select_index = "all" }',
)  # fmt: skip
"""Examples of each kind of file that there is; all others are opened without a mount."""

MORE_FUNCTIONS = """

def stars(row):
    return row["stars"]


def above(row):
    return row["stars"] > 3
"""


@dataclass(frozen=True, slots=True)
class Mounted:
    """The files of a mount."""

    folder: Path

    def names(self) -> list[str]:
        return list(self._walk(""))

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def facts(self, name: str) -> dict[str, str]:
        path, start = self.folder / name, "user.hffs."
        keys = (key.removeprefix(start) for key in os.listxattr(path) if key.startswith(start))
        return {key: os.getxattr(path, start + key).decode() for key in keys}

    def _walk(self, prefix: str) -> Iterator[str]:
        for entry in os.scandir(self.folder / prefix):
            if entry.is_dir():
                yield from self._walk(f"{prefix}{entry.name}/")
            else:
                yield prefix + entry.name


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for `/`, with the data set; commands are started in it."""
    examples.write_set(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("toml", MOUNTED)
def test_flags_give_what_is_documented(mount: Mount, root: Path, toml: str) -> None:
    (example,) = (each.placed(root) for each in examples.read_lines() if each.toml == toml)
    folder = mount(f"{root}{examples.SET}", *shlex.split(example.flags or ""))
    examples.check(example.outcome, Mounted(folder))


@pytest.mark.parametrize("example", examples.read_blocks(), ids=lambda example: example.outcome)
def test_a_file_gives_what_is_documented(mount: Mount, root: Path, example: Example) -> None:
    example = example.placed(root)
    (root / "photos.toml").write_text(example.toml, encoding="utf-8")
    shown = Mounted(mount("photos.toml"))
    examples.check(example.outcome, shown)
    examples.check_images(shown, example.values)


@pytest.mark.parametrize(("toml", "code", "line"), examples.read_refusals())
def test_a_mistake_is_the_documented_line(
    hffs: Hffs, root: Path, toml: str, code: int, line: str
) -> None:
    with (root / "sift.py").open("a", encoding="utf-8") as file:
        file.write(MORE_FUNCTIONS)
    base = f'dataset_name = "{root}{examples.SET}"\n'
    (root / "photos.toml").write_text(base + toml, encoding="utf-8")
    (root / "mnt").mkdir()
    done = hffs.run("mount", "photos.toml", "mnt")
    told = done.stderr.replace(f"{root}/data/", "/data/").replace(str(root), "/home/me")
    assert re.fullmatch(re.escape(f"hffs: {line}\n").replace(r"\.\.\.", ".+"), told)
    assert (done.returncode, done.stdout) == (code, "")
