"""docs/configuration.md is true: its tables are the model's, examples load, errors occur."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hffs.config import Key, Kind, all_keys, build_configs
from hffs.config.trainer_keys import BLOCK_KEYS, ENTRY_KEYS
from hffs.errors import ConfigError

DOCS = Path(__file__).parents[2] / "docs" / "configuration.md"
ENVIRON = {"HOME": "/home/me"}

TYPES = {
    Kind.TEXT: "text",
    Kind.PATH: "path",
    Kind.SIZE: "size",
    Kind.WHOLE: "whole number",
    Kind.NUMBER: "number",
    Kind.SWITCH: "true, false",
    Kind.LIST: "list",
    Kind.NUMBERS: "list",
    Kind.MAP: "map",
}


def text() -> str:
    return DOCS.read_text(encoding="utf-8")


def row(key: Key) -> str:
    """The line of the documentation for a key."""
    kind = ", ".join(f"`{choice}`" for choice in key.choices) or TYPES[key.kind]
    return f"| `{key.name}` | `{key.flag}` | {kind} | {key.shown} | {key.help} |"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text(), re.MULTILINE | re.DOTALL)


def test_the_tables_are_the_model() -> None:
    panels = dict.fromkeys(key.panel for key in all_keys().values())
    expected = [row(key) for panel in panels for key in all_keys().values() if key.panel == panel]
    keys = text().partition("\n## Keys\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `.*$", keys, re.MULTILINE) == expected


def test_each_table_has_the_heading_of_its_panel() -> None:
    for panel in {key.panel for key in all_keys().values()}:
        assert f"\n### {panel}\n" in text()


def test_the_ignored_keys_are_listed() -> None:
    listed = text().partition("<!-- ignored keys -->")[2].partition("<!-- end -->")[0]
    in_blocks = {f"{block}.{key}" for block, keys in BLOCK_KEYS.items() for key in keys}
    assert set(re.findall(r"`([\w.]+)`", listed)) == ENTRY_KEYS | in_blocks


@pytest.mark.parametrize("language", ["json", "toml"])
def test_the_examples_load(tmp_path: Path, language: str) -> None:
    examples = blocks(language)
    assert examples
    for example in examples:
        path = tmp_path / f"example.{language}"
        path.write_text(example, encoding="utf-8")
        assert build_configs(str(path), {}, None, ENVIRON).configs


def test_the_errors_are_as_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = re.findall(r"^- `(.*)` gives\n  `(.*)`$", text(), re.MULTILINE)
    assert len(shown) > 3
    for content, line in shown:
        (tmp_path / "photos.json").write_text(content, encoding="utf-8")
        with pytest.raises(ConfigError) as caught:
            build_configs("photos.json", {}, None, ENVIRON)
        assert str(caught.value) == line
