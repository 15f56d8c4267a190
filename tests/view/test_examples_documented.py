"""Every line of the examples in docs/configuration.md: JSON, TOML and flags, and what they give."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest

from hffs.cli.commands import Argument, make_command
from hffs.cli.flags import Flags, with_config_flags
from hffs.config import Config, Kind, all_keys, build_config
from hffs.core.inodes import ROOT
from hffs.core.types import Inode
from hffs.errors import HffsError
from hffs.view.opening import open_view
from hffs.view.tree import Tree
from tests import examples
from tests.examples import Example
from tests.view.conftest import Quiet

LINES, BLOCKS = examples.read_lines(), examples.read_blocks()

OF_SIMPLETUNER = {
    "id", "type", "dataset_type", "dataset_name", "split", "revision", "caption_strategy",
    "metadata_backend", "image_column", "caption_column", "fallback_caption_column",
    "description_column", "width_column", "height_column", "cache_dir", "streaming", "num_proc",
    "filter_func.quality_thresholds", "filter_func.quality_column", "filter_func.collection",
    "filter_func.min_width", "filter_func.min_height", "composite_image_config.enabled",
    "composite_image_config.image_count", "composite_image_config.select_index", "resolution",
    "resolution_type", "minimum_image_size", "crop", "crop_aspect", "probability",
    "instance_data_dir", "video.num_frames", "video.min_frames", "video.num_frames_column",
    "video.fps_column",
    "audio_column", "audio_caption_fields", "lyrics_column",
}  # fmt: skip
"""What https://github.com/bghira/SimpleTuner documents in HUGGINGFACE_DATASETS.md."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The files of a tree that is open in this process."""

    tree: Tree

    def names(self) -> list[str]:
        return list(self._walk(ROOT))

    def read(self, name: str) -> bytes:
        inode = self._find(name)
        self.tree.prepare(inode)
        ready = self.tree.ready(inode)
        return bytes(self.tree.request(inode).result(20) if ready is None else ready)

    def facts(self, name: str) -> dict[str, str]:
        facts = self.tree.xattrs(self._find(name))
        return {key.removeprefix("user.hffs."): value.decode() for key, value in facts.items()}

    def _find(self, name: str) -> Inode:
        inode = ROOT
        for part in name.split("/"):
            found = self.tree.lookup(inode, part.encode())
            assert found is not None, name
            inode = found
        return inode

    def _walk(self, folder: Inode) -> Iterator[str]:
        for entry in self.tree.entries(folder, 0):
            if self.tree.is_folder(entry.inode):
                yield from self._walk(entry.inode)
            else:
                yield self.tree.name(entry.inode)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that stands for `/`, with the data set."""
    folder = tmp_path_factory.mktemp("examples")
    examples.write_set(folder)
    return folder


@pytest.fixture(autouse=True)
def _started_here(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)


def environ(root: Path) -> dict[str, str]:
    return os.environ | {"XDG_CACHE_HOME": str(root / "cache")}


@contextmanager
def opened(config: Config) -> Iterator[Opened]:
    with open_view(config, Quiet(), 2) as tree:
        yield Opened(tree)


def read_flags(text: str) -> Flags:
    """What the command line makes of flags."""
    got: list[Flags] = []

    @with_config_flags
    def mount(source: Annotated[str, Argument()], flags: Flags) -> None:
        """Mount it."""
        got.append(flags)

    make_command(mount, "mount").main(["SOURCE", *shlex.split(text)], standalone_mode=False)
    return got[0]


def spell_flags(values: dict[str, Any]) -> str:
    """Flags for what a file says; those that only a trainer reads have none."""
    words: list[str] = []
    for name, value in flatten(values):
        if name not in all_keys():
            continue
        key = all_keys()[name]
        if key.kind is Kind.SWITCH:
            words.append(key.flag if value else f"--no-{key.flag[2:]}")
        elif key.kind is Kind.MAP:
            words += [word for pair in value.items() for word in (key.flag, "{}={}".format(*pair))]
        else:
            many = value if isinstance(value, list) else [value]
            words += [word for one in many for word in (key.flag, str(one))]
    return shlex.join(words)


def flatten(values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Keys, dotted where they are in a block, and their values."""
    for name, value in values.items():
        if name in ("filter_func", "composite_image_config", "video"):
            yield from ((f"{name}.{inner}", it) for inner, it in value.items())
        else:
            yield name, value


def build(root: Path, content: str, suffix: str, flags: Flags | None = None) -> Config:
    """The configuration of a file with this content."""
    path = root / f"entry{suffix}"
    path.write_text(content, encoding="utf-8")
    return build_config(str(path), flags or {}, None, environ(root))


def build_all(root: Path, example: Example) -> list[Config]:
    """The configurations of an example as JSON, with and without a block, as TOML, by flags."""
    base = {"dataset_name": f"{root}{examples.SET}"}
    values = example.values
    has_name = "dataset_name" in values
    spelled = example.flags or spell_flags(values)
    configs = [
        build(root, json.dumps(base | values), ".json"),
        build(root, json.dumps({"huggingface": base | values}), ".json"),
        build(root, ("" if has_name else f"{base_toml(base)}\n") + example.toml, ".toml"),
    ]
    if spelled:
        flags = read_flags(spelled)
        if has_name:
            configs.append(build(root, json.dumps(base), ".json", flags))
        else:
            configs.append(build_config(base["dataset_name"], flags, None, environ(root)))
    return configs


def base_toml(base: dict[str, str]) -> str:
    return "\n".join(f"{name} = {json.dumps(value)}" for name, value in base.items())


@pytest.mark.parametrize("example", LINES + BLOCKS, ids=lambda example: example.toml)
def test_an_example_gives_what_is_documented(root: Path, example: Example) -> None:
    example = example.placed(root)
    configs = build_all(root, example)
    assert all(config == configs[0] for config in configs)
    if example.refusal:
        with pytest.raises(HffsError) as caught, opened(configs[0]):
            pass
        assert str(caught.value) == example.refusal
        return
    with opened(configs[0]) as shown:
        examples.check(example.outcome, shown)
        if "no change" in example.outcome:
            plain = build_config(f"{root}{examples.SET}", {}, None, environ(root))
            with opened(plain) as unchanged:
                assert shown.names() == unchanged.names()
                prints = [each.tree.manifest.info.fingerprint for each in (shown, unchanged)]
                assert prints[0] == prints[1]
        if not re.search("views|split|test|clips|songs", example.toml):
            examples.check_images(shown, example.values)


def keys_shown() -> set[str]:
    return {name for example in LINES for name, _ in flatten(example.values)}


def test_every_key_that_a_mount_reads_has_an_example() -> None:
    shown = keys_shown()
    assert {key.name for key in all_keys().values() if not key.for_tool} <= shown
    assert shown >= OF_SIMPLETUNER


def test_the_examples_are_found() -> None:
    assert len(LINES) == examples.section().count("\n| `") > 60
    assert len(BLOCKS) == examples.section().count("```toml") > 4
