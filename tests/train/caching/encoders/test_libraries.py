"""Libraries that are missing, or do not fit, are one line that says what to do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from hffs.errors import DataError, MissingLibraryError, UsageError
from hffs.train.caching.encoders.libraries import check_loaded, import_library, model_errors


def _plant(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Let `diffusers` be a module of this text, for one test."""
    (folder / "diffusers.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    for name in [name for name in sys.modules if name.split(".")[0] == "diffusers"]:
        monkeypatch.delitem(sys.modules, name)


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _plant(tmp_path, monkeypatch, "import nothing_of_that_name")
    with pytest.raises(MissingLibraryError) as caught:
        import_library("diffusers")
    line = "cannot encode with diffusers: nothing_of_that_name is not installed; "
    assert str(caught.value) == line + "pip install 'hffs-mount[cache]'"


def test_a_torchvision_that_does_not_fit_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _plant(tmp_path, monkeypatch, "raise RuntimeError('operator torchvision::nms does not exist')")
    with pytest.raises(UsageError) as caught:
        import_library("diffusers")
    assert str(caught.value) == (
        "cannot import diffusers: operator torchvision::nms does not exist; "
        "install the torchvision that fits your torch, or none"
    )
    _plant(tmp_path, monkeypatch, "raise ImportError('cannot import name x')")
    with pytest.raises(UsageError, match="cannot import name x; check that its version fits"):
        import_library("diffusers")


def test_what_a_library_raises_says_what_it_was_about() -> None:
    with (
        pytest.raises(MissingLibraryError, match="it takes sentencepiece, which is not installed"),
        model_errors("cannot load", "a model"),
    ):
        raise ModuleNotFoundError("no", name="sentencepiece")
    with (
        pytest.raises(DataError, match="cannot load a model: KeyError"),
        model_errors("cannot load", "a model"),
    ):
        raise KeyError
    with (
        pytest.raises(torch.cuda.OutOfMemoryError),
        model_errors("cannot load", "a model"),
    ):
        raise torch.cuda.OutOfMemoryError


def test_weights_of_another_shape_are_refused() -> None:
    check_loaded({"missing_keys": [], "mismatched_keys": set()}, "a model")
    with pytest.raises(DataError, match="its file has another shape of a and 1 more"):
        check_loaded({"missing_keys": [], "mismatched_keys": ["b", "a"]}, "a model")
