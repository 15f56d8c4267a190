"""What `hffs.train` brings, and when."""

from __future__ import annotations

import subprocess
import sys

import pytest

import hffs.train
from hffs.errors import UsageError


def test_torch_is_imported_when_it_is_used() -> None:
    code = (
        "import sys, hffs.train, hffs.train.loading, hffs.train.plan; "
        "print('torch' in sys.modules); "
        "from hffs.train import FolderDataset; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_every_name_that_is_promised_is_there() -> None:
    for name in hffs.train.__all__:
        assert getattr(hffs.train, name).__name__ == name
    with pytest.raises(AttributeError, match=r"module 'hffs\.train' has no attribute 'nothing'"):
        hffs.train.nothing  # noqa: B018 - asking is the point


def test_without_torch_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(hffs.train._HOMES, "Absent", "hffs.train.absent")
    with pytest.raises(ModuleNotFoundError, match=r"hffs\.train\.absent"):
        hffs.train.Absent  # noqa: B018 - asking is the point

    def refuse(name: str) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr("importlib.import_module", refuse)
    with pytest.raises(UsageError) as caught:
        hffs.train.FolderDataset  # noqa: B018 - asking is the point
    assert str(caught.value) == (
        "cannot use hffs.train.FolderDataset: no torch here; pip install 'hffs-mount[train]'"
    )
