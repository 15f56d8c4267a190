"""What a data set's texts may do to the terminal of who mounts it: nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from hffs.cli import run
from hffs.cli.progress import TerminalListener
from tests.view.conftest import encode, write_set


def test_regression_errors_show_no_escapes_of_a_data_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_set(tmp_path / "a.parquet", [encode("PNG")], **{"\x1b]0;owned\x07\u202e": ["a"]})
    assert run(["inspect", str(source), "--caption-column", "nope"]) == 2
    line = capsys.readouterr().err
    assert line.startswith("hffs: cannot use caption_column nope")
    assert line.rstrip("\n").isprintable()


def test_regression_notices_show_no_escapes_of_a_data_set(
    capsys: pytest.CaptureFixture[str],
) -> None:
    TerminalListener("a").notice("its columns are \x1b[2J, b\nc")
    assert capsys.readouterr().err == "hffs: a: its columns are \ufffd[2J, b c\n"
