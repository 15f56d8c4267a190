"""A command that is forked is the one that is started: same words, exit codes, variables, end."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests import preloaded
from tests.command import Hffs


@pytest.mark.parametrize(
    "arguments",
    [
        ("ls", "--help"),  # the mounts of other tests come and go
        ("--version",),
        ("mount", "--help"),
        ("mount", "nowhere.parquet", "/nowhere"),
        ("inspect", "nowhere.parquet"),
        ("umount",),
        ("cache", "verify", "nowhere"),
    ],
)
def test_a_forked_command_says_what_a_started_one_says(
    hffs: Hffs, arguments: tuple[str, ...]
) -> None:
    forked, started = hffs.run(*arguments), replace(hffs, forks=False).run(*arguments)
    assert forked.args[0] == "hffs" != started.args[0]
    assert forked.returncode == started.returncode
    assert (forked.stdout, forked.stderr) == (started.stdout, started.stderr)


def test_each_has_the_variables_and_the_folder_that_it_is_given(
    photo_parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photo_parquet.parent)
    for name in ("one", "two"):
        hffs = Hffs.below(tmp_path / name)
        done = hffs.run("inspect", photo_parquet.name, "--json")
        assert (done.args[0], done.returncode) == ("hffs", 0)
        assert (tmp_path / name / "cache/hffs").is_dir()


@pytest.mark.parametrize("variable", ["PYTHONIOENCODING", "LC_ALL", "TERM", "OMP_NUM_THREADS"])
def test_one_with_variables_that_are_read_at_the_start_is_started(
    hffs: Hffs, variable: str
) -> None:
    changed = Hffs(hffs.environ | {variable: "1"})
    assert not preloaded.is_alike(changed.environ)
    assert preloaded.is_alike(hffs.environ)


def test_one_that_takes_too_long_is_ended(hffs: Hffs, photo_parquet: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mnt"
    folder.mkdir()
    with pytest.raises(subprocess.TimeoutExpired):
        hffs.run("mount", "--foreground", photo_parquet, folder, timeout_s=3)
    hffs.run("umount", "--force", folder)  # it may have come that far
    assert hffs.describe(folder) is None
